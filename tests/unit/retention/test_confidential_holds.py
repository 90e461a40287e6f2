"""Holds of which the law forbids telling the customer: with one and without, the customer sees the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from kept.access_control.v1 import audit_pb2
from kept.retention.v1 import certificates_pb2, contracts_pb2, erasures_pb2, holds_pb2
from services.retention import replay
from services.retention.certificates.certificate import RESERVATION
from shared.errors import KeptError, Reason
from tests.support.clocks import ClockBeside
from tests.support.contracts import methods
from tests.unit.retention import test_erasures, test_subject_erasures
from tests.unit.retention.test_runs import travel_to_due
from tests.unit.retention.world import (
    ONE,
    SAFETY,
    SETTINGS,
    START,
    Crash,
    Crashes,
    World,
    admin,
    refused,
    staff,
)

ALICE, BOB, AUDITOR = staff(1, "LEGAL"), staff(2, "LEGAL"), staff(9, "AUDITOR")
FLAGGED = holds_pb2.HOLD_KIND_FLAGGED
WHOLE = holds_pb2.HoldScope()


def secret(
    world: World, *record_ids: bytes, scope: holds_pb2.HoldScope | None = None, ahead: int = 90
) -> holds_pb2.Hold:
    """A confidential hold, confirmed."""
    request = world.order(*record_ids, request_id="request-secret")
    if scope is not None:
        request.scope.CopyFrom(scope)
    request.secrecy.legal_basis = "Order 7, para. 3"
    request.secrecy.review_at.FromDatetime(world.clock.now() + timedelta(days=ahead))
    placed = world.holds(ALICE).PlaceHold(request).hold
    return world.holds(BOB).ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=placed.hold_id)).hold


def review(world: World, hold_id: str, **outcome: Any) -> holds_pb2.Hold:
    request = holds_pb2.ReviewHoldSecrecyRequest(hold_id=hold_id, reason="looked")
    if "ends" in outcome:
        request.ends = True
    else:
        request.review_at.FromDatetime(outcome["review_at"])
    answer: holds_pb2.Hold = world.holds(BOB).ReviewHoldSecrecy(request).hold
    return answer


def listed(world: World, caller: Any, organization_id: str = "") -> list[holds_pb2.Hold]:
    request = holds_pb2.ListHoldsRequest(organization_id=organization_id)
    return list(world.holds(caller).ListHolds(request).holds)


def own_entries(world: World) -> list[audit_pb2.AuditEntry]:
    return [entry for entry in world.audit.entries.values() if entry.organization_id == ONE]


def seen(world: World) -> str:
    """All that the customer is shown, as text, with ids by the order in which they come and without instants: those are drawn and
    measured anew in each world."""
    mine = admin(ONE)
    stub = world.certificates(mine)
    certificates = stub.ListCertificates(certificates_pb2.ListCertificatesRequest(organization_id=ONE))
    named = [each.certificate_id for each in certificates.certificates]
    bodies = [
        json.loads(stub.GetCertificate(certificates_pb2.GetCertificateRequest(certificate_id=one)).envelope)[
            "body"
        ]
        for one in named
    ]
    shown: list[Any] = [
        str(world.holds(mine).ListHolds(holds_pb2.ListHoldsRequest(organization_id=ONE))),
        str(world.contracts(mine).ListTerms(contracts_pb2.ListTermsRequest(organization_id=ONE))),
        str(certificates),
        json.dumps(bodies, indent=1, sort_keys=True),
        [
            (entry.kind, entry.actor, list(entry.subjects), sorted(entry.facts.items()))
            for entry in own_entries(world)
        ],
    ]
    text = "\n".join(str(one) for one in shown)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", "INSTANT", text)
    text = re.sub(r'record_ids: ".*"', "RECORD", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "RECORD", text)
    text = re.sub(r'(subject_)?commitment("|\'): ?.*', "COMMITMENT", text)
    text = re.sub(r"\('subject_commitment', '[0-9a-f]+'\)", "COMMITMENT", text)
    text = re.sub(r"\b(seconds|nanos): \d+\n", "", text)
    text = re.sub(r"('certificate_sha256', ')[0-9a-f]{64}", r"\1SHA", text)
    text = re.sub(r"root_\w+", "ROOT", text)
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return f"{found[1]}_{numbers.setdefault(found[0], len(numbers))}"

    return re.sub(r"\b([a-z]+)_[0-9a-z]{26}\b", number, text)


def a_run(world: World) -> None:
    travel_to_due(world, START.date())
    world.settle(60, lambda: bool(world.entries("run.ended")))
    assert world.entries("run.ended")


def an_erasure(world: World) -> None:
    test_erasures.begin(world)
    world.settle(60, lambda: bool(world.entries("erasure.ended")))
    erased = test_erasures.shown(world).erasure
    assert erased.complete
    assert not erased.kept


def a_subjects_erasure(world: World) -> None:
    begun = test_subject_erasures.begin(world)
    world.settle(60, lambda: bool(world.entries("subject_erasure.ended")))
    asked = erasures_pb2.GetErasureRequest(erasure_id=begun.erasure.erasure_id)
    erased = world.erasures(SETTINGS).GetErasure(asked).erasure
    assert erased.complete
    assert not erased.kept


def a_plan_and_a_flag(world: World) -> None:
    """A hold that the customer may know of, on the same record."""
    record = min(world.logging.rows)
    flagged = world.order(record, kind=FLAGGED, request_id="request-flag")
    world.holds(SAFETY).PlaceHold(flagged)
    a_run(world)


def story(world: World, act: Callable[[World], None], *, with_hold: bool, scope: bool) -> str:
    records = [world.record(ONE, START + timedelta(minutes=one)) for one in range(3)]
    for record in records:
        world.logging.end_users[record] = test_subject_erasures.WHO
    hold = None
    if with_hold:
        hold = secret(world, scope=WHOLE) if scope else secret(world, *records[:2])
        assert hold.state == holds_pb2.HOLD_STATE_ACTIVE
        world.settle(2)
        assert set(world.keys.apart[hold.hold_id]) == set(records if scope else records[:2])
    act(world)
    if hold is not None:
        # It kept what it is on, whatever the customer was told.
        assert set(world.logging.apart[hold.hold_id]) == set(records if scope else records[:2])
        assert hold.hold_id in {one.hold_id for one in listed(world, AUDITOR)}
    return seen(world)


@pytest.mark.parametrize("scope", [False, True], ids=["records", "everything"])
@pytest.mark.parametrize("act", [a_run, an_erasure, a_subjects_erasure, a_plan_and_a_flag])
def test_the_two_worlds_look_the_same(
    make_world: Callable[[], World], act: Callable[[World], None], scope: bool
) -> None:
    without = story(make_world(), act, with_hold=False, scope=scope)
    with_one = story(make_world(), act, with_hold=True, scope=scope)
    assert with_one == without
    assert RESERVATION in with_one


def test_whoever_may_not_know_is_not_shown_it(world: World) -> None:
    hold = secret(world, world.record(ONE, START))
    world.settle(3)
    assert hold.secrecy.legal_basis == "Order 7, para. 3"
    for caller in (ALICE, AUDITOR):
        assert [one.hold_id for one in listed(world, caller)] == [hold.hold_id]
    assert not listed(world, staff(5, "SAFETY"))
    assert not listed(world, admin(ONE), ONE)
    told = [entry for entry in world.audit.entries.values() if hold.hold_id in entry.subjects]
    assert {entry.kind for entry in told} == {"hold.placed", "hold.confirmed", "hold.activated"}
    # In the vendor's own list, which auditors read, by the organization's id.
    assert {(entry.organization_id, ONE in entry.subjects) for entry in told} == {("", True)}
    placed = next(entry for entry in told if entry.kind == "hold.placed")
    assert placed.facts["legal_basis"] == "Order 7, para. 3"
    # Nor from what it is answered with when it names the hold.
    with refused(Reason.REASON_CALLER_NOT_ALLOWED):
        world.holds(admin(ONE)).ReviewHoldSecrecy(
            holds_pb2.ReviewHoldSecrecyRequest(hold_id=hold.hold_id, ends=True, reason="tell me")
        )


def test_the_end_of_secrecy_makes_it_a_hold_like_any_other(world: World) -> None:
    records = [world.record(ONE, START + timedelta(minutes=one)) for one in range(3)]
    hold = secret(world, *records)
    world.down.add("DiscloseHold")
    ending = review(world, hold.hold_id, ends=True)
    assert ending.HasField("secrecy")
    assert not listed(world, admin(ONE), ONE)
    world.down.clear()
    world.settle(8)
    shown = listed(world, admin(ONE), ONE)
    assert [(one.hold_id, one.records_kept, one.HasField("secrecy")) for one in shown] == [
        (hold.hold_id, 3, False)
    ]
    assert world.keys.retained[hold.hold_id] == set(records) == set(world.logging.holds[hold.hold_id])
    (told,) = [entry for entry in own_entries(world) if entry.kind == "hold.disclosed"]
    assert (told.facts["reference"], told.facts["kept"], told.facts["legal_basis"]) == (
        "Matter 12",
        "3",
        "Order 7, para. 3",
    )
    assert review(world, hold.hold_id, ends=True).hold_id == hold.hold_id  # again: nothing more
    with refused(Reason.REASON_WRONG_STATE):
        review(world, hold.hold_id, review_at=world.clock.now() + timedelta(days=3))
    # From now on a run names it.
    a_run(world)
    assert hold.hold_id in {one for entry in own_entries(world) for one in entry.subjects}
    release = holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="over")
    world.holds(ALICE).ReleaseHold(release)
    world.settle(4)
    assert hold.hold_id not in world.keys.retained
    assert [e.kind for e in own_entries(world) if e.kind.startswith("hold.")][-2:] == [
        "hold.released",
        "hold.ended",
    ]


def counted(world: World) -> tuple[int, int]:
    """What the newest certificate of the erasure counts: records removed, and held."""
    body = json.loads(test_erasures.shown(world).certificate)["body"]
    return body["records_removed"], body["records_held"]


def release_both(world: World, hold: holds_pb2.Hold, flagged: holds_pb2.PlaceHoldRequest) -> None:
    world.holds(ALICE).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="over"))
    world.settle(3)
    world.holds(SAFETY).ReleaseHold(holds_pb2.ReleaseHoldRequest(request_id=flagged.request_id, reason="No"))
    world.settle(60, until=lambda: bool(world.entries("erasure.completed")))


@pytest.mark.parametrize("told", ["before", "before_it_is_certified", "afterwards", "once_released"])
def test_a_certificate_counts_what_was_kept_in_secret_once(world: World, told: str) -> None:
    """As removed where logging removed it as if nothing were kept, and as held where it was told of before."""
    test_erasures.fill(world)
    first, second = sorted(record for record, owner in world.logging.rows.items() if owner == ONE)[:2]
    flagged = world.order(first, kind=FLAGGED, request_id="request-flag")
    world.holds(SAFETY).PlaceHold(flagged)
    hold = secret(world, second)
    if told == "before":
        review(world, hold.hold_id, ends=True)
        world.settle(3)
    if told == "before_it_is_certified":
        world.down = {"ListDestroyedEpochs"}
    test_erasures.begin(world)
    world.settle(30)
    if told == "before_it_is_certified":
        review(world, hold.hold_id, ends=True)
        world.settle(3)
        world.down = set()
        world.settle(30)
    assert counted(world) == ((2, 2) if told == "before" else (3, 1))
    if told == "afterwards":
        review(world, hold.hold_id, ends=True)
        world.settle(3)
    if told == "once_released":
        world.holds(ALICE).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="over"))
        world.settle(3)
        review(world, hold.hold_id, ends=True)
        world.settle(3)
    release_both(world, hold, flagged)
    assert counted(world) == (4, 0)
    named = json.loads(test_erasures.shown(world).certificate)["body"]["holds"]
    said = {one["hold_id"]: one.get("records_removed") for one in named}
    assert said[hold.hold_id] == (1 if told == "before" else None)
    assert sorted(said.values(), key=str) == ([1, 1] if told == "before" else [1, None])


@pytest.fixture(params=[-2, 0, 2], ids=["logging is behind", "the same time", "logging is ahead"])
def another_clock(request: pytest.FixtureRequest, world: World) -> None:
    """Logging's clock is not retention's."""
    world.logging.clock = ClockBeside(world.clock, timedelta(seconds=request.param))


@pytest.fixture
def two_in_secret(world: World) -> holds_pb2.Hold:
    """A hold on two of an organization's four records."""
    test_erasures.fill(world)
    return secret(world, *sorted(record for record, owner in world.logging.rows.items() if owner == ONE)[:2])


def let_go_and_complete(world: World, hold: holds_pb2.Hold) -> None:
    world.holds(ALICE).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="over"))
    world.settle(60, until=lambda: bool(world.entries("erasure.completed")))


@pytest.mark.usefixtures("another_clock")
def test_logging_erases_once_a_hold_that_is_being_told_of_is_told_of(
    world: World, two_in_secret: holds_pb2.Hold
) -> None:
    """In between it would count some of it as removed, and some as held."""
    world.down = {"DiscloseHold"}
    review(world, two_in_secret.hold_id, ends=True)
    test_erasures.begin(world)
    world.settle(30)
    assert not world.logging.erased
    world.down = set()
    world.settle(30)
    assert counted(world) == (2, 2)
    let_go_and_complete(world, two_in_secret)
    assert counted(world) == (4, 0)


@pytest.mark.usefixtures("another_clock")
def test_a_hold_is_told_of_once_logging_has_erased_that_is_asked_to(
    world: World, two_in_secret: holds_pb2.Hold
) -> None:
    """The same from the other side: it is counted as removed, all of it."""
    in_between: list[int] = []

    def told_meanwhile(method: str) -> None:
        if method.endswith("logging.v1.LifecycleService/EraseOrganization"):
            world.during = None
            review(world, two_in_secret.hold_id, ends=True)
            world.step("holds")
            in_between.append(len(world.logging.apart[two_in_secret.hold_id]))

    world.during = told_meanwhile
    test_erasures.begin(world)
    world.settle(30)
    assert in_between == [2]
    assert [entry.facts["counted"] for entry in world.entries("hold.disclosed")] == ["false"]
    assert counted(world) == (4, 0)
    let_go_and_complete(world, two_in_secret)
    assert counted(world) == (4, 0)


def test_what_ends_in_secret_stays_secret_until_somebody_says_otherwise(world: World) -> None:
    hold = secret(world, world.record(ONE, START))
    a_run(world)
    before = len(own_entries(world))
    world.holds(ALICE).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="over"))
    world.settle(4)
    assert hold.hold_id not in world.logging.apart
    assert hold.hold_id not in world.keys.apart
    ended = world.entries("hold.ended")
    assert [(entry.organization_id, entry.facts["removed"]) for entry in ended] == [("", "1")]
    assert len(own_entries(world)) == before
    assert not listed(world, admin(ONE), ONE)
    review(world, hold.hold_id, ends=True)
    world.settle(3)
    assert [one.state for one in listed(world, admin(ONE), ONE)] == [holds_pb2.HOLD_STATE_RELEASED]


def test_somebody_has_to_look_at_it_again(world: World) -> None:
    def alert() -> float | None:
        return REGISTRY.get_sample_value("kept_alert_active", {"alert": "hold_secrecy_review_overdue"})

    hold = secret(world, scope=WHOLE, ahead=10)
    world.settle(2)
    assert alert() == 0
    world.clock.advance(timedelta(days=10))
    world.settle(2)
    assert alert() == 1
    later = world.clock.now() + timedelta(days=200)
    reviewed = review(world, hold.hold_id, review_at=later)
    assert reviewed.secrecy.review_at.ToDatetime(tzinfo=later.tzinfo) == later
    world.settle(3)
    assert alert() == 0
    (said,) = world.entries("hold.secrecy_reviewed")
    assert (said.organization_id, said.facts["ends"], said.facts["reason"]) == ("", "false", "looked")


@pytest.mark.parametrize("days", [0, 367])
def test_secrecy_is_for_a_time(world: World, days: int) -> None:
    with refused(Reason.REASON_INVALID_ARGUMENT):
        secret(world, world.record(ONE, START), ahead=days)
    hold = secret(world, world.record(ONE, START), ahead=366)
    with refused(Reason.REASON_INVALID_ARGUMENT):
        review(world, hold.hold_id, review_at=world.clock.now() + timedelta(days=days))


def test_secrecy_needs_a_basis_a_legal_hold_and_a_second_person(world: World) -> None:
    record = world.record(ONE, START)
    request = world.order(record)
    request.secrecy.review_at.FromDatetime(world.clock.now() + timedelta(days=9))
    with refused(Reason.REASON_INVALID_ARGUMENT):
        world.holds(ALICE).PlaceHold(request)
    request.secrecy.legal_basis = "Order 7"
    flagged = world.order(record, kind=FLAGGED)
    flagged.secrecy.CopyFrom(request.secrecy)
    with refused(Reason.REASON_INVALID_ARGUMENT):
        world.holds(SAFETY).PlaceHold(flagged)
    placed = world.holds(ALICE).PlaceHold(request).hold
    with refused(Reason.REASON_SECOND_PERSON_REQUIRED):
        world.holds(ALICE).ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=placed.hold_id))
    with refused(Reason.REASON_WRONG_STATE):  # who only waits for a second person is not put off
        review(world, placed.hold_id, review_at=world.clock.now() + timedelta(days=20))
    world.clock.advance(timedelta(hours=72))
    world.settle(4)
    assert not own_entries(world)
    assert not world.logging.apart
    assert {entry.organization_id for entry in world.entries("hold.lapsed")} == {""}
    with refused(Reason.REASON_WRONG_STATE):
        other = world.order(record, request_id="request-open")
        review(
            world,
            world.holds(ALICE).PlaceHold(other).hold.hold_id,
            review_at=world.clock.now() + timedelta(days=20),
        )


@pytest.mark.parametrize("seed", range(2))
def test_it_is_disclosed_whatever_crashes(world: World, seed: int) -> None:
    records = [world.record(ONE, START + timedelta(minutes=one)) for one in range(4)]
    hold = secret(world, *records)
    world.crash = Crashes(seed)
    world.lose_first = True
    try:
        review(world, hold.hold_id, ends=True)
    except (KeptError, Crash):  # it is said again
        world.wire()
    world.settle(30)
    world.crash = None
    review(world, hold.hold_id, ends=True)
    world.settle(12)
    assert world.keys.retained[hold.hold_id] == set(records) == set(world.logging.holds[hold.hold_id])
    assert [e.kind for e in own_entries(world) if e.kind == "hold.disclosed"] == ["hold.disclosed"]


def test_all_that_an_admin_may_read_here_is_compared() -> None:
    """Whoever adds a method for customers adds it to `seen`."""
    mine = {
        method.path
        for method in methods()
        if method.service == "retention" and method.callers is not None and method.callers.customers
    }
    assert mine == {
        "/kept.retention.v1.HoldService/ListHolds",
        "/kept.retention.v1.ContractService/ListTerms",
        "/kept.retention.v1.CertificateService/ListCertificates",
        "/kept.retention.v1.CertificateService/GetCertificate",
    }


def test_a_restored_database_learns_of_it_as_of_a_secret(make_world: Callable[[], World]) -> None:
    before, restored = make_world(), make_world()
    hold = secret(before, before.record(ONE, START), before.record(ONE, START))
    before.settle(3)
    took_over = [entry for entry in before.audit.entries.values() if entry.kind.startswith("hold.")]
    kinds = {
        "hold.placed": replay._hold_placed,
        "hold.confirmed": replay._changing_hold(replay._confirmed),
        "hold.activated": replay._changing_hold(replay._settled),
        "hold.secrecy_reviewed": replay._changing_hold(replay._secrecy_reviewed),
        "hold.disclosed": replay._changing_hold(replay._disclosed),
    }
    with restored.database.transaction() as tx:
        for entry in took_over:
            kinds[entry.kind](tx, entry)
    (known,) = listed(restored, AUDITOR)
    assert (known.hold_id, known.organization_id, list(known.record_ids), known.state) == (
        hold.hold_id,
        ONE,
        list(hold.record_ids),
        holds_pb2.HOLD_STATE_ACTIVE,
    )
    assert known.secrecy == hold.secrecy
    assert not listed(restored, admin(ONE), ONE)
