"""Tables and queries of key custody: wrapped keys, tombstones, destructions, and the locks that decide their races.

Locks are always taken in this order: the ladder lock, an organization's row, hold rows. Whoever wraps anything under the root holds the
ladder lock shared until its commit; who replaces the root holds it exclusively.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
    text,
    update,
)
from sqlalchemy import cast as type_cast
from sqlalchemy.dialects.postgresql import insert

from services.access_control.store import metadata

# The lock of docs/keys.md: shared by who wraps under the root, exclusive for who replaces it.
_LADDER_LOCK: Final = func.hashtextextended("access_control:ladder", 0)


ladder = Table(
    "custody_ladder",
    metadata,
    Column("singleton", Boolean, primary_key=True),
    Column("root_id", Text, nullable=False),
    CheckConstraint("singleton", name="custody_ladder_one_row"),
)
roots = Table(
    "custody_roots",
    metadata,
    Column("root_id", Text, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("canary", LargeBinary, nullable=False),
    Column("retired_at", DateTime(timezone=True)),
    Column("retired_lsn", Text),
    Column("superseded_at", DateTime(timezone=True)),
    Column("destroyed_at", DateTime(timezone=True)),
)
organization_keys = Table(
    "organization_keys",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("root_id", Text),
    Column("wrapped", LargeBinary),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("closed_at", DateTime(timezone=True)),
    # Keys of some of its records are withheld; see withheld.py.
    Column("withholds", Boolean, nullable=False, server_default=text("false")),
    # Every new root writes every row: half the page is left for that, so that it touches no index.
    postgresql_with={"fillfactor": 45},
)
epoch_keys = Table(
    "epoch_keys",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("epoch_key_id", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("wrapped", LargeBinary),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("marked_at", DateTime(timezone=True)),
    Column("destruction_id", Text),
    # Whose own epoch it is; '' for all others.
    Column("application", Text, primary_key=True, server_default=""),
    UniqueConstraint("epoch_key_id", name="epoch_keys_id"),
    # Tombstones stay for ever: what lives is found without reading them.
    Index("epoch_keys_living", "organization_id", "day", postgresql_where=text("marked_at IS NULL")),
    Index("epoch_keys_by_destruction", "destruction_id", "organization_id", "day"),
    # Likewise, for every new key of the organization. The public half lies beside and is not written again (the migration says how).
    postgresql_with={"fillfactor": 50, "toast_tuple_target": 128},
)
hold_keys = Table(
    "hold_keys",
    metadata,
    Column("hold_id", Text, primary_key=True),
    Column("root_id", Text),
    Column("wrapped", LargeBinary),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("released_at", DateTime(timezone=True)),
    # When the secrecy of a confidential hold ended: nothing is kept for it in secret from then on.
    Column("disclosed_at", DateTime(timezone=True)),
    # A key that was destroyed never comes back.
    CheckConstraint("released_at IS NULL OR wrapped IS NULL", name="hold_keys_buried"),
)
retained_records = Table(
    "retained_records",
    metadata,
    Column("hold_id", Text, primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
    Column("organization_id", Text, nullable=False),
    Column("wrapped", LargeBinary),
    Index("retained_records_by_organization", "organization_id", "record_id"),
)
# The same for holds of which the law forbids telling the customer. Nothing that opens records looks here.
confidential_records = Table(
    "confidential_records",
    metadata,
    Column("hold_id", Text, primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
    Column("organization_id", Text, nullable=False),
    Column("wrapped", LargeBinary),
    Index("confidential_records_by_organization", "organization_id", "record_id"),
)
destructions = Table(
    "destructions",
    metadata,
    Column("destruction_id", Text, primary_key=True),
    Column("target_kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("marked_through", Text, nullable=False),
    Column("epochs", BigInteger, nullable=False),
    Column("organizations", BigInteger, nullable=False),
    Column("begun_at", DateTime(timezone=True), nullable=False),
    Column("marked_at", DateTime(timezone=True)),
    Column("root_id", Text),
    Column("destroyed_at", DateTime(timezone=True)),
    Column("key_store_statement", Text, nullable=False),
    Index("destructions_by_state", "state"),
)


@dataclass(frozen=True)
class RootRow:
    """A root, as far as the database knows. canary: a known value wrapped under it. retired_lsn, superseded_at: a WAL position and an
    instant behind the commit in which it was retired."""

    root_id: str
    created_at: datetime
    canary: bytes
    retired_at: datetime | None
    retired_lsn: str | None
    superseded_at: datetime | None
    destroyed_at: datetime | None


@dataclass(frozen=True)
class Counts:
    """How many keys of which kind, and of how many only a tombstone is left."""

    destroyed_roots: int
    organization_keys: int
    closed_organizations: int
    epochs: int
    destroyed_epochs: int
    holds: int
    released_holds: int
    retained_records: int


def lock_ladder(tx: Connection, *, exclusive: bool) -> None:
    """Takes the ladder lock until the end of the transaction."""
    lock = func.pg_advisory_xact_lock if exclusive else func.pg_advisory_xact_lock_shared
    tx.execute(select(lock(_LADDER_LOCK)))


def current_root(tx: Connection) -> RootRow | None:
    """The root that everything is wrapped under, or None before the first start."""
    row = tx.execute(select(roots).join(ladder, ladder.c.root_id == roots.c.root_id)).one_or_none()
    return None if row is None else RootRow(*row)


def add_root(tx: Connection, root_id: str, canary: bytes, at: datetime) -> None:
    """Adds a root and makes it the current one."""
    tx.execute(insert(roots).values(root_id=root_id, created_at=at, canary=canary))
    statement = insert(ladder).values(singleton=True, root_id=root_id)
    tx.execute(statement.on_conflict_do_update(index_elements=["singleton"], set_={"root_id": root_id}))


def retire_root(tx: Connection, root_id: str, at: datetime) -> None:
    """The root is current no more; destructions that were marked now wait for its end."""
    tx.execute(update(roots).where(roots.c.root_id == root_id).values(retired_at=at))
    tx.execute(
        update(destructions).where(destructions.c.state == "marked").values(state="switched", root_id=root_id)
    )


def hangs_elsewhere(tx: Connection, root_id: str) -> bool:
    """Whether any key is wrapped under another root than this one."""
    organizations = select(organization_keys.c.root_id).where(organization_keys.c.wrapped.is_not(None))
    held = select(hold_keys.c.root_id).where(hold_keys.c.wrapped.is_not(None))
    anywhere = organizations.union_all(held).subquery()
    return (
        tx.execute(select(anywhere.c.root_id).where(anywhere.c.root_id != root_id).limit(1)).first()
        is not None
    )


def retired_roots(tx: Connection) -> list[RootRow]:
    """Roots that were replaced and still exist."""
    rows = tx.execute(
        select(roots)
        .where(roots.c.retired_at.is_not(None), roots.c.destroyed_at.is_(None))
        .order_by(roots.c.retired_at, roots.c.root_id)
    )
    return [RootRow(*row) for row in rows]


def lock_retired_root(tx: Connection, root_id: str) -> bool:
    """Locks a root that is to be destroyed. False when another process has done that."""
    row = tx.execute(
        select(roots.c.root_id)
        .where(roots.c.root_id == root_id, roots.c.destroyed_at.is_(None))
        .with_for_update()
    ).one_or_none()
    return row is not None


def note_position(tx: Connection, root_id: str, at: datetime) -> None:
    """Writes down a WAL position and an instant that lie behind the commit in which the root was retired, unless that was done."""
    tx.execute(
        update(roots)
        .where(roots.c.root_id == root_id, roots.c.retired_lsn.is_(None))
        .values(retired_lsn=type_cast(func.pg_current_wal_insert_lsn(), Text), superseded_at=at)
    )


def last_replaced_root(tx: Connection) -> RootRow | None:
    """The root that the current one replaced, destroyed or not; None while the first one is current."""
    row = tx.execute(
        select(roots)
        .where(roots.c.retired_at.is_not(None))
        .order_by(roots.c.retired_at.desc(), roots.c.root_id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else RootRow(*row)


def count(tx: Connection) -> Counts:
    """How many keys of which kind there are."""
    row = tx.execute(
        select(
            select(func.count()).where(roots.c.destroyed_at.is_not(None)).scalar_subquery(),
            select(func.count()).where(organization_keys.c.wrapped.is_not(None)).scalar_subquery(),
            select(func.count()).where(organization_keys.c.wrapped.is_(None)).scalar_subquery(),
            select(func.count()).where(epoch_keys.c.marked_at.is_(None)).scalar_subquery(),
            select(func.count()).where(epoch_keys.c.marked_at.is_not(None)).scalar_subquery(),
            select(func.count()).where(hold_keys.c.wrapped.is_not(None)).scalar_subquery(),
            select(func.count()).where(hold_keys.c.wrapped.is_(None)).scalar_subquery(),
            select(func.count()).where(retained_records.c.wrapped.is_not(None)).scalar_subquery(),
        )
    ).one()
    return Counts(*row)
