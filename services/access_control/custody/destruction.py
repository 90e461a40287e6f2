"""Destroying keys so that no backup keeps them: mark, give the survivors new keys, replace the root, destroy the old one (docs/keys.md).

Every step is its own transaction, leaves every survivor readable, and is found again by `advance` after a crash at any point: what is still
to be done is read off the database, never remembered in memory. Two processes may advance at once; the locks sort them out.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Final, Literal

from kept.access_control.v1 import audit_pb2
from services.access_control.audit.log import AuditLog
from services.access_control.custody.due_days import DueDays
from services.access_control.custody.ladder import Ladder, rewrap_epoch
from services.access_control.custody.survivors import SurvivorsMustBeOn, hasten, waits_for
from services.access_control.store import (
    Connection,
    audit,
    confidential,
    custody,
    destructions,
    epochs,
    holds,
    withheld,
)
from shared.audit import entry
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.ids import derived_id
from shared.jobs import Attempts

ACTOR: Final = "service:access_control"
# Organizations that one step marks, and one transaction locks: a few tens of milliseconds.
_MARKS_A_STEP: Final = 200
# Steps that a call takes before it answers PENDING; the job goes on.
_STEPS_A_CALL: Final = 10

TargetKind = Literal["through_day", "organization", "content", "hold"]


class Destroyer:
    """Carries destructions through. pause: called between steps with the name of what was just done; tests crash there."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ladder: Ladder,
        audit_log: AuditLog,
        *,
        is_due: Callable[[str, date], bool],
        is_closed: Callable[[str], bool],
        is_erased_early: Callable[[str, date], bool],
        survivors_must_be_on: SurvivorsMustBeOn,
        pause: Callable[[str], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._ladder = ladder
        self._audit_log = audit_log
        self._is_due = is_due
        self._is_closed = is_closed
        self._is_erased_early = is_erased_early
        self._survivors_must_be_on = survivors_must_be_on
        self._pause = pause

    def destroy(self, destruction_id: str, kind: TargetKind, target: str) -> destructions.DestructionRow:
        """Begins a destruction, or finds it, and takes it as far as it goes now. Raises REQUEST_ID_REUSED for an id that came with another
        target, and what the checks of `is_due`, `is_closed` and `is_erased_early` raise."""
        with self._database.transaction() as tx:
            row = destructions.read_destruction(tx, destruction_id)
        if row is None:
            if kind == "organization":
                self._require_closed(target)
            if kind == "content":
                self._require_erased_early(*_early(target))
            with self._database.transaction() as tx:
                destructions.begin_destruction(tx, destruction_id, kind, target, self._clock.now())
                row = self._read(tx, destruction_id)
        if (row.target_kind, row.target) != (kind, target):
            raise KeptError(
                Reason.REASON_REQUEST_ID_REUSED,
                "This destruction id came before with another target; use a new one.",
            )
        self._pause("begun")
        for _ in range(_STEPS_A_CALL):
            if row.state == "done":
                break
            waits = False
            if row.state == "marking":
                self._mark(row)
            else:
                self._replace_root()
                waits = not self._destroy_retired()
            with self._database.transaction() as tx:
                row = self._read(tx, destruction_id)
            if waits:
                break
        return row

    def advance(self) -> bool:
        """A bounded piece of whatever destructions still need. True when there is more to do at once. One that cannot go on (its lease
        lapsed) holds up no other; the first such failure is raised at the end."""
        with self._database.transaction() as tx:
            unmarked = destructions.marking(tx)
        attempts = Attempts()
        more = attempts.each(unmarked, self._mark)
        self._replace_root()
        self._destroy_retired()
        attempts.raise_first()
        return more

    # --- step 1: marks ---------------------------------------------------------------------------------------------

    def _mark(self, row: destructions.DestructionRow) -> bool:
        """Marks a bounded number of organizations' epochs. True when there are more."""
        if row.target_kind == "hold":
            self._bury_hold(row)
        elif row.target_kind == "organization":
            self._require_closed(row.target)
            self._close(row, row.target)
        elif row.target_kind == "content":
            organization_id, day = _early(row.target)
            self._require_erased_early(organization_id, day)
            self._mark_days(row, DueDays(day), [organization_id], wait=True)
        else:
            days = DueDays.parse(row.target)
            with self._database.transaction() as tx:
                found = epochs.organizations_through(tx, days.newest, row.marked_through, _MARKS_A_STEP)
            # Nobody waits behind somebody else's read: who is being read now is marked afterwards, alone.
            free = self._mark_days(row, days, found, wait=False)
            for organization_id in found:
                if organization_id not in free:
                    self._mark_days(row, days, [organization_id], wait=True)
            if len(found) == _MARKS_A_STEP:
                with self._database.transaction() as tx:
                    destructions.note_progress(tx, row.destruction_id, found[-1])
                return True
        with self._database.transaction() as tx:
            # Marks that another process has under way are waited for at the organization's lock, so all are committed by now.
            current = destructions.read_destruction(tx, row.destruction_id, lock=True)
            if current is not None and current.state == "marking":
                destructions.end_marking(tx, current, self._clock.now(), self._ladder.key_store.statement)
        self._pause("all-marked")
        return False

    def _mark_days(
        self, row: destructions.DestructionRow, days: DueDays, organization_ids: Sequence[str], *, wait: bool
    ) -> set[str]:
        """Marks what is due of these days, or what is to go before that, in one transaction under the organizations' row locks, and gives
        them keys that wrap only what is left. Returns the organizations that were looked at: all that have a key, or without `wait` those
        that nobody had locked."""
        now = self._clock.now()
        if not organization_ids:
            return set()
        with self._database.transaction() as tx:
            custody.lock_ladder(tx, exclusive=False)
            locked = epochs.lock_organizations(tx, organization_ids, wait=wait)
            looked_at = {known.organization_id for known in locked}
            living: dict[str, list[epochs.LivingEpoch]] = defaultdict(list)
            for epoch in epochs.living_epochs(tx, sorted(looked_at)):
                living[epoch.organization_id].append(epoch)
            marked = {
                organization_id: doomed
                for organization_id, found in living.items()
                if (
                    doomed := [
                        each
                        for each in found
                        if each.day <= days.through(each.lot)
                        and (row.target_kind == "content" or self._is_due(each.lot, each.day))
                    ]
                )
            }
            if not marked:
                return looked_at
            survivors = {
                organization_id: [epoch for epoch in living[organization_id] if epoch not in doomed]
                for organization_id, doomed in marked.items()
            }
            self._renew_keys(
                tx, [known for known in locked if known.organization_id in marked], survivors, now
            )
            self._bury_epochs(tx, row.destruction_id, marked, now)
        self._pause("marked")
        return looked_at

    def _renew_keys(
        self,
        tx: Connection,
        locked: Sequence[epochs.OrganizationRow],
        survivors: Mapping[str, Sequence[epochs.LivingEpoch]],
        now: datetime,
    ) -> None:
        """Gives organizations new keys, which wrap the survivors alone."""
        old_keys = self._ladder.open_organizations(locked)
        made = self._ladder.new_organization_keys(
            tx, {known.organization_id: known.generation + 1 for known in locked}
        )
        rewrapped = [
            (epoch, rewrap_epoch(old, fresh, epoch))
            for old, (fresh, fresh_row) in zip(old_keys, made, strict=True)
            for epoch in survivors[fresh_row.organization_id]
        ]
        epochs.replace_organizations(tx, [fresh_row for _, fresh_row in made], now)
        epochs.rewrap_epochs(tx, rewrapped)

    def _bury_epochs(
        self,
        tx: Connection,
        destruction_id: str,
        marked: Mapping[str, Sequence[epochs.LivingEpoch]],
        now: datetime,
    ) -> None:
        """Makes tombstones of epochs, by organization; written down for each organization by itself."""
        everything = [epoch for doomed in marked.values() for epoch in doomed]
        epochs.mark_epochs(tx, everything, destruction_id, now)
        withheld.forget(tx, everything)
        destructions.note_marks(tx, destruction_id, epochs=len(everything), organizations=len(marked), at=now)
        entries = [
            _marks_entry(destruction_id, organization_id, doomed, now)
            for organization_id, doomed in marked.items()
        ]
        audit.add_entries(tx, [self._audit_log.committed(each) for each in entries])

    def _close(self, row: destructions.DestructionRow, organization_id: str) -> None:
        """Marks all that a closed organization has, and makes a tombstone of its key."""
        now = self._clock.now()
        with self._database.transaction() as tx:
            custody.lock_ladder(tx, exclusive=False)
            # Its tombstone, where it never had a key: none will ever be made for it.
            epochs.add_organization(tx, epochs.OrganizationRow(organization_id, 0, None, None, now), now)
            known = epochs.lock_organization(tx, organization_id)
            if known is None or known.closed_at is not None:
                return
            epochs.close_organization(tx, organization_id, now)
            self._bury_epochs(
                tx, row.destruction_id, {organization_id: epochs.living_epochs(tx, [organization_id])}, now
            )
        self._pause("marked")

    def _bury_hold(self, row: destructions.DestructionRow) -> None:
        now = self._clock.now()
        hold_id = row.target
        with self._database.transaction() as tx:
            known = holds.lock_hold(tx, hold_id)
            if known is None:  # its tombstone: nothing will ever be kept for it
                holds.add_hold(tx, holds.HoldRow(hold_id, None, None, now), now)
                known = holds.lock_hold(tx, hold_id)
            if known is None or known.wrapped is None:
                return
            apart = confidential.bury(tx, hold_id)
            released = holds.bury_hold(tx, hold_id, now)
            organizations = len(apart.keys() | released.keys())
            destructions.note_marks(tx, row.destruction_id, epochs=0, organizations=organizations, at=now)
            marked = [(name, "", records) for name, records in apart.items()]  # in the vendor's own list
            for about, organization_id, records in marked + [
                (name, name, count) for name, count in released.items()
            ]:
                facts: dict[str, str | int | bool] = {
                    "destruction": row.destruction_id,
                    "hold": hold_id,
                    "records": records,
                }
                self._audit_log.append(
                    tx,
                    entry(
                        "keys.marked",
                        actor=ACTOR,
                        at=now,
                        organization_id=organization_id,
                        subjects=[row.destruction_id, hold_id, *([] if organization_id else [about])],
                        facts=facts,
                    ),
                )
        self._pause("marked")

    def _require_closed(self, organization_id: str) -> None:
        if not self._is_closed(organization_id):
            raise KeptError(Reason.REASON_NOT_DUE, "The organization is not closed; its keys stay.")

    def _require_erased_early(self, organization_id: str, day: date) -> None:
        if not self._is_erased_early(organization_id, day):
            raise KeptError(
                Reason.REASON_NOT_DUE,
                "By its policy, this organization's content of that day keeps its term.",
            )

    # --- steps 2 and 3: a new root ---------------------------------------------------------------------------------

    def _replace_root(self) -> None:
        """Puts every survivor under a new root, if a destruction waits for that: one new root for all that wait."""
        with self._database.transaction() as tx:
            if not destructions.is_anything_marked(tx):
                return
        fresh = self._ladder.key_store.create()
        self._pause("root-made")
        is_to_be_committed = False
        try:
            with self._database.transaction() as tx:
                custody.lock_ladder(tx, exclusive=True)
                if destructions.is_anything_marked(tx):
                    self._ladder.replace_root(tx, fresh, self._clock.now())
                    self._pause("rewrapped")
                    is_to_be_committed = True
        except Exception:
            # This root was made by this call, and nothing that can be committed hangs on it: tried again every second, one that cannot be
            # put in place would leave another each time. What failed as it was committed is in place perhaps.
            if not is_to_be_committed:
                self._ladder.key_store.destroy(fresh)
            raise
        if not is_to_be_committed:
            self._ladder.key_store.destroy(fresh)  # another process was faster
            return
        self._pause("switched")

    # --- steps 4 and 5: the end of the old root --------------------------------------------------------------------

    def _destroy_retired(self) -> bool:
        """Destroys the roots that were replaced, as far as their survivors are where they must be. False when some have to wait."""
        with self._database.transaction() as tx:
            retired = custody.retired_roots(tx)
            for root in retired:
                custody.note_position(tx, root.root_id, self._clock.now())
        if not retired:
            return True
        done = True
        with self._database.transaction() as tx:
            retired = custody.retired_roots(tx)
            waiting = {root.root_id for root in retired if waits_for(tx, root, self._survivors_must_be_on)}
        for root in retired:
            if root.root_id in waiting:
                with self._database.transaction() as tx:
                    hasten(tx, root, self._survivors_must_be_on)
                done = False
            else:
                self._pause("safe")
                self._destroy_root(root.root_id)
        return done

    def _destroy_root(self, root_id: str) -> None:
        now = self._clock.now()
        with self._database.transaction() as tx:
            custody.lock_ladder(tx, exclusive=False)
            if not custody.lock_retired_root(tx, root_id):
                return
            current = self._ladder.current_root(tx).root_id
            if current == root_id or not self._ladder.opens_survivors(tx):
                raise KeptError(
                    Reason.REASON_INTERNAL,
                    "The current root does not open what it should; the old one stays. See docs/keys.md.",
                )
            self._pause("survivor-opened")
            self._ladder.key_store.destroy(root_id)
            self._pause("root-destroyed")
            statement = self._ladder.key_store.statement
            for row in destructions.finish_root(tx, root_id, now, statement):
                self._audit_log.append(
                    tx,
                    entry(
                        "keys.destroyed",
                        actor=ACTOR,
                        at=now,
                        organization_id=_whose(row),
                        subjects=[row.destruction_id, root_id],
                        facts={
                            "destruction": row.destruction_id,
                            "root": root_id,
                            "epochs": row.epochs,
                            "organizations": row.organizations,
                            "key_store": statement,
                        },
                        entry_id=destroyed_entry_id(row.destruction_id),
                    ),
                )
        self._pause("done")

    def _read(self, tx: Connection, destruction_id: str) -> destructions.DestructionRow:
        row = destructions.read_destruction(tx, destruction_id)
        if row is None:
            raise KeptError(Reason.REASON_INTERNAL, "The destruction is gone.")
        return row


def early_target(organization_id: str, day: date) -> str:
    """How a destruction of kind "content" names what it is about."""
    return f"{organization_id} {day.isoformat()}"


def _early(target: str) -> tuple[str, date]:
    organization_id, day = target.split(" ")
    return organization_id, date.fromisoformat(day)


def _whose(row: destructions.DestructionRow) -> str:
    """The organization that a destruction is about; "" where it is about several."""
    return row.target.split(" ")[0] if row.target_kind in ("organization", "content") else ""


def destroyed_entry_id(destruction_id: str) -> str:
    """The id of the audit entry that says a destruction is done."""
    return derived_id("entry", hashlib.sha256(b"kept/keys-destroyed/v1\0" + destruction_id.encode()).digest())


def _marks_entry(
    destruction_id: str, organization_id: str, marked: Sequence[epochs.LivingEpoch], now: datetime
) -> audit_pb2.AuditEntry:
    facts: dict[str, str | int | bool] = {"destruction": destruction_id, "epochs": len(marked)}
    if marked:
        facts |= {"first_day": marked[0].day.isoformat(), "last_day": marked[-1].day.isoformat()}
    return entry(
        "keys.marked",
        actor=ACTOR,
        at=now,
        organization_id=organization_id,
        subjects=[destruction_id, *(epoch.epoch_key_id for epoch in marked[:4_000])],
        facts=facts,
    )
