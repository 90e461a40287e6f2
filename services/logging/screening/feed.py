"""Everything that is kept with content is screened once, from memory right after the commit.

What was not screened stands in the database, written with the records themselves (store/screening.py); only a verdict takes
it out. So a process that dies, a queue that is full and a screening service that is down cost time, never a record,
and nothing counts as clean that was not looked at. Content waits in memory no longer than `patience`; what waits
longer is dropped here and opened again later (backlog.py).
"""

import hashlib
import threading
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc
from services.logging.screening.asking import BATCH_BYTES, PASSING, Asking, Screenable, Waiting, halves
from services.logging.store.screening import BATCH_RECORDS, Key
from shared.clock import Clock
from shared.errors import KeptError
from shared.ids import derived_id
from shared.jobs import Job

# Organizations in one question to access control.
_QUESTION_ORGANIZATIONS: Final = 100
_log = structlog.get_logger(__name__)


class ScreeningFeed:
    """Hands records to screening. memory: bytes that may wait, of content and of what each record takes besides. patience: how long content
    waits in memory; a record that was received twice as long ago and is still unscreened is opened again."""

    def __init__(
        self,
        clock: Clock,
        authz: authz_pb2_grpc.AuthzServiceStub,
        asking: Asking,
        *,
        memory: int,
        patience: timedelta,
    ) -> None:
        self._clock = clock
        self._authz = authz
        self._asking = asking
        self._memory = memory
        self._patience = patience
        self._lock = threading.Lock()
        self._queue: deque[Waiting] = deque()
        self._queued_bytes = 0
        self._queued_records = 0
        self.job = Job("screening", timedelta(seconds=1), self.screen_fresh)

    def offer(self, batches: Sequence[Waiting]) -> bool:
        """Takes what is committed, as far as there is room; the rest waits for the backlog. False where there is a rest."""
        now = self._clock.boottime()
        has_room = True
        with self._lock:
            for one in batches:
                has_room = self._queued_bytes + one.size <= self._memory
                if not has_room:
                    break
                one.since = now
                self._queued(one)
            is_question = self._is_question()
        if is_question:
            self.job.wake.set()
        return has_room

    def screen_fresh(self) -> bool:
        """Screens what makes a question from memory. A job's step: True when another whole one waits. Raises what passes; what was asked
        is asked again. What is refused costs no other, and is the backlog's."""
        batches = self._next()
        if not batches:
            return False
        questions = deque[Sequence[Waiting]]([batches])
        while questions:
            asked = questions.popleft()
            try:
                self._authorize([record.key for one in asked for record in one.records])
                self._asking.ask(asked, last_try=False)
            except KeptError as error:
                if error.reason in PASSING:
                    self._put_back([one for question in (asked, *questions) for one in question])
                    raise
                if len(asked) > 1:
                    questions.extendleft(reversed(halves(asked)))
                else:
                    _log.error("screening.refused", reason=error.name)
        with self._lock:
            return self._is_question()

    def take_back(self, records: Sequence[Screenable]) -> None:
        """Takes records, behind those that wait for longer, however little room there is: they cannot be had a second time."""
        taken = Waiting(records, since=self._clock.boottime())
        with self._lock:
            self._queued(taken)

    def _queued(self, one: Waiting) -> None:
        self._queue.append(one)
        self._queued_bytes += one.size
        self._queued_records += len(one.records)

    def _is_question(self) -> bool:
        """Whether as much waits as is asked at once. Less waits a second for more to come: each question is a decision, an entry in the
        audit log and a call."""
        return self._queued_records >= BATCH_RECORDS or self._queued_bytes >= BATCH_BYTES

    def _next(self) -> list[Waiting]:
        taken: list[Waiting] = []
        organizations: set[str] = set()
        size = records = 0
        oldest = self._clock.boottime() - self._patience.total_seconds()
        with self._lock:
            while self._queue:
                one = self._queue[0]
                if one.since < oldest:  # waited too long as plaintext: the backlog has it
                    self._drop_first()
                    continue
                of = {record.key[0] for record in one.records}
                if taken and (
                    records + len(one.records) > BATCH_RECORDS
                    or size + one.size > BATCH_BYTES
                    or len(organizations | of) > _QUESTION_ORGANIZATIONS
                ):
                    break
                self._drop_first()
                taken.append(one)
                organizations |= of
                size += one.size
                records += len(one.records)
        return taken

    def _drop_first(self) -> None:
        one = self._queue.popleft()
        self._queued_bytes -= one.size
        self._queued_records -= len(one.records)

    def _put_back(self, batches: Sequence[Waiting]) -> None:
        with self._lock:
            self._queue.extendleft(reversed(batches))
            self._queued_bytes += sum(one.size for one in batches)
            self._queued_records += sum(len(one.records) for one in batches)

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
