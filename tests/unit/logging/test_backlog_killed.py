"""The process that works off the backlog is killed at any place between two steps: every record still gets exactly one verdict."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from kept.safety_review.v1 import screening_pb2
from services.logging.store.tables import interactions, unscreened
from shared.database import Database
from shared.errors import KeptError, Reason
from tests.unit.logging.peers import ORG, OTHER, Peers
from tests.unit.logging.world import World


class Killed(BaseException):
    """Nothing that the service could catch and go on from."""


class Points:
    """Places at which the process can die: before and after each commit, and around each answer of another service."""

    def __init__(self) -> None:
        self.passed = 0
        self.die_at = 0

    def __call__(self, _: str) -> None:
        self.passed += 1
        if self.passed == self.die_at:
            raise Killed


class Reviewed:
    """Access control and safety review as they are in this: opened again only after five minutes, three times at most; the first verdict
    on a record stands."""

    def __init__(self, world: World, points: Points, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: defaultdict[bytes, list[datetime]] = defaultdict(list)
        self.verdicts: dict[bytes, int] = {}
        self.kept: Counter[bytes] = Counter()
        opening, screening = Peers.OpenRecords, Peers.Screen

        def open_records(peers: Peers, request: Any, context: Any) -> Any:
            now = world.clock.now()
            for one in request.records:
                before = self.opened[one.record_id]
                if len(before) == 3 or (before and now - before[-1] < timedelta(minutes=5)):
                    raise KeptError(Reason.REASON_OUTSIDE_SCOPE, "opened before")
            for one in request.records:
                self.opened[one.record_id].append(now)
            answer = opening(peers, request, context)
            points("opened")
            return answer

        def screen(peers: Peers, requests: Any, context: Any) -> Iterator[Any]:
            for answer in screening(peers, requests, context):
                points("asked")
                for record in answer.records:
                    if record.record_id not in self.verdicts:
                        self.verdicts[record.record_id] = record.verdict
                        self.kept[record.record_id] += 1
                points("said")
                yield answer

        monkeypatch.setattr(Peers, "OpenRecords", open_records)
        monkeypatch.setattr(Peers, "Screen", screen)


def test_every_record_has_exactly_one_verdict_wherever_it_dies(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = world.database.engine.url.render_as_string(hide_password=False)
    points = Points()
    dying = Database(url, on_commit=points)
    reviewed = Reviewed(world, points, monkeypatch)
    world.peers.verdict = screening_pb2.VERDICT_FLAGGED
    rounds, expected = 0, set[bytes]()
    while True:
        rounds += 1
        records = [world.interaction(ORG, "zebra"), world.interaction(ORG), world.interaction(OTHER)]
        expected |= {one.record_id for one in records}
        world.record(*records)
        points.passed, points.die_at = 0, 0
        world.database, alive = dying, world.database
        world.start()  # what was in memory is gone
        world.travel(timedelta(minutes=3))
        points.passed, points.die_at = 0, rounds
        died = False
        try:
            while world.jobs["screening_backlog"].step():
                pass
            world.jobs["screening_backlog"].step()
        except Killed:
            died = True
        points.die_at = 0
        world.database = alive
        world.start()
        world.travel(timedelta(minutes=7))
        for _ in range(3):
            world.jobs["screening_backlog"].step()
        with world.database.transaction() as tx:
            assert tx.execute(select(unscreened.c.given_up)).all() == [], f"died at {rounds}"
            said = {row.record_id: row.verdict for row in tx.execute(select(interactions))}
        assert {one.bytes for one, verdict in said.items() if verdict == 2} == expected
        assert reviewed.kept == Counter(expected)
        if not died:
            break
    dying.close()
    assert rounds > 10, "it died at each of them before it lived"
    assert max(map(len, reviewed.opened.values())) == 2
    assert min(map(len, reviewed.opened.values())) == 1
