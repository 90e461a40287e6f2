"""Everything that is kept with content is screened once: from memory right after the commit, or opened again by the screening permission.

What was not screened stands in the table `unscreened`, written with the records themselves; only a verdict takes
it out. So a process that dies, a queue that is full and a screening service that is down cost time, never a record,
and nothing counts as clean that was not looked at. Content waits in memory no longer than `patience`; what waits
longer is dropped here and opened again later, which access control allows once a record, within 72 hours of its
creation, and writes down like any read.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeVar

import structlog

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc, grants_pb2
from kept.safety_review.v1 import screening_pb2, screening_pb2_grpc
from services.logging.admission import LATE_WINDOW
from services.logging.records import StoredRow
from services.logging.sealing import Unsealable, open_content
from services.logging.store import reading, stripes
from services.logging.store import screening as store
from services.logging.store.reading import Span
from services.logging.store.screening import Key, Verdict
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, peer_unavailable
from shared.ids import derived_id, lowest_record_id
from shared.jobs import Job
from shared.telemetry import ALERT

# A batch of the contract: at most 500 records; bytes well below what a message may have.
_BATCH_RECORDS: Final = 500
_BATCH_BYTES: Final = 4 * 1024 * 1024
# What a batch may take; with it, no batch from memory is in progress any more when the backlog takes its records.
_SCREEN_SECONDS: Final = 30.0
# Organizations in one question to access control.
_BATCH_ORGANIZATIONS: Final = 100
REOPEN_RECORDS: Final = 100
REOPEN_BYTES: Final = 256 * 1024
# How long access control lets the screening permission open a record, from its creation.
_REOPEN_WINDOW: Final = timedelta(hours=72)
_CLAIM: Final = timedelta(minutes=5)
# Refusals that pass by themselves; any other means that asking again gives the same answer.
PASSING: Final = frozenset(
    (
        Reason.REASON_PEER_UNAVAILABLE,
        Reason.REASON_LEASE_LAPSED,
        Reason.REASON_DATABASE_UNAVAILABLE,
        Reason.REASON_OVERLOADED,
        Reason.REASON_SHUTTING_DOWN,
        Reason.REASON_DEADLINE_EXCEEDED,
        Reason.REASON_INTERNAL,
    )
)
_FINAL_VERDICTS: Final = frozenset((screening_pb2.VERDICT_CLEAN, screening_pb2.VERDICT_FLAGGED))
_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Screenable:
    """A stored record whose content is in memory. content: a serialized InteractionContent, which takes no more room than it has bytes.
    since: when it came, boottime."""

    key: Key
    end_user: str
    content: bytes = field(repr=False)
    since: float = 0.0


class ScreeningFeed:
    """Hands records to screening. memory: bytes of content that may wait. patience: how long content waits in memory; a record that was
    received twice as long ago and is still unscreened is opened again."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        authz: authz_pb2_grpc.AuthzServiceStub,
        screen: screening_pb2_grpc.ScreeningServiceStub,
        *,
        memory: int,
        patience: timedelta,
    ) -> None:
        self._database = database
        self._clock = clock
        self._authz = authz
        self._screen = screen
        self._memory = memory
        self._patience = patience
        self._lock = threading.Lock()
        self._queue: deque[Screenable] = deque()
        self._queued_bytes = 0
        self.job = Job("screening", timedelta(seconds=1), self.screen_fresh)
        self.backlog_job = Job("screening_backlog", timedelta(seconds=5), self.screen_backlog)

    def offer(self, records: Sequence[Screenable]) -> None:
        """Takes records that are committed, as far as there is room; the rest waits for the backlog."""
        if not records:
            return
        now = self._clock.boottime()
        with self._lock:
            for one in records:
                if self._queued_bytes + len(one.content) > self._memory:
                    break
                one.since = now
                self._queue.append(one)
                self._queued_bytes += len(one.content)
            is_batch = self._is_batch()
        if is_batch:
            self.job.wake.set()

    def screen_fresh(self) -> bool:
        """Screens one batch from memory. A job's step: True when another whole one waits. Raises what the calls raise; the batch is tried
        again."""
        batch = self._next_batch()
        if not batch:
            return False
        try:
            self._authorize([one.key for one in batch])
            self._ask_apart(batch, last_try=False)
        except KeptError as error:
            if error.reason in PASSING:
                self._put_back(batch)
            raise
        with self._lock:
            return self._is_batch()

    def _is_batch(self) -> bool:
        """Whether a whole batch waits. Fewer wait a second for others to come: each batch is a decision, an entry in the audit log and a
        call."""
        return len(self._queue) >= _BATCH_RECORDS or self._queued_bytes >= _BATCH_BYTES

    def screen_backlog(self) -> bool:
        """Opens and screens one batch of what stayed unscreened. A job's step: True when there is more. Raises what the calls raise; the
        batch is claimed again after a while."""
        now = self._clock.now()
        with self._database.transaction() as tx:
            openable = lowest_record_id(now - _REOPEN_WINDOW)
            store.give_up_older(tx, openable, received_before=now - _REOPEN_WINDOW + LATE_WINDOW)
            has_given_up = store.has_given_up(tx)
            keys = store.claim(
                tx,
                now=now,
                received_before=now - 2 * self._patience,
                created_from=openable,
                lease=self._patience + _CLAIM,  # what cannot be screened now waits in memory meanwhile
                limit=REOPEN_RECORDS,
            )
        ALERT.labels("screening_given_up").set(has_given_up)
        if not keys:
            return False
        organization_id, record_ids = keys[0][0], frozenset(record_id for _, record_id in keys)
        everything = Span(organization_id, bytes(16), b"\xff" * 16, record_ids, bytes(16))
        with self._database.transaction() as tx:
            rows = reading.page(tx, everything, None, len(keys)).rows
        # What is gone from the tables or has lost its data key has nothing left that could be screened.
        readable = [row for row in rows if row.sealed_data_key is not None]
        self._give_up(sorted(set(keys) - {row.key for row in readable}))
        # Compressed: what is opened together is split again below by what it really measures.
        parts = grouped(readable, lambda row: row.content_size, REOPEN_BYTES)
        for index, part in enumerate(parts):
            try:
                opened = self._open(organization_id, part)
            except KeptError:
                with self._database.transaction() as tx:
                    store.unclaim(tx, [row.key for later in parts[index:] for row in later])
                raise
            self._screen_opened(opened)
        return len(keys) == REOPEN_RECORDS

    def screen_now(self, records: Sequence[Screenable]) -> None:
        """Screens these, which are opened, in batches; one that screening refuses costs no other. Raises what passes."""
        for group in grouped(records, lambda one: len(one.content), _BATCH_BYTES):
            self._ask_apart(group, last_try=False)

    def _screen_opened(self, opened: Sequence[Screenable]) -> None:
        groups = grouped(opened, lambda one: len(one.content), _BATCH_BYTES)
        for index, group in enumerate(groups):
            try:
                self._ask_apart(group, last_try=True)
            except KeptError:
                # They cannot be opened a second time: they wait in memory, like fresh ones, for as long as that may be.
                left = [one for later in groups[index:] for one in later]
                since = self._clock.boottime()
                for one in left:
                    one.since = since
                with self._lock:  # behind those that wait for longer
                    self._queue.extend(left)
                    self._queued_bytes += sum(len(one.content) for one in left)
                raise

    def _next_batch(self) -> list[Screenable]:
        batch: list[Screenable] = []
        organizations: set[str] = set()
        size = 0
        oldest = self._clock.boottime() - self._patience.total_seconds()
        with self._lock:
            while self._queue and len(batch) < _BATCH_RECORDS:
                one = self._queue[0]
                if one.since < oldest:  # waited too long as plaintext: the backlog has it
                    self._drop_first()
                    continue
                is_new = one.key[0] not in organizations
                if batch and (
                    size + len(one.content) > _BATCH_BYTES
                    or (is_new and len(organizations) == _BATCH_ORGANIZATIONS)
                ):
                    break
                self._drop_first()
                batch.append(one)
                organizations.add(one.key[0])
                size += len(one.content)
        return batch

    def _drop_first(self) -> None:
        self._queued_bytes -= len(self._queue.popleft().content)

    def _put_back(self, batch: Sequence[Screenable]) -> None:
        with self._lock:
            self._queue.extendleft(reversed(batch))
            self._queued_bytes += sum(len(one.content) for one in batch)

    def _authorize(self, keys: Sequence[Key]) -> None:
        """Has it written down that these go to screening. The same records give the same request: however often it is sent, there is
        one entry."""
        by_organization: dict[str, list[bytes]] = {}
        for organization_id, record_id in sorted(keys):
            by_organization.setdefault(organization_id, []).append(record_id)
        digest = hashlib.sha256()
        for organization_id, record_ids in by_organization.items():
            digest.update(organization_id.encode() + b"\0" + b"".join(record_ids))
        self._authz.AuthorizeScreening(
            authz_pb2.AuthorizeScreeningRequest(
                request_id=derived_id("screening", digest.digest()),
                batches=[
                    authz_pb2.ScreeningBatch(organization_id=organization_id, record_ids=record_ids)
                    for organization_id, record_ids in by_organization.items()
                ],
            )
        )

    def _ask_apart(self, batch: Sequence[Screenable], *, last_try: bool) -> None:
        """Has a batch screened; one record that screening refuses never costs the others. Raises what passes."""
        try:
            self._ask(batch, last_try=last_try)
        except KeptError as error:
            if error.reason in PASSING:
                raise
            if len(batch) > 1:
                middle = len(batch) // 2
                self._ask_apart(batch[:middle], last_try=last_try)
                self._ask_apart(batch[middle:], last_try=last_try)
                return
            _log.error("screening.refused", reason=error.name)
            if last_try:
                self._give_up([batch[0].key])

    def _ask(self, batch: Sequence[Screenable], *, last_try: bool) -> None:
        """Has a batch screened and writes the verdicts down. last_try: what stays incomplete is left to a person.

        Raises PEER_UNAVAILABLE for an answer that does not speak of exactly these records: nothing is taken from it.
        """
        answers = self._screen.Screen(iter([_request(batch)]), timeout=_SCREEN_SECONDS)
        records = [record for answer in answers for record in answer.records]
        if [record.record_id for record in records] != [one.key[1] for one in batch]:
            raise peer_unavailable("safety_review")
        verdicts = [
            Verdict(
                key=asked.key,
                number=said.verdict,
                rules_version=said.rules_version,
                final=said.verdict in _FINAL_VERDICTS,
            )
            for asked, said in zip(batch, records, strict=True)
        ]
        with self._database.transaction() as tx:
            # A hold that a flag leads to copies rows under their stripe: either it sees the verdict, or we see its copy.
            stripes.share(tx, {verdict.key[0] for verdict in verdicts})
            store.record(tx, verdicts)
            if last_try:
                store.give_up(tx, [verdict.key for verdict in verdicts if not verdict.final])

    def _open(self, organization_id: str, rows: Sequence[StoredRow]) -> list[Screenable]:
        """The contents of rows, by the screening permission. A refusal that will not pass costs only the records that it is about: they
        are given up. Raises what passes."""
        if not rows:
            return []
        try:
            answer = self._authz.OpenRecords(question_about(organization_id, rows))
        except KeptError as error:
            if error.reason in PASSING:
                raise
            if len(rows) == 1:
                _log.error("screening.reopen_refused", reason=error.name)
                self._give_up([rows[0].key])
                return []
            middle = len(rows) // 2
            return self._open(organization_id, rows[:middle]) + self._open(organization_id, rows[middle:])
        keys = {one.record_id: one.key for one in answer.keys}
        opened = self.unsealed(organization_id, rows, keys)
        self._give_up(sorted({row.key for row in rows} - {one.key for one in opened}))
        return opened

    def unsealed(
        self, organization_id: str, rows: Sequence[StoredRow], keys: Mapping[bytes, bytes]
    ) -> list[Screenable]:
        """The contents of rows, of those that open."""
        with self._database.transaction() as tx:
            contents = reading.contents(tx, organization_id, sorted(keys))
        opened: list[Screenable] = []
        for row in rows:
            try:
                content = open_content(
                    contents.get(row.record_id, b""),
                    keys.get(row.record_id, b""),
                    organization_id,
                    row.record_id,
                    row.data_key_id or b"",
                )
            except Unsealable:
                _log.error("screening.content_does_not_open")
                continue
            opened.append(Screenable(row.key, row.end_user, content))
        return opened

    def _give_up(self, keys: Sequence[Key]) -> None:
        if keys:
            with self._database.transaction() as tx:
                store.give_up(tx, keys)


def _request(batch: Sequence[Screenable]) -> screening_pb2.ScreenRequest:
    request = screening_pb2.ScreenRequest()
    for one in batch:
        added = request.interactions.add(
            record_id=one.key[1], organization_id=one.key[0], end_user=one.end_user
        )
        added.content.MergeFromString(one.content)
    return request


def question_about(
    organization_id: str, rows: Sequence[StoredRow], grant_id: str = ""
) -> authz_pb2.OpenRecordsRequest:
    """What access control is asked to open for screening: with a grant under that, else by the permission alone."""
    sealed = {row.data_key_id or b"": row.sealed_data_key or b"" for row in rows}
    return authz_pb2.OpenRecordsRequest(
        permission=grants_pb2.SERVICE_PERMISSION_SCREENING,
        grant_id=grant_id,
        organization_id=organization_id,
        detail=grants_pb2.DETAIL_FULL,
        records=[
            authz_pb2.RecordReference(record_id=row.record_id, data_key_id=row.data_key_id or b"")
            for row in rows
        ],
        data_keys=[
            authz_pb2.SealedDataKey(data_key_id=data_key_id, sealed=sealed_key)
            for data_key_id, sealed_key in sealed.items()
        ],
    )


def grouped(items: Sequence[_T], size_of: Callable[[_T], int], limit: int) -> list[list[_T]]:
    """The items in groups of at most `limit` bytes; a group has one item at least."""
    groups: list[list[_T]] = []
    size = 0
    for item in items:
        if not groups or size + size_of(item) > limit:
            groups.append([])
            size = 0
        groups[-1].append(item)
        size += size_of(item)
    return groups
