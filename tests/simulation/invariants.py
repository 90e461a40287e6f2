"""The invariants of docs/architecture.md, checked on the databases as they are. Each check gives a sentence for what is broken."""

import hashlib
import uuid
from collections.abc import Iterator
from datetime import timedelta

import psycopg

from kept.client.record_ids import created_at
from tests.simulation.model import Model
from tests.simulation.world import World


class Broken(Exception):
    """An invariant does not hold."""


def check(world: World, model: Model, looks: "Looks", *, settled: bool) -> None:
    """Raises Broken for the first invariant that does not hold. `settled`: everything that was to be done by now has been."""
    for broken in _broken(world, model, looks, settled=settled):
        raise Broken(broken)


def _broken(world: World, model: Model, looks: "Looks", *, settled: bool) -> Iterator[str]:
    rows = looks.rows("logging", "SELECT organization_id, record_id, content IS NOT NULL FROM interactions")
    kept = looks.rows("logging", "SELECT organization_id, record_id, content IS NOT NULL FROM retained")
    yield from _policies(model, [*rows, *kept])
    yield from _acknowledged(world, model, {(org, record.bytes) for org, record, _ in [*rows, *kept]})
    if settled:
        yield from _audit(model, looks)
        yield from _gone(world, model, rows, kept)
        yield from _erased(model, looks, kept)


def _policies(model: Model, rows: list[tuple[str, uuid.UUID, bool]]) -> Iterator[str]:
    for organization_id, record, has_content in rows:
        organization = model.organizations.get(organization_id)
        if organization is None or organization.deployment != "SAAS":
            yield f"2: a row of {organization_id}, which sends nothing"
            return
        created = created_at(record.bytes)
        if has_content and organization.zdr_from is not None and created >= organization.zdr_from:
            yield f"1: content of {organization_id} created at {created}, zero data retention since {organization.zdr_from}"


def _acknowledged(world: World, model: Model, present: set[tuple[str, bytes]]) -> Iterator[str]:
    for sent in model.records.values():
        organization = model.organizations[sent.organization_id]
        if not sent.stored or organization.closed_at is not None or sent.due_at is None:
            continue
        if sent.due_at > world.time.now and (sent.organization_id, sent.record_id) not in present:
            yield f"8: acknowledged record {uuid.UUID(bytes=sent.record_id)} of {sent.organization_id} is not there"


def _gone(
    world: World,
    model: Model,
    rows: list[tuple[str, uuid.UUID, bool]],
    kept: list[tuple[str, uuid.UUID, bool]],
) -> Iterator[str]:
    oldest = world.time.now - timedelta(days=30)
    for organization_id, record, _ in rows:
        if created_at(record.bytes) < oldest:
            yield f"3: {record} of {organization_id} is older than its rule allows"
    held = model.held()
    present = {record.bytes for _, record, _ in [*rows, *kept]}
    for record_id, hold in held.items():
        if record_id not in present:
            yield f"7: {uuid.UUID(bytes=record_id)} is gone while hold {hold.hold_id} stands"
    known = {record_id for hold in model.holds.values() for record_id in hold.record_ids}
    for organization_id, record, _ in kept:
        if record.bytes not in held and record.bytes in known and created_at(record.bytes) < oldest:
            holds = [hold for hold in model.holds.values() if record.bytes in hold.record_ids]
            if all(hold.released for hold in holds):
                yield f"3: {record} of {organization_id} outlives its holds"


def _erased(model: Model, looks: "Looks", kept: list[tuple[str, uuid.UUID, bool]]) -> Iterator[str]:
    for organization in model.organizations.values():
        if not organization.erased:
            continue
        of = organization.organization_id
        for table in ("interactions", "data_keys", "stored_counts"):
            (count,) = looks.rows("logging", f"SELECT count(*) FROM {table} WHERE organization_id = '{of}'")[
                0
            ]
            if count:
                yield f"10: {count} rows of the erased {of} in logging's {table}"
        live = looks.rows(
            "access_control",
            f"SELECT count(*) FROM epoch_keys WHERE organization_id = '{of}' AND marked_at IS NULL",
        )
        if live[0][0]:
            yield f"10: {live[0][0]} days' keys of the erased {of}"
        held = model.held()
        for organization_id, record, _ in kept:
            if organization_id == of and record.bytes not in held:
                yield f"10: {record} of the erased {of} is kept, and no hold asks for it"


def _audit(model: Model, looks: "Looks") -> Iterator[str]:
    """Recomputes the tree from its leaves by the definition (RFC 9162 §2.1.1), and compares with what is signed and was seen."""
    leaves = [
        bytes(leaf)
        for (leaf,) in looks.rows(
            "access_control", "SELECT hash FROM audit_nodes WHERE level = 0 ORDER BY position"
        )
    ]
    indexes = looks.rows(
        "access_control",
        "SELECT count(*), min(leaf_index), max(leaf_index) FROM audit_entries WHERE leaf_index IS NOT NULL",
    )
    count, first, last = indexes[0]
    if count != len(leaves) or (count and (first, last) != (0, count - 1)):
        yield f"9: {count} entries with an index ({first} to {last}) and {len(leaves)} leaves"
    gaps = looks.rows(
        "access_control",
        "SELECT organization_id FROM audit_entries WHERE leaf_index IS NOT NULL GROUP BY organization_id "
        "HAVING count(*) <> max(number) OR min(number) <> 1",
    )
    if gaps:
        yield f"9: entries of {gaps[0][0] or 'the vendor'} are not numbered without gaps"
    size, root = looks.rows("access_control", "SELECT size, root_hash FROM audit_tree")[0]
    if size != len(leaves) or bytes(root) != _root(leaves):
        yield f"9: the head of size {size} is not the root of the {len(leaves)} leaves"
    if model.heads:
        seen, seen_root = model.heads[-1]
        if seen > size or _root(leaves[:seen]) != seen_root:
            yield f"9: an earlier head of size {seen} is no prefix of the log"
    model.heads.append((size, bytes(root)))


def _root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = leaves
    while len(level) > 1:  # the same tree, level by level: an odd node at the end moves up as it is
        level = [
            hashlib.sha256(b"\x01" + level[at] + level[at + 1]).digest() if at + 1 < len(level) else level[at]
            for at in range(0, len(level), 2)
        ]
    return level[0]


class Looks:
    """Looks at databases from outside, without going through a service."""

    def __init__(self, urls: dict[str, str]) -> None:
        self._connections = {
            room: psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True)
            for room, url in urls.items()
        }

    def rows(self, room: str, query: str) -> list[tuple]:  # type: ignore[type-arg] # whatever the query gives
        """The rows of a query."""
        return self._connections[room].execute(query.encode()).fetchall()

    def close(self) -> None:
        """Closes the connections."""
        for connection in self._connections.values():
            connection.close()
