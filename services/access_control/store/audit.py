"""Tables and queries of the audit log: entries, chains, tree nodes, the newest head, public signing keys."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    case,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from services.access_control.store import metadata
from shared.driver import driver_of

# `sequence` is the order of insertion, with gaps; `number` and `leaf_index` are given by the sequencer, without gaps.
entries = Table(
    "audit_entries",
    metadata,
    Column("sequence", BigInteger, Identity(always=True), primary_key=True),
    Column("entry_id", Text, nullable=False),
    Column("organization_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", LargeBinary),
    Column("salt", LargeBinary),
    Column("commitment", LargeBinary, nullable=False),
    Column("appended_at", DateTime(timezone=True), nullable=False),
    Column("number", BigInteger),
    Column("previous_leaf_hash", LargeBinary),
    Column("leaf_index", BigInteger),
    UniqueConstraint("entry_id", name="audit_entries_id"),
    # An entry that is appended touches no index but of its id and of what waits.
    Index(
        "audit_entries_number",
        "organization_id",
        "number",
        unique=True,
        postgresql_where=text("number IS NOT NULL"),
    ),
    Index("audit_entries_leaf", "leaf_index", unique=True, postgresql_where=text("leaf_index IS NOT NULL")),
    Index("audit_entries_waiting", "sequence", postgresql_where=text("leaf_index IS NULL")),
)
chains = Table(
    "audit_chains",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("last_number", BigInteger, nullable=False),
    Column("last_leaf_hash", LargeBinary, nullable=False),
)
nodes = Table(
    "audit_nodes",
    metadata,
    Column("level", SmallInteger, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
)
tree = Table(
    "audit_tree",
    metadata,
    Column("singleton", Boolean, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    CheckConstraint("singleton", name="audit_tree_one_row"),
)
signing_keys = Table(
    "audit_signing_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("retired_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
)


@dataclass(frozen=True)
class TreeRow:
    """The tree as it stands: its size and newest signed head."""

    size: int
    root_hash: bytes
    timestamp_ms: int
    key_id: str
    signature: bytes


@dataclass(frozen=True)
class NewEntry:
    """An entry as it is inserted. commitment: HMAC-SHA-256(salt, body)."""

    entry_id: str
    organization_id: str
    kind: str
    body: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    commitment: bytes
    appended_at: datetime

    def values(self) -> tuple[str, str, str, bytes, bytes, bytes, datetime]:
        """In the order of the columns of an insert."""
        return (
            self.entry_id,
            self.organization_id,
            self.kind,
            self.body,
            self.salt,
            self.commitment,
            self.appended_at,
        )


@dataclass(frozen=True)
class WaitingRow:
    """An entry without a place in the tree."""

    sequence: int
    organization_id: str
    commitment: bytes


@dataclass(frozen=True)
class PlacedRow:
    """The place that the sequencer gave to an entry in its organization's chain."""

    sequence: int
    number: int
    previous_leaf_hash: bytes


@dataclass(frozen=True)
class EntryRow:
    """An entry as stored. body and salt are None once erased; number, previous_leaf_hash and leaf_index until it is in the tree."""

    organization_id: str
    body: bytes | None
    salt: bytes | None
    commitment: bytes
    number: int | None
    previous_leaf_hash: bytes | None
    leaf_index: int | None


@dataclass(frozen=True)
class ChainRow:
    """Where an organization's chain ends."""

    last_number: int
    last_leaf_hash: bytes


@dataclass(frozen=True)
class SigningKeyRow:
    """A public key that heads are or were signed with. retired_at: None for the one that signs. revoked_at: None for one that is
    trusted."""

    key_id: str
    public_key: bytes
    created_at: datetime
    retired_at: datetime | None = None
    revoked_at: datetime | None = None


_SIGNERS_LOCK: Final = func.hashtextextended("access_control:signers", 0)
_INSERT: Final = (
    "INSERT INTO audit_entries (entry_id, organization_id, kind, body, salt, commitment, appended_at) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (entry_id) DO NOTHING"
)


def _array(numbers: Iterable[int]) -> str:
    """Numbers as PostgreSQL writes an array; hashes go to it as one string. A driver's arrays take long to make for each of their items,
    and the sequencer makes them of every entry."""
    return "{" + ",".join(map(str, numbers)) + "}"


def lock_signers(tx: Connection) -> None:
    """Takes the lock of the key store's list of signing keys until the end of the transaction. A key store locks its list for the
    processes of one host at most, a token for none."""
    tx.execute(select(func.pg_advisory_xact_lock(_SIGNERS_LOCK)))


def snapshot(tx: Connection) -> None:
    """Has the whole transaction see one moment. Must be its first statement."""
    tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))


def add_entries(tx: Connection, rows: Sequence[NewEntry]) -> int:
    """Inserts entries, in order; returns how many of their ids were new. What is there already stays as it is."""
    if not rows:
        return 0
    with driver_of(tx).cursor() as cursor:
        if len(rows) == 1:  # without the pipeline of many
            cursor.execute(_INSERT, rows[0].values())
        else:
            cursor.executemany(_INSERT, [row.values() for row in rows])
        return cursor.rowcount


def is_anything_waiting(tx: Connection) -> bool:
    """Whether an entry has no place in the tree yet."""
    return (
        tx.execute(select(entries.c.sequence).where(entries.c.leaf_index.is_(None)).limit(1)).first()
        is not None
    )


def waiting(tx: Connection, limit: int) -> list[WaitingRow]:
    """Entries without a place, in order of insertion: whatever committed late is among them, there is no "after the last id"."""
    rows = tx.execute(
        select(entries.c.sequence, entries.c.organization_id, entries.c.commitment)
        .where(entries.c.leaf_index.is_(None))
        .order_by(entries.c.sequence)
        .limit(limit)
    )
    return [WaitingRow(row.sequence, row.organization_id, row.commitment) for row in rows]


def begin_tree(tx: Connection, row: TreeRow) -> None:
    """Inserts the empty tree, unless there is a tree."""
    tx.execute(
        insert(tree)
        .values(
            singleton=True,
            size=row.size,
            root_hash=row.root_hash,
            timestamp_ms=row.timestamp_ms,
            key_id=row.key_id,
            signature=row.signature,
        )
        .on_conflict_do_nothing()
    )


def read_tree(tx: Connection, *, lock: bool = False) -> TreeRow | None:
    """The tree, or None before the first start. lock: for the sequencer, until its commit."""
    statement = select(tree)
    row = tx.execute(statement.with_for_update() if lock else statement).one_or_none()
    return (
        None if row is None else TreeRow(row.size, row.root_hash, row.timestamp_ms, row.key_id, row.signature)
    )


def replace_tree(tx: Connection, known_size: int, row: TreeRow) -> bool:
    """Compare and swap on the size: False when the tree is not of `known_size` any more."""
    result = tx.execute(
        update(tree)
        .where(tree.c.size == known_size)
        .values(
            size=row.size,
            root_hash=row.root_hash,
            timestamp_ms=row.timestamp_ms,
            key_id=row.key_id,
            signature=row.signature,
        )
    )
    return result.rowcount == 1


def place(tx: Connection, first_leaf: int, rows: Sequence[PlacedRow]) -> None:
    """Writes down the places of entries, which are leaves of the tree from `first_leaf` on, in order."""
    tx.execute(
        text(
            "UPDATE audit_entries SET number = placed.number, previous_leaf_hash = placed.previous, leaf_index = placed.leaf "
            "FROM (SELECT sequence, number, substr(CAST(:hashes AS bytea), CAST(32 * (place - 1) + 1 AS int), 32) AS previous, "
            ":first_leaf + place - 1 AS leaf FROM unnest(CAST(:sequences AS bigint[]), CAST(:numbers AS bigint[])) "
            "WITH ORDINALITY AS given(sequence, number, place)) AS placed "
            "WHERE audit_entries.sequence = placed.sequence AND audit_entries.leaf_index IS NULL"
        ),
        {
            "sequences": _array(row.sequence for row in rows),
            "numbers": _array(row.number for row in rows),
            "hashes": b"".join(row.previous_leaf_hash for row in rows),
            "first_leaf": first_leaf,
        },
    )


def read_chains(tx: Connection, organization_ids: Iterable[str]) -> dict[str, ChainRow]:
    """Where these organizations' chains end; one without entries is left out."""
    rows = tx.execute(select(chains).where(chains.c.organization_id.in_(list(organization_ids))))
    return {row.organization_id: ChainRow(row.last_number, row.last_leaf_hash) for row in rows}


def count_listed(tx: Connection) -> tuple[int, int]:
    """How many entries the tree has, and how many all chains have together: at one moment, for the sequencer of another process goes on.
    An entry that waits for its place is in neither."""
    listed = select(func.coalesce(func.sum(chains.c.last_number), 0)).scalar_subquery()
    size, together = tx.execute(select(tree.c.size, listed)).one()
    return size, int(together)


def write_chains(tx: Connection, ends: Mapping[str, ChainRow]) -> None:
    """Moves the ends of chains."""
    tx.execute(
        text(
            "INSERT INTO audit_chains (organization_id, last_number, last_leaf_hash) "
            "SELECT * FROM unnest(CAST(:organizations AS text[]), CAST(:numbers AS bigint[]), CAST(:hashes AS bytea[])) "
            "ON CONFLICT (organization_id) DO UPDATE "
            "SET last_number = excluded.last_number, last_leaf_hash = excluded.last_leaf_hash"
        ),
        {
            "organizations": list(ends),
            "numbers": [end.last_number for end in ends.values()],
            "hashes": [end.last_leaf_hash for end in ends.values()],
        },
    )


def read_nodes(tx: Connection, positions: Iterable[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """Tree nodes by (level, position)."""
    wanted = sorted(set(positions))
    rows = tx.execute(
        text(
            "SELECT level, position, hash FROM audit_nodes JOIN unnest(CAST(:levels AS smallint[]), "
            "CAST(:positions AS bigint[])) AS wanted(level, position) USING (level, position)"
        ),
        {"levels": [level for level, _ in wanted], "positions": [position for _, position in wanted]},
    )
    return {(row.level, row.position): row.hash for row in rows}


def add_nodes(tx: Connection, made: Mapping[tuple[int, int], bytes]) -> None:
    """Adds complete subtrees. One that is there already is an error: the tree never changes, it grows."""
    tx.execute(
        text(
            "INSERT INTO audit_nodes (level, position, hash) "
            "SELECT level, position, substr(CAST(:hashes AS bytea), CAST(32 * (place - 1) + 1 AS int), 32) "
            "FROM unnest(CAST(:levels AS smallint[]), CAST(:positions AS bigint[])) WITH ORDINALITY AS given(level, position, place)"
        ),
        {
            "levels": _array(level for level, _ in made),
            "positions": _array(position for _, position in made),
            "hashes": b"".join(made.values()),
        },
    )


_ENTRY = (
    entries.c.organization_id,
    entries.c.body,
    entries.c.salt,
    entries.c.commitment,
    entries.c.number,
    entries.c.previous_leaf_hash,
    entries.c.leaf_index,
)


def read_entry(tx: Connection, entry_id: str) -> EntryRow | None:
    """An entry, in the tree or not."""
    row = tx.execute(select(*_ENTRY).where(entries.c.entry_id == entry_id)).one_or_none()
    return None if row is None else EntryRow(*row)


def list_entries(
    tx: Connection, organization_id: str, after_number: int, limit: int, limit_bytes: int
) -> list[EntryRow]:
    """An organization's entries that are in the tree, in order of number: at most `limit`, and no more once bodies reach `limit_bytes`."""
    size = func.coalesce(func.octet_length(entries.c.body), 0)
    page = (
        select(entries.c.sequence, (func.sum(size).over(order_by=entries.c.number) - size).label("before"))
        .where(entries.c.organization_id == organization_id, entries.c.number > after_number)
        .order_by(entries.c.number)
        .limit(limit)
        .subquery()
    )
    rows = tx.execute(
        select(*_ENTRY)
        .join(page, page.c.sequence == entries.c.sequence)
        .where(page.c.before < limit_bytes)
        .order_by(entries.c.number)
    )
    return [EntryRow(*row) for row in rows]


def list_own(tx: Connection, service: str, after: int, limit: int) -> list[tuple[int, bytes | None]]:
    """(sequence, body) after a sequence, in order; the body of erased entries, and of all but a few of other services', is None. This only
    saves work: who reported an entry stands in its body alone, where a fact may look like it, so whoever lists it reads it."""
    mine = f'"reported_by":"{service}"'.encode()
    body = case((func.position(literal(mine).op("IN")(entries.c.body)) > 0, entries.c.body))
    rows = tx.execute(
        select(entries.c.sequence, body.label("body"))
        .where(entries.c.sequence > after)
        .order_by(entries.c.sequence)
        .limit(limit)
    )
    return [(row.sequence, row.body) for row in rows]


def highest_sequence(tx: Connection, entry_ids: Sequence[str]) -> int:
    """The highest sequence among these entries; 0 where none is there."""
    found = tx.execute(
        select(func.max(entries.c.sequence)).where(entries.c.entry_id.in_(entry_ids))
    ).scalar_one()
    return found or 0


def merge_signing_key(tx: Connection, row: SigningKeyRow) -> list[str]:
    """Adds what is new about a public key, and takes nothing back. Returns what was: "created", "retired", "revoked"."""
    news = []
    added = (
        insert(signing_keys)
        .values(key_id=row.key_id, public_key=row.public_key, created_at=row.created_at)
        .on_conflict_do_nothing()
        .returning(signing_keys.c.key_id)
    )
    if tx.execute(added).first() is not None:
        news.append("created")
    for name, at in (("retired", row.retired_at), ("revoked", row.revoked_at)):
        column = signing_keys.c[f"{name}_at"]
        changed = (
            update(signing_keys)
            .where(signing_keys.c.key_id == row.key_id, column.is_(None))
            .values({column: at})
            .returning(signing_keys.c.key_id)
        )
        if at is not None and tx.execute(changed).first() is not None:
            news.append(name)
    return news


def current_signing_key(tx: Connection) -> str | None:
    """The id of the key that signs."""
    statement = select(signing_keys.c.key_id).where(signing_keys.c.retired_at.is_(None))
    return tx.execute(statement.order_by(signing_keys.c.created_at.desc()).limit(1)).scalar_one_or_none()


def list_signing_keys(tx: Connection) -> list[SigningKeyRow]:
    """All public keys, newest first."""
    newest_first = signing_keys.c.retired_at.desc().nulls_first(), signing_keys.c.created_at.desc()
    return [SigningKeyRow(*row) for row in tx.execute(select(signing_keys).order_by(*newest_first))]
