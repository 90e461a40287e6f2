"""The rules of grants, as tables: states, who may ask and decide, whether a grant is usable, what it covers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import roles_pb2
from services.access_control.grants.approval import (
    Approvals,
    counted,
    may_see,
    require_approver,
    require_usable,
)
from services.access_control.grants.grant import (
    APPROVED,
    CANCELLED,
    DENIED,
    EXPIRED,
    REQUESTED,
    REVOKED,
    Grant,
    Vote,
    activated,
    require_sound,
)
from services.access_control.grants.scope import Case, DataScope, require_covers
from services.access_control.people.person import Member, Person, RoleAssignment
from shared.errors import KeptError
from shared.ids import new_record_id

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
ORG, OTHER = "org_" + "a" * 26, "org_" + "b" * 26
RECORD = new_record_id(NOW)
OPERATOR, ENGINEER = roles_pb2.STAFF_ROLE_OPERATOR, roles_pb2.STAFF_ROLE_ENGINEER
SAFETY, LEGAL = roles_pb2.STAFF_ROLE_SAFETY, roles_pb2.STAFF_ROLE_LEGAL
SAFETY_PURPOSE = grants_pb2.PURPOSE_SAFETY_AND_SECURITY

SCOPE = DataScope(ORG, grants_pb2.DETAIL_MASKED, 10)
ASKED = Grant(
    grant_id="grant",
    requested_by="eve",
    request_id="request-1",
    data=SCOPE,
    power=roles_pb2.POWER_UNSPECIFIED,
    purpose=grants_pb2.PURPOSE_ENGINEERING_SUPPORT,
    reason="why",
    ticket="",
    state=REQUESTED,
    requested_at=NOW,
    request_expires_at=NOW + 24 * HOUR,
    duration=HOUR,
)
IN_FORCE = replace(ASKED, state=APPROVED, valid_from=NOW, expires_at=NOW + HOUR)


def person(name: str, *roles: int, until: datetime = NOW + 24 * HOUR, disabled: bool = False) -> Person:
    held = tuple(
        RoleAssignment("role", name, roles_pb2.StaffRole.ValueType(role), "x", NOW, "y") for role in roles
    )
    return Person(name, name, name, held, until, disabled)


def proposed(name: str, role: "roles_pb2.StaffRole.ValueType") -> Person:
    return Person(name, name, name, (RoleAssignment("role", name, role, "x", NOW),), NOW + 24 * HOUR)


def outcome(call: Any, *arguments: Any) -> str:
    try:
        call(*arguments)
    except KeptError as error:
        return error.name
    return ""


@pytest.mark.parametrize(
    ("grant", "after", "state"),
    [
        (ASKED, 24 * HOUR - TICK, REQUESTED),
        (ASKED, 24 * HOUR, EXPIRED),
        (IN_FORCE, HOUR - TICK, APPROVED),
        (IN_FORCE, HOUR, EXPIRED),
        (replace(IN_FORCE, expires_at=None), timedelta(0), EXPIRED),  # a missing end is no endless grant
        (replace(IN_FORCE, state=REVOKED), timedelta(0), REVOKED),
        (replace(ASKED, state=DENIED), 48 * HOUR, DENIED),
        (replace(ASKED, state=CANCELLED), 48 * HOUR, CANCELLED),
    ],
)
def test_states_by_time(grant: Grant, after: timedelta, state: int) -> None:
    assert grant.state_at(NOW + after) == state


@pytest.mark.parametrize(
    ("start_at", "begins"),
    [(None, NOW), (NOW - HOUR, NOW), (NOW, NOW), (NOW + HOUR, NOW + HOUR)],
)
def test_time_counts_from_start_or_last_approval(start_at: datetime | None, begins: datetime) -> None:
    grant = activated(replace(ASKED, start_at=start_at), NOW)
    assert (grant.valid_from, grant.expires_at) == (begins, begins + HOUR)


@pytest.mark.parametrize(
    ("scope", "needed"),
    [
        (SCOPE, 1),
        (replace(SCOPE, detail=grants_pb2.DETAIL_FULL), 2),
        (replace(SCOPE, detail=grants_pb2.DETAIL_FULL, start=NOW), 2),
        (replace(SCOPE, detail=grants_pb2.DETAIL_FULL, record_ids=frozenset({RECORD})), 1),
        (replace(SCOPE, detail=grants_pb2.DETAIL_FULL, case_id="case"), 1),
        (None, 1),
    ],
)
def test_how_many_approvals(scope: DataScope | None, needed: int) -> None:
    assert replace(ASKED, data=scope).staff_approvals_needed == needed


@pytest.mark.parametrize(
    ("decider", "result"),
    [
        (person("colin", ENGINEER), ""),
        (person("colin", OPERATOR), ""),
        (person("eve", ENGINEER), "SECOND_PERSON_REQUIRED"),
        (person("eve", ENGINEER, disabled=True), "SECOND_PERSON_REQUIRED"),
        (person("colin", LEGAL), "NOT_AUTHORIZED"),
        (person("colin"), "NOT_AUTHORIZED"),
        (proposed("colin", ENGINEER), "NOT_AUTHORIZED"),
        (person("colin", ENGINEER, disabled=True), "NOT_AUTHORIZED"),
        (person("colin", ENGINEER, until=NOW), "NOT_AUTHORIZED"),
    ],
)
def test_who_decides(decider: Person, result: str) -> None:
    assert outcome(require_approver, ASKED, decider, NOW) == result


def votes(*names: str, customers: tuple[str, ...] = ()) -> Grant:
    cast = [Vote(name, NOW, False) for name in names] + [Vote(name, NOW, True) for name in customers]
    return replace(ASKED, votes=tuple(cast))


ADMIN = Member("grace", ORG, roles_pb2.CUSTOMER_ROLE_ADMIN, "Grace", 1)


@pytest.mark.parametrize(
    ("grant", "people", "members", "expected"),
    [
        (votes("colin"), [person("colin", ENGINEER)], [], Approvals(1, False)),
        (votes("colin", "colin"), [person("colin", ENGINEER)], [], Approvals(1, False)),
        (votes("colin", "dora"), [person("colin", ENGINEER), person("dora")], [], Approvals(1, False)),
        (votes("colin"), [], [], Approvals(0, False)),
        (votes("eve"), [person("eve", ENGINEER)], [], Approvals(0, False)),
        (votes(customers=("grace",)), [], [ADMIN], Approvals(0, True)),
        (
            votes(customers=("grace",)),
            [],
            [replace(ADMIN, role=roles_pb2.CUSTOMER_ROLE_MEMBER)],
            Approvals(0, False),
        ),
        (votes(customers=("grace",)), [], [replace(ADMIN, organization_id=OTHER)], Approvals(0, False)),
    ],
)
def test_votes_count_of_different_people_who_still_could(
    grant: Grant, people: list[Person], members: list[Member], expected: Approvals
) -> None:
    by_id = {found.person_id: found for found in people}
    assert counted(grant, by_id, {found.member_id: found for found in members}, NOW) == expected


@pytest.mark.parametrize(
    ("grant", "holder", "approvals", "customer", "result"),
    [
        (IN_FORCE, person("eve", ENGINEER), Approvals(1, False), False, ""),
        (IN_FORCE, person("eve", ENGINEER), Approvals(1, True), True, ""),
        (IN_FORCE, person("eve", ENGINEER), Approvals(1, False), True, "CUSTOMER_APPROVAL_REQUIRED"),
        (IN_FORCE, person("eve", ENGINEER), Approvals(0, True), True, "GRANT_REVOKED"),
        (IN_FORCE, person("eve", LEGAL), Approvals(1, False), False, "NOT_AUTHORIZED"),
        (IN_FORCE, person("eve", ENGINEER, until=NOW), Approvals(1, False), False, "NOT_AUTHORIZED"),
        (ASKED, person("eve", ENGINEER), Approvals(1, False), False, "GRANT_NOT_ACTIVE"),
        (
            replace(ASKED, state=DENIED),
            person("eve", ENGINEER),
            Approvals(1, False),
            False,
            "GRANT_NOT_ACTIVE",
        ),
        (
            replace(IN_FORCE, valid_from=NOW + TICK),
            person("eve", ENGINEER),
            Approvals(1, False),
            False,
            "GRANT_NOT_ACTIVE",
        ),
        (
            replace(IN_FORCE, expires_at=NOW),
            person("eve", ENGINEER),
            Approvals(1, False),
            False,
            "GRANT_EXPIRED",
        ),
        (
            replace(IN_FORCE, state=REVOKED),
            person("eve", ENGINEER),
            Approvals(1, False),
            False,
            "GRANT_REVOKED",
        ),
    ],
)
def test_usable_now(grant: Grant, holder: Person, approvals: Approvals, customer: bool, result: str) -> None:
    assert outcome(require_usable, grant, holder, approvals, customer, NOW) == result


@pytest.mark.parametrize(
    ("scope", "record_id", "result"),
    [
        (SCOPE, RECORD, ""),
        (replace(SCOPE, record_ids=frozenset({RECORD})), RECORD, ""),
        (replace(SCOPE, record_ids=frozenset({RECORD})), new_record_id(NOW), "OUTSIDE_SCOPE"),
        (replace(SCOPE, start=NOW), RECORD, ""),
        (replace(SCOPE, start=NOW + TICK), RECORD, "OUTSIDE_SCOPE"),
        (replace(SCOPE, until=NOW), RECORD, "OUTSIDE_SCOPE"),
        (replace(SCOPE, until=NOW + TICK), RECORD, ""),
        (SCOPE, bytes(16), "OUTSIDE_SCOPE"),
        (SCOPE, b"\xff" * 6 + RECORD[6:], "OUTSIDE_SCOPE"),  # past the year 9999
    ],
    ids=[str(number) for number in range(9)],  # ids of records differ from process to process
)
def test_what_a_scope_covers(scope: DataScope, record_id: bytes, result: str) -> None:
    assert outcome(require_covers, scope, [RECORD, record_id] if not result else [record_id]) == result


OPEN = Case("case", ORG, "open")
FOR_CASE = replace(ASKED, purpose=SAFETY_PURPOSE, data=replace(SCOPE, case_id="case"))
POWER = replace(ASKED, data=None, power=roles_pb2.POWER_LEGAL, purpose=grants_pb2.PURPOSE_UNSPECIFIED)


@pytest.mark.parametrize(
    ("grant", "case", "result"),
    [
        (ASKED, None, ""),
        (replace(ASKED, start_at=NOW + timedelta(days=30)), None, ""),
        (replace(ASKED, start_at=NOW + timedelta(days=30) + TICK), None, "INVALID_ARGUMENT"),
        (replace(ASKED, purpose=grants_pb2.PURPOSE_UNSPECIFIED), None, "INVALID_ARGUMENT"),
        (replace(ASKED, data=replace(SCOPE, start=NOW, until=NOW)), None, "INVALID_ARGUMENT"),
        (replace(ASKED, data=replace(SCOPE, record_ids=frozenset({bytes(16)}))), None, "INVALID_ARGUMENT"),
        (POWER, None, ""),
        (replace(POWER, purpose=SAFETY_PURPOSE), None, "INVALID_ARGUMENT"),
        (FOR_CASE, OPEN, ""),
        (FOR_CASE, replace(OPEN, state="upheld"), ""),
        (FOR_CASE, None, "CASE_NOT_OPEN"),
        (FOR_CASE, replace(OPEN, state="closed"), "CASE_NOT_OPEN"),
        (FOR_CASE, replace(OPEN, organization_id=OTHER), "CASE_NOT_OPEN"),
        (replace(FOR_CASE, purpose=grants_pb2.PURPOSE_ENGINEERING_SUPPORT), OPEN, "INVALID_ARGUMENT"),
    ],
)
def test_what_can_be_asked_for(grant: Grant, case: Case | None, result: str) -> None:
    assert outcome(require_sound, grant, case, NOW) == result


@pytest.mark.parametrize(
    ("viewer", "seen"),
    [
        (person("eve"), True),
        (person("colin", ENGINEER), True),
        (person("lena", LEGAL), False),
        (ADMIN, True),
        (replace(ADMIN, organization_id=OTHER), False),
        (replace(ADMIN, role=roles_pb2.CUSTOMER_ROLE_MEMBER), False),
    ],
)
def test_who_sees_a_grant(viewer: Person | Member, seen: bool) -> None:
    assert may_see(ASKED, viewer, NOW) is seen


def test_a_customer_sees_no_power() -> None:
    assert not may_see(POWER, ADMIN, NOW)
