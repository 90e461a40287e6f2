"""LifecycleService."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from kept.logging.v1 import lifecycle_pb2, lifecycle_pb2_grpc
from kept.retention.v1 import rules_pb2
from services.logging.lifecycle.acts import Going, Lifecycle
from services.logging.lifecycle.contents import ContentErased, ContentErasures
from services.logging.lifecycle.subjects import SubjectErased, Subjects
from services.logging.reading import pages
from services.logging.records import RECORD_ID_BYTES
from services.logging.store.retention import DayCount, Days, HeldRow
from services.logging.store.standing_holds import Standing
from shared import fields
from shared.errors import invalid
from shared.ids import day_start, lowest_record_id
from shared.terms import lot_of, parts_of

_PAGE: Final = 1000
# What ids can say of days. The last has one behind it, as every bound needs; no record is of a day that far ahead.
_FIRST_DAY: Final = date(1970, 1, 1)
_LAST_DAY: Final = date.max - timedelta(days=1)


class LifecycleServicer(lifecycle_pb2_grpc.LifecycleServiceServicer):
    """What retention asks of logging."""

    def __init__(self, lifecycle: Lifecycle, subjects: Subjects, contents: ContentErasures) -> None:
        self._lifecycle = lifecycle
        self._subjects = subjects
        self._contents = contents

    def ListStoredDays(
        self, request: lifecycle_pb2.ListStoredDaysRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.ListStoredDaysResponse:
        """See the contract."""
        limit = request.page_size or _PAGE
        if request.application and not request.organization_id:
            raise invalid("application", "is of an organization, which is not named")
        day, _, lot = pages.decode_text(request.page_token, "page_token").partition("|")
        after = (fields.day("page_token", day), *parts_of(_lot(lot))) if request.page_token else None
        asked = Days(
            fields.day("through_day", request.through_day),
            _days_of_lots(request.own),
            request.organization_id,
        )
        found = self._lifecycle.stored_days(asked, after, limit + 1)
        more = f"{found[limit - 1].day}|{found[limit - 1].lot}" if len(found) > limit else ""
        listed = found[:limit]
        if request.application:
            listed = self._lifecycle.with_application(listed, request.application)
        return lifecycle_pb2.ListStoredDaysResponse(
            days=_stored_days(listed), next_page_token=pages.encode(more.encode())
        )

    def DropExpired(
        self, request: lifecycle_pb2.DropExpiredRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.DropExpiredResponse:
        """See the contract."""
        dropped, held = self._lifecycle.drop(
            request.run_id,
            fields.day("day", request.day),
            Going(
                frozenset(request.keep_organization_ids),
                frozenset(request.only_organization_ids),
                _days_of_lots(request.applications),
                request.partition_stays,
            ),
        )
        return lifecycle_pb2.DropExpiredResponse(dropped=dropped, held=held)

    def ListDroppedCounts(
        self, request: lifecycle_pb2.ListDroppedCountsRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.ListDroppedCountsResponse:
        """See the contract."""
        limit = request.page_size or _PAGE
        after = _lot(pages.decode_text(request.page_token, "page_token"))
        found = self._lifecycle.dropped_counts(
            fields.day("day", request.day), request.run_ids, after, limit + 1
        )
        more = found[limit - 1].lot if len(found) > limit else ""
        return lifecycle_pb2.ListDroppedCountsResponse(
            days=_stored_days(found[:limit]), next_page_token=pages.encode(more.encode())
        )

    def HoldRecords(
        self, request: lifecycle_pb2.HoldRecordsRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.HoldRecordsResponse:
        """See the contract."""
        kept, missing = self._lifecycle.hold(
            request.hold_id,
            request.organization_id,
            request.record_ids,
            request.kind or None,
            is_confidential=request.confidential,
        )
        return lifecycle_pb2.HoldRecordsResponse(held=_held(kept), missing=missing)

    def HoldMatching(
        self, request: lifecycle_pb2.HoldMatchingRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.HoldMatchingResponse:
        """See the contract."""
        if len(request.after) not in (0, RECORD_ID_BYTES):
            raise invalid("after", "is no record id")
        scope = request.scope
        first = fields.day("scope.first_day", scope.first_day) if scope.first_day else _FIRST_DAY
        last = min(fields.day("scope.last_day", scope.last_day), _LAST_DAY) if scope.last_day else _LAST_DAY
        low, high = lowest_record_id(day_start(first)), lowest_record_id(day_start(last + timedelta(days=1)))
        kept, after, gone = self._lifecycle.hold_matching(
            Standing(
                request.hold_id,
                request.organization_id,
                low,
                high,
                scope.end_user,
                request.kind or None,
                request.confidential,
            ),
            (first, last),
            request.after or None,
        )
        return lifecycle_pb2.HoldMatchingResponse(
            held=_held(kept), after=after or b"", gone_through_day=gone.isoformat() if gone else ""
        )

    def DiscloseHold(
        self, request: lifecycle_pb2.DiscloseHoldRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.DiscloseHoldResponse:
        """See the contract."""
        return lifecycle_pb2.DiscloseHoldResponse(done=self._lifecycle.disclose(request.hold_id))

    def ReleaseRecords(
        self, request: lifecycle_pb2.ReleaseRecordsRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.ReleaseRecordsResponse:
        """See the contract."""
        return lifecycle_pb2.ReleaseRecordsResponse(removed=self._lifecycle.release(request.hold_id))

    def EraseOrganization(
        self, request: lifecycle_pb2.EraseOrganizationRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.EraseOrganizationResponse:
        """See the contract."""
        erased = self._lifecycle.erase(request.organization_id, request.erasure_id)
        response = lifecycle_pb2.EraseOrganizationResponse(removed=erased.removed, held=erased.held)
        response.erased_at.FromDatetime(erased.erased_at)
        return response

    def EraseSubject(
        self, request: lifecycle_pb2.EraseSubjectRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.EraseSubjectResponse:
        """See the contract."""
        erased = self._subjects.erase(request.organization_id, request.end_user, request.erasure_id)
        return lifecycle_pb2.EraseSubjectResponse(erasure=_subject_erasure(erased))

    def GetSubjectErasure(
        self, request: lifecycle_pb2.GetSubjectErasureRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.GetSubjectErasureResponse:
        """See the contract."""
        erased = self._subjects.get(request.erasure_id)
        return lifecycle_pb2.GetSubjectErasureResponse(erasure=_subject_erasure(erased))

    def ListErasedRecords(
        self, request: lifecycle_pb2.ListErasedRecordsRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.ListErasedRecordsResponse:
        """See the contract."""
        limit = request.page_size or _PAGE
        after = pages.decode_record_id(request.page_token, "page_token")
        found = self._subjects.erased_ids(request.erasure_id, after, limit + 1)
        return lifecycle_pb2.ListErasedRecordsResponse(
            record_ids=found[:limit],
            next_page_token=pages.encode(found[limit - 1]) if len(found) > limit else "",
        )

    def ForgetErasedRecords(
        self, request: lifecycle_pb2.ForgetErasedRecordsRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.ForgetErasedRecordsResponse:
        """See the contract."""
        self._subjects.forget(request.erasure_id)
        return lifecycle_pb2.ForgetErasedRecordsResponse()

    def EraseContent(
        self, request: lifecycle_pb2.EraseContentRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.EraseContentResponse:
        """See the contract."""
        before = _before(request.before)
        erased = self._contents.erase(request.organization_id, before, request.erasure_id)
        return lifecycle_pb2.EraseContentResponse(erasure=_content_erasure(erased))

    def RaiseFence(
        self, request: lifecycle_pb2.RaiseFenceRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.RaiseFenceResponse:
        """See the contract."""
        if request.HasField("before"):
            before = _before(request.before)
            since = self._contents.fence(request.organization_id, before, request.erasure_id)
        else:
            since = self._lifecycle.fence(request.organization_id)
        response = lifecycle_pb2.RaiseFenceResponse()
        response.fenced_at.FromDatetime(since)
        return response

    def GetContentErasure(
        self, request: lifecycle_pb2.GetContentErasureRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.GetContentErasureResponse:
        """See the contract."""
        erased = self._contents.get(request.erasure_id)
        return lifecycle_pb2.GetContentErasureResponse(erasure=_content_erasure(erased))

    def GetOldest(
        self, request: lifecycle_pb2.GetOldestRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.GetOldestResponse:
        """See the contract."""
        day, held = self._lifecycle.oldest()
        return lifecycle_pb2.GetOldestResponse(oldest_day=day.isoformat() if day else "", held=held)


def _held(rows: Sequence[HeldRow]) -> list[lifecycle_pb2.HeldRecord]:
    return [
        lifecycle_pb2.HeldRecord(
            record_id=row.record_id,
            data_key_id=row.data_key_id or b"",
            sealed_data_key=row.sealed_data_key or b"",
            application=row.application,
        )
        for row in rows
    ]


def _days_of_lots(own: Iterable[rules_pb2.OrganizationDue]) -> dict[str, date]:
    """Up to which days lots (shared.terms) are meant."""
    return {lot_of(one.organization_id, one.application): fields.day("own", one.through_day) for one in own}


def _lot(text: str) -> str:
    """A token's lot. Raises INVALID_ARGUMENT for what is none."""
    try:
        parts_of(text)
    except ValueError:
        raise invalid("page_token", "is not a token that this service gave out") from None
    return text


def _before(moment: Timestamp) -> datetime:
    before = fields.instant("before", moment)
    if before.date() < _FIRST_DAY:
        raise invalid("before", "is older than any record can be")
    return before


def _content_erasure(erased: ContentErased) -> lifecycle_pb2.ContentErasure:
    act = erased.act
    message = lifecycle_pb2.ContentErasure(
        done=act.is_done,
        removed={"contents": act.contents, "data_keys": act.data_keys, "unscreened": act.unscreened},
        held=erased.held,
        holds=[
            lifecycle_pb2.ContentHold(hold_id=hold_id, records=records)
            for hold_id, records in erased.by_hold.items()
        ],
    )
    message.fenced_at.FromDatetime(act.fenced_at)
    if act.erased_at is not None:
        message.erased_at.FromDatetime(act.erased_at)
    return message


def _subject_erasure(erased: SubjectErased) -> lifecycle_pb2.SubjectErasure:
    act = erased.act
    message = lifecycle_pb2.SubjectErasure(
        done=act.is_done,
        removed={"interactions": act.interactions, "unscreened": act.unscreened},
        held=erased.held,
        days=[
            lifecycle_pb2.SubjectDay(
                day=one.day.isoformat(),
                removed=one.removed,
                removed_with_content=one.removed_with_content,
                held=one.held,
            )
            for one in erased.days
        ],
        holds=[
            lifecycle_pb2.SubjectHold(hold_id=hold_id, records=records)
            for hold_id, records in erased.by_hold.items()
        ],
    )
    message.fenced_at.FromDatetime(act.fenced_at)
    if act.erased_at is not None:
        message.erased_at.FromDatetime(act.erased_at)
    return message


def _stored_days(counts: Sequence[DayCount]) -> list[lifecycle_pb2.StoredDay]:
    return [
        lifecycle_pb2.StoredDay(
            day=one.day.isoformat(),
            organization_id=one.organization_id,
            records=one.records,
            records_with_content=one.records_with_content,
            held=one.held,
            application=one.application,
        )
        for one in counts
    ]
