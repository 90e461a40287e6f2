"""An outbox for receivers that are not ours: each message by itself, ever more rarely, and never lost."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import sqlalchemy
from prometheus_client import REGISTRY

from shared.database import Database
from shared.errors import lease_lapsed
from shared.outbox import Schedule, ScheduledOutbox, Undelivered, outbox_table
from tests.support.clocks import ManualClock
from tests.support.postgres import FreshDatabase

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
SCHEDULE = Schedule((5 * SECOND, 5 * MINUTE, timedelta(hours=1)), 10 * SECOND)


class Parts:
    """An outbox, and what it delivered to a receiver that fails as `fails` says. during: called while it has a message in hand."""

    def __init__(self, url: str) -> None:
        self.database, self.clock = Database(url), ManualClock()
        self.tried: list[bytes] = []
        self.taken: list[bytes] = []
        self.fails: dict[bytes, Exception] = {}
        self.during: Callable[[], None] | None = None
        metadata = sqlalchemy.MetaData()
        self.table = outbox_table(metadata)
        metadata.create_all(self.database.engine)
        self.outbox = self.process()

    def process(self) -> ScheduledOutbox:
        """Another process on the same database."""
        return ScheduledOutbox(self.table, self.database, self.clock, "hook", SCHEDULE, self._take)

    def _take(self, payload: bytes) -> None:
        self.tried.append(payload)
        if self.during is not None:
            self.during()
        if payload in self.fails:
            raise self.fails[payload]
        self.taken.append(payload)

    def put(self, *payloads: bytes) -> None:
        with self.database.transaction() as tx:
            for payload in payloads:
                self.outbox.put(tx, payload)

    def deliver(self) -> None:
        """All that can be delivered now."""
        while self.outbox.deliver():
            pass

    def waiting(self) -> int:
        with self.database.transaction() as tx:
            return int(
                tx.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(self.table)).scalar_one()
            )


@pytest.fixture
def parts(fresh_database: FreshDatabase) -> Iterator[Parts]:
    made = Parts(fresh_database("settings"))
    yield made
    made.database.close()


def test_what_is_rolled_back_is_never_sent(parts: Parts) -> None:
    with pytest.raises(RuntimeError), parts.database.transaction() as tx:
        parts.outbox.put(tx, b"1")
        raise RuntimeError("crash")
    parts.put(b"2")
    assert parts.outbox.job.wake.is_set(), "it is not waited for until the next look"
    parts.deliver()
    assert parts.taken == [b"2"]


def test_no_message_waits_for_another(parts: Parts) -> None:
    parts.fails = {b"1": Undelivered("HTTP_500")}
    parts.put(b"1", b"2", b"3")
    parts.deliver()
    assert parts.taken == [b"2", b"3"]
    assert parts.waiting() == 1


def test_a_message_that_we_stumble_over_is_as_one_that_failed(parts: Parts) -> None:
    parts.fails = {b"1": KeyError("an event that this version does not know"), b"2": lease_lapsed()}
    parts.put(b"1", b"2", b"3")
    parts.deliver()
    assert parts.taken == [b"3"]
    for wait in SCHEDULE.waits:
        parts.clock.advance(1.1 * wait)
        parts.deliver()
    assert len(parts.tried) == 9
    with parts.database.transaction() as tx:
        refused = sorted(tx.execute(sqlalchemy.select(parts.table.c.refused)).scalars())
    assert refused == ["KeyError", "LEASE_LAPSED"]
    parts.put(b"4")
    parts.deliver()
    assert parts.taken == [b"3", b"4"]


def test_what_fails_is_tried_ever_more_rarely_and_put_aside_in_the_end_but_kept(parts: Parts) -> None:
    parts.fails = {b"1": Undelivered("HTTP_500")}
    parts.put(b"1")
    parts.deliver()
    for number, wait in enumerate([*SCHEDULE.waits, SCHEDULE.waits[-1]], 2):
        parts.clock.advance(wait - SECOND)
        parts.deliver()
        assert len(parts.tried) == number - 1, "not yet"
        assert parts.outbox.is_well() is (number < 5)
        parts.clock.advance(0.1 * wait + SECOND)
        parts.deliver()
        assert len(parts.tried) == number
    assert REGISTRY.get_sample_value("kept_outbox_refused_messages", {"kind": "hook"}) == 1
    assert REGISTRY.get_sample_value("kept_alert_active", {"alert": "outbox_refused"}) == 1
    assert not parts.outbox.is_well()
    parts.fails = {}
    parts.clock.advance(SCHEDULE.longest)
    parts.deliver()
    assert parts.taken == [b"1"]
    assert parts.outbox.is_well()
    assert REGISTRY.get_sample_value("kept_alert_active", {"alert": "outbox_refused"}) == 0


def test_what_fails_together_does_not_come_back_together() -> None:
    waits = {SCHEDULE.wait(message_id, 1, timedelta(0)) for message_id in range(100)}
    assert len(waits) > 90
    assert all(5 * SECOND <= wait <= 5.5 * SECOND for wait in waits)


def test_a_receiver_that_asks_for_time_gets_it_within_reason(parts: Parts) -> None:
    parts.fails = {
        b"1": Undelivered("HTTP_429", retry_after=MINUTE),
        b"2": Undelivered("HTTP_429", retry_after=timedelta(days=9)),
    }
    parts.put(b"1", b"2")
    parts.deliver()
    parts.clock.advance(59 * SECOND)
    parts.deliver()
    assert len(parts.tried) == 2
    parts.clock.advance(SECOND)
    parts.deliver()
    assert parts.tried[2:] == [b"1"]
    parts.clock.advance(SCHEDULE.longest)
    parts.deliver()
    assert b"2" in parts.tried[3:]


def test_the_oldest_message_is_told_by_when_it_was_written(parts: Parts) -> None:
    def oldest() -> float | None:
        return REGISTRY.get_sample_value("kept_outbox_oldest_message_timestamp_seconds", {"kind": "hook"})

    parts.fails = {b"1": Undelivered("HTTP_500")}
    written = parts.clock.now().timestamp()
    parts.put(b"1")
    parts.deliver()
    parts.clock.advance(MINUTE)
    parts.put(b"2")
    parts.deliver()
    assert oldest() == written
    parts.fails = {}
    parts.clock.advance(10 * MINUTE)
    parts.deliver()
    assert oldest() == 0


def test_a_process_that_dies_in_between_has_it_delivered_again(parts: Parts) -> None:
    class Death(BaseException): ...

    def die() -> None:
        raise Death

    parts.put(b"1")
    parts.during = die
    with pytest.raises(Death):
        parts.outbox.deliver()
    parts.during = None
    successor = parts.process()
    successor.deliver()
    assert parts.taken == [], "perhaps it is still at work"
    parts.put(b"2")
    successor.deliver()
    assert parts.taken == [b"2"], "but nothing else waits for that"
    parts.clock.advance(SCHEDULE.lease)
    successor.deliver()
    assert parts.taken == [b"2", b"1"]
    assert parts.waiting() == 0


def test_two_processes_do_not_have_the_same_message_in_hand(parts: Parts) -> None:
    second = parts.process()

    def look_in() -> None:
        parts.during = None
        second.deliver()

    parts.put(b"1", b"2")
    parts.during = look_in
    parts.deliver()
    assert parts.tried == [b"1", b"2"]


def test_a_process_whose_claim_ran_out_leaves_the_message_to_whoever_has_it(parts: Parts) -> None:
    parts.fails = {b"1": Undelivered("TIMEOUT")}
    second = parts.process()

    def freeze() -> None:
        parts.during = None
        parts.clock.advance(SCHEDULE.lease)
        second.deliver()  # it fails there too, and is to be tried again in 5 s
        parts.clock.advance(4 * SECOND)

    parts.put(b"1")
    parts.during = freeze
    parts.outbox.deliver()
    assert parts.tried == [b"1", b"1"]
    parts.clock.advance(2 * SECOND)
    second.deliver()
    assert parts.tried == [b"1", b"1", b"1"], "what the first one came to say counts no more"


def test_who_takes_nothing_more_is_left_alone_and_what_was_claimed_is_given_back(parts: Parts) -> None:
    parts.fails = {b"1": Undelivered("GONE", stop=True)}
    parts.put(b"1", b"2")
    assert parts.outbox.deliver() is False
    assert parts.tried == [b"1"]
    parts.process().deliver()
    assert parts.taken == [b"2"], "it is in nobody's hands"


def test_a_slow_receiver_is_not_sent_more_than_the_claim_has_time_for(parts: Parts) -> None:
    parts.during = lambda: parts.clock.advance(3 * SECOND)
    parts.put(*(b"%d" % number for number in range(5)))
    assert parts.outbox.deliver() is True
    assert parts.taken == [b"0", b"1"]
    parts.deliver()
    assert len(parts.taken) == 5


def test_what_is_new_goes_before_what_has_failed(parts: Parts) -> None:
    parts.fails = {b"1": Undelivered("HTTP_500")}
    parts.put(b"1")
    parts.deliver()
    parts.clock.advance(MINUTE)
    parts.put(b"2")
    parts.deliver()
    assert parts.tried == [b"1", b"2", b"1"]


def test_a_clock_that_is_set_back_stops_nothing(parts: Parts) -> None:
    parts.fails = {b"1": Undelivered("HTTP_500")}
    parts.put(b"1")
    parts.deliver()
    parts.fails = {}
    parts.clock.step(timedelta(days=-31))
    parts.deliver()
    assert parts.taken == [b"1"]


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

    parts.during = look
    parts.put(b"1")
    parts.deliver()
    assert parts.taken == [b"1"]
