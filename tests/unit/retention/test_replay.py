"""A retention database that was restored to an older state: terms, holds and erasures of content are what the audit log says they are."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from kept.retention.v1 import certificates_pb2, contracts_pb2, erasures_pb2, holds_pb2, runs_pb2
from shared.database import Database
from shared.errors import Reason
from shared.terms import lot_of
from tests.support.clocks import ClockBeside
from tests.support.postgres import FreshDatabase, database_name
from tests.unit.retention import test_confidential_holds as confidential
from tests.unit.retention import test_content_erasures as contents
from tests.unit.retention import test_subject_erasures as subjects
from tests.unit.retention.conftest import migrated, world
from tests.unit.retention.test_contract_terms import LENA, LUCA, end_of, order, put_in_force, rules_of
from tests.unit.retention.test_erasures import begin, fill, is_done, shown
from tests.unit.retention.test_hold_scopes import place
from tests.unit.retention.test_holds import ALICE, BOB, listed
from tests.unit.retention.test_runs import FIRST, alert, runs_of, travel_to_due
from tests.unit.retention.test_runs import fill as fill_days
from tests.unit.retention.world import ONE, SAFETY, START, TWO, World, admin, refused, staff

__all__ = ["migrated", "world"]

Restore = Callable[[], None]


@pytest.fixture
def back_up(world: World, fresh_database: FreshDatabase) -> Callable[[], Restore]:
    """Takes a copy of the database now; what that gives puts it in the place of the world's, beside the same peers and audit log. The clock
    moves with each reading: what is read twice is not the same."""
    world.clock.tick = timedelta(microseconds=7)

    def copy() -> Restore:
        world.settle(2)
        world.database.engine.dispose()
        backup = fresh_database("backup", template=database_name(world.url))

        def restore() -> None:
            world.settle(2)  # what was done is in the log
            world.database.close()
            world.url, world.database = backup, Database(backup)
            world.wire()
            world.settle(2)
            assert world.entries("database.caught_up")

        return restore

    return copy


def terms(world: World) -> list[contracts_pb2.ContractTerm]:
    """All of them, but for what was counted when they were proposed: which days is not in the log."""
    found = list(world.contracts(LENA).ListTerms(contracts_pb2.ListTermsRequest()).terms)
    for one in found:
        one.ClearField("effect")
    return sorted(found, key=lambda one: one.term_id)


def test_contract_terms_are_as_they_were_and_since_when(world: World, back_up: Callable[[], Restore]) -> None:
    ended = put_in_force(world, order(40, name="request-0", organization_id=TWO))
    restore = back_up()
    put_in_force(world, order(10))
    put_in_force(world, order(12, name="request-2"))  # takes its place
    put_in_force(world, order(8, name="request-4", application="night shift"))  # stands beside it
    end = contracts_pb2.EndTermRequest(term_id=ended.term_id, reason="replaced by nothing")
    world.contracts(LENA).EndTerm(end)
    world.contracts(LUCA).ConfirmTerm(end_of(ended))
    proposed = world.contracts(LENA).SetTerm(order(5, name="request-3")).term
    world.clock.advance(timedelta(minutes=1))
    before = terms(world)
    restore()
    assert terms(world) == before
    # What another took the place of is ended, and the newest counts.
    assert (rules_of(world, ONE)[-1], rules_of(world, TWO)) == (12, [40, 0])
    assert rules_of(world, lot_of(ONE, "night shift"))[-1] == 8
    assert world.contracts(LENA).SetTerm(order(5, name="request-3")).term.term_id == proposed.term_id
    with refused(Reason.REASON_SECOND_PERSON_REQUIRED):
        world.contracts(LENA).ConfirmTerm(contracts_pb2.ConfirmTermRequest(term_id=proposed.term_id))


def test_who_took_the_place_of_one_whose_word_had_lapsed_proposes_the_end(
    world: World, back_up: Callable[[], Restore]
) -> None:
    world.record(ONE, START)
    term = put_in_force(world, order(90))
    restore = back_up()
    end = contracts_pb2.EndTermRequest(term_id=term.term_id, reason="Agreement ended")
    (lena,) = {world.contracts(LENA).EndTerm(end).term.end_proposed_by}
    world.authz.lapsed.add((lena, "/kept.retention.v1.ContractService/EndTerm"))
    world.clock.advance(timedelta(hours=71))
    world.settle(2)
    luca = world.contracts(LUCA).EndTerm(end).term.end_proposed_by
    world.clock.advance(timedelta(hours=2))
    before = terms(world)
    restore()
    assert terms(world) == before
    assert lena != luca == terms(world)[0].end_proposed_by
    world.contracts(staff(3, "LEGAL")).ConfirmTerm(end_of(term))
    world.settle(4)
    assert rules_of(world, ONE)[-1] == 0


@pytest.mark.parametrize("is_left", [False, True])
def test_a_run_that_goes_on_says_what_it_had_removed_before(
    world: World, back_up: Callable[[], Restore], is_left: bool
) -> None:
    """is_left: whether it leaves something, and the next one certifies for it."""
    fill_days(world)
    restore = back_up()
    world.keys.not_due = {(ONE, FIRST)} if is_left else set()
    travel_to_due(world, FIRST)
    world.down = set() if is_left else {"ListDestroyedEpochs"}
    world.settle(20, until=lambda: bool(world.entries("run.not_certified")))
    assert {day for day, _ in world.logging.by_run} == {FIRST}
    restore()
    world.down, world.keys.not_due = set(), set()
    world.clock.advance(timedelta(hours=is_left))
    world.settle(120, until=lambda: bool(world.entries("run.ended")))
    assert [(one["records_removed"], one["records_held"]) for one in certified(world)] == [(2, 0)]
    assert [(one["records_removed"], one["records_held"]) for one in certified(world, TWO)] == [(1, 1)]


def slow(world: World, by: timedelta) -> None:
    """Has access control take its time to say whether there is an organization."""
    real = world.authz.RequireOrganization

    def late(request: Any, context: Any) -> Any:
        world.clock.advance(by)
        return real(request, context)

    world.authz.RequireOrganization = late  # type: ignore[method-assign]
    world.wire()
    world.settle(2)


def test_what_was_placed_or_proposed_in_time_is_so_though_its_entry_came_later(
    world: World, back_up: Callable[[], Restore]
) -> None:
    record = world.record(ONE, START)
    world.clock.advance(timedelta(hours=11, minutes=59, seconds=50))
    restore = back_up()
    slow(world, timedelta(minutes=1))
    proposed = order(40, until_day=world.clock.now().date().isoformat())
    term = world.contracts(LENA).SetTerm(proposed).term
    request = world.order(record, ahead=timedelta(seconds=1))
    request.secrecy.legal_basis = "Order 7"
    request.secrecy.review_at.FromDatetime(world.clock.now() + timedelta(seconds=2))
    hold = world.holds(ALICE).PlaceHold(request).hold
    restore()
    assert listed(world, hold.hold_id).state == holds_pb2.HOLD_STATE_ACTIVE
    assert [one.term_id for one in terms(world)] == [term.term_id]


def test_what_was_confirmed_or_reviewed_in_time_is_so_though_its_entry_came_later(
    world: World, back_up: Callable[[], Restore]
) -> None:
    record = world.record(ONE, START)
    term = world.contracts(LENA).SetTerm(order(40, from_day="2026-04-01")).term
    request = world.order(record, ahead=timedelta(days=90))
    request.secrecy.legal_basis = "Order 7"
    request.secrecy.review_at.FromDatetime(world.clock.now() + timedelta(days=90))
    hold = world.holds(ALICE).PlaceHold(request).hold
    restore = back_up()
    looked = world.clock.now() + timedelta(days=100)
    world.clock.advance(timedelta(hours=71))
    world.holds(BOB).ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold.hold_id))
    world.contracts(LUCA).ConfirmTerm(contracts_pb2.ConfirmTermRequest(term_id=term.term_id))
    review = holds_pb2.ReviewHoldSecrecyRequest(hold_id=hold.hold_id, reason="looked")
    review.review_at.FromDatetime(looked)
    world.holds(BOB).ReviewHoldSecrecy(review)
    world.settle(2)
    for entry in world.audit.entries.values():  # as if each had been written much later
        entry.occurred_at.FromDatetime(looked)
    restore()
    assert listed(world, hold.hold_id).confirmed_by
    assert listed(world, hold.hold_id).secrecy.review_at.ToDatetime(START.tzinfo) == looked
    assert terms(world)[0].state == contracts_pb2.CONTRACT_TERM_STATE_CONFIRMED


def certified(world: World, organization_id: str = ONE) -> list[dict[str, Any]]:
    """The bodies of an organization's certificates, oldest first."""
    listing = certificates_pb2.ListCertificatesRequest(organization_id=organization_id)
    found = world.certificates(admin(organization_id)).ListCertificates(listing).certificates
    return [contents.body(world, one.certificate_id) for one in reversed(found)]


def let_go(world: World, flagged: holds_pb2.PlaceHoldRequest) -> None:
    release = holds_pb2.ReleaseHoldRequest(request_id=flagged.request_id, reason="No violation")
    world.holds(SAFETY).ReleaseHold(release)
    world.settle(5)


def check_repeats(again: dict[str, Any], lost: dict[str, Any]) -> None:
    """A restored database counts the versions of its rules anew."""
    assert again["repeats"] == lost["certificate_id"]
    apart = ("certificate_id", "signed_at", "repeats")
    same, said = (
        {name: one[name] for name in one if name not in apart} | {"rule": one["rule"] | {"version": 0}}
        for one in (again, lost)
    )
    assert same == said


@pytest.mark.parametrize("is_begun", [True, False])
def test_an_erasure_that_ended_is_certified_once_more(
    world: World, back_up: Callable[[], Restore], is_begun: bool
) -> None:
    """is_begun: whether the backup knows of it. A hold on it had ended before."""
    flagged = world.order(fill(world), kind=holds_pb2.HOLD_KIND_FLAGGED)
    world.holds(SAFETY).PlaceHold(flagged)
    restore = None if is_begun else back_up()
    let_go(world, flagged)
    begun = begin(world)
    restore = restore or back_up()
    world.settle(60, until=is_done(world))
    (lost,) = certified(world)
    ended_at = world.entries("erasure.ended")[0].occurred_at
    world.down = {"ReleaseRecords"}
    restore()
    world.settle(20)
    world.down = set()
    world.settle(60, until=lambda: bool(certified(world)))
    world.settle(5)
    check_repeats(certified(world)[0], lost)
    asked = erasures_pb2.GetErasureRequest(erasure_id=begun.erasure_id)
    shown = world.erasures(staff(9, "AUDITOR")).GetErasure(asked).erasure
    assert (shown.complete, list(shown.kept), shown.ended_at) == (True, [], ended_at)
    assert len(world.entries("erasure.ended")) == 1


@pytest.mark.parametrize("let_go_first", [True, False])
def test_of_an_erasure_that_kept_something_the_further_certificate_says_all_there_is_to_say(
    world: World, back_up: Callable[[], Restore], let_go_first: bool
) -> None:
    """let_go_first: whether the hold has ended before the database is restored; then the further one is lost too."""
    flagged = world.order(fill(world), kind=holds_pb2.HOLD_KIND_FLAGGED)
    world.safety.kept = 1
    world.holds(SAFETY).PlaceHold(flagged)
    restore = back_up()
    begin(world)
    world.settle(60, until=is_done(world))
    (first,) = certified(world)
    world.safety.kept = 0
    if let_go_first:
        let_go(world, flagged)
        world.settle(20, until=lambda: bool(world.entries("erasure.completed")))
    *_, lost = certified(world)
    restore()
    if not let_go_first:
        world.settle(30)
        assert certified(world) == []
        let_go(world, flagged)
    world.settle(60, until=lambda: len(world.entries("erasure.completed")) == 1 + let_go_first)
    (further,) = certified(world)
    assert (further["further"], further["completes"]) == (True, first["certificate_id"])
    assert (further["records_removed"], further["records_held"], further["kept"]) == (4, 0, [])
    assert (len(further["receipts"]), len(further["days"]), len(further["holds"])) == (4, 4, 1)
    if let_go_first:
        check_repeats(further, lost)
    assert len(world.entries("erasure.ended")) == 1


@pytest.mark.parametrize("is_placed", [True, False])
@pytest.mark.parametrize("written", ["all", "by_the_version_before", "not_its_end"])
def test_a_certificate_says_what_a_hold_on_all_that_matches_kept_or_leaves_it_out(
    world: World, back_up: Callable[[], Restore], is_placed: bool, written: str
) -> None:
    """is_placed: whether the backup knows of the hold. written: what the log says of its end."""
    fill(world)
    restore = None if is_placed else back_up()
    hold = place(world)
    late = world.record(ONE, START)
    restore = restore or back_up()
    begin(world)
    world.settle(60, until=is_done(world))
    assert late in world.logging.holds[hold.hold_id]
    if written == "not_its_end":
        world.down = {"ReleaseRecords"}
    world.holds(ALICE).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="over"))
    world.settle(20, until=lambda: bool(world.entries("erasure.completed")))
    *_, lost = certified(world)
    world.settle(2)
    for entry in world.entries("hold.ended") if written == "by_the_version_before" else []:
        del entry.facts["kept"]
    restore()
    world.settle(20)
    assert world.down == set() or certified(world) == []
    world.down = set()
    world.settle(30, until=lambda: bool(certified(world)))
    (further,) = certified(world)
    (named,) = further["holds"]
    assert (named["records_removed"], further["records_removed"]) == (5, 5)
    if written == "all":
        check_repeats(further, lost)
    assert named.get("records") == (5 if written == "all" else None)


def test_an_erasure_is_not_certified_before_a_hold_has_ended_of_which_nobody_knows_what_it_keeps(
    world: World, back_up: Callable[[], Restore]
) -> None:
    """It would be said to keep 0 records."""
    fill(world)
    restore = back_up()
    hold = place(world)
    world.down = {"ListDestroyedEpochs"}
    begin(world)
    world.settle(20)
    world.down = {"ReleaseRecords"}
    world.holds(ALICE).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="over"))
    restore()
    world.settle(20)
    assert certified(world) == []
    world.down = set()
    world.settle(20, until=lambda: bool(certified(world)))
    assert [(one["records_removed"], one["records_held"], one["kept"]) for one in certified(world)] == [
        (4, 0, [])
    ]


def test_an_erasure_that_is_complete_keeps_nothing(world: World, back_up: Callable[[], Restore]) -> None:
    flagged = world.order(fill(world), kind=holds_pb2.HOLD_KIND_FLAGGED)
    world.safety.kept = 1
    world.holds(SAFETY).PlaceHold(flagged)
    begin(world)
    world.settle(60, until=is_done(world))
    restore = back_up()
    assert len(shown(world).erasure.kept) == 2
    world.safety.kept = 0
    let_go(world, flagged)
    world.settle(20, until=lambda: bool(world.entries("erasure.completed")))
    first, lost = certified(world)
    restore()
    world.settle(20, until=lambda: shown(world).erasure.complete)
    assert not shown(world).erasure.kept
    assert certified(world)[0] == first
    check_repeats(certified(world)[1], lost)


def test_of_an_end_user_the_further_certificate_says_all_there_is_to_say(
    world: World, back_up: Callable[[], Restore]
) -> None:
    flagged = world.order(subjects.fill(world)[0], kind=holds_pb2.HOLD_KIND_FLAGGED)
    world.holds(SAFETY).PlaceHold(flagged)
    restore = back_up()
    erasure_id = subjects.begin(world).erasure.erasure_id
    world.settle(60, until=subjects.is_done(world))
    (first,) = certified(world)
    world.clock.advance(timedelta(minutes=1))
    restore()
    let_go(world, flagged)
    world.settle(60, until=lambda: bool(world.entries("subject_erasure.completed")))
    (further,) = certified(world)
    assert (further["further"], further["completes"]) == (True, first["certificate_id"])
    assert (further["records_removed"], further["records_held"], further["kept"]) == (5, 0, [])
    assert further["subject"]["fenced_at"] == first["subject"]["fenced_at"]
    assert further["subject"]["commitment"] == first["subject"]["commitment"]
    logged = {one["service"]: one for one in further["receipts"]}["logging"]
    assert (logged["removed"], logged["kept"]) == ({"interactions": 4}, 0)
    assert "repeats" not in further
    assert subjects.shown(world, erasure_id).complete


def test_an_end_users_erasure_that_ended_is_over_and_its_certificate_is_lost(
    world: World, back_up: Callable[[], Restore]
) -> None:
    """Logging has forgotten which records they were: it would be certified that there were none."""
    subjects.fill(world)
    restore = back_up()
    erasure_id = subjects.begin(world).erasure.erasure_id
    world.settle(60, until=subjects.is_done(world))
    restore()
    world.settle(30)
    assert subjects.shown(world, erasure_id).complete
    assert certified(world) == []


def test_a_hold_on_all_that_matches_stands_again(world: World, back_up: Callable[[], Restore]) -> None:
    restore = back_up()
    mine = {world.record(ONE, START) for _ in range(3)}
    hold = place(world, first_day=START.date().isoformat())
    extension = holds_pb2.ExtendHoldRequest(hold_id=hold.hold_id, reason="appeal")
    extension.review_at.FromDatetime(START + timedelta(days=400))
    world.holds(ALICE).ExtendHold(extension)
    before = listed(world, hold.hold_id)
    restore()
    assert listed(world, hold.hold_id) == before
    late = world.record(ONE, START + timedelta(minutes=1))
    world.clock.advance(timedelta(hours=1))
    world.settle(2)
    assert world.keys.retained[hold.hold_id] == {*mine, late}


@pytest.mark.parametrize("failed", [False, True])
def test_what_ended_in_secret_and_was_told_since_is_told(
    world: World, back_up: Callable[[], Restore], failed: bool
) -> None:
    record = world.record(ONE, START)
    if failed:
        del world.logging.rows[record]
        with refused(Reason.REASON_HOLD_TOO_LATE):
            confidential.secret(world, record)
    else:
        placed = confidential.secret(world, record)
        world.holds(ALICE).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=placed.hold_id, reason="over"))
        world.settle(5, until=lambda: bool(world.entries("hold.ended")))
    restore = back_up()
    (hold,) = confidential.listed(world, ALICE, ONE)
    confidential.review(world, hold.hold_id, ends=True)
    world.settle(3)
    before = confidential.listed(world, admin(ONE), ONE)
    assert [one.hold_id for one in before] == [hold.hold_id]
    restore()
    assert confidential.listed(world, admin(ONE), ONE) == before
    assert len(world.entries("hold.disclosed")) == 1


@pytest.mark.parametrize(
    ("told", "ahead"),
    [("before", -9), ("once_erased", 9), ("once_restored", 0), ("before", 0), ("once_erased", 0)],
)
def test_what_was_kept_in_secret_is_counted_once_in_a_restored_database_too(
    world: World, back_up: Callable[[], Restore], told: str, ahead: int
) -> None:
    """ahead: by how many seconds logging's clock is; where it is the same, the version before wrote the entries. The restored database does
    not know yet that logging has erased."""
    world.logging.clock = ClockBeside(world.clock, timedelta(seconds=ahead))
    fill(world)
    first, second = sorted(record for record, owner in world.logging.rows.items() if owner == ONE)[:2]
    flagged = world.order(first, kind=holds_pb2.HOLD_KIND_FLAGGED, request_id="request-flag")
    world.holds(SAFETY).PlaceHold(flagged)
    hold = confidential.secret(world, second)
    restore = back_up()

    def tell() -> None:
        confidential.review(world, hold.hold_id, ends=True)
        world.settle(3)

    if told == "before":
        tell()
    begin(world)
    world.settle(60, until=is_done(world))
    if told == "once_erased":
        tell()
    world.settle(2)
    for entry in world.entries("hold.disclosed") if ahead == 0 else []:
        del entry.facts["counted"]
    world.clock.advance(timedelta(minutes=1))
    world.down = {"CloseOrganization"}
    restore()
    if told == "once_restored":
        tell()
    world.down = set()
    world.settle(20)
    confidential.release_both(world, hold, flagged)
    *_, further = certified(world)
    assert (further["records_removed"], further["records_held"]) == (4, 0)
    said = {one["hold_id"]: one.get("records_removed") for one in further["holds"]}
    assert said[hold.hold_id] == (1 if told == "before" else None)


def test_an_erasure_of_content_that_ended_is_certified_once_more(
    world: World, back_up: Callable[[], Restore]
) -> None:
    mine = contents.fill(world)
    restore = back_up()
    erasure_id = contents.begin(world).erasure_id
    world.settle(30, until=contents.is_done(world))
    before = contents.shown(world, erasure_id)
    (lost,) = certified(world)
    restore()
    world.settle(30, until=lambda: contents.shown(world, erasure_id).complete)
    after = contents.shown(world, erasure_id)
    assert (after.state, after.kept, after.ended_at) == (before.state, before.kept, before.ended_at)
    check_repeats(certified(world)[0], lost)
    assert contents.begin(world).erasure_id == erasure_id, "settings may ask again"
    assert world.logging.bare == set(mine)
    assert len(world.entries("content_erasure.ended")) == 1


@pytest.mark.parametrize("let_go_first", [True, False])
def test_of_content_the_further_certificate_says_all_there_is_to_say(
    world: World, back_up: Callable[[], Restore], let_go_first: bool
) -> None:
    flagged = world.order(contents.fill(world)[0], kind=holds_pb2.HOLD_KIND_FLAGGED)
    world.holds(SAFETY).PlaceHold(flagged)
    restore = back_up()
    erasure_id = contents.begin(world).erasure_id
    world.settle(30, until=contents.is_done(world))
    (first,) = certified(world)
    if let_go_first:
        let_go(world, flagged)
        world.settle(20, until=lambda: bool(world.entries("content_erasure.completed")))
    restore()
    if not let_go_first:
        world.settle(30)
        assert certified(world) == []
        assert len(contents.shown(world, erasure_id).kept) == 1
        let_go(world, flagged)
    world.settle(60, until=lambda: contents.shown(world, erasure_id).complete)
    (further,) = certified(world)
    assert (further["further"], further["completes"]) == (True, first["certificate_id"])
    assert (further["records_held"], further["content"]) == (0, first["content"])
    assert (further["days"], further["receipts"][0]["removed"]) == (first["days"], {"contents": 4})
    assert len(world.entries("content_erasure.ended")) == 1


def test_an_erasure_of_content_that_was_going_on_goes_on(
    world: World, back_up: Callable[[], Restore]
) -> None:
    contents.fill(world)
    restore = back_up()
    world.down.add("EraseContent")
    erasure_id = contents.begin(world).erasure_id
    world.settle(3)
    world.down.clear()
    restore()
    world.settle(30, until=contents.is_done(world))
    erasure = contents.shown(world, erasure_id)
    assert erasure.complete
    assert contents.body(world, erasure.certificate_id)["content"]["contents_removed"] == 5
    assert (
        not world.certificates(admin(TWO))
        .ListCertificates(certificates_pb2.ListCertificatesRequest(organization_id=TWO))
        .certificates
    )


@pytest.mark.parametrize("is_known", [True, False])
def test_a_run_that_certified_for_another_has_done_so(
    world: World, back_up: Callable[[], Restore], is_known: bool
) -> None:
    """is_known: whether the other's end is in the backup."""
    fill_days(world)
    world.keys.not_due = {(ONE, FIRST)}
    restore = None if is_known else back_up()
    travel_to_due(world, FIRST)
    world.settle(60, until=lambda: bool(world.entries("run.not_certified")))
    restore = restore or back_up()
    world.keys.not_due = set()
    world.clock.advance(timedelta(hours=1))
    world.settle(120, until=lambda: bool(world.entries("run.ended")))
    restore()
    world.settle(2)
    assert alert("retention_run_not_certified") == 0
    travel_to_due(world, FIRST + timedelta(days=1))
    world.settle(120, until=lambda: len(world.entries("run.ended")) == 2)
    assert runs_of(world)[0].state == runs_pb2.RUN_STATE_DONE
    assert len(world.entries("run.not_certified")) == 1
