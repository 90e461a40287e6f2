"""Advisory locks, held until the transaction ends: on one server as they are; on Citus, where each node has locks of its own, on the node
of a shard.

A SELECT that names one organization is sent whole to the node of its shard, volatile functions included, and is carried out there (Citus:
router queries). So a lock that is asked for beside a look at `organization_fences` for a name is taken where rows of that name lie. The
name need not be an organization's: any text has its shard.
"""

from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Row, Table, select, text

# An aggregate gives one row, and so one lock, whether there is a row of this name or none.
_ON_SHARD: Final = (
    "SELECT CAST({lock} AS text), count(*) FROM organization_fences WHERE organization_id = :name"
)
_ON_SERVER: Final = "SELECT CAST({lock} AS text)"
_NUMBERED: Final = "(:class, :number)"
_NAMED: Final = "(hashtextextended(:name, 0))"
# So many names hit every shard there is, as good as surely: there are some dozens.
_NAMES: Final = 20_000

_distributed: WeakKeyDictionary[Engine, bool] = WeakKeyDictionary()


def are_on_shards(tx: Connection) -> bool:
    """Whether the tables are distributed by Citus: looked up once an engine. Nobody writes while they are being distributed
    (docs/scaling.md), so the answer stays true."""
    known = _distributed.get(tx.engine)
    if known is None:
        known = _distributed[tx.engine] = _look(tx)
    return known


def row(tx: Connection, table: Table, organization_id: str, **key: object) -> Row[Any] | None:
    """An organization's row, by the rest of its key, which nobody else changes before this transaction ends. Citus locks rows of one shard
    at a time, so the organization has to be said."""
    mine = [
        table.c.organization_id == organization_id,
        *(table.c[name] == value for name, value in key.items()),
    ]
    return tx.execute(select(table).where(*mine).with_for_update()).one_or_none()


def are_known_on_server(engine: Engine) -> bool:
    """Whether it was looked up that they are not. Asks the database nothing."""
    return _distributed.get(engine) is False


def _look(tx: Connection) -> bool:
    if not tx.execute(text("SELECT count(*) FROM pg_extension WHERE extname = 'citus'")).scalar_one():
        return False
    asked = "SELECT count(*) FROM pg_dist_partition WHERE logicalrelid = to_regclass('interactions')"
    return bool(tx.execute(text(asked)).scalar_one())


def take(tx: Connection, lock_class: int, number: int, name: str, *, shared: bool = False) -> None:
    """Takes the lock (class, number), 32 bits each; on Citus on the node of the name's shard."""
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    _take(tx, function + _NUMBERED, {"class": lock_class, "number": number}, name)


def take_named(tx: Connection, name: str) -> None:
    """Takes the lock of a name; on Citus on the node of the name's shard."""
    _take(tx, "pg_advisory_xact_lock" + _NAMED, {"name": name}, name)


def try_to_take(tx: Connection, lock_class: int, number: int, name: str, *, shared: bool = False) -> bool:
    """Takes the lock as `take` does, unless that would mean to wait for somebody; whether it is taken."""
    function = "pg_try_advisory_xact_lock_shared" if shared else "pg_try_advisory_xact_lock"
    return _take(tx, function + _NUMBERED, {"class": lock_class, "number": number}, name) == "true"


def _take(tx: Connection, lock: str, given: dict[str, int | str], name: str) -> str:
    """What the function answers, as text."""
    if are_on_shards(tx):
        found = tx.execute(text(_ON_SHARD.format(lock=lock)), given | {"name": name})
    else:
        found = tx.execute(text(_ON_SERVER.format(lock=lock)), given)
    return str(found.one()[0])


def names_on_each_node(tx: Connection) -> list[str]:
    """A name for each node that has shards, always in the same order: what is locked by all of them is locked everywhere."""
    found = tx.execute(
        text(
            "SELECT DISTINCT ON (placement.groupid) named.name FROM ("
            "SELECT CAST(number AS text) AS name, "
            "get_shard_id_for_distribution_column('organization_fences', CAST(number AS text)) AS shardid "
            "FROM generate_series(1, :names) AS number) AS named "
            "JOIN pg_dist_placement AS placement ON placement.shardid = named.shardid "
            "ORDER BY placement.groupid, named.name"
        ),
        {"names": _NAMES},
    )
    return [str(name) for name in found.scalars()]
