"""What a grant of data covers: whose records, which, how many, in what detail."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from kept.access_control.v1 import grants_pb2
from shared.enums import short_name
from shared.errors import KeptError, Reason, invalid
from shared.ids import are_record_ids, is_record_id, record_time

Detail = grants_pb2.Detail


@dataclass(frozen=True)
class DataScope:
    """Records of one organization. start, until: of creation, half open. record_ids: empty for all of the span (of the case's)."""

    organization_id: str
    detail: "grants_pb2.Detail.ValueType"
    budget: int
    start: datetime | None = None
    until: datetime | None = None
    record_ids: frozenset[bytes] = frozenset()
    case_id: str = ""
    permission: "grants_pb2.ServicePermission.ValueType" = grants_pb2.SERVICE_PERMISSION_UNSPECIFIED

    @property
    def is_for_service(self) -> bool:
        """Whether a service reads, by its own permission, and no person."""
        return self.permission != grants_pb2.SERVICE_PERMISSION_UNSPECIFIED

    @property
    def is_everything(self) -> bool:
        """Whether it covers an organization, rather than records that are named or a case's."""
        return not self.record_ids and not self.case_id


@dataclass(frozen=True)
class Case:
    """A case of safety review. state: "open", "upheld" (closed, a violation confirmed) or "closed"."""

    case_id: str
    organization_id: str
    state: str


def require_span(data: DataScope) -> None:
    """Raises INVALID_ARGUMENT for a span that ends before it begins."""
    if data.start is not None and data.until is not None and data.until <= data.start:
        raise invalid("data.until", "is not later than data.from")


def case_not_open() -> KeptError:
    """The case is none that admits this."""
    return KeptError(Reason.REASON_CASE_NOT_OPEN, "The case is not open, or these records are not its own.")


def not_upheld() -> KeptError:
    """What is asked for is for upheld cases alone."""
    return KeptError(
        Reason.REASON_NOT_UPHELD, "The case is not upheld, or access control does not know it yet."
    )


def outside_scope() -> KeptError:
    """The same for what is not covered, what is gone and what never was."""
    return KeptError(Reason.REASON_OUTSIDE_SCOPE, "A record is not covered by the grant, or does not exist.")


def require_detail(scope: DataScope, organization_id: str, detail: "grants_pb2.Detail.ValueType") -> None:
    """Raises OUTSIDE_SCOPE for another organization, DETAIL_NOT_GRANTED for more than the grant gives."""
    if scope.organization_id != organization_id:
        raise outside_scope()
    if detail > scope.detail:
        raise KeptError(
            Reason.REASON_DETAIL_NOT_GRANTED,
            "The grant does not give that much detail.",
            metadata={"detail": short_name(Detail, scope.detail)},
        )


def created_at(record_id: bytes) -> datetime:
    """When a record was created, by its id. Raises OUTSIDE_SCOPE for what no record's id can be."""
    if not is_record_id(record_id):
        raise outside_scope()
    try:
        return record_time(record_id)
    except OverflowError as error:  # past the year 9999
        raise outside_scope() from error


def require_covers(scope: DataScope, record_ids: Collection[bytes]) -> None:
    """Raises OUTSIDE_SCOPE unless each of the records lies in the span and, where there is a list, in the list."""
    if not record_ids:
        return
    first, last = span_of(record_ids)
    if (
        (scope.start is not None and first < scope.start)
        or (scope.until is not None and last >= scope.until)
        or (scope.record_ids and not scope.record_ids.issuperset(record_ids))
    ):
        raise outside_scope()


def span_of(record_ids: Collection[bytes]) -> tuple[datetime, datetime]:
    """When the first and the last of records were created: ids are ordered by time. Raises OUTSIDE_SCOPE for what no record's id can be."""
    if not are_record_ids(record_ids):
        raise outside_scope()
    return created_at(min(record_ids)), created_at(max(record_ids))


def budget_exhausted(scope: DataScope) -> KeptError:
    """More different records than the grant gives."""
    return KeptError(
        Reason.REASON_BUDGET_EXHAUSTED,
        "The grant's budget of records is used up.",
        metadata={"budget": str(scope.budget)},
    )
