"""Confidential holds: what they keep lies apart, and every answer is as if it did not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from kept.logging.v1 import lifecycle_pb2
from kept.retention.v1 import holds_pb2
from services.logging.store import confidential
from services.logging.store.tables import confidential_rows, holds, interactions, retained, standing_holds
from shared.database import Database
from shared.errors import KeptError, Reason
from tests.unit.logging.peers import ORG
from tests.unit.logging.test_lifecycle import (
    DAY,
    HOLD,
    SECOND_HOLD,
    drop,
    erase,
    hold,
    readable,
    reason_of,
    release,
    rows,
    stored_days,
)
from tests.unit.logging.test_subjects import ERASURE, WHO, said
from tests.unit.logging.world import World


def keep(world: World, *ids: bytes, hold_id: str = HOLD) -> lifecycle_pb2.HoldRecordsResponse:
    answer: lifecycle_pb2.HoldRecordsResponse = world.lifecycle.HoldRecords(
        lifecycle_pb2.HoldRecordsRequest(
            hold_id=hold_id,
            organization_id=ORG,
            record_ids=ids,
            kind=holds_pb2.HOLD_KIND_LEGAL,
            confidential=True,
        )
    )
    return answer


def match(world: World, after: bytes = b"", **scope: str) -> lifecycle_pb2.HoldMatchingResponse:
    answer: lifecycle_pb2.HoldMatchingResponse = world.lifecycle.HoldMatching(
        lifecycle_pb2.HoldMatchingRequest(
            hold_id=HOLD,
            organization_id=ORG,
            kind=holds_pb2.HOLD_KIND_LEGAL,
            scope=holds_pb2.HoldScope(**scope),
            after=after,
            confidential=True,
        )
    )
    return answer


def disclose(world: World) -> bool:
    return bool(world.lifecycle.DiscloseHold(lifecycle_pb2.DiscloseHoldRequest(hold_id=HOLD)).done)


def forget_subject(world: World) -> lifecycle_pb2.SubjectErasure:
    asked = lifecycle_pb2.EraseSubjectRequest(organization_id=ORG, end_user=WHO, erasure_id=ERASURE)
    while True:
        erased: lifecycle_pb2.SubjectErasure = world.lifecycle.EraseSubject(asked).erasure
        if erased.done:
            return erased


def a_drop(world: World) -> Any:
    world.travel(timedelta(days=30))
    return drop(world), stored_days(world)


def an_erasure(world: World) -> Any:
    answer = erase(world)
    return dict(answer.removed), answer.held


def a_subjects_erasure(world: World) -> Any:
    erased = forget_subject(world)
    status = world.lifecycle.GetSubjectErasure(
        lifecycle_pb2.GetSubjectErasureRequest(erasure_id=ERASURE)
    ).erasure
    return dict(erased.removed), erased.held, len(status.holds), [(d.removed, d.held) for d in status.days]


@pytest.mark.parametrize("act", [a_drop, an_erasure, a_subjects_erasure])
@pytest.mark.parametrize("scope", [False, True], ids=["records", "end user"])
def test_every_answer_is_as_if_the_hold_were_not(
    make_database: Callable[[], Database], act: Callable[[World], Any], scope: bool
) -> None:
    answers = []
    for with_hold in (False, True):
        world = World(make_database())
        mine, other = said(world, "one"), said(world, "two", end_user="another", age=5)
        world.record(mine, other)
        world.travel(timedelta(seconds=5))
        if with_hold:
            kept = match(world, end_user=WHO) if scope else keep(world, mine.record_id)
            assert [(one.record_id, len(one.sealed_data_key)) for one in kept.held] == [
                (mine.record_id, 1168)
            ]
        before = readable(world), stored_days(world)
        came_of_it = act(world)
        answers.append(
            (before, came_of_it, readable(world), stored_days(world), rows(world, retained, holds))
        )
        if with_hold:
            assert rows(world, confidential_rows) == [1]
            assert release(world, HOLD) == 1
            assert rows(world, confidential_rows, standing_holds) == [0, 0]
            world.jobs["outbox"].step()
            (told,) = [entry for entry in world.peers.audited if entry.kind == "rows.released"]
            assert (told.organization_id, list(told.subjects)) == ("", [HOLD, ORG])
    assert answers[0] == answers[1]


def test_what_an_erasure_caught_is_found_again_by_the_next_look(world: World) -> None:
    match(world, end_user=WHO)
    late, other = said(world, "late"), said(world, "other", end_user="another")
    world.record(late, other)
    world.travel(timedelta(seconds=5))
    erased = forget_subject(world)
    assert (erased.removed["interactions"], erased.held) == (1, 0)
    assert rows(world, interactions, confidential_rows) == [1, 1]
    world.jobs["outbox"].step()
    told = [one for one in world.peers.audited if one.kind == "rows.held"][-1]
    assert (told.organization_id, list(told.subjects)) == ("", [HOLD, ORG, str(UUID(bytes=late.record_id))])
    assert [one.record_id for one in match(world, end_user=WHO).held] == [late.record_id]


def test_a_look_goes_on_over_what_is_there_and_what_was_caught(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.logging.lifecycle.acts._HELD_AT_ONCE", 2)
    said_before = [said(world, str(number), age=60 - number) for number in range(3)]
    world.record(*said_before)
    world.travel(timedelta(seconds=5))
    found: set[bytes] = set()
    after = b""
    while True:
        answer = match(world, after, end_user=WHO)
        found |= {one.record_id for one in answer.held}
        after = answer.after
        if not after:
            break
    forget_subject(world)
    world.record(said(world, "since", age=0))
    again: list[bytes] = []
    after = b""
    while True:
        answer = match(world, after, end_user=WHO)
        assert len(answer.held) <= 2
        again += [one.record_id for one in answer.held]
        after = answer.after
        if not after:
            break
    assert found <= set(again)
    assert again == sorted(set(again))


def test_what_is_disclosed_is_held_like_any_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.logging.lifecycle.acts._ROWS_AT_ONCE", 1)
    one, two = world.interaction(), world.interaction()
    world.record(one, two)
    keep(world, one.record_id, two.record_id)
    pieces = 1
    while not disclose(world):
        pieces += 1
    assert pieces == 3
    assert rows(world, confidential_rows, retained, holds) == [0, 2, 2]
    # A call that was on its way for long keeps nothing apart.
    assert len(keep(world, one.record_id).held) == 1
    assert rows(world, confidential_rows, holds) == [0, 2]
    world.travel(timedelta(days=30))
    assert drop(world) == (2, 2)
    assert release(world, HOLD) == 2


def test_a_disclosure_whose_first_piece_fails_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who goes on with it may be of a version that tells once, and not again."""
    one = world.interaction()
    world.record(one)
    keep(world, one.record_id)

    def failing(*_: object) -> None:
        raise KeptError(Reason.REASON_DATABASE_UNAVAILABLE, "away")

    monkeypatch.setattr(confidential, "disclose", failing)
    assert reason_of(lambda: disclose(world)) == "DATABASE_UNAVAILABLE"
    world.jobs["outbox"].step()
    assert [entry.kind for entry in world.peers.audited][-1] == "rows.disclosed"


def test_a_look_between_two_pieces_of_a_disclosure_stops_none_of_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.logging.lifecycle.acts._ROWS_AT_ONCE", 1)
    world.record(world.interaction(), world.interaction())
    match(world)
    assert not disclose(world)
    assert rows(world, confidential_rows, retained, holds) == [1, 1, 1]
    assert len(match(world).held) == 2
    while not disclose(world):
        pass
    assert rows(world, confidential_rows, retained, holds) == [0, 2, 2]


@pytest.mark.parametrize("is_released", [False, True])
def test_what_an_erasure_took_counts_again_once_it_is_disclosed(world: World, is_released: bool) -> None:
    mine = [said(world, "one"), said(world, "two")]
    world.record(*mine, said(world, "three", end_user="another"))
    world.travel(timedelta(seconds=5))
    keep(world, *(one.record_id for one in mine))
    forget_subject(world)
    assert stored_days(world) == [(DAY.isoformat(), ORG, 1, 1, 0)]
    assert disclose(world)
    assert stored_days(world) == [(DAY.isoformat(), ORG, 3, 3, 2)]
    if is_released:
        assert release(world, HOLD) == 2
        assert stored_days(world) == [(DAY.isoformat(), ORG, 1, 1, 0)]
    world.travel(timedelta(days=30))
    assert drop(world) == ((1, 0) if is_released else (3, 2))
    assert (
        release(world, HOLD) == 2
    )  # as often as it is asked for: of the same, or of what was kept beyond the day


def test_one_that_matches_is_disclosed_for_good(world: World) -> None:
    first = world.interaction()
    world.record(first)
    match(world)
    assert disclose(world)
    late = world.interaction()
    world.record(late)
    assert len(match(world).held) == 2
    assert rows(world, confidential_rows, holds) == [0, 2]
    release(world, HOLD)
    assert disclose(world)  # nothing is left of it
    assert reason_of(lambda: match(world)) == "WRONG_STATE"


def test_several_holds_keep_their_own_copies(world: World) -> None:
    one = world.interaction()
    world.record(one)
    keep(world, one.record_id)
    world.travel(timedelta(days=30))
    assert drop(world) == (1, 0)
    # One of which the customer may know comes too late, as it does where there is no secret; another secret one does not.
    assert hold(world, "hold_" + "k" * 26, one.record_id).missing == [one.record_id]
    assert [held.record_id for held in keep(world, one.record_id, hold_id=SECOND_HOLD).held] == [
        one.record_id
    ]
    assert release(world, HOLD) == 0
    assert release(world, SECOND_HOLD) == 1
    assert DAY.isoformat() not in {day for day, *_ in stored_days(world)}
