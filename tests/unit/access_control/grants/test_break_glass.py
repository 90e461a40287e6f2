"""Access that is taken at once: by who is on call, short, loud, looked at by somebody else within a day."""

from datetime import timedelta
from typing import Any

import pytest

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import roles_pb2
from services.access_control.store import directory
from shared.ids import new_id, new_record_id
from tests.unit.access_control.world import (
    DAY,
    ENGINEER,
    LEGAL,
    MINUTE,
    ORG,
    World,
    migrated_vault,
    refusal,
    world,
)

__all__ = ["migrated_vault", "world"]

ON_CALL = roles_pb2.STAFF_ROLE_ON_CALL
JUSTIFIED = grants_pb2.BREAK_GLASS_VERDICT_JUSTIFIED
UNJUSTIFIED = grants_pb2.BREAK_GLASS_VERDICT_UNJUSTIFIED
REVOKED = grants_pb2.GRANT_STATE_REVOKED


def glass(request_id: str = "", minutes: int = 30, **changes: Any) -> grants_pb2.BreakGlassRequest:
    """Masked records of ORG, at once; fields of the scope can be changed."""
    scope: dict[str, Any] = {
        "organization_id": ORG,
        "detail": grants_pb2.DETAIL_MASKED,
        "budget": 10,
        **changes,
    }
    request = grants_pb2.BreakGlassRequest(
        request_id=request_id or new_id("request"),
        reason="answers go to the wrong people",
        ticket="INC-1",
        purpose=grants_pb2.PURPOSE_ENGINEERING_SUPPORT,
        data=grants_pb2.DataScope(**scope),
    )
    request.duration.FromTimedelta(minutes * MINUTE)
    return request


def take(world: World, who: str = "eve", **changes: Any) -> grants_pb2.Grant:
    """Breaks the glass."""
    return world.grants(who).BreakGlass(glass(**changes)).grant


def review(world: World, who: str, grant: grants_pb2.Grant, verdict: int = JUSTIFIED) -> grants_pb2.Grant:
    """Says what came of it."""
    request = grants_pb2.ReviewBreakGlassRequest(
        grant_id=grant.grant_id,
        verdict=grants_pb2.BreakGlassVerdict.ValueType(verdict),
        reason="looked at it",
    )
    return world.grants(who).ReviewBreakGlass(request).grant


@pytest.fixture
def staff(world: World) -> World:
    """Eve is on call; Ada and Bob are engineers; Lena is a lawyer."""
    world.person("eve", ENGINEER, ON_CALL)
    world.person("ada", ENGINEER)
    world.person("bob", ENGINEER)
    world.person("lena", LEGAL, ON_CALL)
    return world


def test_who_is_on_call_reads_at_once_and_it_is_said_that_nobody_approved(staff: World) -> None:
    grant = take(staff)

    assert staff.authorize("eve", grant.grant_id).scope.organization_id == ORG
    staff.open("eve", grant.grant_id, new_record_id(staff.clock.now()))
    assert not grant.approvals
    assert grant.broken_glass.review_due_at.ToDatetime() == grant.requested_at.ToDatetime() + DAY
    (entry,) = staff.entries("break_glass.used")
    assert (entry["facts"]["reason"], entry["facts"]["ticket"]) == ("answers go to the wrong people", "INC-1")


def test_it_is_for_who_is_on_call_and_for_what_their_role_opens(staff: World) -> None:
    assert refusal(lambda: take(staff, "ada")) == "NOT_AUTHORIZED"
    assert refusal(lambda: take(staff, "lena")) == "NOT_AUTHORIZED"


def test_it_is_short(staff: World) -> None:
    assert refusal(lambda: take(staff, minutes=61)) == "INVALID_ARGUMENT"
    grant = take(staff, minutes=60)
    staff.advance(60 * MINUTE)

    assert refusal(lambda: staff.authorize("eve", grant.grant_id)) == "GRANT_EXPIRED"
    longer = grants_pb2.ExtendGrantRequest(grant_id=take(staff).grant_id, reason="more time")
    longer.duration.FromTimedelta(MINUTE)
    assert refusal(lambda: staff.grants("eve").ExtendGrant(longer)) == "WRONG_STATE"


def test_who_asked_to_approve_each_access_is_asked(staff: World) -> None:
    staff.customer_approval.add(ORG)
    staff.renew()

    assert refusal(lambda: take(staff)) == "CUSTOMER_APPROVAL_REQUIRED"


def test_who_asks_for_that_later_ends_its_use(staff: World) -> None:
    grant = take(staff)
    staff.member()
    staff.customer_approval.add(ORG)
    staff.advance(MINUTE)

    assert refusal(lambda: staff.authorize("eve", grant.grant_id)) == "CUSTOMER_APPROVAL_REQUIRED"


def test_the_same_request_is_the_same_access(staff: World) -> None:
    assert take(staff, request_id="request-1").grant_id == take(staff, request_id="request-1").grant_id
    assert len(staff.entries("break_glass.used")) == 1
    assert refusal(lambda: take(staff, request_id="request-1", budget=11)) == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("changes", [{"case_id": "case_" + "a" * 26}, {"permission": 1, "detail": 3}])
def test_a_case_and_a_service_wait_for_people(staff: World, changes: dict[str, Any]) -> None:
    assert refusal(lambda: take(staff, **changes)) in ("INVALID_ARGUMENT", "CASE_NOT_OPEN")


def test_unreviewed_for_a_day_its_holder_is_granted_nothing_more(staff: World) -> None:
    grant = take(staff)
    staff.advance(DAY - timedelta(microseconds=1))
    staff.request("eve")
    staff.advance(timedelta(microseconds=1))

    assert refusal(lambda: staff.request("eve")) == "BREAK_GLASS_UNREVIEWED"
    assert refusal(lambda: take(staff)) == "BREAK_GLASS_UNREVIEWED"
    staff.request("ada")  # nobody else is meant
    review(staff, "ada", grant)
    assert staff.request("eve").grant_id


def test_nor_what_she_had_asked_for_before(staff: World) -> None:
    taken = take(staff)
    staff.advance(DAY - MINUTE)
    asked, granted = staff.request("eve"), staff.request("eve")
    assert staff.approve("ada", granted).state == grants_pb2.GRANT_STATE_APPROVED
    staff.advance(MINUTE)

    assert refusal(lambda: staff.approve("ada", asked)) == "BREAK_GLASS_UNREVIEWED"
    longer = grants_pb2.ExtendGrantRequest(grant_id=granted.grant_id, reason="more time")
    longer.duration.FromTimedelta(MINUTE)
    assert refusal(lambda: staff.grants("eve").ExtendGrant(longer)) == "BREAK_GLASS_UNREVIEWED"
    review(staff, "ada", taken)
    assert staff.approve("ada", asked).state == grants_pb2.GRANT_STATE_APPROVED
    assert staff.grants("eve").ExtendGrant(longer).grant.extension.reason == "more time"


def test_somebody_else_reviews_who_could_have_approved_it(staff: World) -> None:
    grant = take(staff)

    assert refusal(lambda: review(staff, "eve", grant)) == "SECOND_PERSON_REQUIRED"
    assert refusal(lambda: review(staff, "lena", grant)) == "NOT_FOUND"
    assert review(staff, "ada", grant).broken_glass.verdict == JUSTIFIED
    assert review(staff, "ada", grant).broken_glass.verdict == JUSTIFIED  # said again
    assert refusal(lambda: review(staff, "bob", grant, UNJUSTIFIED)) == "WRONG_STATE"
    assert len(staff.entries("break_glass.reviewed")) == 1


def test_what_was_not_justified_ends_at_once(staff: World) -> None:
    grant = take(staff)

    assert review(staff, "ada", grant, UNJUSTIFIED).state == REVOKED
    assert refusal(lambda: staff.authorize("eve", grant.grant_id)) == "GRANT_REVOKED"


def test_what_was_approved_beforehand_has_nothing_to_review(staff: World) -> None:
    grant = staff.approve("ada", staff.request("eve"))

    assert refusal(lambda: review(staff, "ada", grant)) == "WRONG_STATE"


def test_who_is_no_longer_on_call_reads_no_more(staff: World) -> None:
    grant = take(staff)
    with staff.database.transaction() as tx:
        eve = directory.person(tx, grant.requested_by)
        assert eve is not None
        (on_call,) = [role for role in eve.roles if role.role == ON_CALL]
        directory.end_assignment(tx, on_call.role_assignment_id, "person_x", staff.clock.now())

    assert refusal(lambda: staff.authorize("eve", grant.grant_id)) == "NOT_AUTHORIZED"


def test_reviewers_are_reminded_once_before_the_day_is_over(staff: World) -> None:
    (job,) = [job for job in staff.service.jobs if job.name == "break_glass"]
    take(staff)
    job.step()
    assert staff.entries("break_glass.review_due") == []
    staff.advance(timedelta(hours=18))
    job.step()
    job.step()

    assert len(staff.entries("break_glass.review_due")) == 1
