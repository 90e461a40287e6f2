"""Tables and queries of key custody: wrapped keys, tombstones, destructions, and the locks that decide their races.

Locks are always taken in this order: the ladder lock, an organization's row, hold rows. Whoever wraps anything under the root holds the
ladder lock shared until its commit; who replaces the root holds it exclusively.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
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
    and_,
    column,
    delete,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from services.access_control.store import metadata

# The lock of docs/keys.md: shared by who wraps under the root, exclusive for who replaces it.
_LADDER_LOCK: Final = func.hashtextextended("access_control:ladder", 0)

_BATCH: Final = 5_000

ladder = Table(
    "custody_ladder",
    metadata,
    Column("only", Boolean, primary_key=True),
    Column("root_id", Text, nullable=False),
    CheckConstraint("only", name="custody_ladder_one_row"),
)
roots = Table(
    "custody_roots",
    metadata,
    Column("root_id", Text, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("canary", LargeBinary, nullable=False),
    Column("retired_at", DateTime(timezone=True)),
    Column("retired_lsn", Text),
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
    UniqueConstraint("epoch_key_id", name="epoch_keys_id"),
    Index("epoch_keys_by_day", "day", "organization_id"),
    Index("epoch_keys_by_destruction", "destruction_id", "organization_id", "day"),
)
hold_keys = Table(
    "hold_keys",
    metadata,
    Column("hold_id", Text, primary_key=True),
    Column("root_id", Text),
    Column("wrapped", LargeBinary),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("released_at", DateTime(timezone=True)),
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
