"""What is Citus' own: where tables, partitions and locks lie. Run by `make test-citus` alone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from services.logging.store import distribution, locks, partitions, stripes
from services.logging.store.distribution import Place
from services.logging.store.tables import metadata
from shared.database import Database
from tests.unit.logging.peers import NOON, ORG, OTHER
from tests.unit.logging.world import World

DAY = NOON.date()
_STRIPES = 7301


def rows(tx: Connection, statement: str, **given: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in tx.execute(text(statement), given)]


def shards_of(database: Database, table: str) -> int:
    with database.transaction() as tx:
        asked = "SELECT count(*) FROM pg_dist_shard WHERE logicalrelid = to_regclass(:table)"
        return int(tx.execute(text(asked), {"table": table}).scalar_one())


def node_of(tx: Connection, name: str) -> int:
    """The group of nodes on which an organization's rows lie."""
    return int(
        tx.execute(
            text(
                "SELECT groupid FROM pg_dist_placement WHERE shardid = "
                "get_shard_id_for_distribution_column('interactions', CAST(:name AS text))"
            ),
            {"name": name},
        ).scalar_one()
    )


def locked_on(database: Database) -> set[int]:
    """The groups of nodes on which somebody holds a stripe."""
    held = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {_STRIPES} AND granted"
    with database.transaction() as tx:
        found = rows(
            tx,
            "SELECT node.groupid, answer.result FROM run_command_on_all_nodes(:held) AS answer "
            "JOIN pg_dist_node AS node ON node.nodeid = answer.nodeid",
            held=held,
        )
    return {group for group, result in found if int(result) > 0}


def test_every_table_lies_where_it_should(database: Database) -> None:
    with database.transaction() as tx:
        found = dict(
            rows(
                tx,
                "SELECT relname, partmethod::text || colocationid::text FROM pg_dist_partition "
                "JOIN pg_class ON pg_class.oid = logicalrelid WHERE relnamespace = current_schema()::regnamespace",
            )
        )
    by_place: dict[Place, set[str | None]] = {}
    for table in metadata.tables.values():
        by_place.setdefault(distribution.place_of(table), set()).add(found.get(table.name))
    [on_shards] = by_place[Place.SHARD]  # one group for all
    [everywhere] = by_place[Place.EVERYWHERE]
    assert on_shards is not None
    assert on_shards.startswith("h")
    assert everywhere is not None
    assert everywhere.startswith("n")
    assert by_place[Place.COORDINATOR] == {None}


def test_a_partition_has_shards_when_it_is_made_and_none_when_it_was_dropped(database: Database) -> None:
    name = partitions.partition_name(DAY)
    with database.transaction() as tx:
        assert partitions.make(tx, DAY)
    assert shards_of(database, name) == shards_of(database, "interactions") > 0
    with database.transaction() as tx:
        assert partitions.drop(tx, DAY)
    assert shards_of(database, name) == 0


def test_a_stripe_is_taken_on_the_node_of_the_organizations_shard_alone(database: Database) -> None:
    for organization_id in (ORG, OTHER):
        with database.transaction() as tx:
            assert locks.are_on_shards(tx)
            node = node_of(tx, organization_id)
            stripes.take(tx, organization_id)
            assert locked_on(database) == {node}
        assert locked_on(database) == set()


def test_who_closes_a_day_waits_on_every_node_that_has_shards(database: Database) -> None:
    with database.transaction() as tx:
        nodes = {
            group
            for (group,) in rows(
                tx,
                "SELECT DISTINCT groupid FROM pg_dist_placement JOIN pg_dist_shard USING (shardid) "
                "WHERE logicalrelid = to_regclass('organization_fences')",
            )
        }
        stripes.wait_for_writers(tx)
        assert locked_on(database) == nodes


def test_what_is_recorded_lies_on_the_organizations_shard(world: World) -> None:
    world.record(world.interaction(), world.interaction(OTHER))
    with world.database.transaction() as tx:
        nodes = {organization_id: node_of(tx, organization_id) for organization_id in (ORG, OTHER)}
        counted = rows(
            tx,
            "SELECT node.groupid, result FROM run_command_on_shards('interactions', 'SELECT count(*) FROM %s') AS answer "
            "JOIN pg_dist_placement AS node ON node.shardid = answer.shardid",
        )
    found: dict[int, int] = {}
    for group, result in counted:
        found[group] = found.get(group, 0) + int(result)
    assert {group for group, count in found.items() if count} == set(nodes.values())
    assert sum(found.values()) == 2
