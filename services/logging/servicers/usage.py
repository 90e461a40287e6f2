"""UsageService."""

import json
from collections.abc import Sequence
from typing import Any, Final

import grpc

from kept.logging.v1 import usage_pb2, usage_pb2_grpc
from services.logging.reading import pages
from services.logging.usage.fields import FEATURES, FIRST_DURATION, FIRST_FEATURE, SUMS
from services.logging.usage.queries import Queries
from shared import fields
from shared.errors import invalid
from shared.pipeline import caller_of

_PAGE: Final = 1000


class UsageServicer(usage_pb2_grpc.UsageServiceServicer):
    """Where operators and admins ask."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def QueryUsage(
        self, request: usage_pb2.QueryUsageRequest, context: grpc.ServicerContext
    ) -> usage_pb2.QueryUsageResponse:
        """See the contract."""
        caller_of(context).require_organization(request.organization_id)
        limit = request.page_size or _PAGE
        found = self._queries.billing(
            request.organization_id,
            fields.instant("from_hour", request.from_hour),
            fields.instant("until_hour", request.until_hour),
            by_day=request.step == usage_pb2.USAGE_STEP_DAY,
            application=request.application if request.HasField("application") else None,
            model=request.model if request.HasField("model") else None,
            after=_place(request.page_token, (int, str, str)),
            limit=limit + 1,
        )
        response = usage_pb2.QueryUsageResponse()
        for one in found[:limit]:
            counts = response.counts.add(application=one.application, model=one.model)
            counts.hour.FromDatetime(one.begins)
            _show(one.figures, counts.figures)
        if len(found) > limit:
            last = found[limit - 1]
            response.next_page_token = _token(int(last.begins.timestamp()), last.application, last.model)
        return response

    def QueryAnalytics(
        self, request: usage_pb2.QueryAnalyticsRequest, context: grpc.ServicerContext
    ) -> usage_pb2.QueryAnalyticsResponse:
        """See the contract."""
        limit = request.page_size or _PAGE
        found = self._queries.analytics(
            fields.instant("from_hour", request.from_hour),
            fields.instant("until_hour", request.until_hour),
            model=request.model if request.HasField("model") else None,
            after=_place(request.page_token, (int, str)),
            limit=limit + 1,
        )
        response = usage_pb2.QueryAnalyticsResponse()
        for one in found[:limit]:
            cell = response.cells.add(model=one.model, organizations=one.organizations)
            cell.hour.FromDatetime(one.hour)
            _show(one.figures, cell.figures)
        if len(found) > limit:
            last = found[limit - 1]
            response.next_page_token = _token(int(last.hour.timestamp()), last.model)
        return response


def _show(figures: Sequence[int], shown: usage_pb2.UsageFigures) -> None:
    for place, name in enumerate(SUMS):
        setattr(shown, name, figures[place])
    shown.durations.extend(figures[FIRST_DURATION:FIRST_FEATURE])
    for place, name in enumerate(FEATURES, FIRST_FEATURE):
        setattr(shown.features, name, figures[place])


def _token(*place: int | str) -> str:
    # As they are: escaped, two names of 200 characters each may be longer than a token can.
    return pages.encode(json.dumps(place, ensure_ascii=False).encode())


def _place(token: str, types: tuple[type, ...]) -> Any:
    """The place that a token stands for; None for the first page. Raises INVALID_ARGUMENT."""
    text = pages.decode_text(token, "page_token")
    if not text:
        return None
    try:
        place = json.loads(text)
        json.dumps(place, ensure_ascii=False).encode()  # halves of characters, which no name has
    except (ValueError, RecursionError):
        place = None
    if (
        not isinstance(place, list)
        or [type(one) for one in place] != list(types)
        or not 0 <= place[0] < 2**32
        or any("\0" in one for one in place[1:])
    ):
        raise invalid("page_token", "is not a token that this service gave out")
    return tuple(place)
