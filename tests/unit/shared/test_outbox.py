"""The outbox: nothing is lost, nothing overtakes, and no message's trouble is another's."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
import sqlalchemy
from prometheus_client import REGISTRY

from kept.access_control.v1 import audit_pb2
from kept.replica.v1 import lease_pb2
from shared.database import Database
from shared.errors import KeptError, Reason, invalid, peer_unavailable
from shared.outbox import AUDIT, Outbox, outbox_table
from tests.support.clocks import ManualClock
from tests.support.postgres import FreshDatabase


class Death(BaseException):
    """The process dies here."""


class Peer:
    """Takes messages, or is down (`error`), or refuses some. during: called while it has a message in hand."""

    def __init__(self) -> None:
        self.error: KeptError | None = None
        self.refused: dict[int, Exception] = {}
        self.seen: list[int] = []
        self.calls: list[int] = []
        self.during: Callable[[], None] | None = None

    def _take(self, numbers: list[int]) -> None:
        self.calls.append(len(numbers))
        if self.during is not None:
            self.during()
        for error in [self.error, *(self.refused.get(number) for number in numbers)]:
            if error is not None:
                raise error
        self.seen += numbers

    def take(self, payload: bytes) -> None:
        self._take([lease_pb2.Lease.FromString(payload).version])

    def append(self, request: audit_pb2.AppendEntriesRequest) -> audit_pb2.AppendEntriesResponse:
        self._take([int(entry.entry_id) for entry in request.entries])
        return audit_pb2.AppendEntriesResponse()


class Parts:
    """An outbox and its two peers, on a database of their own."""

    def __init__(self, url: str) -> None:
        self.database, self.clock = Database(url), ManualClock()
        self.audits, self.peer, self.other = Peer(), Peer(), Peer()
        metadata = sqlalchemy.MetaData()
        self.table = outbox_table(metadata)
        metadata.create_all(self.database.engine)
        self.outbox = self.process()

    def process(self) -> Outbox:
        """Another process on the same database."""
        handlers = {"a": self.peer.take, "b": self.other.take}
        return Outbox(self.table, self.database, self.clock, self.audits.append, handlers)

    def put(self, kind: str, *numbers: int) -> None:
        with self.database.transaction() as tx:
            for number in numbers:
                if kind == AUDIT:
                    self.outbox.audit(tx, audit_pb2.AuditEntry(entry_id=str(number)))
                else:
                    self.outbox.put(tx, kind, lease_pb2.Lease(version=number))

    def deliver(self) -> None:
        """All that can be delivered now."""
        while self.outbox.deliver():
            pass


@pytest.fixture
def parts(fresh_database: FreshDatabase) -> Iterator[Parts]:
    made = Parts(fresh_database("settings"))
    yield made
    made.database.close()


def test_what_is_rolled_back_is_never_sent(parts: Parts) -> None:
    with pytest.raises(RuntimeError), parts.database.transaction() as tx:
        parts.outbox.put(tx, "a", lease_pb2.Lease(version=1))
        raise RuntimeError("crash")
    parts.put("a", 2)
    parts.deliver()
    assert parts.peer.seen == [2]


@pytest.mark.parametrize("kind", ["a", AUDIT])
def test_a_peer_that_is_down_gets_everything_later_in_order(parts: Parts, kind: str) -> None:
    peer = parts.audits if kind == AUDIT else parts.peer
    peer.error = peer_unavailable("peer")
    parts.put(kind, 0, 1, 2)
    parts.put("b", 0, 1, 2)
    with pytest.raises(KeptError):
        parts.outbox.deliver()
    assert parts.other.seen == [0, 1, 2], "another kind is not held up"
    peer.error = None
    parts.put(kind, 3)
    with pytest.raises(KeptError):  # it is not well before it was delivered
        parts.deliver()
    assert peer.seen == [], "it waits a moment before it tries again, and nothing overtakes"
    parts.clock.advance(timedelta(seconds=31))
    parts.deliver()
    assert peer.seen == [0, 1, 2, 3]
    assert parts.outbox.backlog() == 0


def test_entries_go_in_one_call_and_hundreds_in_order(parts: Parts) -> None:
    parts.put(AUDIT, *range(450))
    parts.deliver()
    assert parts.audits.seen == list(range(450))
    assert parts.audits.calls == [200, 200, 50]


@pytest.mark.parametrize("kind", ["a", AUDIT])
def test_a_refused_message_is_put_aside_and_taken_when_the_peer_has_changed_its_mind(
    parts: Parts, kind: str
) -> None:
    peer = parts.audits if kind == AUDIT else parts.peer
    peer.refused = {1: invalid("entries", "is not valid")}
    parts.put(kind, 0, 1, 2)
    parts.deliver()
    assert peer.seen == [0, 2]
    assert parts.outbox.backlog() == 1, "kept"
    assert REGISTRY.get_sample_value("kept_outbox_refused_messages", {"kind": kind}) == 1
    assert REGISTRY.get_sample_value("kept_alert_active", {"alert": "outbox_refused"}) == 1
    parts.put(kind, 3)
    parts.clock.advance(timedelta(minutes=59))
    parts.deliver()
    assert peer.seen == [0, 2, 3], "later ones go on, and it is not asked about at once again"
    peer.refused = {}
    parts.clock.advance(timedelta(minutes=1))
    parts.deliver()
    assert peer.seen == [0, 2, 3, 1]
    assert parts.outbox.backlog() == 0
    assert REGISTRY.get_sample_value("kept_alert_active", {"alert": "outbox_refused"}) == 0


@pytest.mark.parametrize("kind", ["a", AUDIT])
def test_a_receiver_that_stumbles_over_one_message_gets_the_others_in_the_end(
    parts: Parts, kind: str
) -> None:
    peer = parts.audits if kind == AUDIT else parts.peer
    peer.refused = {1: KeptError(Reason.REASON_INTERNAL, "A fault.")}
    parts.put(kind, 0, 1, 2)
    tries = 0
    while 2 not in peer.seen:
        tries += 1
        with suppress(KeptError):
            parts.outbox.deliver()
        parts.clock.advance(timedelta(seconds=31))
    assert 20 < tries < 60, "not at the first fault"
    parts.deliver()
    assert sorted(peer.seen) == [0, 2]
    assert parts.outbox.backlog() == 1


def test_what_a_peer_that_is_away_did_not_get_is_never_put_aside(parts: Parts) -> None:
    parts.peer.error = peer_unavailable("peer")
    parts.put("a", 0)
    for _ in range(50):
        with pytest.raises(KeptError):
            parts.outbox.deliver()
        parts.clock.advance(timedelta(seconds=31))
    parts.peer.error = None
    parts.deliver()
    assert parts.peer.seen == [0]


@pytest.mark.parametrize("kind", ["a", AUDIT])
def test_after_an_outage_one_fault_puts_nothing_aside(parts: Parts, kind: str) -> None:
    peer = parts.audits if kind == AUDIT else parts.peer
    parts.put(kind, 0, 1, 2)
    for error in [*[peer_unavailable("peer")] * 40, KeptError(Reason.REASON_INTERNAL, "A fault.")]:
        peer.error = error
        with pytest.raises(KeptError):
            parts.outbox.deliver()
        parts.clock.advance(timedelta(seconds=31))
    peer.error = None
    parts.deliver()
    assert peer.seen == [0, 1, 2], "nothing overtook what had waited for the outage to end"


def test_what_waited_behind_a_message_that_was_put_aside_has_all_its_own_tries(parts: Parts) -> None:
    fault = KeptError(Reason.REASON_INTERNAL, "A fault.")
    parts.peer.refused = {0: fault}
    parts.put("a", 0, 1, 2)
    while parts.outbox.is_well():
        with suppress(KeptError):
            parts.outbox.deliver()
        parts.peer.refused = {0: fault, 1: fault} if 1 not in parts.peer.seen else {}
        parts.clock.advance(timedelta(seconds=31))
    parts.peer.refused = {0: fault}
    parts.deliver()
    assert parts.peer.seen == [1, 2]


@pytest.mark.parametrize("kind", ["a", AUDIT])
def test_a_message_that_we_stumble_over_is_put_aside_in_the_end(parts: Parts, kind: str) -> None:
    peer = parts.audits if kind == AUDIT else parts.peer
    peer.refused = {1: LookupError("an event that this version does not know")}
    parts.put(kind, 0, 1, 2)
    parts.put("b", 7)
    tries = 0
    while 2 not in peer.seen:
        tries += 1
        with suppress(KeptError):
            parts.outbox.deliver()
        assert parts.other.seen == [7], "another kind is not held up"
        parts.clock.advance(timedelta(seconds=31))
    assert 20 < tries < 60
    assert sorted(peer.seen) == [0, 2]
    assert parts.outbox.backlog() == 1
    assert not parts.outbox.is_well()


def test_it_is_not_well_from_the_first_try_that_fails_until_one_does_not(parts: Parts) -> None:
    """Its job is seen to fail as long as the receiver is away, and not only while it tries."""
    second = parts.process()
    parts.peer.error = peer_unavailable("peer")
    parts.put("a", 0)
    for _ in range(60):
        with pytest.raises(KeptError):
            parts.outbox.deliver()
        with pytest.raises(KeptError):
            second.deliver()
        parts.clock.advance(timedelta(seconds=1))
    parts.peer.error = None
    parts.clock.advance(timedelta(seconds=31))
    parts.deliver()
    assert second.deliver() is False
    assert parts.peer.seen == [0]


def test_hundreds_go_out_at_once_though_another_kind_is_held_up(parts: Parts) -> None:
    parts.peer.error = peer_unavailable("peer")
    parts.put("a", 0)
    parts.put(AUDIT, *range(450))
    for _ in range(3):
        parts.outbox.job.wake.clear()
        with pytest.raises(KeptError):
            parts.outbox.deliver()
        if len(parts.audits.seen) < 450:
            assert parts.outbox.job.wake.is_set(), "the next step is not waited for"
    assert parts.audits.seen == list(range(450))


@pytest.mark.parametrize("kind", ["a", AUDIT])
def test_a_process_that_dies_after_delivery_has_it_delivered_again(parts: Parts, kind: str) -> None:
    peer = parts.audits if kind == AUDIT else parts.peer

    def die() -> None:
        raise Death

    parts.put(kind, 0, 1)
    peer.during = die
    with pytest.raises(Death):
        parts.outbox.deliver()
    peer.during = None
    successor = parts.process()
    successor.deliver()
    assert peer.seen == [], "perhaps it is still at work"
    parts.clock.advance(timedelta(seconds=11))
    successor.deliver()
    assert peer.seen == [0, 1]
    assert parts.outbox.backlog() == 0


@pytest.mark.parametrize("kind", ["a", AUDIT])
def test_two_processes_do_not_deliver_the_same_message_at_once(parts: Parts, kind: str) -> None:
    peer, second = parts.audits if kind == AUDIT else parts.peer, parts.process()

    def look_in() -> None:
        peer.during = None
        parts.put(kind, 1)
        second.deliver()
        assert peer.seen == [], "neither what the first has in hand nor what comes after it"

    parts.put(kind, 0)
    peer.during = look_in
    parts.outbox.deliver()
    assert peer.seen == [0]
    second.deliver()
    assert peer.seen == [0, 1]


def test_a_process_whose_claim_ran_out_leaves_the_messages_to_whoever_has_them(parts: Parts) -> None:
    second = parts.process()

    def freeze() -> None:
        parts.peer.during = None
        parts.clock.advance(timedelta(seconds=11))
        second.deliver()
        raise peer_unavailable("peer")

    parts.put("a", 0, 1)
    parts.peer.during = freeze
    with pytest.raises(KeptError):
        parts.outbox.deliver()
    assert parts.peer.seen == [0, 1]
    assert parts.outbox.backlog() == 0


def test_no_transaction_is_open_during_a_call(parts: Parts) -> None:
    def look() -> None:
        with parts.database.engine.connect() as connection:
            open_ones = connection.execute(
                sqlalchemy.text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND state LIKE 'idle in transaction%'"
                )
            ).scalar_one()
        assert open_ones == 0

    parts.peer.during = parts.audits.during = look
    parts.put("a", 0)
    parts.put(AUDIT, 0)
    parts.deliver()
    assert parts.peer.seen == parts.audits.seen == [0]


def test_a_slow_peer_gets_on_message_by_message(parts: Parts) -> None:
    def linger() -> None:
        parts.clock.advance(timedelta(seconds=3))

    parts.peer.during = linger
    parts.put("a", *range(5))
    assert parts.outbox.deliver() is True
    assert parts.peer.seen == [0, 1], "what was delivered in time is marked before the claim runs out"
    parts.deliver()
    assert parts.peer.seen == [0, 1, 2, 3, 4]


def test_a_clock_that_is_set_back_stops_nothing(parts: Parts) -> None:
    parts.peer.error = peer_unavailable("peer")
    parts.put("a", 0)
    with pytest.raises(KeptError):
        parts.outbox.deliver()
    parts.peer.error = None
    parts.clock.step(timedelta(days=-31))
    parts.deliver()
    assert parts.peer.seen == [0]


def test_a_kind_that_nobody_delivers_is_refused_at_once(parts: Parts) -> None:
    with pytest.raises(KeyError), parts.database.transaction() as tx:
        parts.outbox.put(tx, "unknown", lease_pb2.Lease())
