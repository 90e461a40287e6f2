"""What a recorder in the background decides: which records it holds, which go next, when to try again, and what became of each.

No threads, no sockets, no clock: whoever drives it says what time it is (seconds of a clock that never goes back) and what was
answered. kept.client.sending does. The promise: each record that is offered ends as exactly one of delivered, refused or dropped,
and is reported once.

A call can fail in four ways. Nobody answered, or the service cannot answer now: the same batch goes again after a pause. No answer
came in time: the batch is halved, for the line may be too slow for the whole, and no record is ever blamed. The service found the
message itself wrong: the batch is halved until the record that is at fault stands alone, and that one is refused. The service failed
inside: as before, but a record alone is blamed only when others were taken between its failures, for otherwise it is the service
that is ill.

A RESOURCE_EXHAUSTED that says nothing else comes from gRPC itself, here, there or in between, which has the one status for a message that
is too large and for calls that are too many. For a small message it is the second, and never a record's fault.
"""

import heapq
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from secrets import SystemRandom
from typing import Final

from kept.client.errors import KeptError
from kept.client.recorder import BATCH_BYTES, BATCH_RECORDS, FRAMING_BYTES, LARGEST_RECORD, too_large
from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import ingest_pb2, interactions_pb2

_Outcome = ingest_pb2.Outcome
_DELIVERED: Final = frozenset(
    (_Outcome.OUTCOME_STORED, _Outcome.OUTCOME_STORED_WITHOUT_CONTENT, _Outcome.OUTCOME_DUPLICATE)
)
# Refusals that say what was agreed, not that something is wrong: they are counted and told, and no log line warns of them.
_AGREED: Final = frozenset((reasons_pb2.REASON_DEPLOYMENT_SENDS_NO_CONTENT, reasons_pb2.REASON_CLOSED))
_RANDOM: Final = SystemRandom()
# A record alone is refused when it failed so often while others were taken.
_STRIKES: Final = 5
# What is smaller is too large for no transport: gRPC takes 4 MiB where nobody says otherwise.
_SMALL_BYTES: Final = 3 * 1024 * 1024
# At most one log line of this recorder in so many seconds.
_NEWS_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Limits:
    """How much is held and how it is sent.

    records, bytes: what the buffer holds, records under way included; bytes as serialized (in memory they take some more).
    batch_records, batch_bytes: how large a batch is. batch_seconds: how long a record waits for company. first_pause, longest_pause:
    seconds between attempts; they double, and each is shortened by up to half at random so that gateways do not return together.
    """

    records: int = 10_000
    bytes: int = 64 * 1024 * 1024
    batch_records: int = BATCH_RECORDS
    batch_bytes: int = BATCH_BYTES
    batch_seconds: float = 0.2
    first_pause: float = 0.2
    longest_pause: float = 30.0

    def __post_init__(self) -> None:
        if not 1 <= self.batch_records <= BATCH_RECORDS or not 1 <= self.batch_bytes <= BATCH_BYTES:
            raise ValueError(f"a batch has 1 to {BATCH_RECORDS} records and 1 to {BATCH_BYTES} bytes")
        if self.records < 1 or self.bytes < LARGEST_RECORD:
            raise ValueError(f"the buffer has to hold one record and {LARGEST_RECORD} bytes")
        if self.batch_seconds < 0 or not 0 < self.first_pause <= self.longest_pause:
            raise ValueError("seconds cannot be negative, and the longest pause not shorter than the first")


class Offer(Enum):
    """What became of an offered record at once."""

    HELD = auto()
    FULL = auto()
    REFUSED = auto()


@dataclass(eq=False)
class Held:
    """A record that is waiting or under way. size: bytes in a batch. strikes: failures of it alone, others_taken: the count of
    successful batches at the last of them."""

    sequence: int
    interaction: interactions_pb2.Interaction = field(repr=False)
    size: int
    arrived: float
    retries: int = 0
    strikes: int = 0
    others_taken: int = -1


@dataclass(frozen=True)
class Batch:
    """Records that go in one message."""

    held: tuple[Held, ...]

    @property
    def interactions(self) -> list[interactions_pb2.Interaction]:
        """What is sent."""
        return [one.interaction for one in self.held]


@dataclass(frozen=True)
class News:
    """What a log line should say: counts and reasons since the last one, never content. failing: the reason of the last failed call,
    empty when none failed. waiting: records held now."""

    dropped: int
    refused: tuple[tuple[str, int], ...]
    failing: str
    waiting: int


class Delivery:
    """The state of one recorder. Not safe for threads: whoever drives it holds a lock.

    delivered, refused, dropped: how many records ended so; together with `waiting` they are all that were offered and not FULL,
    and all that were `drop`ped.
    """

    def __init__(self, limits: Limits, jitter: Callable[[], float] = _RANDOM.random) -> None:
        self.limits = limits
        self.delivered = self.refused = self.dropped = 0
        self._jitter = jitter
        self._held: OrderedDict[int, Held] = OrderedDict()
        self._bytes = 0
        self._next = 0
        self._abandoned_from = sys.maxsize
        # Waiting, oldest first, with the bytes of all; parts of a batch that was halved, which go as they are; and what was refused
        # for the moment, by when it goes again.
        self._ready: deque[Held] = deque()
        self._ready_bytes = 0
        self._halves: deque[tuple[Held, ...]] = deque()
        self._later: list[tuple[float, int, Held]] = []
        self._failures = 0
        self._paused_until = 0.0
        self._taken = 0
        self._unsaid_drops = 0
        self._unsaid_refusals: Counter[int] = Counter()
        self._unsaid_failure = ""
        self._said_at = float("-inf")

    @property
    def waiting(self) -> int:
        """How many records are held: waiting or under way."""
        return len(self._held)

    @property
    def last(self) -> int:
        """The number of the youngest record that was ever held; 0 before the first."""
        return self._next

    def is_done(self, last: int) -> bool:
        """Whether no record up to this number is held any more."""
        return not self._held or next(iter(self._held)) > last

    def is_answered(self, last: int) -> bool:
        """Whether every record up to this number has its answer: none is held, and none was let go of without one."""
        return self.is_done(last) and self._abandoned_from > last

    def has_room(self, size: int) -> bool:
        """Whether a record of so many bytes can be held now."""
        return len(self._held) < self.limits.records and self._bytes + size <= self.limits.bytes

    def offer(
        self, interaction: interactions_pb2.Interaction, now: float
    ) -> tuple[Offer, ingest_pb2.Receipt | None]:
        """Takes a record, which has its id and is this object's from here on, when there is room. FULL changes nothing: offer it
        again, or `drop` it. REFUSED comes with a receipt: it is larger than any batch."""
        size = interaction.ByteSize()
        if size > LARGEST_RECORD:
            return Offer.REFUSED, self._refuse(too_large(interaction.record_id))
        size += FRAMING_BYTES
        if not self.has_room(size):
            return Offer.FULL, None
        self._next += 1
        held = Held(self._next, interaction, size, now)
        self._held[held.sequence] = held
        self._bytes += size
        self._wait(held)
        return Offer.HELD, None

    def drop(self) -> None:
        """Counts a record that is not taken."""
        self.dropped += 1
        self._unsaid_drops += 1

    def abandon(self) -> int:
        """Lets go of all that is held; returns how many records that dropped. Answers that come after this are not counted."""
        count = len(self._held)
        self._abandoned_from = min((self._abandoned_from, *self._held))
        self.dropped += count
        self._unsaid_drops += count
        self._held.clear()
        self._ready.clear()
        self._halves.clear()
        self._later.clear()
        self._bytes = self._ready_bytes = 0
        return count

    def next_batch(self, now: float, *, hurry: bool = False) -> Batch | None:
        """What to send now; None when nothing is due. hurry: records do not wait for company."""
        if now < self._paused_until:
            return None
        if self._halves:
            return Batch(self._halves.popleft())
        while self._later and self._later[0][0] <= now:
            self._wait(heapq.heappop(self._later)[2], first=True)
        if not self._ready or not (hurry or self._due_at() <= now):
            return None
        taken: list[Held] = []
        total = 0
        while self._ready and len(taken) < self.limits.batch_records:
            size = self._ready[0].size
            if taken and total + size > self.limits.batch_bytes:
                break
            taken.append(self._ready.popleft())
            self._ready_bytes -= size
            total += size
        return Batch(tuple(taken))

    def wake_at(self, now: float, *, hurry: bool = False) -> float | None:
        """When there will be something to send or to say, if nothing else happens; None for never."""
        times = [entry[0] for entry in self._later[:1]]
        if self._halves:
            times.append(now)
        elif self._ready:
            times.append(now if hurry else self._due_at())
        sending = [max(time, self._paused_until) for time in times]
        saying = [self._said_at + _NEWS_SECONDS] if self._has_news() else []
        return min(sending + saying, default=None)

    def answered(
        self, batch: Batch, receipts: Sequence[ingest_pb2.Receipt], now: float
    ) -> list[ingest_pb2.Receipt]:
        """Takes the receipts of a batch, in its order; the final refusals among them, to be told."""
        self._failures = 0
        self._taken += 1
        told: list[ingest_pb2.Receipt] = []
        for held, receipt in zip(batch.held, receipts, strict=True):
            if held.sequence not in self._held:
                continue
            if receipt.outcome in _DELIVERED:
                self._let_go(held)
                self.delivered += 1
            elif receipt.outcome == _Outcome.OUTCOME_REFUSED and receipt.retryable:
                self._postpone(held, now)
            else:
                self._let_go(held)
                told.append(self._refuse(_with_id(receipt, held)))
        return told

    def failed(self, batch: Batch, error: KeptError, now: float) -> list[ingest_pb2.Receipt]:
        """The call with this batch ended without receipts. Returns the final refusals, to be told."""
        rest = tuple(held for held in batch.held if held.sequence in self._held)
        if not rest:
            return []
        error = _as_meant(error, sum(held.size for held in rest))
        self._unsaid_failure = error.reason
        content = _is_of_content(error)
        if not content:
            self._pause(error, now)
        late = error.status == "DEADLINE_EXCEEDED"
        if not (content or late or _is_inside(error)):
            self._wait(*rest, first=True)
            return []
        if len(rest) > 1:
            middle = len(rest) // 2
            self._halves.extendleft((rest[middle:], rest[:middle]))
            return []
        (alone,) = rest
        if not content:
            if not late and self._taken > alone.others_taken:
                alone.others_taken = self._taken
                alone.strikes += 1
            if alone.strikes < _STRIKES:
                self._postpone(alone, now)
                return []
        self._let_go(alone)
        return [self._refuse(_refusal(alone, error))]

    def hasten(self) -> None:
        """Ends all pauses, and those to come begin anew: what is over in a moment must not cost the last chance."""
        self._paused_until = float("-inf")
        self._failures = 0
        for held in self._held.values():
            held.retries = 0
        while self._later:
            self._wait(heapq.heappop(self._later)[2], first=True)

    def news(self, now: float, *, at_once: bool = False) -> News | None:
        """What to log now; None when there is nothing, or something was logged within the last second. at_once: however long ago."""
        if not self._has_news() or (not at_once and now - self._said_at < _NEWS_SECONDS):
            return None
        refused = tuple(
            (_reason_name(reason), count) for reason, count in sorted(self._unsaid_refusals.items())
        )
        news = News(self._unsaid_drops, refused, self._unsaid_failure, self.waiting)
        self._unsaid_drops, self._unsaid_failure = 0, ""
        self._unsaid_refusals.clear()
        self._said_at = now
        return news

    def _has_news(self) -> bool:
        return bool(self._unsaid_drops or self._unsaid_refusals or self._unsaid_failure)

    def _due_at(self) -> float:
        full = len(self._ready) >= self.limits.batch_records or self._ready_bytes >= self.limits.batch_bytes
        # What is sent again has waited for its company before.
        return float("-inf") if full else self._ready[0].arrived + self.limits.batch_seconds

    def _wait(self, *held: Held, first: bool = False) -> None:
        if first:
            self._ready.extendleft(reversed(held))
        else:
            self._ready.extend(held)
        self._ready_bytes += sum(one.size for one in held)

    def _postpone(self, held: Held, now: float) -> None:
        held.retries += 1
        heapq.heappush(self._later, (now + self._backoff(held.retries), held.sequence, held))

    def _pause(self, error: KeptError, now: float) -> None:
        self._failures += 1
        asked = error.retry_after.total_seconds() if error.retry_after is not None else 0.0
        pause = max(self._backoff(self._failures), min(asked, self.limits.longest_pause))
        self._paused_until = max(self._paused_until, now + pause)

    def _backoff(self, failures: int) -> float:
        # The exponent is bounded: a float overflows after a thousand failures.
        pause = min(self.limits.longest_pause, self.limits.first_pause * 2.0 ** min(failures - 1, 32))
        return pause * (1 - self._jitter() / 2)

    def _let_go(self, held: Held) -> None:
        del self._held[held.sequence]
        self._bytes -= held.size

    def _refuse(self, receipt: ingest_pb2.Receipt) -> ingest_pb2.Receipt:
        self.refused += 1
        if receipt.reason not in _AGREED:
            self._unsaid_refusals[receipt.reason] += 1
        return receipt


def _is_of_content(error: KeptError) -> bool:
    """Whether the service itself says that the message cannot be taken, now or later."""
    return error.status in ("INVALID_ARGUMENT", "OUT_OF_RANGE") or (
        error.reason == "TOO_LARGE" and "limit" in error.metadata
    )


def _as_meant(error: KeptError, size: int) -> KeptError:
    """The failure of a call with records of so many bytes. A bare RESOURCE_EXHAUSTED reads as TOO_LARGE, which so few cannot be."""
    if error.reason == "TOO_LARGE" and "limit" not in error.metadata and size <= _SMALL_BYTES:
        return KeptError("OVERLOADED", error.text, status=error.status, service=error.service)
    return error


def _is_inside(error: KeptError) -> bool:
    """Whether the call failed in a way that one record may have caused."""
    return error.status in ("INTERNAL", "UNKNOWN", "DATA_LOSS") or error.reason in ("INTERNAL", "TOO_LARGE")


def _refusal(held: Held, error: KeptError) -> ingest_pb2.Receipt:
    name = f"REASON_{error.reason}"
    known = name in reasons_pb2.Reason.keys()  # noqa: SIM118 - an enum wrapper is no mapping
    return ingest_pb2.Receipt(
        record_id=held.interaction.record_id,
        outcome=ingest_pb2.OUTCOME_REFUSED,
        reason=reasons_pb2.Reason.Value(name) if known else reasons_pb2.REASON_INTERNAL,
    )


def _with_id(receipt: ingest_pb2.Receipt, held: Held) -> ingest_pb2.Receipt:
    """A service does not send back what is no id; here it says which record was meant."""
    if not receipt.record_id:
        receipt.record_id = held.interaction.record_id
    return receipt


def _reason_name(reason: int) -> str:
    """Without its prefix; the number of one that is newer than this client."""
    found = reasons_pb2.Reason.DESCRIPTOR.values_by_number.get(reason)
    return str(reason) if found is None else found.name.removeprefix("REASON_")
