"""Counting: calls become figures, which are stored in the transaction that stores what was called (store/arrivals.py), and figures are
added to both stores.

So a record is counted once, whatever is retried; and what is refused, or rolled back, is not.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from services.logging.records import Row
from services.logging.store import Tx, analytics, billing
from services.logging.store.billing import Place
from services.logging.usage.features import PLACES, features_of
from services.logging.usage.fields import (
    CALLS,
    DURATION_LIMITS,
    DURATION_MILLISECONDS,
    DURATION_UNKNOWN,
    FIRST_DURATION,
    GENERATION_TOKENS,
    PROMPT_TOKENS,
    no_figures,
)
from services.logging.usage.periods import Periods, day_of
from shared.database import Database
from shared.driver import together
from shared.ids import new_id

MILLISECONDS_AN_HOUR: Final = 3_600_000
# Names of applications and models that one batch may bring for one organization and hour. What is beyond is counted under OTHER: names are
# the customer's, and one that makes up a name a call would make as many rows as it makes calls.
MOST_NAMES: Final = 64
OTHER: Final = "(other)"

# What is counted where; figures as usage.fields.FIGURES.
Cells = dict[Place, list[int]]


class Counting:
    """Counts usage. A process writes to each store under a name of its own, another one after each start; nothing tells that the two names
    are of one process."""

    def __init__(self, database: Database) -> None:
        self.periods = Periods(database)
        self._billing_writer = new_id("writer")
        self._analytics_writer = new_id("writer")

    def add(self, tx: Tx, cells: Mapping[Place, Sequence[int]], now: datetime) -> None:
        """Adds figures to both stores. Rows are written in one order, so that no two transactions wait for each other in a circle."""
        if not cells:
            return
        keys = self.periods.keys(tx, {day_of(hour) for _, hour, _, _ in cells}, now)
        grouped: dict[analytics.Place, Sequence[int]] = {}
        for (organization_id, hour, _, model), figures in cells.items():
            key = keys.get(day_of(hour))
            if key is None:
                continue  # its day is over: what comes now is billed and is in no analytics
            place = (hour, model, key.key_id, key.pseudonym(organization_id))
            known = grouped.get(place)
            grouped[place] = (
                figures if known is None else [one + more for one, more in zip(known, figures, strict=True)]
            )
        with together(tx):
            billing.add(tx, sorted(cells.items()), self._billing_writer)
            if grouped:
                analytics.add(tx, sorted(grouped.items()), self._analytics_writer)


def used_by(rows: Iterable[Row]) -> list[tuple[Place, list[int]]]:
    """The figures of calls, as they are stored with them."""
    return list(cells_of(rows).items())


def cells_of(rows: Iterable[Row]) -> Cells:
    """The figures of calls, by organization, hour, application and model."""
    cells: Cells = {}
    names: dict[tuple[str, int], int] = {}
    for row in rows:
        hour = int.from_bytes(row.record_id[:6]) // MILLISECONDS_AN_HOUR
        place = (row.organization_id, hour, row.application, row.model)
        figures = cells.get(place)
        if figures is None:
            named = names[place[:2]] = names.get(place[:2], 0) + 1
            if named > MOST_NAMES:
                place = (row.organization_id, hour, OTHER, OTHER)
            figures = cells.setdefault(place, no_figures())
        figures[CALLS] += 1
        figures[PROMPT_TOKENS] += row.prompt_tokens
        figures[GENERATION_TOKENS] += row.generation_tokens
        if row.latency_us is None:
            figures[DURATION_UNKNOWN] += 1
        else:
            milliseconds = row.latency_us // 1000
            figures[DURATION_MILLISECONDS] += milliseconds
            figures[FIRST_DURATION + bisect_right(DURATION_LIMITS, milliseconds)] += 1
        for feature in PLACES[features_of(row, row.shape)]:
            figures[feature] += 1
    return cells
