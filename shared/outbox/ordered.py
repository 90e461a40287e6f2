"""What a service has to tell other services.

At least once, and each kind in the order of writing; receivers are idempotent (an audit entry's id, a hold's request id), which makes it
exactly once. No transaction is open while a peer is called: messages are claimed for a few seconds in one, and marked in another. A
process that dies in between leaves its claim to run out, and its kind waits up to ten seconds for that: nobody can tell a process that died
from one that is slow, and what comes after must not overtake.

A peer that cannot be reached holds up its own kind alone, however long. A message that a peer refuses for good, or that it or we stumble
over again and again, holds up nothing: it is put aside, kept, reported as an error and an alert, and tried again every hour until it is
taken. Nothing is ever dropped.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import grpc
import structlog
from google.protobuf.message import Message
from sqlalchemy import Connection, Table, delete, func, insert, or_, select, update

from kept.access_control.v1 import audit_pb2
from shared.channels import within
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database, after_commit
from shared.errors import KeptError, Reason, peer_unavailable
from shared.jobs import Attempts, Job
from shared.outbox.table import Figures, reach
from shared.redaction import where

AUDIT: Final = "audit"
_BATCH: Final = 200
# Far below the limit of a message (shared.channels), for a batch of audit entries is one.
_BATCH_BYTES: Final = 1_000_000
_LEASE: Final = timedelta(seconds=10)
# Seconds: calls begin this long after the claim at the latest, and end before the claim does.
_BEGIN_WITHIN: Final = 4.0
_END_WITHIN: Final = 8.0
_LONGEST_WAIT: Final = timedelta(seconds=30)
_PUT_ASIDE_FOR: Final = timedelta(hours=1)
# A receiver that is there and fails counts as refusing after so many tries, some ten minutes: it may stumble over this very message.
_TRIES: Final = 20
# As many tries as it takes until each waits the longest. Those that found nobody there count no further: they say nothing of the message.
_TRIES_OF_NOBODY: Final = 7
_AWAY: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)
_FOR_GOOD: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Message:
    message_id: int
    attempts: int
    payload: bytes = field(repr=False)


@dataclass(frozen=True)
class _Claim:
    """Messages that are this process's to deliver until an instant."""

    kind: str
    until: datetime
    messages: Sequence[_Message]


@dataclass
class _Outcome:
    """What became of a claim. refused: reasons, by message id. failure: what stopped it, failed: at which messages. position: the highest
    that the audit log gave."""

    delivered: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    failure: KeptError | None = None
    failed: Sequence[_Message] = ()
    position: int = 0

    def is_settled(self, message: _Message) -> bool:
        """Whether it was delivered or refused."""
        return message.message_id in self.refused or message.message_id in self.delivered


class Outbox:
    """A service's outbox.

    append_entries: AuditService.AppendEntries; entries are delivered a batch a call. handlers: for each other kind, what delivers one
    payload. Both fail with KeptError: what is refused for good (`_FOR_GOOD`) is put aside, after anything else the kind waits; any other
    exception is a fault of ours, and counts as INTERNAL. positions: where it is written down how far the audit log is known
    (shared.outbox.replay), together with what was delivered.
    """

    def __init__(
        self,
        table: Table,
        database: Database,
        clock: Clock,
        append_entries: Callable[[audit_pb2.AppendEntriesRequest], audit_pb2.AppendEntriesResponse],
        handlers: Mapping[str, Callable[[bytes], None]] | None = None,
        *,
        positions: Table | None = None,
    ) -> None:
        self._positions = positions
        self._table = table
        self._database = database
        self._clock = clock
        self._append_entries = append_entries
        self._handlers = dict(handlers or {})
        self._has_changed = False
        self._is_failing = dict.fromkeys((AUDIT, *self._handlers), False)
        self._figures = Figures(table, database, clock, (AUDIT, *self._handlers))
        self.job = Job("outbox", timedelta(milliseconds=500), self.deliver)

    def put(self, tx: Connection, kind: str, message: Message) -> None:
        """Adds a message in the caller's transaction. Raises KeyError for a kind that nobody handles."""
        if kind != AUDIT:
            self._handlers[kind]
        now = self._clock.now()
        payload = message.SerializeToString()
        tx.execute(insert(self._table).values(kind=kind, payload=payload, put_at=now, not_before=now))
        after_commit(tx, self.job.wake.set)

    def audit(self, tx: Connection, entry: audit_pb2.AuditEntry) -> None:
        """Adds an audit entry in the caller's transaction: if the transaction commits, the entry is on its way to the audit log."""
        self.put(tx, AUDIT, entry)

    def deliver(self) -> bool:
        """Delivers one batch of each kind that is ready. True when there is more. Raises the first failure at the end: PEER_UNAVAILABLE for
        a kind whose next try is still to come."""
        attempts = Attempts()
        more = attempts.each((AUDIT, *self._handlers), self._deliver_kind)
        self._figures.take(now=self._has_changed)
        self._has_changed = False
        if more:
            self.job.wake.set()  # also where another kind fails
        attempts.raise_first()
        return more

    def _deliver_kind(self, kind: str) -> bool:
        claim = self._claim(kind)
        if claim is None:
            if self._is_failing[
                kind
            ]:  # a job that waits for its next try is as little well as in the try before
                raise peer_unavailable(kind)
            return False
        with within(_END_WITHIN):
            outcome = self._send(claim)
        self._settle(claim, outcome)
        self._has_changed = True
        if outcome.failure is not None:
            raise outcome.failure
        return len(claim.messages) == _BATCH or not all(map(outcome.is_settled, claim.messages))

    def _claim(self, kind: str) -> _Claim | None:
        """The oldest messages of a kind, unless another process has them, or they wait."""
        table, now = self._table, self._clock.now()
        with self._database.transaction() as tx:
            if not tx.execute(
                select(func.pg_try_advisory_xact_lock(func.hashtextextended("outbox:" + kind, 0)))
            ).scalar_one():
                return None
            rows = tx.execute(
                select(table)
                .where(
                    table.c.kind == kind,
                    or_(
                        table.c.refused.is_(None),
                        table.c.not_before <= now,
                        table.c.not_before > now + _PUT_ASIDE_FOR,
                    ),
                )
                .order_by(table.c.message_id)
                .limit(_BATCH)
            ).all()
            self._is_failing[kind] = any(row.attempts and row.refused is None for row in rows)
            # A time that is further ahead than any we set was set before the clock was moved: it counts no more.
            longest_claim = now + _LEASE + CLOCK_TOLERANCE  # set by whose clock is ahead of ours
            if any(row.claimed_until and now < row.claimed_until <= longest_claim for row in rows):
                return None
            taken: list[_Message] = []
            size = 0
            for row in rows:
                size += len(row.payload)
                if taken and size > _BATCH_BYTES:
                    break
                if row.refused is None and now < row.not_before <= now + _LONGEST_WAIT:
                    break  # what comes after it does not overtake it
                taken.append(_Message(row.message_id, row.attempts, bytes(row.payload)))
            if not taken:
                return None
            ids = [message.message_id for message in taken]
            claim = _Claim(kind, now + _LEASE, taken)
            tx.execute(update(table).where(table.c.message_id.in_(ids)).values(claimed_until=claim.until))
        return claim

    def _send(self, claim: _Claim) -> _Outcome:
        """Calls the peer, in order, as long as there is time to. Entries go in one call, and one by one when that is refused."""
        outcome = _Outcome()
        alone = [[message] for message in claim.messages]
        calls = deque([list(claim.messages)] if claim.kind == AUDIT else alone)
        until = self._clock.boottime() + _BEGIN_WITHIN
        while calls and self._clock.boottime() <= until:
            messages = calls.popleft()
            try:
                outcome.position = max(outcome.position, self._call(claim.kind, messages))
            except Exception as error:  # noqa: BLE001 - a message that we stumble over must not stop those behind it for ever
                failure = error if isinstance(error, KeptError) else _crashed(claim.kind, error)
                if not _is_for_good(failure, messages[0].attempts):
                    outcome.failure, outcome.failed = failure, messages
                    break
                if len(messages) > 1:
                    calls.extend(alone)
                else:
                    outcome.refused[messages[0].message_id] = failure.name
            else:
                outcome.delivered += [message.message_id for message in messages]
        return outcome

    def _call(self, kind: str, messages: Sequence[_Message]) -> int:
        """The position of what the audit log took; 0 for other receivers."""
        if kind != AUDIT:
            self._handlers[kind](messages[0].payload)
            return 0
        entries = [audit_pb2.AuditEntry.FromString(message.payload) for message in messages]
        return self._append_entries(audit_pb2.AppendEntriesRequest(entries=entries)).position

    def _settle(self, claim: _Claim, outcome: _Outcome) -> None:
        table, now = self._table, self._clock.now()
        # Where the claim has run out meanwhile, another process has the messages: what it does with them is its own.
        mine = table.c.claimed_until == claim.until
        left = [message.message_id for message in claim.messages if not outcome.is_settled(message)]
        with self._database.transaction() as tx:
            tx.execute(delete(table).where(table.c.message_id.in_(outcome.delivered)))
            if outcome.position and self._positions is not None:
                reach(tx, self._positions, outcome.position)
            for message_id, reason in outcome.refused.items():
                tx.execute(
                    update(table)
                    .where(table.c.message_id == message_id, mine)
                    .values(
                        refused=reason,
                        attempts=table.c.attempts + 1,
                        not_before=now + _PUT_ASIDE_FOR,
                        claimed_until=None,
                    )
                )
            if outcome.failure is not None:
                wait = min(_LONGEST_WAIT, timedelta(seconds=0.25 * 2 ** min(outcome.failed[0].attempts, 10)))
                tries = table.c.attempts + 1
                if outcome.failure.status in _AWAY:
                    tries = func.greatest(table.c.attempts, func.least(tries, _TRIES_OF_NOBODY))
                ids = [message.message_id for message in outcome.failed]
                tx.execute(
                    update(table)
                    .where(table.c.message_id.in_(ids), mine)
                    .values(attempts=tries, not_before=now + wait, claimed_until=None)
                )
            tx.execute(update(table).where(table.c.message_id.in_(left), mine).values(claimed_until=None))
        for message_id, reason in outcome.refused.items():
            _log.error("outbox.refused", kind=claim.kind, message_id=message_id, reason=reason)

    def waiting_entries(self, tx: Connection) -> set[str]:
        """Ids of audit entries that are on their way, or were refused: what they tell of is in this database."""
        payloads = tx.execute(select(self._table.c.payload).where(self._table.c.kind == AUDIT)).scalars()
        return {audit_pb2.AuditEntry.FromString(payload).entry_id for payload in payloads}

    def backlog(self) -> int:
        """Messages that wait, those that were put aside included."""
        return self._figures.waiting()

    def is_well(self) -> bool:
        """Whether no receiver refused anything, as of the last look."""
        return self._figures.is_well()


def _crashed(kind: str, error: Exception) -> KeptError:
    """What a fault of ours counts as. The type is logged; the text may hold data."""
    _log.error("outbox.crashed", kind=kind, error=type(error).__name__, where=where(error))
    return KeptError(Reason.REASON_INTERNAL, "A message could not be sent for a reason that nobody foresaw.")


def _is_for_good(error: KeptError, attempts: int) -> bool:
    """Whether it is the message that the receiver does not take, today as tomorrow."""
    if error.status in _FOR_GOOD or error.reason == Reason.REASON_TOO_LARGE:
        return True
    return error.status not in _AWAY and attempts >= _TRIES
