"""What stayed unscreened is opened again and screened: what a dying process, a full queue or an outage left.

Access control allows to open it once a record, within 72 hours of its creation, and writes it down like any read. Only some minutes later
it allows it again, for whoever had opened it may have died. So what is opened and cannot be screened now waits in memory, as far as there
is room; what there is no room for is opened again later, as after a death.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

import structlog

from kept.access_control.v1 import authz_pb2_grpc
from services.logging.policies import Policies
from services.logging.recording.admission import LATE_WINDOW
from services.logging.records import StoredRow
from services.logging.screening.asking import (
    BATCH_BYTES,
    PASSING,
    Asking,
    Screenable,
    Waiting,
    grouped,
    halves,
)
from services.logging.screening.feed import ScreeningFeed
from services.logging.screening.opening import REOPEN_BYTES, REOPEN_RECORDS, question_about, unsealed
from services.logging.store import reading
from services.logging.store import screening as store
from services.logging.store.reading import Span
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError
from shared.ids import lowest_record_id
from shared.jobs import Job
from shared.telemetry import ALERT

# How long access control lets the screening permission open a record, from its creation.
_REOPEN_WINDOW: Final = timedelta(hours=72)
_CLAIM: Final = timedelta(minutes=5)
# Batches that get rows of their own in one transaction: some 100 ms of work.
_UNFOLDED: Final = 20
_log = structlog.get_logger(__name__)


class Backlog:
    """Opens and screens what stayed. patience: of the feed; a record that was received twice as long ago and is still unscreened is opened
    again."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        policies: Policies,
        authz: authz_pb2_grpc.AuthzServiceStub,
        asking: Asking,
        feed: ScreeningFeed,
        *,
        patience: timedelta,
    ) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._authz = authz
        self._asking = asking
        self._feed = feed
        self._patience = patience
        self.job = Job("screening_backlog", timedelta(seconds=5), self.screen_backlog)

    def screen_backlog(self) -> bool:
        """Opens and screens one batch of what stayed unscreened. A job's step: True when there is more. Raises what the calls raise; the
        batch is claimed again after a while."""
        now, leased = self._clock.now(), self._policies.known_now()
        with self._database.transaction() as tx:
            if store.unfold_some(tx, now - 2 * self._patience, _UNFOLDED):
                return True  # first of all, whatever is down: who removes records finds little to unfold
        with self._database.transaction() as tx:
            if leased is not None:  # what is given up is not taken up again
                closed = leased - _REOPEN_WINDOW
                store.give_up_older(tx, lowest_record_id(closed), received_before=closed + LATE_WINDOW)
            has_given_up = store.has_given_up(tx)
            keys = store.claim(
                tx,
                now=now,
                received_before=now - 2 * self._patience,
                created_from=lowest_record_id(now - _REOPEN_WINDOW),
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
        self._asking.give_up(sorted(set(keys) - {row.key for row in readable}))
        for part, keys_of in self._opened(organization_id, readable):
            self._screen(self._unsealed(organization_id, part, keys_of))
        return len(keys) == REOPEN_RECORDS

    def _screen(self, opened: Iterable[Screenable]) -> None:
        """Screens batch by batch, each as soon as it has come together. Raises what passes."""
        groups = grouped(opened, lambda one: len(one.content), BATCH_BYTES)
        for group in groups:
            try:
                self._asking.ask([Waiting(group)], last_try=True)
            except KeptError:
                # They cannot be opened a second time so soon: they wait in memory, like fresh ones, for as long as that may be.
                self._feed.take_back(group)
                for later in groups:
                    if not self._feed.offer([Waiting(later)]):
                        break
                raise

    def _unsealed(
        self, organization_id: str, rows: Sequence[StoredRow], keys: Mapping[bytes, bytes]
    ) -> Iterator[Screenable]:
        """The contents of rows as they are taken; once all are, those that have none or do not open are given up."""
        closed = {row.key for row in rows}
        for one in unsealed(self._database, organization_id, rows, keys):
            closed.discard(one.key)
            yield one
        self._asking.give_up(sorted(closed))

    def _opened(
        self, organization_id: str, rows: Sequence[StoredRow]
    ) -> Iterator[tuple[Sequence[StoredRow], dict[bytes, bytes]]]:
        """Rows, part by part as they are taken, with their keys by record under the screening permission. A refusal that will not pass
        costs only the record that it is about. Raises what passes; others may take then what was not opened yet."""
        parts = deque[Sequence[StoredRow]](grouped(rows, lambda row: row.content_size, REOPEN_BYTES))
        while parts:
            part = parts.popleft()
            try:
                answer = self._authz.OpenRecords(question_about(organization_id, part))
            except KeptError as error:
                if error.reason in PASSING:
                    with self._database.transaction() as tx:
                        store.unclaim(tx, [row.key for later in (part, *parts) for row in later])
                    raise
                if len(part) > 1:
                    parts.extendleft(reversed(halves(part)))
                    continue
                _log.error("screening.reopen_refused", reason=error.name)
                self._asking.refused(part[0].key, error)
                continue
            yield part, {one.record_id: one.key for one in answer.keys}
