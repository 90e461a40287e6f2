"""The outbox: nothing is lost, nothing overtakes, and one kind's trouble is not another's."""

from datetime import timedelta

import pytest
import sqlalchemy

from kept.replica.v1 import lease_pb2
from shared.database import Database
from shared.errors import KeptError, peer_unavailable
from shared.outbox import Outbox, outbox_table
from tests.support.clocks import ManualClock
from tests.support.postgres import FreshDatabase


class Peer:
    """Takes messages, or is down."""

    def __init__(self) -> None:
        self.down = False
        self.seen: list[int] = []

    def take(self, payloads: list[bytes]) -> None:
        if self.down:
            raise peer_unavailable("peer")
        self.seen += [lease_pb2.Lease.FromString(payload).version for payload in payloads]


@pytest.fixture
def parts(fresh_database: FreshDatabase) -> tuple[Database, ManualClock, Peer, Peer, Outbox]:
    database, clock, audit, other = Database(fresh_database("settings")), ManualClock(), Peer(), Peer()
    metadata = sqlalchemy.MetaData()
    table = outbox_table(metadata)
    metadata.create_all(database.engine)
    return database, clock, audit, other, Outbox(table, database, clock, {"a": audit.take, "b": other.take})


def test_what_is_rolled_back_is_never_sent(parts: tuple[Database, ManualClock, Peer, Peer, Outbox]) -> None:
    database, _, peer, _, outbox = parts
    with pytest.raises(RuntimeError), database.transaction() as tx:
        outbox.put(tx, "a", lease_pb2.Lease(version=1))
        raise RuntimeError("crash")
    with database.transaction() as tx:
        outbox.put(tx, "a", lease_pb2.Lease(version=2))
    outbox.deliver()
    assert peer.seen == [2]


def test_a_peer_that_is_down_gets_everything_later_in_order(
    parts: tuple[Database, ManualClock, Peer, Peer, Outbox],
) -> None:
    database, clock, peer, other, outbox = parts
    peer.down = True
    with database.transaction() as tx:
        for number in range(3):
            outbox.put(tx, "a", lease_pb2.Lease(version=number))
            outbox.put(tx, "b", lease_pb2.Lease(version=number))
    with pytest.raises(KeptError):
        outbox.deliver()
    assert other.seen == [0, 1, 2], "another kind is not held up"
    peer.down = False
    outbox.deliver()
    assert peer.seen == [], "it waits a moment before it tries again"
    clock.advance(timedelta(seconds=31))
    outbox.deliver()
    assert peer.seen == [0, 1, 2]
    assert outbox.backlog() == 0


def test_a_kind_that_nobody_delivers_is_refused_at_once(
    parts: tuple[Database, ManualClock, Peer, Peer, Outbox],
) -> None:
    database, _, _, _, outbox = parts
    with pytest.raises(KeyError), database.transaction() as tx:
        outbox.put(tx, "unknown", lease_pb2.Lease())
