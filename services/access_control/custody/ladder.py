"""The ladder: root → organization key → epoch private keys, and root → hold key → record keys. Wrapping and opening, rung by rung.

Everything is wrapped with its name as associated data, so that no wrapped key can take another's place. All methods work in the caller's
transaction; those that wrap under the root say that the ladder lock must be held.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Final

from services.access_control.custody.sealing import EpochPrivateKey
from services.access_control.key_stores import DoesNotOpen, Item, KeyStore, RootAbsent, wrapping
from services.access_control.store import Connection, custody, epochs, holds
from shared.errors import KeptError, Reason

_CANARY: Final = b"kept: this opens under the root that is current"
_CANARY_NAME: Final = wrapping.name_of("canary")
_BATCH: Final = 5_000


class Ladder:
    """The keys in the database, under the roots in `key_store`."""

    def __init__(self, key_store: KeyStore) -> None:
        self.key_store = key_store

    def make_root_current(self, tx: Connection, root_id: str, at: datetime) -> None:
        """Makes a root of the key store the current one. Needs the ladder lock exclusively."""
        [canary] = self.key_store.wrap(root_id, [Item(_CANARY_NAME, _CANARY)])
        custody.add_root(tx, root_id, canary, at)

    def current_root(self, tx: Connection) -> custody.RootRow:
        """The current root."""
        root = custody.current_root(tx)
        if root is None:
            raise KeptError(Reason.REASON_INTERNAL, "The key ladder was not begun.")
        return root

    def new_organization_key(
        self, tx: Connection, organization_id: str, generation: int
    ) -> tuple[bytes, epochs.OrganizationRow]:
        """A new key for an organization, and its row. Needs the ladder lock."""
        return self.new_organization_keys(tx, {organization_id: generation})[0]

    def new_organization_keys(
        self, tx: Connection, generations: Mapping[str, int]
    ) -> list[tuple[bytes, epochs.OrganizationRow]]:
        """New keys for organizations, each of its generation, and their rows. Needs the ladder lock."""
        root_id = self.current_root(tx).root_id
        keys = [wrapping.new_key() for _ in generations]
        names = [_organization(*each) for each in generations.items()]
        wrapped = self.key_store.wrap(
            root_id, [Item(name, key) for name, key in zip(names, keys, strict=True)]
        )
        return [
            (key, epochs.OrganizationRow(organization_id, generation, root_id, value, None))
            for key, (organization_id, generation), value in zip(
                keys, generations.items(), wrapped, strict=True
            )
        ]

    def open_organization(self, row: epochs.OrganizationRow) -> bytes:
        """An organization's key. Its row must be locked, or the ladder: else the root may be gone by now."""
        return self.open_organizations([row])[0]

    def open_organizations(self, rows: Sequence[epochs.OrganizationRow]) -> list[bytes]:
        """Organizations' keys, which all hang on one root, in order. Their rows must be locked, or the ladder."""
        [root_id] = {row.root_id for row in rows}
        assert root_id is not None
        return self.key_store.unwrap(
            root_id,
            [Item(_organization(row.organization_id, row.generation), row.wrapped or b"") for row in rows],
        )

    def new_hold_key(self, tx: Connection, hold_id: str) -> tuple[bytes, holds.HoldRow]:
        """A new key for a hold, and its row. Needs the ladder lock."""
        root_id = self.current_root(tx).root_id
        key = wrapping.new_key()
        [wrapped] = self.key_store.wrap(root_id, [Item(_hold(hold_id), key)])
        return key, holds.HoldRow(hold_id, root_id, wrapped, None)

    def open_hold(self, hold_id: str, root_id: str, wrapped: bytes) -> bytes:
        """A hold's key. Its row must be locked, or the ladder."""
        return self.key_store.unwrap(root_id, [Item(_hold(hold_id), wrapped)])[0]

    def replace_root(self, tx: Connection, fresh: str, at: datetime) -> str:
        """Puts everything that hangs on the current root under `fresh`, and makes that current. Returns the root that it replaced. Needs
        the ladder lock exclusively."""
        old = self.current_root(tx).root_id
        after = ""
        while rows := epochs.organizations_after(tx, after, _BATCH):
            names = [_organization(row.organization_id, row.generation) for row in rows]
            fresh_keys = self._rewrap(old, fresh, names, [row.wrapped for row in rows])
            after = rows[-1].organization_id
            epochs.rewrap_organizations(
                tx, fresh, dict(zip([row.organization_id for row in rows], fresh_keys, strict=True))
            )
        after = ""
        while held := holds.holds_after(tx, after, _BATCH):
            names = [_hold(row.hold_id) for row in held]
            fresh_keys = self._rewrap(old, fresh, names, [row.wrapped for row in held])
            after = held[-1].hold_id
            holds.rewrap_holds(tx, fresh, dict(zip([row.hold_id for row in held], fresh_keys, strict=True)))
        self.make_root_current(tx, fresh, at)
        custody.retire_root(tx, old, at)
        return old

    def _rewrap(
        self, old: str, fresh: str, names: list[bytes], wrapped: Iterable[bytes | None]
    ) -> list[bytes]:
        items = [Item(name, value or b"") for name, value in zip(names, wrapped, strict=True)]
        keys = self.key_store.unwrap(old, items)
        fresh_items = [Item(name, key) for name, key in zip(names, keys, strict=True)]
        rewrapped = self.key_store.wrap(fresh, fresh_items)
        # Read back before the old root is given up: a store that wraps what it cannot open must not cost a survivor.
        opened = self.key_store.unwrap(
            fresh, [Item(name, value) for name, value in zip(names, rewrapped, strict=True)]
        )
        if not all(hmac.compare_digest(one, other) for one, other in zip(keys, opened, strict=True)):
            raise KeptError(
                Reason.REASON_INTERNAL, "A key that was wrapped again opens differently; nothing was changed."
            )
        return rewrapped

    def opens_survivors(self, tx: Connection) -> bool:
        """Whether the current root is in the key store and opens what hangs on it: its canary, an organization's key with its
        epochs, a hold's key, as far as there are such; and whether nothing hangs on another root. Needs the ladder lock.
        Raises KeyStoreError when the key store cannot be asked."""
        root = self.current_root(tx)
        if custody.hangs_elsewhere(tx, root.root_id):
            return False
        try:
            opened = self.key_store.unwrap(root.root_id, [Item(_CANARY_NAME, root.canary)])[0]
            if not hmac.compare_digest(opened, _CANARY):
                return False
            for row in epochs.organizations_after(tx, "", 1):
                key = self.open_organization(row)
                public_keys = epochs.public_keys(tx, row.organization_id)
                for epoch in epochs.living_epochs(tx, [row.organization_id]):
                    if open_epoch(key, epoch).public_bytes != public_keys[epoch.epoch_key_id]:
                        return False
            for held in holds.holds_after(tx, "", 1):
                if held.root_id is None or held.wrapped is None:
                    return False
                self.open_hold(held.hold_id, held.root_id, held.wrapped)
        except (RootAbsent, DoesNotOpen):
            return False
        return True


def _organization(organization_id: str, generation: int) -> bytes:
    return wrapping.name_of("organization-key", organization_id, str(generation))


def _hold(hold_id: str) -> bytes:
    return wrapping.name_of("hold-key", hold_id)


def _epoch(organization_id: str, day: date, epoch_key_id: str, application: str) -> bytes:
    own = [application] if application else []
    return wrapping.name_of("epoch-key", organization_id, day.isoformat(), epoch_key_id, *own)


def wrap_epoch(
    organization_key: bytes,
    organization_id: str,
    day: date,
    epoch_key_id: str,
    private_key: EpochPrivateKey,
    application: str = "",
) -> bytes:
    """An epoch's private key, wrapped under its organization's key."""
    name = _epoch(organization_id, day, epoch_key_id, application)
    return wrapping.wrap(organization_key, name, private_key.private_bytes)


def open_epoch(organization_key: bytes, row: epochs.LivingEpoch) -> EpochPrivateKey:
    """An epoch's private key. Raises DoesNotOpen."""
    name = _epoch(row.organization_id, row.day, row.epoch_key_id, row.application)
    return EpochPrivateKey.from_bytes(wrapping.unwrap(organization_key, name, row.wrapped))


def rewrap_epoch(old: bytes, fresh: bytes, row: epochs.LivingEpoch) -> bytes:
    """An epoch's private key under another key of its organization."""
    name = _epoch(row.organization_id, row.day, row.epoch_key_id, row.application)
    return wrapping.wrap(fresh, name, wrapping.unwrap(old, name, row.wrapped))


def wrap_record_key(
    hold_key: bytes, hold_id: str, organization_id: str, record_id: bytes, key: bytes
) -> bytes:
    """A record's key, wrapped under a hold's."""
    return wrapping.wrap(
        hold_key, wrapping.name_of("record-key", hold_id, organization_id, record_id.hex()), key
    )


def open_record_key(
    hold_key: bytes, hold_id: str, organization_id: str, record_id: bytes, wrapped: bytes
) -> bytes:
    """A record's key that a hold keeps. Raises DoesNotOpen."""
    return wrapping.unwrap(
        hold_key, wrapping.name_of("record-key", hold_id, organization_id, record_id.hex()), wrapped
    )
