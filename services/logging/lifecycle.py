"""What retention asks of logging: keep rows for holds, let them go, drop a day, erase an organization. Every act can be repeated after any
failure; what it did is on its way to the audit log in its own transaction.

logging does not take retention's word for what is due: its own replica of the rules must say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from services.logging.admission import LATE_WINDOW
from services.logging.store import retention as store
from services.logging.store import stripes
from services.logging.store.retention import DayCount, HeldRow
from services.logging.usage.periods import Periods
from shared.audit import entry
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.errors import KeptError, Reason, wrong_state
from shared.ids import day_start
from shared.outbox import Outbox
from shared.rules import Rules

_ACTOR: Final = "service:logging"
# Each try waits for its locks a quarter of a second at most.
_DROP_TRIES: Final = 20


@dataclass(frozen=True)
class Erased:
    """What an erasure did. removed: numbers of rows by kind, of the first time. held: records that holds keep now."""

    erased_at: datetime
    removed: dict[str, int]
    held: int


class Lifecycle:
    """Retention's acts on the tables."""

    def __init__(
        self, database: Database, clock: Clock, rules: Rules, outbox: Outbox, periods: Periods
    ) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._outbox = outbox
        self._periods = periods

    def hold(
        self, hold_id: str, organization_id: str, record_ids: Sequence[bytes], kind: int | None = None
    ) -> tuple[list[HeldRow], list[bytes]]:
        """Keeps rows beyond their day; those that are kept now, and the ids that are not there. Raises WRONG_STATE for a hold that was let
        go: a call that was on its way for long brings nothing back. kind: kept.retention.v1.HoldKind; None where it is not known."""
        with self._database.transaction() as tx:
            if store.lock_hold(tx, hold_id):
                raise wrong_state("The hold was released.", "released")
            stripes.take(tx, organization_id)
            kept, are_new = store.hold(tx, hold_id, organization_id, record_ids, kind)
            if are_new:  # a restored database has to know what it must not drop
                self._outbox.audit(
                    tx,
                    entry(
                        "rows.held",
                        actor=_ACTOR,
                        at=self._clock.now(),
                        organization_id=organization_id,
                        subjects=[hold_id, *(row.record_id for row in kept)],
                        facts={} if kind is None else {"hold_kind": kind},
                    ),
                )
        there = {row.record_id for row in kept}
        return kept, [one for one in record_ids if one not in there]

    def release(self, hold_id: str) -> int:
        """Lets go what a hold kept, for ever; how many rows are gone by it, the first time and later."""
        with self._database.transaction() as tx:
            store.lock_hold(tx, hold_id)
            store.bury_hold(tx, hold_id)
            organizations = store.organizations_of_hold(tx, hold_id)
        for organization_id in organizations:
            with self._database.transaction() as tx:
                stripes.take(tx, organization_id)
                gone = store.release(tx, hold_id, organization_id)
                store.note_removed(tx, hold_id, gone)
                self._outbox.audit(
                    tx,
                    entry(
                        "rows.released",
                        actor=_ACTOR,
                        at=self._clock.now(),
                        organization_id=organization_id,
                        subjects=[hold_id],
                        facts={"removed": gone},
                    ),
                )
        with self._database.transaction() as tx:
            return store.removed_by(tx, hold_id)

    def drop(self, run_id: str, day: date) -> tuple[int, int]:
        """Closes a day and drops its partition: rows that were in it, and how many of them holds keep. Raises NOT_DUE, LEASE_LAPSED,
        DATABASE_UNAVAILABLE when readers keep the locks for longer than we wait; the day is closed then, and a repetition goes on."""
        with self._database.transaction() as tx:
            before = store.dropped(tx, day)
            if before is not None:
                return before
            self._require_due(day, store.counts_of_day(tx, day))
        with self._database.transaction() as tx:
            stripes.close_day(tx, day, self._clock.now())
        with self._database.transaction() as tx:
            stripes.wait_for_writers(tx)
        for remaining in reversed(range(_DROP_TRIES)):
            try:
                return self._drop_closed(run_id, day)
            except KeptError as error:
                if error.reason != Reason.REASON_DATABASE_UNAVAILABLE or not remaining:
                    raise
        raise AssertionError("the last try returns or raises")

    def _drop_closed(self, run_id: str, day: date) -> tuple[int, int]:
        with self._database.transaction() as tx:
            before = store.dropped(tx, day)
            if before is not None:  # another replica, or a commit whose answer was lost
                return before
            # Again, behind the fence: what is counted now is all there will ever be.
            self._require_due(day, store.counts_of_day(tx, day))
            now = self._clock.now()
            total, held = store.drop_day(tx, day, run_id, now)
            facts: dict[str, str | int | bool] = {"day": day.isoformat(), "dropped": total, "held": held}
            self._outbox.audit(
                tx, entry("partition.dropped", actor=_ACTOR, at=now, subjects=[run_id], facts=facts)
            )
        return total, held

    def _require_due(self, day: date, counts: Sequence[DayCount]) -> None:
        """Raises NOT_DUE unless every organization's rows of the day are due by all rules that may count now, and no late record can come
        any more."""
        self._rules.require_lease()
        last_came_by = day_start(day) + timedelta(days=1) + LATE_WINDOW + 2 * CLOCK_TOLERANCE
        is_due = self._clock.now() > last_came_by and all(
            self._rules.is_due_by_all(count.organization_id, day) for count in counts
        )
        if not is_due:
            raise KeptError(Reason.REASON_NOT_DUE, "By the rules that logging knows, this day is not due.")

    def erase(self, organization_id: str, erasure_id: str) -> Erased:
        """Closes an organization for ever and removes its rows but what holds keep."""
        with self._database.transaction() as tx:
            now = self._clock.now()
            stripes.close_organization(tx, organization_id, now)
            done = store.receipt(tx, organization_id, erasure_id)
            if done is None:
                removed = store.erase(tx, organization_id, erasure_id, now)
                self._periods.forget_organization(tx, organization_id)
                self._outbox.audit(
                    tx,
                    entry(
                        "organization.erased",
                        actor=_ACTOR,
                        at=now,
                        organization_id=organization_id,
                        subjects=[erasure_id],
                        facts=dict(removed),
                    ),
                )
                done = (now, removed)
            return Erased(done[0], dict(done[1]), store.held_of(tx, organization_id))

    def stored_days(self, through: date, after: tuple[date, str] | None, limit: int) -> list[DayCount]:
        """What partitions hold up to and including a day, by day and organization."""
        with self._database.transaction() as tx:
            return store.stored_days(tx, through, after, limit)

    def dropped_counts(self, day: date, after: str, limit: int) -> list[DayCount]:
        """What was dropped with a day, by organization."""
        with self._database.transaction() as tx:
            return store.dropped_of_day(tx, day, after, limit)

    def oldest(self) -> tuple[date | None, int]:
        """The oldest day with rows that nothing holds, and how many records exist for holds alone."""
        with self._database.transaction() as tx:
            return store.oldest_unheld_day(tx), store.held_beyond_their_day(tx)
