"""What retention asks of logging: keep rows for holds, let them go, drop a day, erase an organization. Every act can be repeated after any
failure; what it did is on its way to the audit log in its own transaction.

logging does not take retention's word for what is due: its own replicas, of the rules and of who is closed, must say so.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from kept.retention.v1.holds_pb2 import HOLD_KIND_LEGAL
from services.logging.lifecycle import entries
from services.logging.lifecycle.entries import ACTOR
from services.logging.lifecycle.subjects import AT_REST
from services.logging.policies import Policies
from services.logging.recording.admission import LATE_WINDOW
from services.logging.screening.unfolding import unfold_ahead
from services.logging.store import confidential, partitions, standing_holds, stripes, terms
from services.logging.store import retention as store
from services.logging.store.retention import DayCount, Days, HeldRow
from services.logging.store.standing_holds import Standing
from services.logging.store.subjects import Tx
from services.logging.usage.periods import Periods
from shared.audit import entry
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.errors import KeptError, Reason, wrong_state
from shared.ids import day_start
from shared.outbox import Outbox
from shared.terms import parts_of

# Each counts the day anew, and tries some times to get past readers (store/partitions.py).
_DROP_TRIES: Final = 5
# Rows that one transaction copies or takes away: some 50 ms.
_ROWS_AT_ONCE: Final = 10_000
# Records that a hold on all that matches keeps by one call: access control takes so many at once.
_HELD_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Erased:
    """What an erasure did. removed: numbers of rows by kind, of the first time. held: records that holds keep now."""

    erased_at: datetime
    removed: dict[str, int]
    held: int


@dataclass(frozen=True)
class Going:
    """What of a day is to go. keep: organizations whose rows outlive the partition. only: organizations whose rows alone go.
    applications: up to which days those with lots of their own (shared.terms) go, whatever is said of their organizations.
    partition_stays: whether nothing goes but what is named."""

    keep: Collection[str] = ()
    only: Collection[str] = ()
    applications: Mapping[str, date] = field(default_factory=dict)
    partition_stays: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the partition goes."""
        return not self.only and not self.partition_stays

    def takes(self, lot: str, day: date) -> bool:
        """Whether a lot's rows of a day go."""
        own, (organization_id, _) = self.applications.get(lot), parts_of(lot)
        if own is not None:
            return own >= day
        if self.is_whole:
            return organization_id not in self.keep
        return organization_id in self.only


_EVERYTHING: Final = Going()


class Lifecycle:
    """Retention's acts on the tables."""

    def __init__(
        self, database: Database, clock: Clock, policies: Policies, outbox: Outbox, periods: Periods
    ) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._outbox = outbox
        self._periods = periods

    def hold(
        self,
        hold_id: str,
        organization_id: str,
        record_ids: Sequence[bytes],
        kind: int | None = None,
        *,
        is_confidential: bool = False,
    ) -> tuple[list[HeldRow], list[bytes]]:
        """Keeps rows beyond their day; those that are kept now, and the ids that are not there. Raises WRONG_STATE for a hold that was let
        go: a call that was on its way for long brings nothing back. kind: kept.retention.v1.HoldKind; None where it is not known.
        is_confidential: whether the copies lie apart, as long as the hold was not disclosed."""
        with self._database.transaction() as tx:
            if store.lock_hold(tx, hold_id):
                raise wrong_state("The hold was released.", "released")
            stripes.take(tx, organization_id)
            is_secret = is_confidential and not confidential.is_disclosed(tx, hold_id)
            if is_secret:
                kept, are_new = confidential.hold(tx, hold_id, organization_id, record_ids)
            else:
                kept, are_new = store.hold(tx, hold_id, organization_id, record_ids, kind)
            if are_new:
                now = self._clock.now()
                told = entries.held(hold_id, organization_id, kept, kind, now, is_secret=is_secret)
                self._outbox.audit(tx, told)
        there = {row.record_id for row in kept}
        return kept, [one for one in record_ids if one not in there]

    def hold_matching(
        self, wanted: Standing, days: tuple[date, date], after: bytes | None
    ) -> tuple[list[HeldRow], bytes | None, date | None]:
        """Keeps the next records that match, for a hold that stands from now on; what is kept, where to go on, and the newest of these days
        whose rows were taken away. Raises WRONG_STATE for a hold that was let go, CONFLICT for one that is on something else."""
        with self._database.transaction() as tx:
            if store.lock_hold(tx, wanted.hold_id):
                raise wrong_state("The hold was released.", "released")
            stripes.take(tx, wanted.organization_id)
            if wanted.is_confidential and confidential.is_disclosed(tx, wanted.hold_id):
                wanted = replace(wanted, is_confidential=False)
            stands, is_new = standing_holds.stand(tx, wanted)
            if stands is None:
                raise KeptError(Reason.REASON_CONFLICT, "The hold is on something else.")
            kept, are_new, further = standing_holds.hold_next(tx, stands, after, _HELD_AT_ONCE)
            if is_new or are_new:
                told = entries.held(
                    wanted.hold_id,
                    wanted.organization_id,
                    kept,
                    wanted.kind,
                    self._clock.now(),
                    is_secret=stands.is_confidential,
                    bounds={"low": wanted.low.hex(), "high": wanted.high.hex()},
                )
                self._outbox.audit(tx, told)
            return kept, further, standing_holds.gone_through(tx, wanted.organization_id, *days)

    def release(self, hold_id: str) -> int:
        """Lets go what a hold kept, for ever; how many rows are gone by it, the first time and later."""
        with self._database.transaction() as tx:
            store.lock_hold(tx, hold_id)
            stands = self._stands(tx, hold_id)
            store.bury_hold(tx, hold_id)
            standing_holds.forget(tx, hold_id)
            organizations = store.organizations_of_hold(tx, hold_id)
            secret = confidential.organizations(tx, hold_id)
            if stands is not None and stands.organization_id not in [*organizations, *secret]:
                # It kept nothing, and ends all the same: a restored database must not let it stand again.
                self._tell_released(tx, hold_id, stands.organization_id, 0, is_secret=stands.is_confidential)
        for organization_id in organizations:
            self._release_of(hold_id, organization_id, store.release, is_secret=False)
        for organization_id in secret:
            self._release_of(hold_id, organization_id, confidential.release, is_secret=True)
        with self._database.transaction() as tx:
            return store.removed_by(tx, hold_id)

    def _release_of(
        self,
        hold_id: str,
        organization_id: str,
        release: Callable[[Tx, str, str, int], tuple[int, UUID | None]],
        *,
        is_secret: bool,
    ) -> None:
        """In pieces: a hold may be on millions of rows, and what was let go stays so if the next piece has to wait."""
        while True:
            with self._database.transaction() as tx:
                stripes.take(tx, organization_id)
                gone, through = release(tx, hold_id, organization_id, _ROWS_AT_ONCE)
                store.note_removed(tx, hold_id, gone)
                self._tell_released(tx, hold_id, organization_id, gone, through, is_secret=is_secret)
            if through is None:
                return

    def _tell_released(
        self,
        tx: Tx,
        hold_id: str,
        organization_id: str,
        gone: int,
        through: UUID | None = None,
        *,
        is_secret: bool,
    ) -> None:
        """through: the last record of a piece that others follow: in between another hold may be placed on what these let go."""
        whose, subjects = entries.list_of(hold_id, organization_id, is_secret=is_secret)
        self._outbox.audit(
            tx,
            entry(
                "rows.released",
                actor=ACTOR,
                at=self._clock.now(),
                organization_id=whose,
                subjects=subjects,
                facts={"removed": gone} if through is None else {"removed": gone, "through": str(through)},
            ),
        )

    @staticmethod
    def _stands(tx: Tx, hold_id: str) -> Standing | None:
        """A locked hold, where it is on all that matches. Until this transaction ends nothing is caught for it, and all that was is seen:
        the erasure of an end user that has read it catches, and commits, under the organization's stripe."""
        stands = standing_holds.find(tx, hold_id)
        if stands is not None:
            stripes.take(tx, stands.organization_id)
        return stands

    def disclose(self, hold_id: str) -> bool:
        """Makes a confidential hold an ordinary one, in pieces; whether all is done. Idempotent; of a hold that was let go nothing is
        left."""
        with self._database.transaction() as tx:
            store.lock_hold(tx, hold_id)
            self._stands(tx, hold_id)
            is_new = confidential.note_disclosed(tx, hold_id)
            standing_holds.disclose(tx, hold_id)
            organizations = confidential.organizations(tx, hold_id)
            if is_new:
                self._tell_disclosed(tx, hold_id)
        for organization_id in organizations:
            with self._database.transaction() as tx:
                if store.lock_hold(tx, hold_id):
                    return True
                stripes.take(tx, organization_id)
                are_more = confidential.disclose(tx, hold_id, organization_id, HOLD_KIND_LEGAL, _ROWS_AT_ONCE)
                # Each piece tells: whoever restores to before it has an entry that is unknown, and all that is left to be done.
                self._tell_disclosed(tx, hold_id)
                if are_more:
                    return False
        return True

    def _tell_disclosed(self, tx: Tx, hold_id: str) -> None:
        self._outbox.audit(tx, entry("rows.disclosed", actor=ACTOR, at=self._clock.now(), subjects=[hold_id]))

    def drop(self, run_id: str, day: date, what: Going = _EVERYTHING) -> tuple[int, int]:
        """Takes away what is due of a day: rows that went by this run, and how many of them holds keep.

        Raises NOT_DUE, LEASE_LAPSED, DATABASE_UNAVAILABLE when readers keep the locks for longer than we wait; what was done is done then,
        and a repetition goes on."""
        with self._database.transaction() as tx:
            before = store.removed(tx, run_id, day)
            if before is not None:
                return before
            self._require_due(day, what, store.counts_of_day(tx, day))
            # Those too whose rows all went with their end users: until that is forgotten the day is listed.
            going = sorted(lot for lot in store.lots_of_day(tx, day) if what.takes(lot, day))
            is_whole = what.is_whole and not store.is_dropped(tx, day)
        if is_whole:
            self._drop_partition(run_id, day, what)
        else:
            for lot in going:
                self._take(run_id, lot, day)
        with self._database.transaction() as tx:
            noted = store.removed(tx, run_id, day)  # with the partition
            return store.note_removal(tx, run_id, day, self._clock.now()) if noted is None else noted

    def _take(self, run_id: str, lot: str, day: date) -> None:
        """Takes one lot's rows of a day away, where the partition stays or is gone already. Nothing of the day can come any more:
        a writer gives back what it has had in hand for long, looks at that under its stripe, and this holds the stripe meanwhile."""
        organization_id, _ = parts_of(lot)
        after: UUID | None = None
        while True:
            with self._database.transaction() as tx:
                stripes.take(tx, organization_id)
                counted = [one for one in store.counts_of_day(tx, day) if one.lot == lot]
                after = terms.take(tx, lot, day, after, _ROWS_AT_ONCE).after
                if after is None:
                    now = self._clock.now()
                    store.note_dropped(tx, run_id, counted)
                    terms.forget(tx, lot, day)
                    self._audit_taken(tx, run_id, day, counted, now, lot)
                    return

    def _audit_taken(
        self,
        tx: Tx,
        run_id: str,
        day: date,
        counts: Sequence[DayCount],
        now: datetime,
        lot: str = "",
    ) -> None:
        """lot: whose rows went, where the partition was not dropped."""
        organization_id, application = parts_of(lot)
        facts: dict[str, str | int | bool] = {
            "day": day.isoformat(),
            "dropped": sum(one.records for one in counts),
            "held": sum(one.held for one in counts),
            **_named(application),
        }
        kind = "rows.removed" if organization_id else "partition.dropped"
        self._outbox.audit(
            tx,
            entry(kind, actor=ACTOR, at=now, organization_id=organization_id, subjects=[run_id], facts=facts),
        )

    def _drop_partition(self, run_id: str, day: date, what: Going) -> None:
        with self._database.transaction() as tx:
            stripes.close_day(tx, day, self._clock.now())
        with self._database.transaction() as tx:
            stripes.wait_for_writers(tx)
            staying = [count for count in store.counts_of_day(tx, day) if not what.takes(count.lot, day)]
        for count in staying:
            self._keep(run_id, count)
        unfold_ahead(self._database, None, day_start(day) + timedelta(days=1) + LATE_WINDOW + AT_REST)
        for remaining in reversed(range(_DROP_TRIES)):
            try:
                self._drop_closed(run_id, day, what)
                return
            except KeptError as error:
                if error.reason != Reason.REASON_DATABASE_UNAVAILABLE or not remaining:
                    raise

    def _keep(self, run_id: str, count: DayCount) -> None:
        """Copies a lot's rows of a closed day to where they outlive their partition."""
        organization_id, day = count.organization_id, count.day
        after: UUID | None = None
        while True:
            with self._database.transaction() as tx:
                # What an erasure takes away is gone before this piece or comes behind it, in `retained`.
                stripes.take(tx, organization_id)
                after = terms.keep(tx, count.lot, day, after, _ROWS_AT_ONCE)
                if after is None:
                    self._outbox.audit(
                        tx,
                        entry(
                            "rows.kept",
                            actor=ACTOR,
                            at=self._clock.now(),
                            organization_id=organization_id,
                            subjects=[run_id],
                            facts={"day": day.isoformat(), **_named(count.application)},
                        ),
                    )
                    return

    def _drop_closed(self, run_id: str, day: date, what: Going) -> None:
        with self._database.transaction() as tx:
            partitions.lock(tx, day)
            if store.is_dropped(tx, day):  # another replica, or a commit whose answer was lost
                return
            # Again, behind the fence: what is counted now is all there will ever be.
            counts = store.counts_of_day(tx, day)
            self._require_due(day, what, counts)
            now = self._clock.now()
            # Those too whose rows all went with their end users: their keys are still to be destroyed.
            kept = {lot for lot in store.lots_of_day(tx, day) if not what.takes(lot, day)}
            self._audit_taken(tx, run_id, day, store.drop_day(tx, day, run_id, now, kept), now)

    def _require_due(self, day: date, what: Going, counts: Sequence[DayCount]) -> None:
        """Raises NOT_DUE unless every lot's rows of the day that would go are due by all rules that may count now, and no late
        record can come any more."""
        rules = self._policies.rules
        rules.require_lease()
        # Counted back from now: the calendar may end with the day.
        at_rest = self._clock.now() - AT_REST - LATE_WINDOW - 2 * CLOCK_TOLERANCE - timedelta(days=1)
        is_due = at_rest > day_start(day) and all(
            rules.is_due_by_all(count.lot, day) for count in counts if what.takes(count.lot, day)
        )
        if not is_due:
            raise KeptError(Reason.REASON_NOT_DUE, "By the rules that logging knows, this day is not due.")

    def fence(self, organization_id: str) -> datetime:
        """Closes an organization for ever to whatever is in hand; since when it is. Nothing is removed. Raises NOT_DUE, LEASE_LAPSED."""
        with self._database.transaction() as tx:
            if not stripes.closed(tx, [organization_id], [])[0]:
                self._policies.require_closed(organization_id)
            return stripes.close_organization(tx, organization_id, self._clock.now())

    def erase(self, organization_id: str, erasure_id: str) -> Erased:
        """Closes an organization for ever and removes its rows but what holds keep: in pieces, for others write under its stripe. Raises
        NOT_DUE, LEASE_LAPSED for one that was not erased before."""
        with self._database.transaction() as tx:
            is_done = store.receipt(tx, organization_id, erasure_id) is not None
            if not is_done:
                self._policies.require_closed(organization_id)
            stripes.close_organization(tx, organization_id, self._clock.now())
            counted = [] if is_done else store.counts_of_organization(tx, organization_id)
        unfold_ahead(self._database, organization_id, self._clock.now())
        for count in counted:
            self._erase_day(erasure_id, count)
        with self._database.transaction() as tx:
            now = self._clock.now()
            stripes.take(tx, organization_id)
            done = store.receipt(tx, organization_id, erasure_id)
            if done is None:
                removed = store.erase(tx, organization_id, erasure_id, now)
                self._periods.forget_organization(tx, organization_id)
                self._outbox.audit(
                    tx,
                    entry(
                        "organization.erased",
                        actor=ACTOR,
                        at=now,
                        organization_id=organization_id,
                        subjects=[erasure_id],
                        facts=dict(removed),
                    ),
                )
                done = (now, removed)
            return Erased(done[0], dict(done[1]), store.held_of(tx, organization_id))

    def _erase_day(self, erasure_id: str, count: DayCount) -> None:
        """What it takes away stays counted in `stored_counts` until the receipt is written."""
        after: UUID | None = None
        while True:
            with self._database.transaction() as tx:
                stripes.take(tx, count.organization_id)
                after, unscreened = terms.take(tx, count.lot, count.day, after, _ROWS_AT_ONCE)
                store.note_erased(tx, count.organization_id, erasure_id, unscreened)
            if after is None:
                return

    def stored_days(self, asked: Days, after: tuple[date, str, str] | None, limit: int) -> list[DayCount]:
        """What is stored of these days and not only for holds, by day and lot."""
        with self._database.transaction() as tx:
            return store.stored_days(tx, asked, after, limit)

    def with_application(self, counts: Sequence[DayCount], application: str) -> list[DayCount]:
        """Those of them on which an application has records: in its own lot, or among its organization's."""
        with self._database.transaction() as tx:
            return [
                one
                for one in counts
                if one.application == application
                or (
                    not one.application
                    and store.has_application(tx, one.organization_id, one.day, application)
                )
            ]

    def dropped_counts(self, day: date, run_ids: Sequence[str], after: str, limit: int) -> list[DayCount]:
        """What was dropped with a day, by lot. run_ids: by these runs; empty for all. after: a lot."""
        with self._database.transaction() as tx:
            return store.dropped_of_day(tx, day, run_ids, after, limit)

    def oldest(self) -> tuple[date | None, int]:
        """The oldest day with rows that nothing holds, and how many records exist for holds alone."""
        with self._database.transaction() as tx:
            return store.oldest_unheld_day(tx), store.held_beyond_their_day(tx)


def _named(application: str) -> dict[str, str]:
    """The fact that names an application with a lot of its own."""
    return {"application": application} if application else {}
