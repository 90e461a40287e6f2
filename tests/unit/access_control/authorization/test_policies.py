"""The package's own policies: the table of cases beside them holds, each condition is needed by one of its cases, and they say the same
as the rules in code."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import callers_pb2, roles_pb2
from kept.policies import Entity, PolicySet, Table, needed_by, read_table
from kept.policies.explanations import attributes
from kept.policies.words import WORDS
from services.access_control.authorization.policy import (
    SHIPPED,
    Authorization,
    Denied,
    grant_entity,
    member_entity,
    method_entity,
    milliseconds,
    organization_entity,
    person_entity,
    service_entity,
    shipped_policies,
)
from services.access_control.grants.approval import (
    POWER_APPROVERS,
    POWER_REQUESTERS,
    PURPOSE_APPROVERS,
    PURPOSE_REQUESTERS,
    Approvals,
)
from services.access_control.grants.grant import BrokenGlass, Grant
from services.access_control.grants.scope import DataScope
from services.access_control.people.person import Member, Person
from services.access_control.people.standing import RoleAssignment

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ORG = "org_" + "a" * 26
ALL_ROLES = [role for role in roles_pb2.StaffRole.values() if role]


@pytest.fixture(scope="module")
def policies() -> PolicySet:
    return shipped_policies()


@pytest.fixture(scope="module")
def table() -> Table:
    return read_table(SHIPPED / "cases")


def test_the_table_holds(policies: PolicySet, table: Table) -> None:
    assert list(table.failures(policies)) == []


def test_every_condition_is_needed_by_a_case(policies: PolicySet, table: Table) -> None:
    needed = dict(needed_by(policies, table))
    assert len(needed) > 150
    assert [missing for missing, case in needed.items() if not case] == []


def test_every_policy_is_named_by_a_case(policies: PolicySet, table: Table) -> None:
    assert set(policies.names) == {name for case in table.cases for name in case.by}


def test_every_attribute_that_a_condition_looks_at_has_words(policies: PolicySet) -> None:
    used = {attribute for leaf in policies.conditions for attribute in attributes(leaf.expression)}
    assert {
        attribute for attribute in used if attribute not in WORDS and f"not {attribute}" not in WORDS
    } == set()


# --- the same as the rules in code ---------------------------------------------------------------------------------------


def person(*roles: int, name: str = "eve") -> Entity:
    held = tuple(
        RoleAssignment("role", name, roles_pb2.StaffRole.ValueType(role), "x", NOW, "y") for role in roles
    )
    return person_entity(Person(name, name, name, held, NOW + HOUR), NOW, frozenset({"OPERATOR"}))


def grant(purpose: int = 1, power: int = 0, **changes: Any) -> Entity:
    made: dict[str, Any] = {
        "grant_id": "grant",
        "requested_by": "eve",
        "request_id": "request",
        "data": None if power else DataScope(ORG, grants_pb2.DETAIL_MASKED, 10),
        "power": power,
        "purpose": 0 if power else purpose,
        "reason": "",
        "ticket": "",
        "state": grants_pb2.GRANT_STATE_REQUESTED,
        "requested_at": NOW,
        "request_expires_at": NOW + HOUR,
        "duration": HOUR,
        **changes,
    }
    return grant_entity(Grant(**made), Approvals(0, False), NOW)


@pytest.mark.parametrize("role", ALL_ROLES)
def test_who_asks_and_who_approves_is_the_same_in_code_and_policies(policies: PolicySet, role: int) -> None:
    kinds = [(purpose, 0) for purpose in PURPOSE_REQUESTERS] + [(0, power) for power in POWER_REQUESTERS]
    for purpose, power in kinds:
        if power:
            ask, approve = (
                table[roles_pb2.Power.ValueType(power)] for table in (POWER_REQUESTERS, POWER_APPROVERS)
            )
        else:
            of_purpose = grants_pb2.Purpose.ValueType(purpose)
            ask, approve = PURPOSE_REQUESTERS[of_purpose], PURPOSE_APPROVERS[of_purpose]
        wanted = grant(purpose, power)
        assert policies.decide(person(role), "RequestGrant", wanted).allowed == (role in ask)
        assert policies.decide(person(role, name="colin"), "ApproveGrant", wanted).allowed == (
            role in approve
        )


def test_what_the_service_makes_of_its_own_fits_the_schema(policies: PolicySet) -> None:
    """The table speaks of entities that it makes up; these are the service's."""
    engineer, logging = person(roles_pb2.STAFF_ROLE_ENGINEER), service_entity("logging")
    member = member_entity(Member("member", ORG, roles_pb2.CUSTOMER_ROLE_ADMIN, "", 1))
    method = method_entity("/kept.x.v1.X/Y", callers_pb2.Callers(any_staff=True, power=roles_pb2.POWER_LEGAL))
    glass = grant(broken_glass=BrokenGlass(NOW), valid_from=NOW, expires_at=NOW + HOUR)
    moment = {"now": milliseconds(NOW), "organization": ORG, "customer_required": False}
    questions: list[tuple[Entity, str, Entity, dict[str, Any]]] = [
        (engineer, "CallMethod", method, {}),
        (member, "CallMethod", method, {}),
        (engineer, "RequestGrant", grant(), {}),
        (engineer, "ApproveByRule", grant(), {"customer_required": False}),
        (engineer, "BreakGlass", glass, {"customer_required": False}),
        (member, "ApproveGrant", grant(power=roles_pb2.POWER_LEGAL), {}),
        (engineer, "ReadRecords", glass, {**moment, "detail": 2, "case_admits": True}),
        (logging, "RescreenRecords", grant(), moment),
        (logging, "EvaluateRecords", grant(), {**moment, "detail": 2, "case_upheld": True}),
        (logging, "ScreenRecords", organization_entity(ORG), {}),
        (logging, "OpenUnscreened", organization_entity(ORG), {"age": 1}),
    ]
    problems = [
        (action, policies.decide(who, action, what, context, checked=True).problem)
        for who, action, what, context in questions
    ]
    assert [problem for problem in problems if problem[1]] == []


# --- denials ------------------------------------------------------------------------------------------------------------


def test_an_error_in_any_policy_denies_what_the_others_allow(policies: PolicySet) -> None:
    method = method_entity("/kept.x.v1.X/Y", callers_pb2.Callers(any_staff=True))
    assert Authorization(policies).evaluate(person(), "CallMethod", method) is not None
    for effect in ("permit", "forbid"):
        broken = (
            f'@id("broken") {effect} (principal, action, resource) when {{ 9223372036854775807 + 1 > 0 }};\n'
        )
        authorization = Authorization(PolicySet(policies.text + broken, policies.schema_text))
        assert authorization.evaluate(person(), "CallMethod", method) is None
        with pytest.raises(Denied) as denied:
            authorization.require(person(), "CallMethod", method)
        assert denied.value.metadata["policy"] == "broken"


def test_staff_are_told_the_policy_and_what_is_missing_and_so_is_the_audit_log(policies: PolicySet) -> None:
    with pytest.raises(Denied) as denied:
        Authorization(policies).require(person(), "RequestGrant", grant())
    assert denied.value.metadata == {
        "missing": "one of the roles ENGINEER",
        "policy": "grants.request.engineering",
    }
    assert denied.value.facts == {"policies": "grants.request.engineering", "policy_set": policies.sha256}


def test_a_policys_own_advice_is_passed_on(policies: PolicySet) -> None:
    own = (
        '@id("own.tickets") @advice("Open a ticket at the desk first.")\n'
        'forbid (principal is Person, action == Action::"RequestGrant", resource is Grant)\n'
        "unless { resource.has_ticket };\n"
    )
    authorization = Authorization(PolicySet(policies.text + own, policies.schema_text))
    with pytest.raises(Denied) as denied:
        authorization.require(person(roles_pb2.STAFF_ROLE_ENGINEER), "RequestGrant", grant())
    assert denied.value.metadata == {
        "missing": "a ticket",
        "policy": "own.tickets",
        "advice": "Open a ticket at the desk first.",
    }


def test_customers_are_told_what_is_missing_and_nothing_of_policies(policies: PolicySet) -> None:
    plain = member_entity(Member("member", ORG, roles_pb2.CUSTOMER_ROLE_MEMBER, "", 1))
    with pytest.raises(Denied) as denied:
        Authorization(policies).require(plain, "ApproveGrant", grant())
    assert denied.value.metadata == {"missing": "the role ADMIN in your organization"}


def test_a_denial_repeats_nothing_of_the_request(policies: PolicySet) -> None:
    """Whose grant it is, which organization it is on: what a person may not know is not in what they are told."""
    secret = "a-colleagues-name"
    other = grant(requested_by=secret, data=DataScope("org_" + "z" * 26, grants_pb2.DETAIL_MASKED, 10))
    moment = {"now": 0, "organization": ORG, "customer_required": True, "detail": 3, "case_admits": False}
    with pytest.raises(Denied) as denied:
        Authorization(policies).require(person(), "ReadRecords", other, moment)
    told = json.dumps(denied.value.metadata) + str(denied.value)
    assert secret not in told
    assert "org_" not in told
