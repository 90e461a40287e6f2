"""What operators and admins are shown of usage. Who may ask is the contract's to say, and whose it is the servicer's."""

from datetime import UTC, datetime, timedelta
from typing import Final

from services.logging.store import analytics, billing
from services.logging.store.analytics import Cell
from services.logging.store.billing import Counted
from services.logging.usage.fields import MINIMUM_GROUP
from shared.database import Database
from shared.errors import invalid

LONGEST_BILLING: Final = timedelta(days=92)
LONGEST_ANALYTICS: Final = timedelta(days=31)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# Where a page ended: seconds since 1970 and names.
BillingPlace = tuple[int, str, str]
AnalyticsPlace = tuple[int, str]


class Queries:
    """Answers from both stores, each by a statement of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def billing(
        self,
        organization_id: str,
        begins: datetime,
        ends: datetime,
        *,
        by_day: bool,
        application: str | None,
        model: str | None,
        after: BillingPlace | None,
        limit: int,
    ) -> list[Counted]:
        """An organization's counts; see store.billing.read. Raises INVALID_ARGUMENT for a span that is none, is too long, or does not begin
        and end with an hour (a day)."""
        _require_span(begins, ends, _DAY if by_day else _HOUR, LONGEST_BILLING)
        with self._database.transaction() as tx:
            return billing.read(
                tx,
                organization_id,
                begins,
                ends,
                by_day=by_day,
                application=application,
                model=model,
                after=after,
                limit=limit,
            )

    def analytics(
        self,
        begins: datetime,
        ends: datetime,
        *,
        model: str | None,
        after: AnalyticsPlace | None,
        limit: int,
    ) -> list[Cell]:
        """Cells of days that are over. Cells of days that go on are not shown: two answers about one that still grows would differ by what
        one organization did in between. Raises INVALID_ARGUMENT, see `billing`."""
        _require_span(begins, ends, _HOUR, LONGEST_ANALYTICS)
        place = None if after is None else (_EPOCH + timedelta(seconds=after[0]), after[1])
        with self._database.transaction() as tx:
            return analytics.read(
                tx, begins, ends, minimum=MINIMUM_GROUP, model=model, after=place, limit=limit
            )


def _require_span(begins: datetime, ends: datetime, step: timedelta, longest: timedelta) -> None:
    for field, instant in (("from_hour", begins), ("until_hour", ends)):
        if (instant - _EPOCH) % step:
            raise invalid(field, "must be on the hour" if step == _HOUR else "must be 00:00 UTC of a day")
    if not timedelta(0) < ends - begins <= longest:
        raise invalid("until_hour", f"must be after from_hour, by at most {longest.days} days")
