"""Whose authority a grant rests on, and when it has ended: a table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import roles_pb2
from services.access_control.grants.ended_authority import whose_authority_ended
from services.access_control.grants.grant import APPROVED, Grant, Vote
from services.access_control.grants.scope import DataScope
from services.access_control.people.person import Person, RoleAssignment
from tests.unit.access_control.world import ENGINEER, LEGAL, OPERATOR, ORG, SAFETY

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
POWER = Grant(
    grant_id="grant_1",
    requested_by="eve",
    request_id="request",
    data=None,
    power=roles_pb2.POWER_LEGAL,
    purpose=grants_pb2.PURPOSE_UNSPECIFIED,
    reason="r",
    ticket="",
    state=APPROVED,
    requested_at=NOW,
    request_expires_at=NOW + HOUR,
    duration=HOUR,
    votes=(Vote("colin", NOW, False),),
)
DATA = replace(
    POWER,
    data=DataScope(ORG, grants_pb2.DETAIL_MASKED, 10),
    power=roles_pb2.POWER_UNSPECIFIED,
    purpose=grants_pb2.PURPOSE_ENGINEERING_SUPPORT,
)
BY_RULE = replace(DATA, rules=("grants.by_rule",))
BY_CUSTOMER = replace(DATA, votes=(Vote("colin", NOW, True),))


def person(name: str, *roles: "roles_pb2.StaffRole.ValueType") -> Person:
    held = tuple(RoleAssignment("role", name, role, "x", NOW, "y") for role in roles)
    return Person(name, name, name, held, NOW + HOUR)


@pytest.mark.parametrize(
    ("grant", "changed", "whose"),
    [
        (DATA, person("eve", ENGINEER), None),
        (DATA, person("eve", OPERATOR), "requester"),  # may approve such, not hold one
        (DATA, person("eve"), "requester"),
        (DATA, replace(person("eve", ENGINEER), disabled=True), "requester"),
        (DATA, replace(person("eve", ENGINEER), agreement_until=NOW), "requester"),
        (DATA, person("colin", ENGINEER), None),
        (DATA, person("colin", OPERATOR), None),  # could still approve
        (DATA, person("colin", SAFETY), "approver"),
        (DATA, replace(person("colin", ENGINEER), disabled=True), "approver"),
        (DATA, replace(person("colin", ENGINEER), agreement_until=None), "approver"),
        (DATA, person("dora"), None),  # has nothing to do with it
        (BY_RULE, person("colin"), None),
        (BY_RULE, person("eve"), "requester"),
        (BY_CUSTOMER, person("colin"), None),
        (POWER, person("eve", LEGAL), None),
        (POWER, person("eve", OPERATOR), "requester"),
        (POWER, person("colin", OPERATOR), None),
        (POWER, person("colin", ENGINEER), "approver"),
    ],
)
def test_whose_authority_ended(grant: Grant, changed: Person, whose: str | None) -> None:
    assert whose_authority_ended(grant, {changed.person_id: changed}, NOW) == whose
