"""The invariants of docs/architecture.md, checked on the databases as they are.

After every act: what must hold at any instant (1, 2, 8). In quiet moments, when everything that was to be done by now has been: what
has its time (3, 7, 9, 10); this reads whole tables and recomputes the tree from its leaves, too much to do after each act. Reads are
checked as they come (3, 4, 5, 8, 11; actors/engineers.py). 6 and 12 are of services that are not here yet.
"""

import hashlib
import re
import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import chain

from kept.client.record_ids import created_at
from tests.simulation.faults import Broken
from tests.simulation.looks import Looks
from tests.simulation.model import Model
from tests.simulation.scene import Scene

_TERM_DAYS = 30
_EPOCH_ID = re.compile(rb"epoch_[0-9a-z]{26}")
_Row = tuple[str, uuid.UUID, bool]


def check(scene: Scene) -> None:
    """What holds at any instant. Raises Broken."""
    rows, kept = _rows(scene, "interactions"), _rows(scene, "retained")
    _raise_first(
        chain(
            _policies(scene.model, [*rows, *kept]),
            _acknowledged(
                scene, {(organization_id, record.bytes) for organization_id, record, _ in [*rows, *kept]}
            ),
        )
    )


def check_settled(scene: Scene) -> None:
    """What holds once everything that was to be done by now has been. Raises Broken."""
    rows, kept = _rows(scene, "interactions"), _rows(scene, "retained")
    looks = scene.world.databases.looks
    _raise_first(
        chain(
            _audit(scene.model, looks),
            _gone(scene, rows),
            _held(scene.model, looks, rows, kept),
            _let_go(looks),
            _keys(scene),
            _erased(scene.model, looks, rows, kept),
        )
    )


def uuid_text(record_id: bytes) -> str:
    """A record's id as the audit log writes it."""
    return str(uuid.UUID(bytes=record_id))


def _raise_first(broken: Iterator[str]) -> None:
    for sentence in broken:
        raise Broken(sentence)


def _rows(scene: Scene, table: str) -> list[_Row]:
    return scene.world.databases.looks.rows(
        "logging", f"SELECT organization_id, record_id, content IS NOT NULL FROM {table}"
    )


def _policies(model: Model, rows: list[_Row]) -> Iterator[str]:
    for organization_id, record, has_content in rows:
        organization = model.organizations.get(organization_id)
        if organization is None or organization.deployment != "SAAS":
            yield f"2: a row of {organization_id}, which sends nothing"
            return
        since = organization.zdr_from
        if has_content and since is not None and model.records[record.bytes].made_at >= since:
            yield f"1: content of {organization_id} in {record}, zero data retention since {since}"


def _acknowledged(scene: Scene, present: set[tuple[str, bytes]]) -> Iterator[str]:
    for sent in scene.model.records.values():
        organization = scene.model.organizations[sent.organization_id]
        if not sent.stored or organization.leaving_at is not None or sent.due_at is None:
            continue
        if sent.due_at > scene.now and (sent.organization_id, sent.record_id) not in present:
            yield f"8: acknowledged record {uuid_text(sent.record_id)} of {sent.organization_id} is not there"


def _due_day(scene: Scene) -> date:
    """The newest day whose records are older than the term. (They were due two hours earlier; a run in progress has that long.)"""
    return (scene.now - timedelta(days=_TERM_DAYS)).date() - timedelta(days=1)


def _gone(scene: Scene, rows: list[_Row]) -> Iterator[str]:
    newest_due = _due_day(scene)
    for organization_id, record, _ in rows:
        if created_at(record.bytes).date() <= newest_due:
            yield f"3: {record} of {organization_id} is older than its rule allows"


def _held(model: Model, looks: Looks, rows: list[_Row], kept: list[_Row]) -> Iterator[str]:
    present = {record.bytes for _, record, _ in [*rows, *kept]}
    with_content = {record.bytes for _, record, has_content in kept if has_content}
    keys = {
        bytes(record_id)
        for (record_id,) in looks.rows(
            "access_control", "SELECT record_id FROM retained_records WHERE wrapped IS NOT NULL"
        )
    }
    for record_id, hold in model.held().items():
        if record_id not in present:
            yield f"7: {uuid_text(record_id)} is gone while hold {hold.hold_id} stands"
        if record_id in with_content and record_id not in keys:
            yield f"7: {uuid_text(record_id)} has no key while hold {hold.hold_id} stands"


def _let_go(looks: Looks) -> Iterator[str]:
    """Whether anything is kept for a hold that is over."""
    standing = {
        hold_id
        for (hold_id,) in looks.rows(
            "retention", "SELECT hold_id FROM holds WHERE state NOT IN ('RELEASED', 'FAILED')"
        )
    }
    for room, table in (("logging", "holds"), ("access_control", "retained_records")):
        for (hold_id,) in looks.rows(room, f"SELECT DISTINCT hold_id FROM {table}"):
            if hold_id not in standing:
                yield f"3: {room} keeps records for {hold_id}, which is over"
    orphans = looks.rows(
        "logging",
        "SELECT record_id FROM retained WHERE NOT EXISTS (SELECT FROM holds WHERE holds.record_id = retained.record_id)",
    )
    for (record_id,) in orphans:
        yield f"3: {record_id} is kept, and no hold asks for it"


def _keys(scene: Scene) -> Iterator[str]:
    looks = scene.world.databases.looks
    living = looks.rows(
        "access_control",
        "SELECT organization_id, day, epoch_key_id FROM epoch_keys WHERE wrapped IS NOT NULL",
    )
    newest_due = _due_day(scene)
    # A day of which nothing was stored is no reason for a run; its key goes with the next one.
    used = {
        (sent.organization_id, sent.created_at.date()) for sent in scene.model.records.values() if sent.stored
    }
    for organization_id, day, _ in living:
        if day <= newest_due and (organization_id, day) in used:
            yield f"3: the key of {organization_id} for {day} is older than its rule allows"
    bodies = looks.rows("retention", "SELECT body FROM certificates WHERE envelope IS NOT NULL")
    for (body,) in bodies:
        scene.model.certified |= {found.decode() for found in _EPOCH_ID.findall(bytes(body))}
    for organization_id, day, epoch_key_id in living:
        if epoch_key_id in scene.model.certified:
            yield f"10: a certificate says that {epoch_key_id} of {organization_id} for {day} is destroyed"
    for (root_id,) in looks.rows(
        "access_control", "SELECT root_id FROM custody_roots WHERE retired_at IS NOT NULL"
    ):
        if root_id in scene.world.roots():
            yield f"10: {root_id}, which opens what older backups hold, is still in the key store"


def _erased(model: Model, looks: Looks, rows: list[_Row], kept: list[_Row]) -> Iterator[str]:
    gone = {one.organization_id for one in model.organizations.values() if one.erased}
    held = {record.bytes for _, record, _ in kept}
    for organization_id, record, _ in rows:
        if organization_id in gone and record.bytes not in held:
            yield f"10: {record} of the erased {organization_id} is there, and no hold asks for it"
    for room, table, condition in (
        ("logging", "data_keys", "TRUE"),
        ("access_control", "epoch_keys", "wrapped IS NOT NULL"),
        ("settings", "members", "TRUE"),
    ):
        for (organization_id,) in looks.rows(room, f"SELECT organization_id FROM {table} WHERE {condition}"):
            if organization_id in gone:
                yield f"10: the erased {organization_id} is in {room}'s {table}"


def _audit(model: Model, looks: Looks) -> Iterator[str]:
    """Recomputes the tree from its leaves by the definition (RFC 9162 §2.1.1), and compares with what is signed and was seen."""
    leaves = [
        bytes(leaf)
        for (leaf,) in looks.rows(
            "access_control", "SELECT hash FROM audit_nodes WHERE level = 0 ORDER BY position"
        )
    ]
    waiting, count, first, last = looks.rows(
        "access_control",
        "SELECT count(*) FILTER (WHERE leaf_index IS NULL), count(leaf_index), min(leaf_index), max(leaf_index) FROM audit_entries",
    )[0]
    if waiting:
        yield f"9: {waiting} entries have no place in the tree"
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
    seen, seen_root = model.head
    if seen and (seen > size or _root(leaves[:seen]) != seen_root):
        yield f"9: an earlier head of size {seen} is no prefix of the log"
    model.head = size, bytes(root)


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
