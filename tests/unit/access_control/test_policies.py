"""The Cedar policies: a table of named cases, and that each condition of each policy is there for one of them."""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import cedarpy
import pytest

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import callers_pb2, roles_pb2
from services.access_control.authorization import (
    Authorization,
    Entity,
    grant_entity,
    member_entity,
    method_entity,
    milliseconds,
    organization_entity,
    person_entity,
    read_policies,
    service_entity,
)
from services.access_control.grants import (
    POWER_APPROVERS,
    POWER_REQUESTERS,
    PURPOSE_APPROVERS,
    PURPOSE_REQUESTERS,
    Approvals,
    DataScope,
    Grant,
)
from services.access_control.people import Member, Person, RoleAssignment
from shared.config import ConfigError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ORG = "org_" + "a" * 26
SUPPORT, LEGAL_PURPOSE, SAFETY_PURPOSE = (
    grants_pb2.PURPOSE_ENGINEERING_SUPPORT,
    grants_pb2.PURPOSE_LEGAL_COMPLIANCE,
    grants_pb2.PURPOSE_SAFETY_AND_SECURITY,
)
OPERATOR, ENGINEER = roles_pb2.STAFF_ROLE_OPERATOR, roles_pb2.STAFF_ROLE_ENGINEER
SAFETY, LEGAL = roles_pb2.STAFF_ROLE_SAFETY, roles_pb2.STAFF_ROLE_LEGAL
ALL_ROLES = [role for role in roles_pb2.StaffRole.values() if role]


def person(
    *roles: int, name: str = "eve", disabled: bool = False, agreed: bool = True, power: str = ""
) -> Entity:
    held = tuple(
        RoleAssignment("role", name, roles_pb2.StaffRole.ValueType(role), "x", NOW, "y") for role in roles
    )
    until = NOW + HOUR if agreed else NOW
    return person_entity(
        Person(name, name, name, held, until, disabled), NOW, frozenset({power} if power else ())
    )


def member(role: "roles_pb2.CustomerRole.ValueType", org: str = ORG) -> Entity:
    return member_entity(Member("member", org, role, "", 1))


def method(**callers: Any) -> Entity:
    return method_entity("/kept.x.v1.X/Y", callers_pb2.Callers(**callers))


def grant(
    purpose: int = SUPPORT,
    power: int = 0,
    *,
    votes: int = 1,
    customer: bool = False,
    starts: timedelta = timedelta(0),
    lasts: timedelta = HOUR,
    state: int = grants_pb2.GRANT_STATE_APPROVED,
    detail: int = grants_pb2.DETAIL_MASKED,
    case_id: str = "",
) -> Entity:
    made = Grant(
        grant_id="grant",
        requested_by="eve",
        request_id="request",
        data=None if power else DataScope(ORG, grants_pb2.Detail.ValueType(detail), 10, case_id=case_id),
        power=roles_pb2.Power.ValueType(power),
        purpose=grants_pb2.Purpose.ValueType(0 if power else purpose),
        reason="",
        ticket="",
        state=grants_pb2.GrantState.ValueType(state),
        requested_at=NOW,
        request_expires_at=NOW + HOUR,
        duration=HOUR,
        valid_from=NOW + starts,
        expires_at=NOW + starts + lasts,
    )
    return grant_entity(made, Approvals(votes, customer), NOW)


def reading(**changes: Any) -> dict[str, Any]:
    context = {
        "now": milliseconds(NOW),
        "organization": ORG,
        "detail": int(grants_pb2.DETAIL_MASKED),
        "customer_required": False,
        "case_admits": True,
    }
    return {**context, **changes}


@dataclass(frozen=True)
class Case:
    name: str
    allowed: bool
    principal: Entity
    action: str
    resource: Entity
    context: dict[str, Any] = field(default_factory=dict)


def _method_cases() -> Iterator[Case]:
    def call(name: str, allowed: bool, who: Entity, what: Entity) -> Case:
        return Case(name, allowed, who, "CallMethod", what)

    anybody, operators = method(any_staff=True), method(roles=[OPERATOR])
    powerful = method(roles=[OPERATOR], power=roles_pb2.POWER_OPERATOR)
    admins = method(customers=[roles_pb2.CUSTOMER_ROLE_ADMIN])
    yield call("any staff", True, person(), anybody)
    yield call("disabled", False, person(OPERATOR, disabled=True), anybody)
    yield call("without an agreement", False, person(OPERATOR, agreed=False), anybody)
    yield call("the role asked for", True, person(OPERATOR), operators)
    yield call("another role", False, person(ENGINEER), operators)
    yield call("without the power", False, person(OPERATOR), powerful)
    yield call("with another power", False, person(OPERATOR, power="LEGAL"), powerful)
    yield call("with the power", True, person(OPERATOR, power="OPERATOR"), powerful)
    yield call("an admin", True, member(roles_pb2.CUSTOMER_ROLE_ADMIN), admins)
    yield call("a member where an admin is wanted", False, member(roles_pb2.CUSTOMER_ROLE_MEMBER), admins)
    yield call("a customer on a method for staff", False, member(roles_pb2.CUSTOMER_ROLE_ADMIN), anybody)
    yield call("staff on a method for customers", False, person(OPERATOR), admins)


def _grant_cases() -> Iterator[Case]:
    purposes = [(purpose, 0) for purpose in PURPOSE_REQUESTERS]
    powers = [(0, power) for power in POWER_REQUESTERS]
    for purpose, power in purposes + powers:
        if power:
            kind = roles_pb2.Power.Name(roles_pb2.Power.ValueType(power))
            ask = POWER_REQUESTERS[roles_pb2.Power.ValueType(power)]
            decide = POWER_APPROVERS[roles_pb2.Power.ValueType(power)]
        else:
            kind = grants_pb2.Purpose.Name(grants_pb2.Purpose.ValueType(purpose))
            ask = PURPOSE_REQUESTERS[grants_pb2.Purpose.ValueType(purpose)]
            decide = PURPOSE_APPROVERS[grants_pb2.Purpose.ValueType(purpose)]
        resource = grant(purpose, power)
        for role in ALL_ROLES:
            label = f"{kind} by {roles_pb2.StaffRole.Name(role)}"
            yield Case(f"request of {label}", role in ask, person(role), "RequestGrant", resource)
            yield Case(
                f"approval of {label}", role in decide, person(role, name="colin"), "ApproveGrant", resource
            )
    yield Case("approval of one's own", False, person(ENGINEER), "ApproveGrant", grant())
    yield Case(
        "approval without an agreement",
        False,
        person(ENGINEER, name="colin", agreed=False),
        "ApproveGrant",
        grant(),
    )
    admin, plain = roles_pb2.CUSTOMER_ROLE_ADMIN, roles_pb2.CUSTOMER_ROLE_MEMBER
    yield Case("approval by the customer's admin", True, member(admin), "ApproveGrant", grant())
    yield Case("approval by a plain member", False, member(plain), "ApproveGrant", grant())
    yield Case(
        "approval by another's admin", False, member(admin, "org_" + "b" * 26), "ApproveGrant", grant()
    )
    yield Case(
        "approval of a power by a customer",
        False,
        member(admin),
        "ApproveGrant",
        grant(power=roles_pb2.POWER_LEGAL),
    )


def _record_cases() -> Iterator[Case]:
    def read(name: str, allowed: bool, who: Entity, what: Entity, **context: Any) -> Case:
        return Case(name, allowed, who, "ReadRecords", what, reading(**context))

    eve = person(ENGINEER)
    second = timedelta(seconds=1)
    yield read("a read under a grant", True, eve, grant())
    yield read("another's grant", False, person(ENGINEER, name="colin"), grant())
    yield read("not approved", False, eve, grant(state=grants_pb2.GRANT_STATE_REQUESTED))
    yield read("revoked", False, eve, grant(state=grants_pb2.GRANT_STATE_REVOKED))
    yield read("before it begins", False, eve, grant(starts=second))
    yield read("in its first instant", True, eve, grant(starts=timedelta(0)))
    yield read("at its end", False, eve, _ended_now())
    yield read("another organization", False, eve, grant(), organization="org_" + "b" * 26)
    yield read("more detail", False, eve, grant(), detail=int(grants_pb2.DETAIL_FULL))
    yield read("less detail", True, eve, grant(), detail=int(grants_pb2.DETAIL_METADATA))
    yield read("too few approvals", False, eve, grant(votes=0))
    yield read("without the role any more", False, person(OPERATOR), grant())
    yield read("a power", False, person(OPERATOR), grant(power=roles_pb2.POWER_OPERATOR))
    yield read("disabled", False, person(ENGINEER, disabled=True), grant())
    yield read("the customer wanted to approve", False, eve, grant(), customer_required=True)
    yield read("the customer approved", True, eve, grant(customer=True), customer_required=True)
    yield read("of a case that is over", False, eve, grant(case_id="case"), case_admits=False)
    yield read("of a case that is open", True, eve, grant(case_id="case"))
    yield read("of no case", True, eve, grant(), case_admits=False)
    yield read("legal with the engineers' role", False, eve, grant(LEGAL_PURPOSE))
    yield read("legal", True, person(LEGAL), grant(LEGAL_PURPOSE))
    yield read("support with the legal role", False, person(LEGAL), grant())
    yield read("support with the safety role", False, person(SAFETY), grant())
    yield read("safety", True, person(SAFETY), grant(SAFETY_PURPOSE))
    yield read("safety with the legal role", False, person(LEGAL), grant(SAFETY_PURPOSE))
    organization = organization_entity(ORG)
    hours_72 = 72 * 3600 * 1000
    for name, who in (("logging", True), ("settings", False)):
        service = service_entity(name)
        yield Case(f"screening by {name}", who, service, "ScreenRecords", organization)
        yield Case(
            f"opening unscreened by {name}", who, service, "OpenUnscreened", organization, {"age": hours_72}
        )
    yield Case(
        "opening unscreened after 72 hours",
        False,
        service_entity("logging"),
        "OpenUnscreened",
        organization,
        {"age": hours_72 + 1},
    )


def _ended_now() -> Entity:
    # Its stored state says approved: time alone ends it.
    made = grant(starts=-HOUR, lasts=HOUR)
    made["attrs"]["state"] = "APPROVED"
    return made


CASES = [*_method_cases(), *_grant_cases(), *_record_cases()]


@pytest.fixture(scope="module")
def authorization() -> Authorization:
    return Authorization()


def outcome(authorization: Authorization, case: Case) -> bool:
    return authorization.evaluate(case.principal, case.action, case.resource, case.context) is not None


def test_names_are_different() -> None:
    assert len({(case.action, case.name) for case in CASES}) == len(CASES)


def test_the_table_holds(authorization: Authorization) -> None:
    wrong = [case.name for case in CASES if outcome(authorization, case) != case.allowed]
    assert wrong == []


def _without_one_condition(expression: Any) -> Iterator[tuple[str, Any]]:
    """The expression with one operand of one && or || taken out, for each of them."""
    if not isinstance(expression, dict) or len(expression) != 1:
        return
    ((operator, operands),) = expression.items()
    if operator not in ("&&", "||"):
        return
    for side in ("left", "right"):
        inner = list(_without_one_condition(operands[side]))
        if inner:
            for label, changed in inner:
                yield label, {operator: {**operands, side: changed}}
        else:
            neutral = {"Value": operator == "&&"}
            yield json.dumps(operands[side])[:200], {operator: {**operands, side: neutral}}


def mutations() -> Iterator[tuple[str, str]]:
    """Every policy set that lacks one policy, one condition, or the name of who is meant; as (what is missing, text)."""
    whole = json.loads(cedarpy.policies_to_json_str(read_policies()))
    for key, policy in whole["staticPolicies"].items():
        name = policy["annotations"]["id"]

        def changed(key: str, policy: Any | None) -> str:
            copy = deepcopy(whole)
            if policy is None:
                del copy["staticPolicies"][key]
            else:
                copy["staticPolicies"][key] = policy
            return cedarpy.policies_from_json_str(json.dumps(copy))

        yield f"{name}: all of it", changed(key, None)
        if policy["principal"]["op"] == "==":
            anyone = {"op": "is", "entity_type": policy["principal"]["entity"]["type"]}
            yield f"{name}: who", changed(key, {**policy, "principal": anyone})
        for place, condition in enumerate(policy["conditions"]):
            bodies = list(_without_one_condition(condition["body"])) or [("the condition", {"Value": True})]
            for number, (_, body) in enumerate(bodies, 1):
                conditions = [*policy["conditions"]]
                conditions[place] = {**condition, "body": body}
                yield f"{name}: condition {number}", changed(key, {**policy, "conditions": conditions})


MUTATIONS = sorted(mutations())


def test_conditions_are_found() -> None:
    assert len(MUTATIONS) > 45


@pytest.mark.parametrize("text", [pytest.param(text, id=label) for label, text in MUTATIONS])
def test_taking_a_condition_out_makes_a_named_case_fail(text: str) -> None:
    changed = Authorization(text)
    assert [case.name for case in CASES if outcome(changed, case) != case.allowed] != []


def test_an_error_in_any_policy_is_a_denial() -> None:
    # Cedar by itself would allow: it skips a policy that fails to evaluate.
    broken = (
        read_policies()
        + '\n@id("broken") forbid (principal is Person, action, resource) when { 9223372036854775807 + 1 > 0 };'
    )
    case = next(case for case in CASES if case.name == "any staff")
    assert not outcome(Authorization(broken), case)


def test_a_policy_that_does_not_fit_its_schema_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="do not fit"):
        Authorization(
            read_policies() + "permit (principal is Person, action, resource) when { principal.admin };"
        )
