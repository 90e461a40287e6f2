"""Everything that is kept with content is screened once, from memory right after the commit.

What was not screened stands in the table `unscreened`, written with the records themselves; only a verdict takes
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

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc
from services.logging.screening.asking import BATCH_BYTES, BATCH_RECORDS, PASSING, Asking, Screenable
from services.logging.store.screening import Key
from shared.clock import Clock
from shared.errors import KeptError
from shared.ids import derived_id
from shared.jobs import Job

# Organizations in one question to access control.
_BATCH_ORGANIZATIONS: Final = 100


class ScreeningFeed:
    """Hands records to screening. memory: bytes of content that may wait. patience: how long content waits in memory; a record that was
    received twice as long ago and is still unscreened is opened again."""

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
        self._queue: deque[Screenable] = deque()
        self._queued_bytes = 0
        self.job = Job("screening", timedelta(seconds=1), self.screen_fresh)

    def offer(self, records: Sequence[Screenable]) -> bool:
        """Takes records that are committed, as far as there is room; the rest waits for the backlog. False where there is a rest."""
        if not records:
            return True
        now = self._clock.boottime()
        has_room = True
        with self._lock:
            for one in records:
                has_room = self._queued_bytes + len(one.content) <= self._memory
                if not has_room:
                    break
                one.since = now
                self._queue.append(one)
                self._queued_bytes += len(one.content)
            is_batch = self._is_batch()
        if is_batch:
            self.job.wake.set()
        return has_room

    def screen_fresh(self) -> bool:
        """Screens one batch from memory. A job's step: True when another whole one waits. Raises what the calls raise; the batch is tried
        again."""
        batch = self._next_batch()
        if not batch:
            return False
        try:
            self._authorize([one.key for one in batch])
            self._asking.ask(batch, last_try=False)
        except KeptError as error:
            if error.reason in PASSING:
                self._put_back(batch)
            raise
        with self._lock:
            return self._is_batch()

    def take_back(self, records: Sequence[Screenable]) -> None:
        """Takes records, behind those that wait for longer, however little room there is: they cannot be had a second time."""
        since = self._clock.boottime()
        for one in records:
            one.since = since
        with self._lock:
            self._queue.extend(records)
            self._queued_bytes += sum(len(one.content) for one in records)

    def _is_batch(self) -> bool:
        """Whether a whole batch waits. Fewer wait a second for others to come: each batch is a decision, an entry in the audit log and a
        call."""
        return len(self._queue) >= BATCH_RECORDS or self._queued_bytes >= BATCH_BYTES

    def _next_batch(self) -> list[Screenable]:
        batch: list[Screenable] = []
        organizations: set[str] = set()
        size = 0
        oldest = self._clock.boottime() - self._patience.total_seconds()
        with self._lock:
            while self._queue and len(batch) < BATCH_RECORDS:
                one = self._queue[0]
                if one.since < oldest:  # waited too long as plaintext: the backlog has it
                    self._drop_first()
                    continue
                is_new = one.key[0] not in organizations
                if batch and (
                    size + len(one.content) > BATCH_BYTES
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
