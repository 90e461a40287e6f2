"""Re-screening: what is stored is opened under a grant and screened by the rules in force.

Safety review says what, under which grant, and remembers how far it is; a process that dies is followed by another from the last report
on. Access control opens records under the grant or refuses them: what lies outside its scope, or is due to be deleted, is left out and
counted; from the grant's end on, or above its budget, nothing is opened, and that ends the re-screening with the reason, for whoever asked
for it to see. What a detector did not screen is left out too, and not counted as screened; so is a record that access control or safety
review stumbles over.
"""

from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Final

from kept.access_control.v1 import authz_pb2_grpc
from kept.safety_review.v1 import screening_pb2, screening_pb2_grpc
from services.logging.records import StoredRow
from services.logging.screening.asking import PASSING, Asking, grouped, halves
from services.logging.screening.opening import REOPEN_BYTES, REOPEN_RECORDS, question_about, unsealed
from services.logging.store import reading
from services.logging.store.reading import Span
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.ids import lowest_record_id
from shared.jobs import Job

# Refusals that are about single records: these are left out, and the others opened.
_LEFT_OUT: Final = frozenset((Reason.REASON_OUTSIDE_SCOPE, Reason.REASON_INTERNAL))


class Rescreening:
    """Works on whatever safety review has to be screened again."""

    def __init__(
        self,
        database: Database,
        authz: authz_pb2_grpc.AuthzServiceStub,
        screen: screening_pb2_grpc.ScreeningServiceStub,
        asking: Asking,
    ) -> None:
        self._database = database
        self._authz = authz
        self._screen = screen
        self._asking = asking
        self.job = Job("rescreening", timedelta(seconds=30), self.step)

    def step(self) -> bool:
        """Screens one page, if there is any. A job's step: True when there is more of it. Raises what passes: the page is tried again."""
        asked = self._screen.TakeRescreening(screening_pb2.TakeRescreeningRequest())
        if not asked.grant_id:
            return False
        low, high = (
            lowest_record_id(instant.ToDatetime(UTC)) for instant in (getattr(asked, "from"), asked.until)
        )
        with self._database.transaction() as tx:
            span = Span(asked.organization_id, low, high, None, bytes(16))
            page = reading.page(tx, span, asked.after or None, REOPEN_RECORDS)
        report = screening_pb2.ReportRescreeningRequest(
            grant_id=asked.grant_id, after=page.after or asked.after, done=page.after is None
        )
        readable = [row for row in page.rows if row.sealed_data_key is not None]
        try:
            for part in grouped(readable, lambda row: row.content_size, REOPEN_BYTES):
                opened = unsealed(self._database, asked.organization_id, part, self._open(asked, part))
                screened = self._asking.screen_now(opened)
                report.screened += screened
                report.left_out += len(part) - screened
        except KeptError as error:
            if error.reason in PASSING:
                raise
            report.problem, report.done, report.after = error.name, False, asked.after
        self._screen.ReportRescreening(report)
        return not (report.done or report.problem)

    def _open(
        self, asked: screening_pb2.TakeRescreeningResponse, rows: Sequence[StoredRow]
    ) -> dict[bytes, bytes]:
        """The keys of the rows, by record, of those that the grant opens."""
        try:
            answer = self._authz.OpenRecords(question_about(asked.organization_id, rows, asked.grant_id))
        except KeptError as error:
            if error.reason not in _LEFT_OUT:
                raise
            if len(rows) == 1:
                return {}
            first, second = halves(rows)
            return self._open(asked, first) | self._open(asked, second)
        return {one.record_id: one.key for one in answer.keys}
