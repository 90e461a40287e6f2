"""A record, or an organization, over which another service stumbles keeps no other from being screened."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from kept.logging.v1 import interactions_pb2
from services.logging.store import screening
from services.logging.store.tables import unscreened
from shared.errors import KeptError, Reason, peer_unavailable
from shared.ids import lowest_record_id
from tests.unit.logging.peers import ORG, OTHER, Peers
from tests.unit.logging.test_rescreening import ask, screened_before, work
from tests.unit.logging.test_screening_feed import step
from tests.unit.logging.world import World

# As long as a claim stands: the feed's patience and five minutes.
_CLAIM = timedelta(minutes=6)


def some(world: World, number: int, organization_id: str = ORG) -> list[interactions_pb2.Interaction]:
    return [world.interaction(organization_id, text=str(one)) for one in range(number)]


def ids(records: list[interactions_pb2.Interaction]) -> list[bytes]:
    return sorted(one.record_id for one in records)


def left(world: World) -> list[tuple[bytes, bool]]:
    """What waits by itself, and whether it was given up."""
    with world.database.transaction() as tx:
        found = tx.execute(select(unscreened).order_by(unscreened.c.record_id)).all()
        return [(one.record_id.bytes, one.given_up) for one in found]


def left_by_a_process(world: World, *batches: list[interactions_pb2.Interaction]) -> None:
    for batch in batches:
        world.record(*batch)
        world.clock.advance(timedelta(milliseconds=1))
    world.start()
    world.travel(timedelta(minutes=3))


def test_a_fresh_record_that_screening_stumbles_over_holds_up_nobody(world: World) -> None:
    bad, *good = some(world, 20)
    world.peers.stumbles["Screen"] = {bad.record_id}
    world.record(bad, *good)
    world.jobs["screening"].step()
    assert sorted(world.peers.screened) == ids(good)
    assert left(world) == [(bad.record_id, False)]
    later = world.interaction(OTHER)
    world.record(later)
    world.jobs["screening"].step()
    assert world.peers.screened[-1] == later.record_id


def test_an_organization_of_which_nothing_can_be_written_down_holds_up_no_other(world: World) -> None:
    bad, good = some(world, 3), some(world, 3, OTHER)
    world.peers.stumbles["AuthorizeScreening"] = {bad[0].record_id}
    world.record(*bad, *good)
    world.jobs["screening"].step()
    assert sorted(world.peers.screened) == ids(good)
    world.peers.stumbles.clear()
    world.travel(timedelta(minutes=3))
    while world.jobs["screening_backlog"].step():
        pass
    step(world, "screening_backlog")
    assert sorted(world.peers.screened) == ids(bad + good)


def test_an_outage_in_between_costs_none_of_what_was_not_asked_yet(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One organization is refused, and then access control is away: the others are asked about again, from memory."""
    bad, good = some(world, 3), some(world, 3, OTHER)
    authorize = Peers.AuthorizeScreening
    answers = [
        KeptError(Reason.REASON_INTERNAL, "a fault"),  # both
        KeptError(Reason.REASON_INTERNAL, "a fault"),  # the one
        peer_unavailable("access_control"),  # the other
    ]

    def asked(peers: Peers, request: Any, context: Any) -> Any:
        if answers:
            raise answers.pop(0)
        return authorize(peers, request, context)

    monkeypatch.setattr(Peers, "AuthorizeScreening", asked)
    world.start()
    world.record(*bad, *good)
    with pytest.raises(KeptError):
        world.jobs["screening"].step()
    world.jobs["screening"].step()
    assert answers == []
    # The organizations are asked about in the order of their ids.
    assert sorted(world.peers.screened) == ids(max(bad, good, key=lambda of: of[0].organization_id))


def test_an_organization_that_does_not_open_holds_up_no_other_and_is_tried_again(world: World) -> None:
    bad, good = some(world, 3), some(world, 3, OTHER)
    left_by_a_process(world, bad, good)
    world.peers.stumbles["OpenRecords"] = set(ids(bad))
    for _ in range(2):
        world.jobs["screening_backlog"].step()
    assert sorted(world.peers.screened) == ids(good)
    assert left(world) == [(one, False) for one in ids(bad)]
    world.peers.stumbles.clear()
    world.jobs["screening_backlog"].step()
    assert sorted(world.peers.screened) == ids(good), "its claim has not ended"
    world.travel(_CLAIM)
    world.jobs["screening_backlog"].step()
    assert sorted(world.peers.screened) == ids(bad + good)
    assert left(world) == []


@pytest.mark.parametrize("method", ["OpenRecords", "Screen"])
def test_a_record_of_the_backlog_that_is_stumbled_over_costs_no_neighbour(world: World, method: str) -> None:
    bad, *good = some(world, 8)
    left_by_a_process(world, [bad, *good])
    world.peers.stumbles[method] = {bad.record_id}
    world.jobs["screening_backlog"].step()
    assert sorted(world.peers.screened) == ids(good)
    assert left(world) == [(bad.record_id, False)]
    world.peers.stumbles.clear()
    world.travel(_CLAIM)
    world.jobs["screening_backlog"].step()
    assert world.peers.screened[-1] == bad.record_id
    assert left(world) == []


def test_what_nobody_could_open_is_given_up_in_the_end(world: World) -> None:
    bad = some(world, 2)
    left_by_a_process(world, bad)
    world.peers.stumbles["OpenRecords"] = set(ids(bad))
    world.jobs["screening_backlog"].step()
    world.travel(timedelta(hours=72))
    world.jobs["screening_backlog"].step()
    assert left(world) == [(one, True) for one in ids(bad)]


def test_a_process_whose_clock_is_wrong_gives_nothing_up(world: World) -> None:
    records = some(world, 2)
    left_by_a_process(world, records)
    wrong = world.jobs_of_a_wrong_clock(timedelta(hours=72))["screening_backlog"]
    while wrong.step():
        pass
    assert left(world) == [(one, False) for one in ids(records)]
    world.jobs["screening_backlog"].step()
    assert sorted(world.peers.screened) == ids(records)


@pytest.mark.parametrize("method", ["OpenRecords", "Screen"])
@pytest.mark.parametrize(
    "reason", [Reason.REASON_KEY_STORE_UNAVAILABLE, Reason.REASON_CATCHING_UP, Reason.REASON_OVERLOADED]
)
def test_what_passes_by_itself_gives_nothing_up(
    world: World, monkeypatch: pytest.MonkeyPatch, reason: Reason.ValueType, method: str
) -> None:
    records = some(world, 2)
    left_by_a_process(world, records)

    def passing(*_: object) -> None:
        raise KeptError(reason, "for a moment")

    with monkeypatch.context() as patch:
        patch.setattr(Peers, method, passing)
        world.start()
        step(world, "screening_backlog")
    world.start()
    assert left(world) == [(one, False) for one in ids(records)]
    world.travel(_CLAIM)
    world.jobs["screening_backlog"].step()
    assert sorted(world.peers.screened) == ids(records)


def test_what_was_opened_before_an_outage_is_not_opened_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Access control refuses to open a record a second time so soon, and it would be given up."""
    records = some(world, 4)
    left_by_a_process(world, records)
    opening = Peers.OpenRecords
    opened: Counter[bytes] = Counter()
    is_away = True

    def open_records(peers: Peers, request: Any, context: Any) -> Any:
        asked = [one.record_id for one in request.records]
        if len(asked) == 4:
            raise KeptError(Reason.REASON_INTERNAL, "a fault")
        if is_away and opened:
            raise peer_unavailable("access_control")
        opened.update(asked)
        return opening(peers, request, context)

    monkeypatch.setattr(Peers, "OpenRecords", open_records)
    world.start()
    with pytest.raises(KeptError):
        world.jobs["screening_backlog"].step()
    assert len(world.peers.screened) == 2
    is_away = False
    world.jobs["screening_backlog"].step()
    assert opened == Counter(ids(records))
    assert left(world) == []


def test_what_was_never_taken_is_taken_before_what_was(world: World) -> None:
    """However many records an organization has that do not open, and however short claims are for them all."""
    left_by_a_process(world, some(world, 3), some(world, 1, OTHER))
    with world.database.transaction() as tx:
        screening.unfold(tx)
    taken = []
    for _ in range(5):
        with world.database.transaction() as tx:
            [(organization_id, _)] = screening.claim(
                tx,
                now=world.clock.now(),
                received_before=world.clock.now(),
                created_from=lowest_record_id(world.clock.now() - timedelta(hours=1)),
                lease=timedelta(minutes=1),
                limit=1,
            )
        taken.append(organization_id)
        world.travel(timedelta(minutes=1))
    assert taken == [ORG] * 3 + [OTHER, ORG]


@pytest.mark.parametrize("method", ["OpenRecords", "Screen"])
def test_re_screening_leaves_out_what_is_stumbled_over_and_goes_on(world: World, method: str) -> None:
    records = some(world, 120)
    bad = ids(records)[7]  # in the order in which they are read
    screened_before(world, *records)
    world.peers.stumbles[method] = {bad}
    ask(world)
    work(world)
    assert sorted(world.peers.screened) == [one for one in ids(records) if one != bad]
    reports = [(one.screened, one.left_out, one.done, one.problem) for one in world.peers.reports]
    assert reports == [(99, 1, False, ""), (20, 0, True, "")]
