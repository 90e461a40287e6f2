"""A month of safety review in numbers, which name no organization and no person."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from services.safety_review.store import history
from services.safety_review.store import reports as store
from services.safety_review.store.reports import Category, Day, Totals, Version
from shared.clock import Clock
from shared.database import Database
from shared.errors import invalid
from shared.ids import lowest_record_id

# Claims say who worked how much: they stay as long as a report of the year before needs them.
CLAIMS_KEPT: Final = timedelta(days=400)


@dataclass(frozen=True)
class MonthlyReport:
    """since: the month's first instant; until: its end, or now."""

    since: datetime
    until: datetime
    days: Sequence[Day]
    categories: Sequence[Category]
    versions: Sequence[Version]
    totals: Totals


class MonthlyReports:
    """The reports, and the end of what they count."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def of(self, month: str) -> MonthlyReport:
        """The report of a month, such as "2026-03". Raises INVALID_ARGUMENT for one that has not begun."""
        since = datetime.fromisoformat(month + "-01").replace(tzinfo=UTC)
        now = self._clock.now()
        if since >= now:
            raise invalid("month", "has not begun")
        until = min((since + timedelta(days=32)).replace(day=1), now)
        ends = lowest_record_id(since), lowest_record_id(until)
        with self._database.transaction() as tx:
            return MonthlyReport(
                since,
                until,
                store.days(tx, since, until, *ends),
                store.categories(tx, since, until),
                store.versions(tx, since, until),
                store.totals(tx, since, until),
            )

    def prune(self) -> bool:
        """Removes claims that no report needs any more."""
        with self._database.transaction() as tx:
            history.forget_claims(tx, self._clock.now() - CLAIMS_KEPT)
        return False
