"""Reading under a grant: a decision, a line in the audit log, then keys.

Nothing is looked up before access control has decided on the whole read; its scope becomes the WHERE. Then each page
is a decision of its own, for log data too: access control checks the grant again, counts the records, writes the
entry, and only then gives out the keys. The database's transaction is over before a page is sent, so that a slow
reader holds nothing up.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc, grants_pb2
from kept.logging.v1 import read_pb2
from services.logging.reading import pages
from services.logging.reading.ended_grants import EndedGrants
from services.logging.reading.readers import Allowed, Reader
from services.logging.reading.scope import (
    EVERYTHING,
    Extent,
    Selection,
    extent_of,
    outside_scope,
    selection_of,
)
from services.logging.reading.showing import show, show_log_data
from services.logging.records import StoredRow
from services.logging.store import reading as store
from services.logging.store.reading import Page, Span
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, invalid
from shared.ids import day_start, lowest_record_id
from shared.rules import Rules
from shared.terms import lot_of

_PAGE: Final = 100
# Access control takes so many in one question.
_OPEN_AT_ONCE: Final = 2000
# What access control says of more than the budget has left, and one of a version before of more than 500.
_TOO_MANY: Final = frozenset({Reason.REASON_BUDGET_EXHAUSTED, Reason.REASON_INVALID_ARGUMENT})
# Sealed content that one read has in memory at most, in bytes, unless a single record has more.
_PART_BYTES: Final = 8 * 1024 * 1024
# What a batch has of content at most, in bytes, unless a single record has more. Larger ones are memory that the system clears anew each
# time: a megabyte costs a twentieth of a read.
_BATCH_BYTES: Final = 256 * 1024
# How old rows may be that are shown, in seconds, before it is looked whether they are still there: as long as a grant may be over.
_READ_SECONDS: Final = 1.0
_FOLLOW_SECONDS: Final = 0.25
# How far back a following read looks for records that were committed after younger ones.
_FOLLOW_BACK: Final = timedelta(seconds=30)


@dataclass(frozen=True)
class Question:
    """Who asks for what. reader: by whom access control is asked."""

    reader: Reader
    grant_id: str
    organization_id: str
    detail: "grants_pb2.Detail.ValueType"
    asked: read_pb2.RecordFilter


@dataclass
class _Read:
    """A read that access control allowed. expires_at: as far as is known; a grant may be extended. held_too: whether what is due and only a
    hold keeps is shown."""

    question: Question
    extent: Extent
    selection: Selection
    expires_at: datetime
    held_too: bool


@dataclass(frozen=True)
class _Living:
    """From which id on records are not due: of applications with lots of their own (shared.terms), and of all others."""

    of_all: bytes
    of: Mapping[str, bytes]


class Reading:
    """Reads of one process."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        rules: Rules,
        authz: authz_pb2_grpc.AuthzServiceStub,
        ended: EndedGrants,
    ) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._authz = authz
        self._ended = ended

    def page(
        self, question: Question, after: bytes | None, limit: int
    ) -> tuple[read_pb2.ListInteractionsResponse, bytes | None]:
        """Log data of up to `limit` records after an id, oldest first, and the id to go on after (None on the last page). A filter may
        leave a page short, or empty, that is not the last; so may a budget that does not reach for all of it. Raises what access control's
        decision raises, INVALID_ARGUMENT, OUTSIDE_SCOPE, LEASE_LAPSED."""
        read = self._authorize(question)
        self._require_all_there(read)
        found, gone = self._opened_page(read, after, limit)
        answer = read_pb2.ListInteractionsResponse()
        for row in found.rows:
            if row.record_id not in gone:
                show_log_data(answer.records.add(), row)
        return answer, found.after

    def _opened_page(self, read: _Read, after: bytes | None, limit: int) -> tuple[Page, Collection[bytes]]:
        """A page, and what of it is gone; as much of one as the budget reaches for."""
        found = self._page(read, after, limit)
        try:
            return found, self._open(read, found.rows)[1]
        except KeptError as error:
            if error.reason not in _TOO_MANY or len(found.rows) <= 1:
                raise
        return self._opened_page(read, after, len(found.rows) // 2)

    def stream(
        self,
        question: Question,
        after: bytes | None,
        *,
        batch_size: int,
        follow: bool,
        is_active: Callable[[], bool],
        cancel: Callable[[], object],
    ) -> Iterator[read_pb2.ReadInteractionsResponse]:
        """The records after an id, oldest first, as `records` of answers, up to `batch_size` in each and never none; with `follow`, those
        that come later too, as long as `is_active`. cancel: ends the call, should the grant end while its reader takes nothing.

        A followed record that was committed more than 30 seconds after younger ones is not sent; the next read finds it. Raises as `page`
        does, and GRANT_REVOKED, GRANT_EXPIRED or PEER_UNAVAILABLE as soon as the grant does not stand any more or nobody knows.

        Each answer has its cursor: after its last record; of a following read not after what may still be followed by older records.
        """
        read = self._authorize(question)
        self._require_standing(read)
        self._require_all_there(read)
        for batch in (self._followed if follow else self._in_order)(read, after, batch_size):
            if not is_active():
                return
            if batch is None:
                self._require_standing(read)  # a filter may leave nothing to show for long
                continue
            with self._ended.sending(question.grant_id, read.expires_at, cancel):
                yield batch

    def _in_order(
        self, read: _Read, after: bytes | None, batch_size: int
    ) -> Iterator[read_pb2.ReadInteractionsResponse | None]:
        """The records after an id, and None between pages."""
        while True:
            read_at = self._clock.boottime()
            found = self._page(read, after, max(batch_size, _PAGE))
            for batch in self._shown(read, found.rows, read_at, batch_size):
                batch.cursor = pages.encode(batch.records[-1].record_id)
                yield batch
            after = found.after
            if after is None:
                return
            yield None

    def _followed(
        self, read: _Read, after: bytes | None, batch_size: int
    ) -> Iterator[read_pb2.ReadInteractionsResponse | None]:
        """The records after an id, without end, and None between looks."""
        sent = _Sent(after)
        while True:
            has_shown = False
            for rows, read_at in self._look(read, sent, max(batch_size, _PAGE)):
                for batch in self._shown(read, rows, read_at, batch_size):
                    batch.cursor = pages.encode(sent.add(batch.records))
                    yield batch
                    has_shown = True
            if not has_shown and not sent.is_far_back(self._clock.now()):
                self._ended.wait(_FOLLOW_SECONDS)
            yield None

    def _look(self, read: _Read, sent: "_Sent", at_once: int) -> Iterator[tuple[list[StoredRow], float]]:
        """What was not sent, and when it was read (boottime): a page where the read is far back, at first or because its reader took her
        time; else all that is there, of which the ids of a minute are in memory."""
        read_at, now = self._clock.boottime(), self._clock.now()
        if sent.is_far_back(now):
            found = self._page(read, sent.low, at_once)
            rows = [row for row in found.rows if row.record_id not in sent]
            sent.looked(now, found.after)
            yield rows, read_at
            return
        with self._database.transaction() as tx:
            ids = store.ids(tx, self._span(read), sent.low)
        fresh = [one for one in ids if one not in sent]
        sent.looked(now, None)
        for start in range(0, len(fresh), at_once):
            read_at = self._clock.boottime()
            yield self._rows_of(read, fresh[start : start + at_once]), read_at

    def _authorize(self, question: Question) -> _Read:
        selection = selection_of(question.asked)
        decision = self._allowed(question)
        if decision.scope.organization_id != question.organization_id:
            raise outside_scope()
        if decision.without_held and selection.flagged:
            raise invalid("filter.flagged", "is not for customers")
        extent = extent_of(question.asked, decision.scope)
        return _Read(question, extent, selection, decision.expires_at, not decision.without_held)

    def _allowed(self, question: Question) -> Allowed:
        return question.reader.authorize(
            self._authz, question.grant_id, question.organization_id, question.detail
        )

    def _require_standing(self, read: _Read) -> None:
        try:
            self._ended.require(read.question.grant_id, read.expires_at)
        except KeptError as error:
            if error.reason != Reason.REASON_GRANT_EXPIRED:
                raise
            # It may have been extended since. What it covers is asked at each page.
            read.expires_at = self._allowed(read.question).expires_at
            self._ended.require(read.question.grant_id, read.expires_at)

    def _require_all_there(self, read: _Read) -> None:
        """Raises OUTSIDE_SCOPE unless every record that was named is covered and there, whatever else the filter wants of it. What the
        grant does not cover is put to access control all the same, so that the refusal is in the audit log."""
        if read.extent.outside:
            outside = sorted(read.extent.outside)[:_OPEN_AT_ONCE]
            self._authz.OpenRecords(
                authz_pb2.OpenRecordsRequest(
                    **read.question.reader.principal,
                    grant_id=read.question.grant_id,
                    organization_id=read.question.organization_id,
                    detail=grants_pb2.DETAIL_METADATA,
                    records=[authz_pb2.RecordReference(record_id=one) for one in outside],
                )
            )
            raise outside_scope()
        if not read.question.asked.record_ids:
            return
        span = replace(self._span(read), selection=EVERYTHING)
        with self._database.transaction() as tx:
            there = store.ids(tx, span, None)
        if len(there) < len(read.extent.record_ids or ()):
            raise outside_scope()

    def _span(self, read: _Read) -> Span:
        """What may be looked up now. Raises LEASE_LAPSED."""
        living = self._living(read)
        return Span(
            organization_id=read.question.organization_id,
            low=read.extent.low,
            high=read.extent.high,
            record_ids=read.extent.record_ids,
            living=living.of_all,
            selection=read.selection,
            held_too=read.held_too,
            living_of=living.of,
        )

    def _living(self, read: _Read) -> _Living:
        """From which id on records are not due now. Raises LEASE_LAPSED: what is due must be known for sure."""
        self._rules.require_lease()
        now, organization_id = self._clock.now(), read.question.organization_id

        def living(application: str) -> bytes:
            newest_due = self._rules.at(lot_of(organization_id, application), now).newest_due_day(now)
            return lowest_record_id(day_start(newest_due + timedelta(days=1)))

        return _Living(
            living(""), {one: living(one) for one in sorted(self._rules.applications(organization_id))}
        )

    def _page(self, read: _Read, after: bytes | None, limit: int) -> Page:
        span = self._span(read)
        with self._database.transaction() as tx:
            return store.page(tx, span, after, limit, carried=_carried(read, limit))

    def _rows_of(self, read: _Read, record_ids: list[bytes]) -> list[StoredRow]:
        span = self._span(read)
        with self._database.transaction() as tx:
            named = replace(span, record_ids=frozenset(record_ids))
            carried = _carried(read, len(record_ids))
            return store.page(tx, named, None, len(record_ids), carried=carried).rows

    def _shown(
        self, read: _Read, rows: list[StoredRow], read_at: float, batch_size: int
    ) -> Iterator[read_pb2.ReadInteractionsResponse]:
        """Opens rows and gives them out, looking before each batch whether the grant still stands. A budget that does not
        reach for all of them is used up to its end: what is too many is asked for by halves. read_at: boottime."""
        for part in _parts(rows):
            yield from self._shown_part(read, part, read_at, batch_size)

    def _shown_part(
        self, read: _Read, rows: list[StoredRow], read_at: float, batch_size: int
    ) -> Iterator[read_pb2.ReadInteractionsResponse]:
        self._require_standing(read)
        try:
            keys, left_out = self._open(read, rows)
        except KeptError as error:
            if error.reason not in _TOO_MANY or len(rows) == 1:
                raise
            middle = len(rows) // 2
            yield from self._shown_part(read, rows[:middle], read_at, batch_size)
            yield from self._shown_part(read, rows[middle:], read_at, batch_size)
            return
        if left_out:
            rows = [row for row in rows if row.record_id not in left_out]
        self._load(read, [row for row in rows if row.content is None and row.record_id in keys])
        batch, size, begin = read_pb2.ReadInteractionsResponse(), 0, 0
        for index, row in enumerate(rows):
            if index - begin == batch_size:
                yield from self._still(read, rows[begin:index], read_at, batch)
                batch, size, begin = read_pb2.ReadInteractionsResponse(), 0, index
            # As it is when it is open: what was sealed may be a thousandth of it.
            record_size = show(batch.records.add(), row, read.question.detail, keys.get(row.record_id))
            row.content = None
            if size and size + record_size > _BATCH_BYTES:
                larger = read_pb2.ReadInteractionsResponse(records=batch.records[-1:])
                del batch.records[-1]
                yield from self._still(read, rows[begin:index], read_at, batch)
                batch, size, begin = larger, 0, index
            size += record_size
        if batch.records:
            yield from self._still(read, rows[begin:], read_at, batch)

    def _load(self, read: _Read, rows: list[StoredRow]) -> None:
        """Loads the sealed contents that did not come with their rows."""
        if rows:
            with self._database.transaction() as tx:
                asked = [row.record_id for row in rows]
                contents = store.contents(tx, read.question.organization_id, asked)
            for row in rows:
                row.content = contents.get(row.record_id)

    def _still(
        self, read: _Read, rows: list[StoredRow], read_at: float, batch: read_pb2.ReadInteractionsResponse
    ) -> Iterator[read_pb2.ReadInteractionsResponse]:
        """What of a batch may be sent now: a reader may take her time between two answers, and what ended meanwhile, the grant, a record's
        term or its hold, or was erased, ended. rows: those that the batch shows, oldest first, as they were read then."""
        self._require_standing(read)
        if self._clock.boottime() - read_at > _READ_SECONDS:
            batch = self._as_it_is(read, batch)
        living = self._living(read)
        if rows[0].record_id < max((living.of_all, *living.of.values())):
            of = {row.record_id: row for row in rows}
            records = [
                record
                for record in batch.records
                if ((row := of[record.record_id]).is_held and read.held_too)
                or row.record_id >= living.of.get(row.lot, living.of_all)
            ]
            batch = read_pb2.ReadInteractionsResponse(records=records)
        if batch.records:
            yield batch

    def _as_it_is(
        self, read: _Read, batch: read_pb2.ReadInteractionsResponse
    ) -> read_pb2.ReadInteractionsResponse:
        """A batch without what is not there any more, be it the record or its content."""
        shown = frozenset(record.record_id for record in batch.records)
        span = replace(self._span(read), record_ids=shown, low=min(shown), selection=EVERYTHING)
        with self._database.transaction() as tx:
            have_content = store.have_content(tx, span)
        there = [record for record in batch.records if record.record_id in have_content]
        for record in there:
            if record.has_content and not have_content[record.record_id]:
                for field in ("content", "content_size", "has_content", "unreadable"):
                    record.ClearField(field)
        return read_pb2.ReadInteractionsResponse(records=there)

    def _open(self, read: _Read, rows: list[StoredRow]) -> tuple[dict[bytes, bytes], Collection[bytes]]:
        """The keys of rows, after access control has written down who gets them, none for METADATA; and the rows that are not to be shown,
        for they are gone. Whoever named records is refused where one is gone, as where one never was."""
        if not rows:
            return {}, ()
        with_keys = _shows_content(read)
        sealed = {
            row.data_key_id: (row.sealed_data_key, row.lot)
            for row in rows
            if with_keys and row.data_key_id is not None and row.sealed_data_key is not None
        }
        asked = authz_pb2.OpenRecordsRequest(
            **read.question.reader.principal,
            grant_id=read.question.grant_id,
            organization_id=read.question.organization_id,
            detail=read.question.detail,
            data_keys=[
                authz_pb2.SealedDataKey(data_key_id=data_key_id, sealed=sealed_key, application=application)
                for data_key_id, (sealed_key, application) in sealed.items()
            ],
            leave_out_gone=not read.question.asked.record_ids,
        )
        add = asked.records.add  # in place: half of what it takes to make 2,000 messages and copy them
        for row in rows:
            if row.data_key_id in sealed:
                add(record_id=row.record_id, data_key_id=row.data_key_id)
            else:
                add(record_id=row.record_id, application=row.lot)
        answer = self._authz.OpenRecords(asked)
        return {one.record_id: one.key for one in answer.keys}, frozenset(answer.left_out_record_ids)


def _shows_content(read: _Read) -> bool:
    return read.question.detail != grants_pb2.DETAIL_METADATA


def _carried(read: _Read, limit: int) -> int:
    """How large sealed content may be that comes with each of so many rows, in bytes."""
    return _PART_BYTES // limit if _shows_content(read) else -1


def _parts(rows: list[StoredRow]) -> Iterator[list[StoredRow]]:
    """The rows in parts whose content may be in memory at once; a part has one row at least."""
    part: list[StoredRow] = []
    size = 0
    for row in rows:
        if part and size + row.content_size > _PART_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += row.content_size
    if part:
        yield part


class _Sent:
    """What a following read has sent. Ids and commits are not in the same order: all that was there up to `low`, half a minute before the
    last look at the latest, is sent; of what lies behind it the ids are remembered, for the next look meets it again."""

    def __init__(self, after: bytes | None) -> None:
        self.low = self._cursor = after or bytes(16)
        self._ids: set[bytes] = set()

    def __contains__(self, record_id: bytes) -> bool:
        return record_id in self._ids

    def is_far_back(self, now: datetime) -> bool:
        """Whether more may lie behind `low` than came within a minute."""
        return self.low < lowest_record_id(now - 2 * _FOLLOW_BACK)

    def looked(self, at: datetime, last: bytes | None) -> None:
        """What was there at an instant behind `low` is about to be sent: up to this id, or all of it where that is None."""
        settled = lowest_record_id(at - _FOLLOW_BACK)
        self.low = max(self.low, settled if last is None else min(last, settled))
        self._ids = {one for one in self._ids if one > self.low}

    def add(self, batch: Sequence[read_pb2.InteractionRecord]) -> bytes:
        """Remembers records that are sent now, if a look may meet them again. After which id another read goes on that is to miss nothing:
        it may meet some again."""
        self._ids.update(one.record_id for one in batch if one.record_id > self.low)
        self._cursor = max(self._cursor, min(batch[-1].record_id, self.low))
        return self._cursor
