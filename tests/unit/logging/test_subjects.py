"""The erasure of one end user: what goes, what stays, and that nothing older is written behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from kept.access_control.v1 import grants_pb2
from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import interactions_pb2, lifecycle_pb2, lifecycle_pb2_grpc
from services.logging.partitions import Partitions
from services.logging.store import subjects
from services.logging.store.tables import (
    interactions,
    retained,
    subject_erasures,
    subject_fences,
    subject_records,
    unscreened,
)
from shared.clock import Clock
from shared.errors import KeptError
from tests.unit.logging.peers import ENGINEER, ORG, OTHER, ZDR
from tests.unit.logging.test_ingest import outcomes, whole_database
from tests.unit.logging.test_lifecycle import (
    DAY,
    HOLD,
    SECOND_HOLD,
    drop,
    hold,
    readable,
    reason_of,
    release,
    rows,
    stored_days,
)
from tests.unit.logging.test_lifecycle import erase as erase_organization
from tests.unit.logging.world import World

WHO = "a-pseudonym"
ERASURE, SECOND = ("erasure_" + letter * 26 for letter in "ef")


def said(
    world: World, words: str, end_user: str = WHO, organization_id: str = ORG, age: float = 10
) -> interactions_pb2.Interaction:
    """An interaction of an end user, `age` seconds ago."""
    made = world.interaction(organization_id, words, age=timedelta(seconds=age))
    made.end_user = end_user
    return made


def copy(interaction: interactions_pb2.Interaction) -> interactions_pb2.Interaction:
    made = interactions_pb2.Interaction()
    made.CopyFrom(interaction)
    return made


def ask(
    world: World, erasure_id: str = ERASURE, end_user: str = WHO, organization_id: str = ORG
) -> lifecycle_pb2.SubjectErasure:
    """One call."""
    answer: lifecycle_pb2.EraseSubjectResponse = world.lifecycle.EraseSubject(
        lifecycle_pb2.EraseSubjectRequest(
            organization_id=organization_id, end_user=end_user, erasure_id=erasure_id
        )
    )
    return answer.erasure


def erase(world: World, erasure_id: str = ERASURE) -> lifecycle_pb2.SubjectErasure:
    """Calls until it is done."""
    for _ in range(20):
        erasure = ask(world, erasure_id)
        if erasure.done:
            return erasure
    raise AssertionError("the erasure does not end")


def status(world: World) -> lifecycle_pb2.SubjectErasure:
    answer: lifecycle_pb2.GetSubjectErasureResponse = world.lifecycle.GetSubjectErasure(
        lifecycle_pb2.GetSubjectErasureRequest(erasure_id=ERASURE)
    )
    return answer.erasure


def erased_ids(world: World, page_size: int = 1) -> list[bytes]:
    found: list[bytes] = []
    token = ""
    while True:
        page = world.lifecycle.ListErasedRecords(
            lifecycle_pb2.ListErasedRecordsRequest(erasure_id=ERASURE, page_size=page_size, page_token=token)
        )
        found += page.record_ids
        token = page.next_page_token
        if not token:
            return found


def forget(world: World) -> None:
    world.lifecycle.ForgetErasedRecords(lifecycle_pb2.ForgetErasedRecordsRequest(erasure_id=ERASURE))


def test_one_end_user_is_erased_and_nobody_else(world: World) -> None:
    gone = [said(world, "one"), said(world, "two")]
    others = [said(world, "three", "another"), said(world, "four", ""), said(world, "five", WHO, OTHER)]
    sent = [copy(one) for one in gone]
    world.record(*gone, *others)
    erasure = erase(world)
    assert dict(erasure.removed) == {"interactions": 2, "unscreened": 2}
    assert (erasure.held, list(erasure.holds)) == (0, [])
    assert [(one.day, one.removed, one.removed_with_content, one.held) for one in erasure.days] == [
        (DAY.isoformat(), 2, 2, 0)
    ]
    # Who shares the data key is not touched, and what is stored says so by its counts.
    assert sorted(readable(world)) == ["four", "three"]
    assert stored_days(world) == [(DAY.isoformat(), ORG, 2, 2, 0), (DAY.isoformat(), OTHER, 1, 1, 0)]
    assert rows(world, interactions, unscreened) == [3, 3]
    assert erased_ids(world) == sorted(one.record_id for one in sent)
    assert ask(world) == erasure  # once more changes nothing
    # A duplicate of what is erased is refused and not stored; what is created later is new data.
    world.travel(timedelta(seconds=20))
    receipts = world.record(*sent, said(world, "new", age=1))
    assert outcomes(receipts) == ["CLOSED", "CLOSED", "STORED"]
    assert not any(one.retryable for one in receipts)
    assert sorted(readable(world)) == ["four", "new", "three"]
    assert ask(world) == erasure  # a late repetition takes nothing that is new
    assert "new" in readable(world)
    world.jobs["outbox"].step()
    kinds = [one.kind for one in world.peers.audited]
    assert (kinds.count("subject.fenced"), kinds.count("subject.erased")) == (1, 1)
    assert WHO not in str(world.peers.audited)


def test_what_is_gone_reads_like_what_never_was(world: World) -> None:
    gone, stays = said(world, "gone"), said(world, "stays", "another")
    never = said(world, "never")
    world.record(gone, stays)
    erase(world)
    answers = []
    for named in (gone, never):
        world.peers.scope = grants_pb2.DataScope(
            organization_id=ORG,
            detail=grants_pb2.DETAIL_FULL,
            budget=10,
            record_ids=[named.record_id, stays.record_id],
        )
        answers.append(readable(world))
    assert answers == [["stays"], ["stays"]]


def test_a_writer_that_slept_through_the_erasure_writes_nothing_older(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    require = Partitions.require

    def sleep(partitions: Partitions, days: Any) -> None:
        """Everything is judged and sealed; the transaction has not begun."""
        monkeypatch.setattr(Partitions, "require", require)
        require(partitions, days)
        assert erase(World(world.database)).removed["interactions"] == 0

    monkeypatch.setattr(Partitions, "require", sleep)
    receipts = world.record(said(world, "old"), said(world, "theirs", "another"))
    assert outcomes(receipts) == ["CLOSED", "STORED"]
    assert readable(world) == ["theirs"]
    assert rows(world, unscreened) == [1]


def test_the_fence_waits_for_a_writer_and_what_it_wrote_goes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    eraser = threading.Thread(target=lambda: erase(World(world.database)))

    def hold_still(received_at: datetime, clock: Clock) -> None:
        eraser.start()
        eraser.join(0.3)
        assert eraser.is_alive()  # it waits for us

    monkeypatch.setattr("services.logging.recording.ingest.require_young", hold_still)
    assert outcomes(world.record(said(world, "old"))) == ["STORED"]
    eraser.join(20)
    assert status(world).removed["interactions"] == 1
    assert readable(world) == []


def test_a_fence_goes_when_nothing_older_can_come_and_no_sleeper_gets_past_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = said(world, "old")
    erase(world)
    forget(world)
    job = world.jobs["subject_fences"]
    world.travel(timedelta(hours=24, minutes=30))
    assert job.step() is False
    assert rows(world, subject_fences) == [1]
    assert outcomes(world.record(copy(old))) == ["RECORD_TOO_LATE"]
    require = Partitions.require

    def sleep(partitions: Partitions, days: Any) -> None:
        monkeypatch.setattr(Partitions, "require", require)
        require(partitions, days)
        world.travel(timedelta(hours=26))
        job.step()

    young = said(world, "young")
    erase(world, SECOND)
    monkeypatch.setattr(Partitions, "require", sleep)
    with pytest.raises(KeptError) as refused:
        world.record(young)
    assert refused.value.reason == reasons_pb2.REASON_OVERLOADED
    assert rows(world, interactions, subject_fences, subject_erasures) == [0, 0, 2]
    assert WHO not in whole_database(world)  # the acts stay, and name nobody


def test_a_process_whose_clock_is_wrong_lowers_no_fence(world: World) -> None:
    old = said(world, "old")
    again = copy(old)
    world.record(old)
    erase(world)
    world.travel(timedelta(hours=22, minutes=30))
    assert not world.jobs_of_a_wrong_clock(timedelta(hours=3))["subject_fences"].step()
    assert rows(world, subject_fences) == [1]
    assert outcomes(world.record(again)) == ["CLOSED"]


def test_a_record_of_a_clock_that_is_ahead_goes_and_stays_out(world: World) -> None:
    ahead = said(world, "ahead", age=-4)
    far_ahead = said(world, "far ahead", age=-14)
    world.record(copy(ahead))
    world.travel(timedelta(seconds=10))  # as a process whose clock is ahead of this one's
    world.record(copy(far_ahead))
    world.travel(timedelta(seconds=-10))
    assert erase(world).removed["interactions"] == 2
    assert outcomes(world.record(ahead)) == ["CLOSED"]
    world.travel(timedelta(seconds=20))
    new = said(world, "new", age=1)
    assert outcomes(world.record(far_ahead, new)) == ["CLOSED", "STORED"]


def test_what_a_hold_keeps_stays_and_goes_with_its_last_hold(world: World) -> None:
    kept, gone, theirs = said(world, "kept"), said(world, "gone"), said(world, "theirs", "another")
    world.record(kept, gone, theirs)
    hold(world, HOLD, kept.record_id, theirs.record_id)
    hold(world, SECOND_HOLD, kept.record_id)
    erasure = erase(world)
    assert (erasure.held, erasure.removed["interactions"]) == (1, 1)
    assert [(one.hold_id, one.records) for one in erasure.holds] == [(HOLD, 1), (SECOND_HOLD, 1)]
    assert erased_ids(world) == [gone.record_id]
    assert sorted(readable(world)) == ["kept", "theirs"]
    assert reason_of(lambda: forget(world)) == "WRONG_STATE"
    # A hold that comes after the erasure is told what is gone; that of a held record keeps it longer.
    third = "hold_" + "k" * 26
    answer = hold(world, third, gone.record_id)
    assert (list(answer.held), list(answer.missing)) == ([], [gone.record_id])
    assert release(world, HOLD) == 0
    assert [one.hold_id for one in status(world).holds] == [SECOND_HOLD]
    assert sorted(readable(world)) == ["kept", "theirs"]
    assert (release(world, SECOND_HOLD), release(world, SECOND_HOLD)) == (1, 1)
    assert readable(world) == ["theirs"]  # long before its day
    assert stored_days(world) == [(DAY.isoformat(), ORG, 1, 1, 0)]
    assert rows(world, retained, unscreened) == [0, 1]
    after = status(world)
    assert (after.held, after.days[0].removed, dict(after.removed)) == (0, 2, dict(erasure.removed))
    assert erased_ids(world) == sorted([kept.record_id, gone.record_id])
    forget(world)
    forget(world)
    assert rows(world, subject_records) == [0]
    assert dict(status(world).removed) == dict(erasure.removed)
    assert erased_ids(world) == []


def test_what_outlived_its_day_by_a_hold_is_found(world: World) -> None:
    kept, gone = said(world, "kept"), said(world, "gone")
    world.record(kept, gone)
    hold(world, HOLD, kept.record_id)
    world.travel(timedelta(days=30))
    assert drop(world) == (2, 1)
    erasure = erase(world)
    assert (erasure.removed["interactions"], erasure.held) == (0, 1)
    assert erased_ids(world) == []
    assert release(world, HOLD) == 1
    assert erased_ids(world) == [kept.record_id]


def test_a_day_that_is_dropped_later_counts_what_was_left_of_it(world: World) -> None:
    world.record(said(world, "gone"), said(world, "stays", "another"), said(world, "bare", WHO, ZDR))
    erase(world)
    world.travel(timedelta(days=30))
    oldest = world.lifecycle.GetOldest(lifecycle_pb2.GetOldestRequest())
    assert oldest.oldest_day == DAY.isoformat()
    assert drop(world) == (2, 0)
    counts = world.lifecycle.ListDroppedCounts(lifecycle_pb2.ListDroppedCountsRequest(day=DAY.isoformat()))
    assert {one.organization_id: one.records for one in counts.days} == {ORG: 1, ZDR: 1}


def test_a_day_of_which_all_was_erased_is_empty_and_still_needs_its_run(world: World) -> None:
    world.record(said(world, "gone"))
    erase(world)
    assert stored_days(world) == [(DAY.isoformat(), ORG, 0, 0, 0)]  # for its key
    assert world.lifecycle.GetOldest(lifecycle_pb2.GetOldestRequest()).oldest_day == ""
    world.travel(timedelta(days=30))
    assert drop(world) == (0, 0)
    assert stored_days(world) == []


def test_an_erasure_goes_piece_by_piece_and_on_in_another_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.logging.lifecycle.subjects._LOOKED_AT", 2)
    monkeypatch.setattr("services.logging.lifecycle.subjects._STEPS", 1)
    mine = [said(world, str(number), age=10 - 2 * number) for number in range(4)]
    world.record(*mine, *(said(world, "theirs", f"user-{number}", age=9 - 2 * number) for number in range(3)))
    hold(world, HOLD, mine[1].record_id)
    left = []
    erasure = lifecycle_pb2.SubjectErasure()
    for number in range(20):
        process = World(world.database) if number % 2 else world
        erasure = ask(process)
        left.append(rows(world, interactions)[0])
        if erasure.done:
            break
        assert not erasure.HasField("erased_at")
        assert not erasure.days
    assert left[:4] == [6, 6, 5, 4]  # two rows are looked at a piece, one of them theirs
    assert left[-1] == 4
    assert (erasure.removed["interactions"], erasure.held) == (3, 1)
    assert stored_days(world) == [(DAY.isoformat(), ORG, 4, 4, 1)]


@pytest.mark.parametrize("at", range(1, 8))
def test_a_crash_at_any_statement_leaves_an_erasure_that_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    world.record(said(world, "gone"), said(world, "stays", "another"))
    seen = 0
    names = ("begin", "step", "remove", "count_off", "find", "is_fenced", "days")

    class Crash(Exception):
        pass

    def dying(act: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **named: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == at:
                raise Crash
            return act(*args, **named)

        return run

    with monkeypatch.context() as patched:
        for name in names:
            patched.setattr(subjects, name, dying(getattr(subjects, name)))
        with pytest.raises(KeptError):
            erase(world)
    assert seen == at
    assert erase(world).removed["interactions"] == 1
    assert readable(world) == ["stays"]
    assert stored_days(world) == [(DAY.isoformat(), ORG, 1, 1, 0)]
    world.jobs["outbox"].step()
    kinds = [one.kind for one in world.peers.audited]
    assert (kinds.count("subject.fenced"), kinds.count("subject.erased")) == (1, 1)


def test_an_erasure_again_takes_what_came_since(world: World) -> None:
    world.record(said(world, "first"))
    erase(world)
    world.travel(timedelta(minutes=1))
    world.record(said(world, "second", age=1))
    assert readable(world) == ["second"]
    assert erase(world, SECOND).removed["interactions"] == 1
    assert outcomes(world.record(said(world, "second", age=1))) == ["CLOSED"]
    with world.database.transaction() as tx:
        assert tx.execute(text("SELECT count(*) FROM subject_fences")).scalar_one() == 1


def half_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An erasure of five records, of which the first two are done."""
    world.record(*(said(world, f"word {number}") for number in range(5)))
    with monkeypatch.context() as patched:
        patched.setattr("services.logging.lifecycle.subjects._STEPS", 1)
        patched.setattr("services.logging.lifecycle.subjects._LOOKED_AT", 2)
        assert not ask(world).done


def test_a_fence_stays_as_long_as_an_erasure_needs_it_whichever_moved_it_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_done(world, monkeypatch)
    world.travel(timedelta(minutes=1))
    erase(world, SECOND)
    world.travel(timedelta(hours=26))
    world.jobs["subject_fences"].step()
    assert rows(world, subject_fences) == [1]
    assert erase(world).removed["interactions"] == 2  # the other three went with the second
    world.jobs["subject_fences"].step()
    assert rows(world, subject_fences) == [0]


def test_with_its_organization_goes_the_pseudonym(world: World) -> None:
    erase(world, SECOND)
    erase_organization(world)
    assert rows(world, subject_fences) == [0]


def test_an_erasure_that_goes_on_ends_although_its_organization_is_erased(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_done(world, monkeypatch)
    erase_organization(world)
    world.jobs["subject_fences"].step()
    assert erase(world).removed["interactions"] == 2
    world.jobs["subject_fences"].step()
    assert rows(world, subject_fences) == [0]


def test_bad_input_gets_a_named_reason_and_changes_nothing(world: World) -> None:
    world.record(said(world, "stays"))
    unknown = "org_" + "q" * 26
    assert reason_of(lambda: ask(world, organization_id=unknown)) == "UNKNOWN_ORGANIZATION"
    assert reason_of(lambda: ask(world, organization_id="org'; --")) == "INVALID_ARGUMENT"
    for end_user in ("", "x" * 129, "two\nlines", "nul\0"):
        assert reason_of(lambda end_user=end_user: ask(world, end_user=end_user)) == "INVALID_ARGUMENT"  # type: ignore[misc]
    assert reason_of(lambda: status(world)) == "NOT_FOUND"
    assert reason_of(lambda: erased_ids(world)) == "NOT_FOUND"
    engineer = lifecycle_pb2_grpc.LifecycleServiceStub(world._channel(ENGINEER))
    request = lifecycle_pb2.EraseSubjectRequest(organization_id=ORG, end_user=WHO, erasure_id=ERASURE)
    assert reason_of(lambda: engineer.EraseSubject(request)) == "CALLER_NOT_ALLOWED"
    world.clock.advance(timedelta(minutes=1))
    assert reason_of(lambda: ask(world)) == "LEASE_LAPSED"
    world.refresh()
    assert readable(world) == ["stays"]
    assert rows(world, subject_erasures, subject_fences) == [0, 0]


def test_an_erasure_is_of_one_end_user_whatever_is_asked_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.logging.lifecycle.subjects._STEPS", 1)
    world.record(said(world, "stays", "another"))
    assert not ask(world).done
    assert reason_of(lambda: ask(world, end_user="another")) == "CONFLICT"
    assert reason_of(lambda: ask(world, organization_id=OTHER)) == "CONFLICT"
    assert readable(world) == ["stays"]
