"""Erasures: closed first, keys before rows, a receipt from each service, and a further certificate when the last hold ends."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from kept.retention.v1 import certificates_pb2, erasures_pb2, holds_pb2
from shared.errors import Reason, lease_lapsed, unknown_organization
from shared.identity import Caller, CallerKind
from tests.unit.retention.test_hold_scopes import place
from tests.unit.retention.world import (
    ONE,
    SAFETY,
    SETTINGS,
    START,
    TWO,
    Crashes,
    World,
    refused,
    staff,
)

PUBLIC = Caller(CallerKind.PUBLIC)
CLAIM = "a-claim-that-only-the-admin-keeps"
SERVICES = ["access_control", "logging", "safety_review", "settings"]


def order(organization_id: str = ONE, claim: str = CLAIM) -> erasures_pb2.EraseOrganizationRequest:
    return erasures_pb2.EraseOrganizationRequest(
        organization_id=organization_id,
        account_deletion_id="deletion_" + "0" * 26,
        confirmed_by="member_" + "0" * 26,
        claim_sha256=hashlib.sha256(claim.encode()).digest(),
    )


def begin(world: World) -> erasures_pb2.Erasure:
    return world.erasures(SETTINGS).EraseOrganization(order()).erasure


def shown(world: World, claim: str = CLAIM) -> erasures_pb2.GetErasureByClaimResponse:
    return world.erasures(PUBLIC).GetErasureByClaim(erasures_pb2.GetErasureByClaimRequest(claim=claim))


def is_done(world: World) -> Callable[[], bool]:
    """Whether an erasure is done, and its entries have arrived."""
    return lambda: bool(world.entries("erasure.ended"))


def fill(world: World) -> bytes:
    for number in range(4):
        world.record(ONE, START - timedelta(days=number))
    world.record(TWO, START)
    return next(record for record, owner in world.logging.rows.items() if owner == ONE)


def check_erased(world: World) -> None:
    answer = shown(world)
    assert answer.erasure.state == erasures_pb2.ERASURE_STATE_DONE
    assert not answer.erasure.kept
    assert sorted(receipt.service for receipt in answer.erasure.receipts) == SERVICES
    assert set(world.logging.rows.values()) == {TWO}
    assert world.keys.epochs == {(TWO, START.date())}
    body = json.loads(answer.certificate)["body"]
    assert body["act_id"] == answer.erasure.erasure_id
    assert answer.erasure.certificate_id == body["certificate_id"]
    assert len(body["days"]) == 4
    assert {receipt["service"]: receipt["removed"] for receipt in body["receipts"]} == {
        "access_control": {"grants": 2},
        "logging": {"interactions": 4},
        "safety_review": {"flags": 3},
        "settings": {"members": 5},
    }
    assert (body["records_removed"], body["kept"], body["further"]) == (4, [], False)
    for kind in ("erasure.started", "erasure.ended", "certificate.signed"):
        assert len(world.entries(kind)) == 1, kind
    assert set(world.keys.marks.values()) == {1}


def test_an_erasure_from_beginning_to_certificate(world: World) -> None:
    fill(world)
    begun = begin(world)
    assert begun.state == erasures_pb2.ERASURE_STATE_CLOSING
    for _ in range(5):
        world.step()
    assert world.settings.closed
    assert not world.keys.asked  # nothing is destroyed before the organization is closed everywhere
    world.settle(60, until=is_done(world))
    check_erased(world)
    again = world.erasures(SETTINGS).EraseOrganization(order(claim="another-claim-of-the-same")).erasure
    assert again.erasure_id == begun.erasure_id
    world.settle(1)
    assert len(world.entries("erasure.started")) == 1
    assert shown(world).erasure.erasure_id == begun.erasure_id


def test_lost_calls_and_answers_change_nothing_of_what_becomes_of_an_erasure(world: World) -> None:
    fill(world)
    begin(world)
    world.lose_first = True
    world.settle(60, until=is_done(world))
    check_erased(world)


@pytest.mark.parametrize("seed", [1, 2])
def test_crashes_around_commits_change_nothing_of_what_becomes_of_an_erasure(world: World, seed: int) -> None:
    fill(world)
    begin(world)
    world.crash = Crashes(seed)
    world.settle(90, until=is_done(world))
    world.crash = None
    world.settle(10, until=is_done(world))  # what is still on its way to the audit log arrives
    check_erased(world)


@pytest.mark.parametrize(
    "method",
    [
        "CloseOrganization",
        "DestroyEpochs",
        "EraseOrganization",
        "ListDestroyedEpochs",
        "AppendEntries",
        "GetInclusionProof",
    ],
)
def test_no_step_begins_before_the_one_before_it_is_complete(world: World, method: str) -> None:
    fill(world)
    begin(world)
    world.down = {method}
    world.settle(5)
    answer = shown(world)
    assert answer.erasure.state != erasures_pb2.ERASURE_STATE_DONE
    assert not answer.certificate
    if method in ("CloseOrganization", "DestroyEpochs"):
        assert len(world.logging.rows) == 5
        assert not answer.erasure.receipts
    world.down = set()
    world.wire()
    world.settle(60, until=is_done(world))
    check_erased(world)


def test_what_is_in_hand_while_it_closes_is_found_before_its_key_goes(world: World) -> None:
    hold = place(world, end_user="u1")
    late, free = world.in_hand(ONE, START, "u1"), world.in_hand(ONE, START, "u2")
    begin(world)
    world.settle(60, until=is_done(world))
    assert world.keys.retained[hold.hold_id] == {late}
    assert free not in world.logging._held()
    assert len(shown(world).erasure.kept) == 1


def test_nothing_goes_ahead_of_its_day_by_a_look_that_lies_ahead(world: World) -> None:
    hold = place(world)
    world.clock.step(timedelta(days=3))
    world.clock.advance(timedelta(hours=1))
    world.settle(2)
    world.clock.step(timedelta(days=-3))
    mine = world.record(ONE, world.clock.now())
    world.down = {"HoldMatching"}
    begin(world)
    world.settle(30)
    assert not world.keys.destructions
    world.down = set()
    world.settle(60, until=is_done(world))
    assert world.keys.retained[hold.hold_id] == {mine}


def test_what_a_hold_keeps_is_said_and_completed_when_the_hold_ends(world: World) -> None:
    record = fill(world)
    world.safety.kept = 1
    flagged = world.order(record, kind=holds_pb2.HOLD_KIND_FLAGGED)
    hold = world.holds(SAFETY).PlaceHold(flagged).hold
    begin(world)
    world.settle(60, until=is_done(world))
    first = shown(world)
    assert first.erasure.state == erasures_pb2.ERASURE_STATE_DONE
    assert len(first.erasure.kept) == 2
    assert hold.hold_id in first.erasure.kept[0]
    body = json.loads(first.certificate)["body"]
    assert body["kept"] == list(first.erasure.kept)
    assert body["records_held"] == 1
    assert [(each["hold_id"], each["records"]) for each in body["holds"]] == [(hold.hold_id, 1)]
    world.settle(5)
    assert len(world.entries("certificate.signed")) == 1  # not as long as the hold stands

    world.safety.kept = 0  # its case was dismissed, and goes as it is asked again
    world.holds(SAFETY).ReleaseHold(
        holds_pb2.ReleaseHoldRequest(request_id=flagged.request_id, reason="No violation")
    )
    world.settle(10)
    second = shown(world)
    assert not second.erasure.kept
    further = json.loads(second.certificate)["body"]
    assert (further["further"], further["completes"]) == (True, body["certificate_id"])
    assert (further["kept"], further["records_held"]) == ([], 0)
    assert further["records_removed"] == 4
    assert [each["records_removed"] for each in further["holds"]] == [1]
    assert [each["destruction_id"][:8] for each in further["destructions"]] == ["erasure_", "release_"]
    listed = world.certificates(staff(1, "AUDITOR")).ListCertificates(
        certificates_pb2.ListCertificatesRequest(organization_id=ONE)
    )
    assert [certificate.further for certificate in listed.certificates] == [True, False]
    world.settle(5)
    assert len(world.entries("certificate.signed")) == 2
    assert len(world.entries("erasure.completed")) == 1


def test_a_record_that_several_holds_keep_is_counted_once(world: World) -> None:
    record = fill(world)
    ids = ["request-1", "request-2"]
    for name in ids:
        world.holds(SAFETY).PlaceHold(world.order(record, kind=holds_pb2.HOLD_KIND_FLAGGED, request_id=name))
    begin(world)
    world.settle(60, until=is_done(world))
    body = json.loads(shown(world).certificate)["body"]
    assert (body["records_removed"], body["records_held"], len(body["holds"])) == (3, 1, 2)
    for name in ids:
        world.holds(SAFETY).ReleaseHold(holds_pb2.ReleaseHoldRequest(request_id=name, reason="No violation"))
        world.settle(5)
    world.settle(30, until=lambda: bool(world.entries("erasure.completed")))
    body = json.loads(shown(world).certificate)["body"]
    assert (body["records_removed"], body["records_held"], len(body["holds"])) == (4, 0, 2)


@pytest.mark.parametrize("held", [True, False])
def test_nothing_is_completed_while_safety_review_keeps_something(world: World, held: bool) -> None:
    """Whether a hold stood on it or not: what it keeps is said, and asked for again now and then."""
    record = fill(world)
    world.safety.kept = 2
    flagged = world.order(record, kind=holds_pb2.HOLD_KIND_FLAGGED)
    if held:
        world.holds(SAFETY).PlaceHold(flagged)
    begin(world)
    world.settle(60, until=is_done(world))
    if held:
        world.holds(SAFETY).ReleaseHold(
            holds_pb2.ReleaseHoldRequest(request_id=flagged.request_id, reason="No violation")
        )
    world.settle(60)
    first = shown(world)
    assert [sentence.split(" stay")[0] for sentence in first.erasure.kept] == ["In safety review 2 cases"]
    assert len(json.loads(first.certificate)["body"]["kept"]) == 1 + held
    assert (world.safety.erased[ONE], len(world.entries("certificate.signed"))) == (2, 1)
    world.safety.kept = 1
    world.clock.advance(timedelta(minutes=10))
    world.settle(20)
    assert (world.safety.erased[ONE], len(world.entries("certificate.signed"))) == (3, 1)
    assert shown(world).erasure.kept[0].startswith("In safety review 1 case")
    assert not shown(world).erasure.complete
    world.safety.kept = 0
    world.clock.advance(timedelta(minutes=10))
    world.settle(20, until=lambda: bool(world.entries("erasure.completed")))
    assert shown(world).erasure.complete
    assert not shown(world).erasure.kept
    further = json.loads(shown(world).certificate)["body"]
    assert (further["further"], further["kept"], [one["kept"] for one in further["receipts"]]) == (
        True,
        [],
        [0] * 4,
    )
    world.settle(10)
    assert (world.safety.erased[ONE], len(world.entries("certificate.signed"))) == (4, 2)


def test_a_claim_opens_its_own_erasure_and_no_other(world: World) -> None:
    begin(world)
    for claim in ("0" * 30, CLAIM.upper(), hashlib.sha256(CLAIM.encode()).hexdigest()):
        with refused(Reason.REASON_NOT_FOUND) as caught:
            shown(world, claim)
        assert caught[0].metadata == {"kind": "erasure"}
    with refused(Reason.REASON_CONFLICT):
        world.erasures(SETTINGS).EraseOrganization(order(TWO))
    assert shown(world).erasure.organization_id == ONE
    operator = world.erasures(staff(1, "OPERATOR"))
    with refused(Reason.REASON_NOT_FOUND):
        operator.GetErasure(erasures_pb2.GetErasureRequest(erasure_id="erasure_" + "0" * 26))


def test_no_erasure_is_begun_of_an_organization_that_there_is_not(world: World) -> None:
    content = erasures_pb2.EraseContentRequest(
        request_id="zdr_" + "7" * 26, organization_id=ONE, requested_by="member_" + "0" * 26
    )
    content.before.FromDatetime(START)
    for refuse in (unknown_organization(), lease_lapsed()):
        world.authz.refuse = refuse
        with refused(refuse.reason):
            begin(world)
        with refused(refuse.reason):
            world.erasures(SETTINGS).EraseContent(content)
    world.settle(3)
    assert world.entries("erasure.started") == world.entries("content_erasure.started") == []
    assert world.settings.closed == {}
    # Once it is begun, whether there is one is not asked again.
    world.authz.refuse = None
    begun, emptied = begin(world), world.erasures(SETTINGS).EraseContent(content).erasure
    world.authz.refuse = lease_lapsed()
    assert begin(world).erasure_id == begun.erasure_id
    assert world.erasures(SETTINGS).EraseContent(content).erasure.erasure_id == emptied.erasure_id


def test_what_many_holds_keep_is_counted_though_few_are_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many holds as records: neither the list nor what is in memory grows with them, and every figure counts all."""
    for module in ("certificates.certificate", "erasures.organizations", "runs.statements"):
        monkeypatch.setattr(f"services.retention.{module}.MOST_HOLDS", 2)
    records = [world.record(ONE, START) for _ in range(5)]
    world.record(ONE, START)
    for number, record in enumerate(records):
        order_ = world.order(record, kind=holds_pb2.HOLD_KIND_FLAGGED, request_id=f"request-{number}")
        world.holds(SAFETY).PlaceHold(order_)
    begin(world)
    world.settle(20)
    first = json.loads(shown(world).certificate)["body"]
    assert (first["records_removed"], first["records_held"]) == (1, 5)
    assert (len(first["holds"]), first["holds_not_named"]) == (2, 3)
    assert first["kept"][0].startswith("2 records are kept by 2 holds")
    assert first["kept"][1] == "3 more holds keep something."
    assert list(shown(world).erasure.kept) == first["kept"]
    for number in range(5):
        let_go = holds_pb2.ReleaseHoldRequest(request_id=f"request-{number}", reason="No violation")
        world.holds(SAFETY).ReleaseHold(let_go)
    world.settle(40)
    further = json.loads(shown(world).certificate)["body"]
    assert (further["further"], further["records_held"], further["kept"]) == (True, 0, [])
    assert (further["records_removed"], further["holds_not_named"]) == (6, 3)
