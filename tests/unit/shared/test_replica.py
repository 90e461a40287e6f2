"""The leased replica against a real database: what is leased is complete, and what is not leased decides nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy

from kept.replica.v1 import lease_pb2
from shared.change_feed import LEASE_DURATION, ChangeFeed, change_table
from shared.clock import CLOCK_TOLERANCE
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.replica import ReceivedChange, Replica
from tests.support.clocks import ManualClock
from tests.support.postgres import FreshDatabase

WINDOW = timedelta(hours=24)
Feed = tuple[ChangeFeed, Database, ManualClock]


@pytest.fixture
def feed(fresh_database: FreshDatabase) -> Feed:
    database = Database(fresh_database("settings"))
    metadata = sqlalchemy.MetaData()
    table = change_table(metadata, "policy_changes")
    metadata.create_all(database.engine)
    clock = ManualClock()
    return ChangeFeed(table, database, clock), database, clock


def receiver(feed: ChangeFeed, clock: ManualClock, limit: int = 100) -> Replica[str]:
    def poll(since: int) -> tuple[list[ReceivedChange[str]], lease_pb2.Lease]:
        changes, lease = feed.poll(since, limit)
        return [
            ReceivedChange(c.version, c.subject, c.effective_at, c.payload.decode()) for c in changes
        ], lease

    return Replica("test", poll, clock, window=WINDOW)


def put(feed: Feed, subject: str, value: str) -> None:
    with feed[1].transaction() as tx:
        feed[0].append(tx, subject, value.encode())


def test_a_change_counts_for_everybody_from_its_instant_and_for_nobody_before(feed: Feed) -> None:
    serving, _, clock = feed
    put(feed, "a", "one")
    replica = receiver(serving, clock)
    replica.poll_once()
    assert replica.at("a", clock.now()) is None
    assert replica.at("a", clock.now() + LEASE_DURATION) == "one"


def test_whoever_holds_a_lease_past_the_instant_knows_the_change(feed: Feed) -> None:
    serving, _, clock = feed
    replica = receiver(serving, clock)
    replica.poll_once()
    put(feed, "a", "one")
    clock.advance(LEASE_DURATION - timedelta(milliseconds=1))
    assert replica.has_lease(), "still leased, and the change does not count yet"
    clock.advance(timedelta(milliseconds=1))
    assert not replica.has_lease(), "the change counts, and who does not know it holds no lease"
    with pytest.raises(KeptError) as refused:
        replica.require_lease()
    assert refused.value.reason == Reason.REASON_LEASE_LAPSED
    replica.poll_once()
    assert replica.has_lease()
    assert replica.at("a", clock.now()) == "one"


@pytest.mark.parametrize("known", [0, 1])
def test_a_poll_that_waits_for_a_change_is_answered_with_it(feed: Feed, known: int) -> None:
    serving, database, _ = feed
    put(feed, "a", "one")
    with ThreadPoolExecutor(1) as elsewhere:
        with database.transaction() as tx:
            change = serving.append(tx, "a", b"two")
            answer = elsewhere.submit(serving.poll, known, 100)
            while not _somebody_waits(database):
                assert not answer.done(), "a poll waits for a change that has read its clock"
        changes, lease = answer.result(timeout=10)
    assert changes[-1] == change
    assert (lease.version, lease.complete) == (2, True)


def _somebody_waits(database: Database) -> bool:
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with database.transaction() as tx:
        return bool(tx.execute(sqlalchemy.text(waiting)).scalar_one())


def test_an_incomplete_answer_gives_no_lease_and_a_rebuilt_table_appears_whole(feed: Feed) -> None:
    serving, _, clock = feed
    for number in range(5):
        put(feed, f"s{number}", "x")
    replica = receiver(serving, clock, limit=2)
    assert replica.poll_once(), "there is more"
    assert not replica.has_lease()
    assert replica.subjects() == [], "half a table decides nothing"
    while replica.poll_once():
        pass
    assert replica.has_lease()
    assert len(replica.subjects()) == 5


def test_a_receiver_whose_clock_is_off_takes_no_lease(feed: Feed) -> None:
    serving, _, clock = feed
    skewed = ManualClock(clock.now() + CLOCK_TOLERANCE + timedelta(seconds=1))
    replica = receiver(serving, skewed)
    replica.poll_once()
    assert not replica.has_lease()


def test_a_clock_that_is_stepped_away_voids_the_lease_and_one_that_is_stepped_back_has_it_again(
    feed: Feed,
) -> None:
    serving, _, clock = feed
    own = ManualClock(clock.now())
    replica = receiver(serving, own)
    replica.poll_once()
    for direction in (1, -1):
        own.step(direction * (CLOCK_TOLERANCE + timedelta(milliseconds=1)))
        assert not replica.has_lease()
        with pytest.raises(KeptError) as refused:
            replica.leased_now()
        assert refused.value.reason == Reason.REASON_LEASE_LAPSED
        own.step(-direction * (CLOCK_TOLERANCE + timedelta(milliseconds=1)))
        assert replica.leased_now() == own.now()


@pytest.mark.parametrize(
    ("off", "way_there", "way_back", "leased"),
    [
        (-4.5, 0.0, 0.1, True),
        (
            -4.5,
            1.0,
            0.0,
            False,
        ),  # as a clock would look that is 5.5 s behind, had the answer been given when the poll was sent
        (4.5, 0.1, 0.0, True),
        (4.5, 0.0, 1.0, False),  # as one would that is 5.5 s ahead
        (-5.5, 0.0, 1.0, False),
        (5.5, 1.0, 0.0, False),
    ],
)
def test_a_clock_in_doubt_is_a_wrong_one(
    feed: Feed, off: float, way_there: float, way_back: float, leased: bool
) -> None:
    serving, _, clock = feed
    own = ManualClock(clock.now() + timedelta(seconds=off))

    def poll(since: int) -> tuple[list[ReceivedChange[str]], lease_pb2.Lease]:
        for each in (clock, own):
            each.advance(timedelta(seconds=way_there))
        answer = serving.poll(since, 100)[1]
        for each in (clock, own):
            each.advance(timedelta(seconds=way_back))
        return [], answer

    replica: Replica[str] = Replica("test", poll, own, window=WINDOW)
    replica.poll_once()
    assert replica.has_lease() is leased


def test_travel_voids_the_lease(feed: Feed) -> None:
    serving, _, clock = feed
    replica = receiver(serving, clock)
    replica.poll_once()
    assert replica.has_lease()
    clock.travel(timedelta(days=31))
    assert not replica.has_lease()


def test_a_clock_stepped_back_keeps_the_order_of_changes(feed: Feed) -> None:
    serving, _, clock = feed
    put(feed, "a", "one")
    clock.step(timedelta(hours=-1))
    put(feed, "a", "two")
    replica = receiver(serving, clock)
    replica.poll_once()
    clock.step(timedelta(hours=1))
    assert replica.at("a", clock.now() + LEASE_DURATION) == "two"


def test_a_receiver_that_knows_more_than_there_is_starts_again(feed: Feed) -> None:
    serving, database, clock = feed
    for value in ("one", "two"):
        put(feed, "a", value)
    replica = receiver(serving, clock)
    replica.poll_once()
    with database.transaction() as tx:
        tx.execute(sqlalchemy.text("DELETE FROM policy_changes WHERE version = 2"))
    replica.poll_once()
    assert replica.at("a", clock.now() + timedelta(minutes=1)) == "one"


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (-10, -5, [None]),
        (-5, 5, [None, "one"]),
        (0, 5, ["one"]),
        (5, 15, ["one", "two"]),
        (10, 15, ["two"]),
        (15, 20, ["two"]),
    ],
)
def test_throughout_names_every_policy_in_force(start: int, end: int, expected: list[str | None]) -> None:
    clock = ManualClock()
    begin = clock.now()
    changes = [
        ReceivedChange(1, "a", begin, "one"),
        ReceivedChange(2, "a", begin + timedelta(seconds=10), "two"),
    ]

    def poll(_: int) -> tuple[list[ReceivedChange[str]], lease_pb2.Lease]:
        lease = lease_pb2.Lease(version=2, complete=True, reset=True)
        lease.answered_at.FromDatetime(clock.now())
        lease.duration.FromTimedelta(LEASE_DURATION)
        return changes, lease

    replica = Replica("test", poll, clock, window=WINDOW)
    replica.poll_once()
    second: Callable[[int], timedelta] = lambda s: timedelta(seconds=s)  # noqa: E731
    assert replica.throughout("a", begin + second(start), begin + second(end)) == expected


def test_intervals_older_than_the_window_are_dropped_and_the_one_in_force_stays(feed: Feed) -> None:
    serving, _, clock = feed
    replica = receiver(serving, clock)
    for value in ("one", "two"):
        put(feed, "a", value)
        clock.advance(WINDOW + timedelta(hours=1))
        replica.poll_once()
    put(feed, "a", "three")
    clock.advance(timedelta(minutes=1))
    replica.poll_once()
    now = clock.now()
    assert replica.throughout("a", now - timedelta(minutes=2), now) == ["two", "three"]
    assert replica.throughout("a", now - timedelta(days=90), now)[0] is None


def test_what_is_known_stays_so_and_what_is_not_needs_a_lease(feed: Feed) -> None:
    serving, _, clock = feed
    replica = receiver(serving, clock)
    with pytest.raises(KeptError) as refused:
        replica.is_known("a")
    assert refused.value.reason == Reason.REASON_LEASE_LAPSED, "nobody has told us anything yet"
    put(feed, "a", "one")
    replica.poll_once()
    assert [replica.is_known(subject) for subject in "ab"] == [True, False]
    clock.advance(LEASE_DURATION)
    assert replica.is_known("a")
    with pytest.raises(KeptError) as refused:
        replica.is_known("b")
    assert refused.value.reason == Reason.REASON_LEASE_LAPSED, "it may be there by now"
