"""How many keys of which kind live where, what waits to be destroyed and why, and which backups of the database open anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.access_control.custody.ladder import Ladder
from services.access_control.custody.survivors import SurvivorsMustBeOn, waits_for
from services.access_control.store import Connection, custody, destructions
from services.access_control.store.destructions import DestructionRow
from shared.database import Database


@dataclass(frozen=True)
class RetiredRoot:
    """A root that was replaced and still exists. waits_for: a sentence; empty when it goes at the next step."""

    root_id: str
    retired_at: datetime
    waits_for: str


@dataclass(frozen=True)
class UsableBackups:
    """Base backups of the database that begin at `since` (at `position` in its WAL, or behind) open survivors by themselves; what ended
    before opens nothing unless its WAL is replayed past there. position is empty where no root was ever replaced."""

    since: datetime
    position: str


@dataclass(frozen=True)
class KeyStatus:
    """root: the current one. unused_root_ids: in the key store, made by a step that did not commit, wrapping nothing. usable_backups: None
    for the moment between the commit of a new root and its being written down."""

    root: custody.RootRow
    retired_roots: Sequence[RetiredRoot]
    unused_root_ids: Sequence[str]
    pending: Sequence[tuple[DestructionRow, str]]
    counts: custody.Counts
    key_store: str
    key_store_statement: str
    survivors_must_be_on: SurvivorsMustBeOn
    usable_backups: UsableBackups | None


def read_status(database: Database, ladder: Ladder, must_be_on: SurvivorsMustBeOn) -> KeyStatus:
    """The status. Key store and database are not looked at in one moment: a root that a destruction is making right now shows as unused.
    Raises KeyStoreError."""
    in_store = ladder.key_store.root_ids()
    with database.transaction() as tx:
        root = ladder.current_root(tx)
        retired = [
            RetiredRoot(each.root_id, each.retired_at, waits_for(tx, each, must_be_on))
            for each in custody.retired_roots(tx)
            if each.retired_at is not None
        ]
        known = {root.root_id, *(each.root_id for each in retired)}
        return KeyStatus(
            root,
            retired,
            [root_id for root_id in in_store if root_id not in known],
            [(row, _waits_for(row, retired)) for row in destructions.unfinished(tx)],
            custody.count(tx),
            ladder.key_store.place,
            ladder.key_store.statement,
            must_be_on,
            _usable_backups(tx, root),
        )


def _waits_for(row: DestructionRow, retired: Sequence[RetiredRoot]) -> str:
    if row.state == "marking":
        return "What it destroys is being marked."
    if row.state == "marked":
        return "A new root is being made."
    return next((root.waits_for for root in retired if root.root_id == row.root_id), "")


def _usable_backups(tx: Connection, root: custody.RootRow) -> UsableBackups | None:
    replaced = custody.last_replaced_root(tx)
    if replaced is None:
        return UsableBackups(root.created_at, "")
    if replaced.superseded_at is None or replaced.retired_lsn is None:
        return None
    return UsableBackups(replaced.superseded_at, replaced.retired_lsn)
