"""The tables on Citus: everything of one organization on one shard, few rows that all ask for everywhere, and on the coordinator alone what
belongs to no organization and is written by all: the outbox, and product analytics, whose rows change their pseudonym."""

from enum import Enum
from typing import Final

from sqlalchemy import Connection, Table, text

from services.logging.store.tables import (
    day_fences,
    disclosed_holds,
    dropped_days,
    interactions,
    metadata,
    released_holds,
    removals,
)

_KEY: Final = "organization_id"
# Few rows, and asked for beside an organization's.
_EVERYWHERE: Final = (day_fences, disclosed_holds, dropped_days, released_holds, removals)


class Place(Enum):
    """Where the rows of a table lie."""

    SHARD = "with their organization's other rows"
    EVERYWHERE = "a copy on each node"
    COORDINATOR = "on the coordinator"


def place_of(table: Table) -> Place:
    """A table's place: by whether its rows are an organization's. `interactions` decides where shards are, the others follow it."""
    if table in _EVERYWHERE:
        return Place.EVERYWHERE
    return Place.SHARD if _KEY in table.c else Place.COORDINATOR


def distribute(tx: Connection) -> None:
    """Distributes the migrated tables, with what is in them. To be called once, by the coordinator, while nobody writes.

    Raises RuntimeError where the database has no Citus; what Citus refuses comes as it says it (sqlalchemy.exc.DBAPIError).
    """
    if not tx.execute(text("SELECT count(*) FROM pg_extension WHERE extname = 'citus'")).scalar_one():
        raise RuntimeError("this database has no Citus: CREATE EXTENSION citus, and add its workers")
    # One connection a node, so that a table's shards and those that lie beside them are made in one order.
    tx.execute(text("SET LOCAL citus.multi_shard_modify_mode = 'sequential'"))
    tables = sorted(metadata.tables.values(), key=lambda table: (table is not interactions, table.name))
    for table in tables:
        place = place_of(table)
        if place is Place.SHARD:
            key_by_organization(tx, table)
            beside = "none" if table is interactions else interactions.name
            tx.execute(
                text("SELECT create_distributed_table(:table, :key, colocate_with => :beside)"),
                {"table": table.name, "key": _KEY, "beside": beside},
            )
        elif place is Place.EVERYWHERE:
            tx.execute(text("SELECT create_reference_table(:table)"), {"table": table.name})


def key_by_organization(tx: Connection, table: Table) -> None:
    """A unique key of a distributed table has to name the organization. Where the primary key does not, it is widened: what it held apart
    by itself is random and 16 bytes long."""
    columns = [column.name for column in table.primary_key]
    if _KEY not in columns:
        key = ", ".join([_KEY, *columns])
        tx.execute(
            text(
                f"ALTER TABLE {table.name} DROP CONSTRAINT {table.name}_pkey, "
                f"ADD CONSTRAINT {table.name}_pkey PRIMARY KEY ({key})"
            )
        )
