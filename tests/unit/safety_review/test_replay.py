"""A safety review database that was restored to an older state: what was decided since is decided, and what was done in time is not judged
again by the instant at which it was written down."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import Any, Final

import pytest

from kept.safety_review.v1 import cases_pb2
from services.safety_review.store import cases as store
from services.safety_review.store import ended_cases
from tests.support.postgres import FreshDatabase
from tests.support.restores import backups
from tests.unit.safety_review.world import CANARY, PHISHING, World

Restore = Callable[[], World]
Act = Callable[[World, str], object]
SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
# A moment before the end of a claim that was made at the beginning, and of the time to appeal.
CLAIM_ENDS: Final = timedelta(hours=8) - SECOND
APPEAL_ENDS: Final = timedelta(days=30) - SECOND


@pytest.fixture
def back_up(world: World, url: str, fresh_database: FreshDatabase) -> Iterator[Callable[[], Restore]]:
    """Takes a copy of the database now; what that gives starts a service on it later, beside the same audit log."""

    def start(backup: str) -> World:
        made = World(backup, beside=world)
        assert made.kinds()[-1] == "database.caught_up"
        return made

    with backups(world, url, fresh_database, start) as copy:
        yield copy


@pytest.fixture
def case_id(world: World) -> str:
    """A case of one record."""
    world.screen(world.record(CANARY))
    return world.cases()[0].case_id


def _known(world: World) -> list[cases_pb2.Case]:
    """All cases, but for people's words, which are not in the log."""
    found = world.cases()
    for case in found:
        for words in ("etag", "note", "decision_reason", "appeal_reason", "flags"):
            case.ClearField(words)
    return found


@contextmanager
def _slow(world: World, module: ModuleType, name: str) -> Iterator[None]:
    """A function of the store takes its time: what comes after is a minute later than the check."""
    real = getattr(module, name)

    def late(*args: Any, **named: Any) -> Any:
        done = real(*args, **named)
        world.clock.advance(MINUTE)
        return done

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, name, late)
        yield


def _upheld(world: World, case_id: str) -> None:
    world.uphold(case_id)


def _decided(world: World, case_id: str) -> None:
    world.claim(case_id)
    world.decide(case_id)


def _dismissed(world: World, case_id: str) -> None:
    world.dismiss(case_id)


def _claimed(world: World, case_id: str) -> None:
    world.claim(case_id)


def _claimed_by_another(world: World, case_id: str) -> None:
    world.claim(case_id, 3)


@dataclass(frozen=True)
class _Late:
    """An act in time. before: what was done by the backup; after: how long the act waits then."""

    before: Act
    after: timedelta
    act: Act


LATE: Final = {
    "claimed when another claim was over": _Late(_claimed_by_another, CLAIM_ENDS + SECOND, _claimed),
    "claimed anew": _Late(_claimed, CLAIM_ENDS, _claimed),
    "decided": _Late(_claimed, CLAIM_ENDS, lambda world, case_id: world.decide(case_id)),
    "dismissed": _Late(
        _claimed, CLAIM_ENDS, lambda world, case_id: world.decide(case_id, cases_pb2.DECISION_NO_VIOLATION)
    ),
    "handed on": _Late(_claimed, CLAIM_ENDS, lambda world, case_id: world.escalate(case_id)),
    "handed to legal staff": _Late(
        _claimed, CLAIM_ENDS, lambda world, case_id: world.escalate(case_id, cases_pb2.DESK_LEGAL)
    ),
    "confirmed": _Late(_decided, CLAIM_ENDS, lambda world, case_id: world.confirm(case_id)),
    "returned": _Late(_decided, CLAIM_ENDS, lambda world, case_id: world.confirm(case_id, confirm=False)),
    "appealed": _Late(_upheld, APPEAL_ENDS, lambda world, case_id: world.appeal(case_id)),
    "opened again": _Late(_dismissed, APPEAL_ENDS, lambda world, case_id: world.reopen(case_id)),
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
def test_an_entry_bears_the_instant_of_its_act(
    world: World, case_id: str, back_up: Callable[[], Restore], late: _Late
) -> None:
    late.before(world, case_id)
    restore = back_up()
    world.clock.advance(late.after)
    with _slow(world, store, "update_to"):
        late.act(world, case_id)
    before = _known(world)
    assert _known(restore()) == before


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
def test_what_was_done_in_time_is_so_though_its_entry_bears_a_later_instant(
    world: World, case_id: str, back_up: Callable[[], Restore], late: _Late
) -> None:
    late.before(world, case_id)
    restore = back_up()
    world.clock.advance(late.after)
    known = len(world.peers.entries)
    late.act(world, case_id)
    world.run_jobs()
    world.clock.advance(MINUTE)
    before = _known(world)
    for entry in world.peers.entries[known:]:
        entry.occurred_at.FromDatetime(world.clock.now())
    after = _known(restore())
    for case in (*before, *after):  # what follows from the instant itself
        for instant in ("appealed_at", "closed_at", "due_at", "told_at"):
            case.ClearField(instant)
    assert after == before


def test_a_case_that_stayed_when_another_went_is_there(world: World, back_up: Callable[[], Restore]) -> None:
    world.screen(world.record(CANARY), world.record(PHISHING))
    first, second = (case.case_id for case in world.cases())
    world.dismiss(first)
    world.clock.advance(SECOND)
    world.dismiss(second)
    restore = back_up()
    world.clock.advance(APPEAL_ENDS)
    with _slow(world, ended_cases, "remove"):
        world.jobs["ended_cases"].step()
    world.reopen(second)
    before = _known(world)
    assert [case.case_id for case in before] == [second]
    assert _known(restore()) == before
