"""Less than was asked for: an approver may shorten, thin out and restrict a request, and never add to it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from kept.access_control.v1 import grants_pb2
from services.access_control.grants.grant import Grant
from services.access_control.grants.scope import DataScope, require_covers, require_span
from shared.errors import KeptError, invalid
from shared.ids import are_record_ids

T = TypeVar("T")


@dataclass(frozen=True)
class Narrowing:
    """What an approver grants of it; None and empty for no change."""

    detail: "grants_pb2.Detail.ValueType | None" = None
    budget: int | None = None
    duration: timedelta | None = None
    start: datetime | None = None
    until: datetime | None = None
    record_ids: frozenset[bytes] = frozenset()

    def of(self, grant: Grant) -> Grant:
        """The grant with less in it, and what was asked for beside it. Raises INVALID_ARGUMENT for anything that is more."""
        duration = _less("duration", self.duration, grant.duration, lambda new, old: new <= old)
        data = grant.data
        if data is not None:
            data = self._of_data(data)
        elif self != Narrowing(duration=self.duration):
            raise invalid("narrowing", "can shorten a power, and nothing else")
        if (data, duration) == (grant.data, grant.duration):
            return grant
        return replace(grant, data=data, duration=duration, asked=grant.asked or (grant.data, grant.duration))

    def _of_data(self, data: DataScope) -> DataScope:
        if data.is_for_service and self.detail not in (None, data.detail):
            raise invalid("narrowing.detail", "cannot change where a service screens")
        narrowed = replace(
            data,
            detail=_less("detail", self.detail, data.detail, lambda new, old: new <= old),
            budget=_less("budget", self.budget, data.budget, lambda new, old: new <= old),
            start=_less("from", self.start, data.start, _is_later),
            until=_less("until", self.until, data.until, _is_earlier),
        )
        require_span(narrowed)
        if self.record_ids:
            if not are_record_ids(self.record_ids):
                raise invalid("narrowing.record_ids", "are not all laid out as UUIDv7")
            try:
                require_covers(narrowed, self.record_ids)
            except KeptError as error:
                raise invalid("narrowing.record_ids", "are not all among what was asked for") from error
            narrowed = replace(narrowed, record_ids=self.record_ids)
        return narrowed


def _is_later(new: datetime | None, old: datetime | None) -> bool:
    return old is None or (new is not None and new >= old)


def _is_earlier(new: datetime | None, old: datetime | None) -> bool:
    return old is None or (new is not None and new <= old)


def _less(field: str, new: T | None, old: T, is_less: Callable[[T, T], bool]) -> T:
    if new is None:
        return old
    if not is_less(new, old):
        raise invalid(f"narrowing.{field}", "is more than was asked for")
    return new
