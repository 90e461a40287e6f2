"""Custody of the keys that open content: what is made, released, kept for holds and destroyed. How it works: docs/keys.md."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import chain
from types import MappingProxyType
from typing import Final

from services.access_control.audit.log import AuditLog
from services.access_control.custody.destruction import (
    ACTOR,
    Destroyer,
    destroyed_entry_id,
    early_target,
)
from services.access_control.custody.due_days import DueDays
from services.access_control.custody.ladder import (
    Ladder,
    open_epoch,
    open_record_key,
    wrap_epoch,
    wrap_record_key,
)
from services.access_control.custody.sealing import DoesNotUnseal, EpochPrivateKey, record_keys
from services.access_control.custody.status import KeyStatus, read_status
from services.access_control.custody.survivors import SurvivorsMustBeOn
from services.access_control.key_stores import KeyStore
from services.access_control.store import Connection, confidential, epochs, holds, withheld
from services.access_control.store import custody as store
from services.access_control.store.destructions import DestructionRow
from shared.audit import entry
from shared.clock import Clock
from shared.config import ConfigError
from shared.database import Database
from shared.errors import KeptError, Reason, invalid, wrong_state
from shared.ids import are_record_ids, is_record_id, new_id, record_day, record_days
from shared.jobs import Job

__all__ = [
    "Custody",
    "DestructionRow",
    "EpochKey",
    "KeyStatus",
    "Retention",
    "SurvivorsMustBeOn",
    "ToRetain",
    "destroyed_entry_id",
]
# How the ids of records begin that would be of the year 10000: no date is.
_AFTER_ALL_DAYS: Final = (((date.max - date(1970, 1, 1)).days + 1) * 86_400_000).to_bytes(6)

# How far ahead an epoch's public half is handed out, so that writers can fetch tomorrow's today.
_DAYS_AHEAD = timedelta(days=2)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class EpochKey:
    """The public half of an epoch. epoch_key_id: "epoch_…". public_key: 1,216 bytes."""

    epoch_key_id: str
    public_key: bytes


@dataclass(frozen=True)
class ToRetain:
    """A record to keep. data_key_id and sealed are empty where the record has no content. application: to whose own epoch it is sealed; ""
    for all others."""

    record_id: bytes
    data_key_id: bytes
    sealed: bytes = field(repr=False)
    application: str = ""


@dataclass(frozen=True)
class Retention:
    """retained: how many of the records asked for are kept now. lost: those whose keys were gone already."""

    retained: int
    lost: Sequence[bytes]


class Custody:
    """Custody. job: carries destructions on, to be put among the service's jobs. `verify_at_start` is called once, in wire().

    is_due(lot, day): whether every record of that day may be destroyed by the lot's rule (shared.terms). has_own(organization_id,
    application): whether the application has a term of its own, or had one: else it has no epochs. is_closed(organization_id):
    whether the organization is closed. is_erased_early(organization_id, day): whether it wants its content of this day and before gone
    before its term. All from leased replicas; they raise LEASE_LAPSED rather than guess. survivors_must_be_on: where
    the new root's commit must be before the old root goes. pause: for tests, called between steps.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        key_store: KeyStore,
        audit_log: AuditLog,
        *,
        is_due: Callable[[str, date], bool],
        is_closed: Callable[[str], bool],
        is_erased_early: Callable[[str, date], bool] = lambda organization_id, day: False,
        has_own: Callable[[str, str], bool] = lambda organization_id, application: False,
        survivors_must_be_on: SurvivorsMustBeOn = "nowhere",
        late_window: timedelta = timedelta(hours=24),
        pause: Callable[[str], None] | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._key_store = key_store
        self._audit_log = audit_log
        self._is_closed = is_closed
        self._is_erased_early = is_erased_early
        self._has_own = has_own
        self._late_window = late_window
        self._survivors_must_be_on = survivors_must_be_on
        self._ladder = Ladder(key_store)
        self._destroyer = Destroyer(
            database,
            clock,
            self._ladder,
            audit_log,
            is_due=is_due,
            is_closed=is_closed,
            is_erased_early=is_erased_early,
            survivors_must_be_on=survivors_must_be_on,
            pause=pause or (lambda _: None),
        )
        self.job = Job("custody", timedelta(seconds=1), self.advance)

    def verify_at_start(self) -> None:
        """Makes the first root of an empty installation; otherwise makes sure that the current root is there and opens what it should.
        Raises ConfigError, and touches nothing, when it does not: the key store is not the one that belongs to this database."""
        with self._database.transaction() as tx:
            store.lock_ladder(tx, exclusive=True)
            root = store.current_root(tx)
            if root is None:
                now = self._clock.now()
                root_id = self._key_store.create()
                self._ladder.make_root_current(tx, root_id, now)
                self._audit_log.append(tx, entry("root.created", actor=ACTOR, at=now, subjects=[root_id]))
                return
            if root.root_id not in self._key_store.root_ids():
                raise ConfigError(
                    f"The current root key {root.root_id} is not in the key store. Nothing was touched. Either the key store is not this "
                    "installation's, or the database was restored to a state before the last destruction",
                    "docs/backups.md",
                )
            if not self._ladder.opens_survivors(tx):
                raise ConfigError(
                    f"The current root key {root.root_id} does not open what it should. Nothing was touched",
                    "docs/backups.md",
                )

    def advance(self) -> bool:
        """A bounded piece of the destructions that are under way. True when there is more to do at once."""
        return self._destroyer.advance()

    # --- epochs ----------------------------------------------------------------------------------------------------

    def epoch_key(self, organization_id: str, day: date, application: str = "") -> EpochKey:
        """The public half of an epoch, made when first asked for. Raises KEY_DESTROYED for what was destroyed or is to be before its
        term, a closed organization and a day that is over; INVALID_ARGUMENT for a day too far ahead, and for an application that never had
        a term of its own; LEASE_LAPSED."""
        if application and not self._has_own(organization_id, application):
            raise invalid("application", "never had a term of its own, as far as is known here")
        if self._is_closed(organization_id) or self._is_erased_early(organization_id, day):
            raise _destroyed()
        now = self._clock.now()
        if day < (now - self._late_window).date() - _DAY:
            raise _destroyed()
        if day > now.date() + _DAYS_AHEAD:
            raise invalid("day", "is more than two days ahead")
        with self._database.transaction() as tx:
            epoch = epochs.read_epoch(tx, organization_id, day, application)
        if epoch is not None:
            return _public(epoch)
        with self._database.transaction() as tx:
            store.lock_ladder(tx, exclusive=False)
            row = epochs.lock_organization(tx, organization_id)
            if row is None:
                _, fresh = self._ladder.new_organization_key(tx, organization_id, 1)
                epochs.add_organization(tx, fresh, now)
                row = epochs.lock_organization(tx, organization_id)
            if row is None or row.wrapped is None:
                raise _destroyed()
            epoch = epochs.read_epoch(tx, organization_id, day, application)
            if epoch is not None:  # another call was faster
                return _public(epoch)
            key = self._ladder.open_organization(row)
            private_key, epoch_key_id = EpochPrivateKey.generate(), new_id("epoch")
            wrapped = wrap_epoch(key, organization_id, day, epoch_key_id, private_key, application)
            made = epochs.EpochRow(
                organization_id, day, epoch_key_id, private_key.public_bytes, wrapped, None, application
            )
            epochs.add_epoch(tx, made, now)
            self._audit_log.append(
                tx,
                entry(
                    "epoch.created",
                    actor=ACTOR,
                    at=now,
                    organization_id=organization_id,
                    subjects=[epoch_key_id],
                    facts={"day": day.isoformat()} | ({"application": application} if application else {}),
                ),
            )
        return _public(made)

    def record_keys(
        self,
        tx: Connection,
        organization_id: str,
        records: Sequence[tuple[bytes, bytes]],
        sealed: Mapping[bytes, bytes],
        meanwhile: AbstractContextManager[object] | None = None,
        applications: Mapping[bytes, str] = MappingProxyType({}),
        *,
        held_too: bool = True,
        all_or_none: bool = True,
    ) -> dict[bytes, bytes]:
        """The keys of records, 32 bytes each, by record id; one without content (empty data key id) is left out.

        records: record id and data key id. sealed: data keys as stored, by id. applications: to whose own epochs they are sealed, by id;
        each opens with the epoch that it names and no other. The organization's marks are read under its row lock, held
        until the caller's transaction ends, so that a destruction comes before all of it or after. Where the epoch is gone, a hold's
        key serves if held_too. meanwhile: entered for the time of the cryptography, in which the transaction is not used. all_or_none:
        raises OUTSIDE_SCOPE for the whole call when one key cannot be had, whatever the cause; else it is left out.
        """
        of_keys: dict[bytes, list[bytes]] = {}
        for record_id, data_key_id in records:
            if data_key_id:
                of_keys.setdefault(data_key_id, []).append(record_id)
        together = {
            (key, sealed.get(key, b""), applications.get(key, "")): ids for key, ids in of_keys.items()
        }
        derive = self._from_epochs(tx, organization_id, together, share=True)
        with meanwhile or nullcontext():
            keys = derive()
        wanted = set(chain.from_iterable(together.values()))
        if held_too and (missing := wanted - keys.keys()):
            keys |= self._from_holds(tx, organization_id, missing)
        if all_or_none and not wanted <= keys.keys():
            raise KeptError(
                Reason.REASON_OUTSIDE_SCOPE,
                "A record lies outside the scope, is gone, or never existed; none was opened.",
            )
        return keys

    def _from_epochs(
        self,
        tx: Connection,
        organization_id: str,
        together: Mapping[tuple[bytes, bytes, str], Sequence[bytes]],
        *,
        share: bool,
        withheld_too: bool = False,
    ) -> Callable[[], dict[bytes, bytes]]:
        """Keys by record id, as far as their epochs live and the data keys open. together: record ids by (id, sealed, application) of their
        data key.

        Everything is read and locked now; what is returned does the cryptography, and needs no transaction.
        """
        row = epochs.lock_organization(tx, organization_id, share=share)
        if row is None or row.wrapped is None:
            return dict
        if (
            row.withholds and not withheld_too
        ):  # read behind the lock: a record that was withheld before it is refused
            refused = withheld.among(tx, organization_id, set(chain.from_iterable(together.values())))
            together = {key: [each for each in ids if each not in refused] for key, ids in together.items()}
        by_epoch: dict[tuple[tuple[date, str], bytes, bytes], list[bytes]] = {}
        for (data_key_id, sealed, application), record_ids in together.items():
            for day, of_day in _by_day(record_ids).items():
                by_epoch[(day, application), data_key_id, sealed] = of_day
        named = {epoch for epoch, _, _ in by_epoch}
        organization_key = self._ladder.open_organization(row)
        private_keys = {
            (epoch.day, epoch.application): open_epoch(organization_key, epoch)
            for epoch in epochs.living_epochs(tx, [organization_id], {day for day, _ in named})
            if (epoch.day, epoch.application) in named
        }

        def derive() -> dict[bytes, bytes]:
            keys: dict[bytes, bytes] = {}
            for ((day, application), data_key_id, sealed), record_ids in by_epoch.items():
                private_key = private_keys.get((day, application))
                if private_key is None:
                    continue
                try:
                    data_key = private_key.unseal(organization_id, day, data_key_id, sealed, application)
                except DoesNotUnseal:
                    continue
                keys |= record_keys(data_key, record_ids)
            return keys

        return derive

    # --- holds -----------------------------------------------------------------------------------------------------

    def _from_holds(
        self, tx: Connection, organization_id: str, record_ids: Collection[bytes]
    ) -> dict[bytes, bytes]:
        return self._opened(organization_id, holds.read_retained(tx, organization_id, record_ids, lock=True))

    def _opened(self, organization_id: str, kept: Iterable[holds.RetainedRow]) -> dict[bytes, bytes]:
        keys: dict[bytes, bytes] = {}
        hold_keys: dict[str, bytes] = {}
        for row in kept:
            if row.wrapped is None or row.record_id in keys:
                continue
            if row.hold_id not in hold_keys:
                hold_keys[row.hold_id] = self._ladder.open_hold(
                    row.hold_id, row.hold_root_id, row.hold_wrapped
                )
            hold_key = hold_keys[row.hold_id]
            keys[row.record_id] = open_record_key(
                hold_key, row.hold_id, organization_id, row.record_id, row.wrapped
            )
        return keys

    def retained(self, tx: Connection, organization_id: str, record_ids: Collection[bytes]) -> set[bytes]:
        """Which of these records a hold keeps: they may be read past their due instant."""
        return {row.record_id for row in holds.read_retained(tx, organization_id, record_ids)}

    def retain_records(
        self,
        hold_id: str,
        organization_id: str,
        records: Sequence[ToRetain],
        *,
        is_confidential: bool = False,
    ) -> Retention:
        """Keeps the keys of records for a hold, beyond the end of their epochs. Takes the lock that marking takes: a record whose epoch was
        marked before, and that no other hold keeps, is lost. Idempotent. Raises WRONG_STATE for a hold that was released.

        is_confidential: as long as the hold was not disclosed, these keys open nothing for anybody, and no hold that the customer may know
        of is kept alive by them. A record that was withheld since the hold began may still be kept for it, also once it is disclosed: an
        erasure that may not know of the hold takes the row away, and logging has kept it for the hold before.
        """
        now = self._clock.now()
        with self._database.transaction() as tx:
            store.lock_ladder(tx, exclusive=False)
            epochs.lock_organization(tx, organization_id)
            hold_key = self._hold_key(tx, hold_id)
            was_secret = confidential.is_disclosed(tx, hold_id)
            apart = is_confidential and not was_secret
            kept_by = confidential.kept_by if apart else holds.kept_by
            kept = kept_by(tx, hold_id, [record.record_id for record in records])
            new = {record.record_id: record for record in records if record.record_id not in kept}
            with_content = [record for record in new.values() if record.data_key_id]
            together = _by_data_key(with_content)
            keys = self._from_epochs(
                tx, organization_id, together, share=False, withheld_too=apart or was_secret
            )()
            missing = [record.record_id for record in with_content if record.record_id not in keys]
            if missing:
                keys |= self._from_holds(tx, organization_id, missing)
                if apart:
                    keys |= self._opened(organization_id, confidential.read(tx, organization_id, missing))
            lost = [record_id for record_id in missing if record_id not in keys]
            wrapped: dict[bytes, bytes | None] = {
                record_id: wrap_record_key(hold_key, hold_id, organization_id, record_id, key)
                for record_id, key in keys.items()
            }
            wrapped |= dict.fromkeys(record.record_id for record in new.values() if not record.data_key_id)
            (confidential if apart else holds).retain(tx, hold_id, organization_id, wrapped)
            if wrapped:
                self._audit_log.append(
                    tx,
                    entry(
                        "keys.retained",
                        actor=ACTOR,
                        at=now,
                        # In the organization's own list it would tell of a hold that it may not know of.
                        organization_id="" if apart else organization_id,
                        subjects=[hold_id, *([organization_id] if apart else []), *sorted(wrapped)],
                        facts={"hold": hold_id, "records": len(wrapped), "lost": len(lost)},
                    ),
                )
        return Retention(len(kept) + len(wrapped), lost)

    def disclose_hold(self, hold_id: str) -> int:
        """Makes a confidential hold an ordinary one, for ever; of how many records the keys were kept in secret until now. Idempotent.
        One that keeps nothing yet gets its key now, so that it is known of whatever comes later."""
        now = self._clock.now()
        with self._database.transaction() as tx:
            store.lock_ladder(tx, exclusive=False)
            row = holds.lock_hold(tx, hold_id)
            if row is None:
                self._hold_key(tx, hold_id)
            elif row.wrapped is None:
                return 0
            disclosed = confidential.disclose(tx, hold_id, now)
            for organization_id, records in disclosed.items():
                self._audit_log.append(
                    tx,
                    entry(
                        "keys.disclosed",
                        actor=ACTOR,
                        at=now,
                        organization_id=organization_id,
                        subjects=[hold_id],
                        facts={"hold": hold_id, "records": records},
                    ),
                )
        return sum(disclosed.values())

    def _hold_key(self, tx: Connection, hold_id: str) -> bytes:
        row = holds.lock_hold(tx, hold_id)
        if row is None:
            _, fresh = self._ladder.new_hold_key(tx, hold_id)
            holds.add_hold(tx, fresh, self._clock.now())
            row = holds.lock_hold(tx, hold_id)
        if row is None or row.wrapped is None or row.root_id is None:
            raise wrong_state("The hold was released; place a new one.", "released")
        return self._ladder.open_hold(hold_id, row.root_id, row.wrapped)

    def key_in_place_of_a_hold(self, tx: Connection, set_id: str) -> bytes:
        """The key of what is no hold but hangs where holds' keys do, made where there is none; `release` destroys it. Raises
        WRONG_STATE once it is released."""
        store.lock_ladder(tx, exclusive=False)
        return self._hold_key(tx, set_id)

    # --- erasure of single records ---------------------------------------------------------------------------------

    def withhold(
        self, erasure_id: str, organization_id: str, record_ids: Collection[bytes]
    ) -> tuple[int, datetime]:
        """Releases the keys of these records to nobody from now on, though their epoch lives, and keeps them for no hold; those whose
        epoch is gone need nothing. How many the erasure withheld so far, and when the last. Idempotent."""
        now = self._clock.now()
        with self._database.transaction() as tx:
            row = epochs.lock_organization(tx, organization_id)
            by_day = {} if row is None or row.wrapped is None else _by_day(record_ids)
            living = epochs.living_epochs(tx, [organization_id], by_day) if by_day else []
            added = withheld.add(
                tx, organization_id, [each for day in {epoch.day for epoch in living} for each in by_day[day]]
            )
            if added:
                withheld.note(tx, erasure_id, organization_id, added, now)
                self._audit_log.append(
                    tx,
                    entry(
                        "keys.withheld",
                        actor=ACTOR,
                        at=now,
                        organization_id=organization_id,
                        # Not which: the log outlives the records, and would tell for ever whose they were.
                        subjects=[erasure_id],
                        facts={"records": added},
                    ),
                )
            return withheld.noted(tx, erasure_id) or (0, now)

    def withheld_records(self, after: tuple[str, bytes], limit: int) -> list[tuple[str, bytes]]:
        """(organization, record) of keys that are withheld, in that order, after one of them."""
        with self._database.transaction() as tx:
            return withheld.after(tx, after, limit)

    # --- destruction -----------------------------------------------------------------------------------------------

    def destroy_through(
        self, destruction_id: str, day: date, own: Mapping[str, date] | None = None
    ) -> DestructionRow:
        """Destroys all epochs up to and including a day, as far as they are due; of lots (shared.terms) in `own` up to theirs.
        Idempotent by id. Raises LEASE_LAPSED, REQUEST_ID_REUSED."""
        return self._destroyer.destroy(destruction_id, "through_day", str(DueDays(day, own or {})))

    def destroy_organization(self, destruction_id: str, organization_id: str) -> DestructionRow:
        """Destroys all epochs of a closed organization, and its key. Idempotent by id. Raises NOT_DUE, LEASE_LAPSED, REQUEST_ID_REUSED."""
        return self._destroyer.destroy(destruction_id, "organization", organization_id)

    def destroy_early(self, destruction_id: str, organization_id: str, day: date) -> DestructionRow:
        """Destroys an organization's epochs up to and including a day, whose content it wants gone before its term. Idempotent by id.
        Raises NOT_DUE, LEASE_LAPSED, REQUEST_ID_REUSED."""
        return self._destroyer.destroy(destruction_id, "content", early_target(organization_id, day))

    def release(self, hold_id: str) -> DestructionRow:
        """Destroys the keys that a hold kept; the destruction's id is "release_" and the hold's own part. Idempotent."""
        return self._destroyer.destroy("release_" + hold_id.removeprefix("hold_"), "hold", hold_id)

    def destroyed_epochs(
        self, destruction_id: str, after: tuple[str, date, str] | None, limit: int
    ) -> list[epochs.EpochRow]:
        """A page of the epochs that a destruction marked, by organization, day and application."""
        with self._database.transaction() as tx:
            return epochs.destroyed_epochs(tx, destruction_id, after, limit)

    def status(self) -> KeyStatus:
        """Where the keys are, what waits to be destroyed and why, and which backups open anything."""
        return read_status(self._database, self._ladder, self._survivors_must_be_on)


def _public(epoch: epochs.EpochRow) -> EpochKey:
    if epoch.marked_at is not None:
        raise _destroyed()
    return EpochKey(epoch.epoch_key_id, epoch.public_key)


def _destroyed() -> KeptError:
    return KeptError(
        Reason.REASON_KEY_DESTROYED,
        "This day's key was destroyed or its day is closed; it is never made again.",
    )


def _by_data_key(records: Iterable[ToRetain]) -> dict[tuple[bytes, bytes, str], list[bytes]]:
    """Record ids by data key, (id, sealed, application)."""
    together: dict[tuple[bytes, bytes, str], list[bytes]] = {}
    for one in records:
        together.setdefault((one.data_key_id, one.sealed, one.application), []).append(one.record_id)
    return together


def _by_day(record_ids: Collection[bytes]) -> dict[date, list[bytes]]:
    """Record ids by day of creation; what no record's id can be is left out."""
    real = list(record_ids)
    if not are_record_ids(real) or max(real, default=b"") >= _AFTER_ALL_DAYS:
        real = [each for each in real if is_record_id(each) and each < _AFTER_ALL_DAYS]
    days = record_days(real)
    if len(days) == 1:
        return {days.pop(): real}
    by_day: dict[date, list[bytes]] = {}
    for record_id in real:
        by_day.setdefault(record_day(record_id), []).append(record_id)
    return by_day
