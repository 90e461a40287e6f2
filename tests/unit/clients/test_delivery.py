"""The state behind the recorders in the background: each record ends once, whatever is answered and whenever."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kept.client.delivery import Batch, Delivery, Limits, News, Offer
from kept.client.errors import KeptError
from kept.client.recorder import BATCH_BYTES, BATCH_RECORDS, LARGEST_RECORD
from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import ingest_pb2, interactions_pb2

UNAVAILABLE = KeptError("NOT_REACHABLE", "", status="UNAVAILABLE")
OVERLOADED = KeptError(
    "OVERLOADED", "", status="RESOURCE_EXHAUSTED", retry_after=timedelta(seconds=3), metadata={"x": "y"}
)
INTERNAL = KeptError("INTERNAL", "", status="INTERNAL")
MALFORMED = KeptError("MALFORMED_MESSAGE", "", status="INVALID_ARGUMENT")
TOO_LARGE = KeptError("TOO_LARGE", "", status="RESOURCE_EXHAUSTED", metadata={"limit": "1"})
# What gRPC itself answers when too many calls are open, and when a message is too large for it.
BARE_EXHAUSTED = KeptError("TOO_LARGE", "", status="RESOURCE_EXHAUSTED")
UNREADABLE = KeptError("UNREADABLE", "")
LATE = KeptError("DEADLINE_EXCEEDED", "", status="DEADLINE_EXCEEDED")


def interaction(number: int, size: int = 0) -> interactions_pb2.Interaction:
    made = interactions_pb2.Interaction(record_id=number.to_bytes(16, "big"))
    if size:
        made.content.prompt.add().parts.add(text="x" * size)
    return made


def delivery(**limits: Any) -> Delivery:
    """Without random: pauses have their full length."""
    return Delivery(Limits(**limits), jitter=lambda: 0.0)


def hold(one: Delivery, count: int, now: float = 0.0, first: int = 1) -> None:
    for number in range(first, first + count):
        assert one.offer(interaction(number), now)[0] is Offer.HELD


def stored(batch: Batch) -> list[ingest_pb2.Receipt]:
    return [
        ingest_pb2.Receipt(record_id=each.record_id, outcome=ingest_pb2.OUTCOME_STORED)
        for each in batch.interactions
    ]


def refusal(reason: Any, *, retryable: bool = False) -> ingest_pb2.Receipt:
    return ingest_pb2.Receipt(outcome=ingest_pb2.OUTCOME_REFUSED, reason=reason, retryable=retryable)


def sent(one: Delivery, now: float, *, hurry: bool = False) -> Batch:
    batch = one.next_batch(now, hurry=hurry)
    assert batch is not None
    return batch


def later(one: Delivery, now: float) -> float:
    """When the next thing is due; whatever there was to say is said."""
    one.news(now, at_once=True)
    wake = one.wake_at(now)
    return now if wake is None else max(now, wake)


def numbers(batch: Batch) -> list[int]:
    return [int.from_bytes(each.record_id, "big") for each in batch.interactions]


def test_a_batch_goes_when_it_is_old_enough() -> None:
    one = delivery(batch_seconds=0.5)
    hold(one, 2, now=10.0)
    assert one.next_batch(10.49) is None
    assert one.wake_at(10.0) == 10.5
    assert numbers(sent(one, 10.5)) == [1, 2]
    assert one.wake_at(10.5) is None
    assert one.waiting == 2


def test_a_batch_goes_at_once_when_it_is_full() -> None:
    one = delivery(batch_records=3)
    hold(one, 4)
    assert numbers(sent(one, 0.0)) == [1, 2, 3]
    assert one.next_batch(0.0) is None
    assert numbers(sent(one, 0.0, hurry=True)) == [4]


def test_a_batch_has_a_bound_of_bytes_and_one_record_may_pass_it() -> None:
    one = delivery(batch_bytes=1000)
    for number, size in ((1, 600), (2, 300), (3, 600), (4, 5000), (5, 10)):
        one.offer(interaction(number, size), 0.0)
    batches = []
    while batch := one.next_batch(1.0):
        batches.append(numbers(batch))
    assert batches == [[1, 2], [3], [4], [5]]
    hold(one, 1, now=1.0, first=6)
    assert one.next_batch(1.0) is None  # what has gone does not fill the next


def test_the_buffer_is_bounded_by_records_until_they_are_answered() -> None:
    one = delivery(records=2)
    hold(one, 2)
    batch = sent(one, 1.0)
    assert one.offer(interaction(3), 1.0)[0] is Offer.FULL  # under way counts
    one.answered(batch, stored(batch), 1.0)
    assert one.offer(interaction(3), 1.0)[0] is Offer.HELD
    assert (one.delivered, one.dropped, one.waiting) == (2, 0, 1)


def test_the_buffer_is_bounded_by_bytes() -> None:
    one = delivery(bytes=LARGEST_RECORD)
    half = LARGEST_RECORD // 2
    assert one.offer(interaction(1, half), 0.0)[0] is Offer.HELD
    assert one.offer(interaction(2, half), 0.0)[0] is Offer.FULL
    assert one.offer(interaction(3, 100), 0.0)[0] is Offer.HELD
    batch = sent(one, 1.0)
    one.answered(batch, stored(batch), 1.0)
    assert [one.offer(interaction(number, half), 1.0)[0] for number in (4, 5)] == [Offer.HELD, Offer.FULL]


def test_a_record_larger_than_any_batch_is_refused_and_holds_nothing() -> None:
    one = delivery()
    offer, receipt = one.offer(interaction(1, LARGEST_RECORD), 0.0)
    assert receipt is not None
    assert (offer, receipt.reason) == (Offer.REFUSED, reasons_pb2.REASON_TOO_LARGE)
    assert (one.refused, one.waiting) == (1, 0)


def test_nobody_there_the_same_batch_again_after_growing_pauses() -> None:
    one = delivery(first_pause=1.0, longest_pause=4.0)
    hold(one, 3)
    now, pauses = 1.0, []
    for _ in range(4):
        batch = sent(one, now)
        assert numbers(batch) == [1, 2, 3]
        one.failed(batch, UNAVAILABLE, now)
        wake = later(one, now)
        assert one.next_batch(wake - 0.01, hurry=True) is None
        pauses.append(wake - now)
        now = wake
    assert pauses == [1.0, 2.0, 4.0, 4.0]
    batch = sent(one, now)
    one.answered(batch, stored(batch), now)
    hold(one, 1, now, first=9)
    one.failed(sent(one, now, hurry=True), UNAVAILABLE, now)
    assert later(one, now) == now + 1.0  # an answer begins them anew


def test_what_the_service_asks_for_is_waited_and_hastening_ends_it() -> None:
    one = delivery(first_pause=0.1)
    hold(one, 1)
    one.failed(sent(one, 1.0), OVERLOADED, 1.0)
    assert one.next_batch(3.9) is None
    one.hasten()
    assert numbers(sent(one, 3.9)) == [1]


def test_hastening_begins_the_pauses_anew() -> None:
    one = delivery(first_pause=0.2)
    hold(one, 2)
    now = 1.0
    for _ in range(8):
        one.failed(sent(one, now), UNAVAILABLE, now)
        now = later(one, now)
    under_way = sent(one, now)
    one.hasten()
    began, tries = now, []
    for _ in range(4):
        one.failed(under_way, UNAVAILABLE, now)
        now = later(one, now)
        tries.append(round(now - began, 6))
        under_way = sent(one, now, hurry=True)
    assert tries == [0.2, 0.6, 1.4, 3.0]


def test_hastening_begins_anew_the_waits_of_what_is_refused_for_the_moment() -> None:
    one = delivery(first_pause=0.2)
    hold(one, 1)
    busy = refusal(reasons_pb2.REASON_OVERLOADED, retryable=True)
    now = 1.0
    for _ in range(8):
        one.answered(sent(one, now), [busy], now)
        now = later(one, now)
    under_way = sent(one, now)
    one.hasten()
    one.answered(under_way, [busy], now)
    assert round(later(one, now) - now, 6) == 0.2


@pytest.mark.parametrize(
    "error", [UNREADABLE, UNAVAILABLE, OVERLOADED, BARE_EXHAUSTED, LATE], ids=lambda error: error.reason
)
def test_no_outage_of_any_length_refuses_a_record(error: KeptError) -> None:
    one = delivery()
    hold(one, 2)
    now = 1.0
    for _ in range(2000):
        assert one.failed(sent(one, now), error, now) == []
        now = later(one, now)
    assert (one.refused, one.dropped, one.waiting) == (0, 0, 2)


@pytest.mark.parametrize("error", [MALFORMED, TOO_LARGE], ids=lambda error: error.reason)
def test_a_message_that_is_refused_is_halved_until_the_record_at_fault_is_alone(error: KeptError) -> None:
    one = delivery()
    hold(one, 100)
    told: list[ingest_pb2.Receipt] = []
    while batch := one.next_batch(1.0):
        if 42 in numbers(batch):
            told += one.failed(batch, error, 1.0)
        else:
            told += one.answered(batch, stored(batch), 1.0)
    assert [(int.from_bytes(each.record_id, "big"), each.reason) for each in told] == [
        (42, reasons_pb2.Reason.Value(f"REASON_{error.reason}"))
    ]
    assert (one.delivered, one.refused, one.waiting) == (99, 1, 0)


@pytest.mark.parametrize(
    ("error", "size"), [(INTERNAL, 0), (BARE_EXHAUSTED, 3 * 1024 * 1024)], ids=["internal", "bare"]
)
def test_a_record_that_the_service_fails_on_is_blamed_only_while_others_are_taken(
    error: KeptError, size: int
) -> None:
    one = delivery()
    hold(one, 4)
    one.offer(interaction(5, size), 0.0)
    hold(one, 3, first=6)
    now = 1.0

    def step() -> list[ingest_pb2.Receipt]:
        nonlocal now
        now = later(one, now)
        batch = one.next_batch(now)
        if batch is None:
            return []
        if is_ill or 5 in numbers(batch):
            return one.failed(batch, error, now)
        return one.answered(batch, stored(batch), now)

    is_ill = True
    for _ in range(500):
        assert step() == []
    assert one.waiting == 8
    is_ill = False
    told: list[ingest_pb2.Receipt] = []
    others = 0
    while not told and others < 5000:
        others += 1
        hold(one, 1, now, first=100 + others)
        told += step()
    assert [int.from_bytes(each.record_id, "big") for each in told] == [5]
    for _ in range(others):
        assert step() == []
    assert (one.delivered, one.refused, one.waiting) == (7 + others, 1, 0)


def test_a_small_record_that_meets_grpcs_limit_of_calls_is_never_blamed() -> None:
    one = delivery(batch_records=1)
    now = 1.0
    for number in range(1, 50):
        hold(one, 2 if number == 1 else 1, now, first=number)
        unlucky, lucky = sent(one, now), sent(one, now)
        assert numbers(unlucky) == [1]
        assert one.failed(unlucky, BARE_EXHAUSTED, now) == []
        one.answered(lucky, stored(lucky), now)
        news = one.news(now, at_once=True)
        assert news is not None
        assert news.failing == "OVERLOADED"
        now = later(one, now)
    assert (one.refused, one.waiting) == (0, 1)


def test_a_small_batch_that_meets_grpcs_limit_of_calls_stays_whole_and_a_large_one_is_halved() -> None:
    one = delivery()
    hold(one, 8)
    one.failed(sent(one, 1.0), BARE_EXHAUSTED, 1.0)
    again = sent(one, later(one, 1.0))
    assert len(again.held) == 8
    one.answered(again, stored(again), 2.0)
    for number in range(1, 5):
        one.offer(interaction(number, 1024 * 1024 - 100), 2.0)
    one.failed(sent(one, 3.0), BARE_EXHAUSTED, 3.0)
    assert numbers(sent(one, later(one, 3.0))) == [1, 2]


def test_over_a_slow_line_a_batch_is_halved_until_it_arrives_in_time() -> None:
    """100 kB a second and 30 seconds a call: 4 MiB never arrive, and the one record that takes longer does not stand in the others' way
    for ever."""
    one = Delivery(Limits(), jitter=lambda: 0.5)
    for number in range(1, 101):
        one.offer(interaction(number, 3_500_000 if number == 42 else 60_000), 0.0)
    now = 1.0
    while one.waiting > 1 and now < 1000:
        now = later(one, now)
        if (batch := one.next_batch(now)) is not None:
            seconds = sum(held.size for held in batch.held) / 100_000
            now += min(seconds, 30)
            if seconds > 30:
                assert one.failed(batch, LATE, now) == []
            else:
                one.answered(batch, stored(batch), now)
    assert (one.delivered, one.refused, one.waiting) == (99, 0, 1)


def test_a_refusal_of_the_moment_costs_the_others_no_wait() -> None:
    one = delivery(first_pause=1.0)
    hold(one, 2)
    batch = sent(one, 1.0)
    later = refusal(reasons_pb2.REASON_PEER_UNAVAILABLE, retryable=True)
    assert one.answered(batch, [later, stored(batch)[1]], 1.0) == []
    hold(one, 1, 1.0, first=3)
    assert numbers(sent(one, 1.5)) == [3]
    assert one.next_batch(1.9) is None
    assert numbers(sent(one, 2.0)) == [1]


def test_final_refusals_are_told_with_the_id_of_the_record() -> None:
    one = delivery()
    hold(one, 2)
    batch = sent(one, 1.0)
    told = one.answered(batch, [refusal(reasons_pb2.REASON_INVALID_RECORD_ID), stored(batch)[1]], 1.0)
    assert [each.record_id for each in told] == [batch.interactions[0].record_id]
    assert (one.delivered, one.refused, one.waiting) == (1, 1, 0)


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        (ingest_pb2.OUTCOME_STORED, (1, 0)),
        (ingest_pb2.OUTCOME_STORED_WITHOUT_CONTENT, (1, 0)),
        (ingest_pb2.OUTCOME_DUPLICATE, (1, 0)),
        (ingest_pb2.OUTCOME_UNSPECIFIED, (0, 1)),  # not known to be durable
    ],
)
def test_each_outcome_counts_as_what_it_is(outcome: Any, counts: tuple[int, int]) -> None:
    one = delivery()
    hold(one, 1)
    one.answered(sent(one, 1.0), [ingest_pb2.Receipt(outcome=outcome)], 1.0)
    assert (one.delivered, one.refused) == counts


def test_news_comes_once_a_second_with_counts_and_reasons() -> None:
    one = delivery(records=1)
    hold(one, 1)
    one.drop()
    assert one.news(10.0) == News(dropped=1, refused=(), failing="", waiting=1)
    one.drop()
    one.drop()
    batch = sent(one, 10.1)
    assert one.news(10.9) is None
    assert one.wake_at(10.9) == 11.0  # even when nothing else happens
    one.answered(batch, [refusal(reasons_pb2.REASON_INVALID_ARGUMENT)], 10.9)
    assert one.news(11.0) == News(dropped=2, refused=(("INVALID_ARGUMENT", 1),), failing="", waiting=0)
    assert one.news(99.0) is None
    one.drop()
    assert one.news(99.0) is not None
    one.drop()
    assert one.news(99.1, at_once=True) is not None


@pytest.mark.parametrize(
    "reason", [reasons_pb2.REASON_CLOSED, reasons_pb2.REASON_DEPLOYMENT_SENDS_NO_CONTENT]
)
def test_what_was_agreed_is_no_news(reason: Any) -> None:
    one = delivery()
    hold(one, 1)
    assert len(one.answered(sent(one, 1.0), [refusal(reason)], 1.0)) == 1
    assert (one.refused, one.news(5.0)) == (1, None)


def test_answers_to_what_was_abandoned_are_not_counted() -> None:
    one = delivery()
    hold(one, 3)
    batch = sent(one, 1.0)
    assert one.abandon() == 3
    assert one.answered(batch, stored(batch), 1.0) == []
    assert one.failed(batch, UNAVAILABLE, 1.0) == []
    assert (one.delivered, one.dropped, one.waiting) == (0, 3, 0)


def test_done_up_to_a_record_looks_at_older_ones_alone() -> None:
    one = delivery(batch_records=1)
    hold(one, 1)
    last = one.last
    hold(one, 1, first=2)
    batch = sent(one, 0.0)
    assert not one.is_done(last)
    one.answered(batch, stored(batch), 0.0)
    assert one.is_done(last)
    assert not one.is_done(one.last)


@pytest.mark.parametrize(
    "limits",
    [
        {"batch_records": 0},
        {"batch_records": BATCH_RECORDS + 1},
        {"batch_bytes": BATCH_BYTES + 1},
        {"records": 0},
        {"bytes": LARGEST_RECORD - 1},
        {"batch_seconds": -0.1},
        {"first_pause": 0.0},
        {"first_pause": 2.0, "longest_pause": 1.0},
    ],
)
def test_limits_that_cannot_work_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Limits(**limits)


ERRORS = st.sampled_from(
    [UNAVAILABLE, OVERLOADED, INTERNAL, MALFORMED, TOO_LARGE, BARE_EXHAUSTED, UNREADABLE, LATE]
)
RECEIPTS = st.sampled_from(
    [
        ingest_pb2.Receipt(outcome=ingest_pb2.OUTCOME_STORED),
        ingest_pb2.Receipt(outcome=ingest_pb2.OUTCOME_STORED_WITHOUT_CONTENT),
        ingest_pb2.Receipt(outcome=ingest_pb2.OUTCOME_DUPLICATE),
        refusal(reasons_pb2.REASON_OVERLOADED, retryable=True),
        refusal(reasons_pb2.REASON_CLOSED),
        refusal(reasons_pb2.REASON_INVALID_ARGUMENT),
    ]
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(0, 400)),
        st.tuples(st.just("take"), st.booleans()),
        st.tuples(st.just("answer"), st.lists(RECEIPTS, min_size=4, max_size=4)),
        st.tuples(st.just("fail"), ERRORS),
        st.tuples(st.just("wait"), st.floats(0, 40)),
        st.tuples(st.just("hasten"), st.none()),
        st.tuples(st.just("news"), st.none()),
    ),
    max_size=120,
)


@given(steps=STEPS, ends=st.booleans())
def test_every_record_ends_once_whatever_happens(steps: list[tuple[str, Any]], ends: bool) -> None:
    """Several batches may be under way at once. At the end the service is well, or the recorder is closed."""
    one = Delivery(
        Limits(records=12, batch_records=4, batch_bytes=900, batch_seconds=1.0), jitter=lambda: 0.5
    )
    now, offered = 0.0, 0
    under_way: list[Batch] = []
    told: Counter[bytes] = Counter()
    said_drops, last_said = 0, float("-inf")

    def tell(receipts: list[ingest_pb2.Receipt]) -> None:
        told.update(each.record_id for each in receipts)

    for what, value in steps:
        if what == "offer":
            offered += 1
            if one.offer(interaction(offered, value), now)[0] is Offer.FULL:
                one.drop()
        elif what == "take":
            batch = one.next_batch(now, hurry=value)
            if batch is not None:
                assert 1 <= len(batch.held) <= 4
                under_way.append(batch)
        elif what == "answer" and under_way:
            batch = under_way.pop(0)
            receipts = []
            for each in value[: len(batch.held)]:
                receipts.append(ingest_pb2.Receipt())
                receipts[-1].CopyFrom(each)
            tell(one.answered(batch, receipts, now))
        elif what == "fail" and under_way:
            tell(one.failed(under_way.pop(), value, now))
        elif what == "wait":
            now += value
        elif what == "hasten":
            one.hasten()
        elif what == "news" and (news := one.news(now)) is not None:
            assert now - last_said >= 1.0
            last_said, said_drops = now, said_drops + news.dropped
        assert one.delivered + one.refused + one.dropped + one.waiting == offered
        assert one.waiting <= 12
        in_flight = [held.sequence for batch in under_way for held in batch.held]
        assert len(in_flight) == len(set(in_flight))
    if ends:
        one.abandon()
    for batch in under_way:
        tell(one.answered(batch, stored(batch), now))
    for _ in range(200):
        one.news(now, at_once=True)
        if not one.waiting:
            break
        wake = one.wake_at(now)
        assert wake is not None  # nothing is forgotten
        now = max(now, wake)
        if (batch := one.next_batch(now)) is not None:
            tell(one.answered(batch, stored(batch), now))
    assert one.delivered + one.refused + one.dropped == offered
    assert sum(told.values()) == len(told) == one.refused
