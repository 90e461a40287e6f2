"""Folding: what was used, as it was stored with its records, is taken out and added to both stores.

Exactly once: it is taken out in the transaction that adds it, and a crash undoes both or neither. One process does it at a time, and it
waits for nobody: what belongs to an organization whose stripe is taken, for it is being erased or a hold is put, comes with a later step.
Under the stripe an erasure comes wholly before, and then nothing of the organization is there to be taken, or wholly after.
"""

from datetime import datetime
from typing import Final

from services.logging.store import arrivals, stripes
from services.logging.usage.counting import Counting
from shared.database import Database

# Rows that a step takes at most: some 10 ms of work.
AT_ONCE: Final = 2000


class Folding:
    """A job's step."""

    def __init__(self, database: Database, counting: Counting) -> None:
        self._database = database
        self._counting = counting

    def step(self, now: datetime) -> bool:
        """Folds what waits; True when there may be more that can be had now. It can be repeated after any failure."""
        with self._database.transaction() as tx:
            if not stripes.try_to_fold(tx):
                return False  # another process is at it
            waiting = arrivals.waiting(tx, AT_ONCE)
            free = stripes.try_to_share(tx, {organization_id for organization_id, _ in waiting})
            taken = [arrival_id for organization_id, arrival_id in waiting if organization_id in free]
            if taken:
                # The version before erases without looking here: what it left is taken out and counted nowhere.
                closed, _ = stripes.closed(tx, free, ())
                cells = arrivals.take(tx, sorted(free), taken)
                self._counting.add(
                    tx, {place: figures for place, figures in cells.items() if place[0] not in closed}, now
                )
        return len(waiting) == AT_ONCE and bool(taken)
