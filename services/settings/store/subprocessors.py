"""Lists of sub-processors, who was told of them, and who objected."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from kept.settings.v1 import organizations_pb2
from services.settings.store.tables import organizations
from services.settings.store.trust_tables import subprocessor_lists as lists
from services.settings.store.trust_tables import subprocessor_objections as objections
from services.settings.store.trust_tables import subprocessors


@dataclass(frozen=True)
class Subprocessor:
    """One of a list."""

    name: str
    purpose: str
    location: str
    data: str


@dataclass(frozen=True)
class SubprocessorList:
    """A list, in force from `effective_at` on once `announced_at` is set. told_number: the last organization that was told."""

    version: int
    request_id: str
    content_sha256: bytes
    published_by: str
    published_at: datetime
    effective_at: datetime
    announced_at: datetime | None
    withdrawn_at: datetime | None
    told_number: int
    subprocessors: Sequence[Subprocessor] = ()


@dataclass(frozen=True)
class Objection:
    """One organization's to one list."""

    organization_id: str
    version: int
    reason: str
    objected_by: str
    objected_at: datetime


def lock_publishing(tx: Connection) -> None:
    """Nobody else publishes a list before this transaction ends."""
    tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("subprocessors", 0))))


def add(tx: Connection, new: SubprocessorList) -> None:
    """Adds a list; publishing is locked."""
    tx.execute(
        insert(lists).values(
            version=new.version,
            request_id=new.request_id,
            content_sha256=new.content_sha256,
            published_by=new.published_by,
            published_at=new.published_at,
            effective_at=new.effective_at,
            announced_at=new.announced_at,
            told_number=new.told_number,
        )
    )
    if new.subprocessors:
        tx.execute(
            insert(subprocessors).values(
                [
                    {
                        "version": new.version,
                        "position": position,
                        "name": one.name,
                        "purpose": one.purpose,
                        "location": one.location,
                        "data": one.data,
                    }
                    for position, one in enumerate(new.subprocessors)
                ]
            )
        )


def last_version(tx: Connection) -> int:
    """The highest version there ever was; 0 before the first."""
    return int(tx.execute(select(func.coalesce(func.max(lists.c.version), 0))).scalar_one())


def find_by_request(tx: Connection, request_id: str) -> SubprocessorList | None:
    """The list that a call published; without its sub-processors."""
    row = tx.execute(select(lists).where(lists.c.request_id == request_id)).one_or_none()
    return None if row is None else SubprocessorList(**row._mapping)


def newest(tx: Connection, limit: int) -> list[SubprocessorList]:
    """The newest lists that were not taken back, newest first, whole."""
    rows = tx.execute(
        select(lists).where(lists.c.withdrawn_at.is_(None)).order_by(lists.c.version.desc()).limit(limit)
    ).all()
    found: dict[int, list[Subprocessor]] = {row.version: [] for row in rows}
    if found:
        for row in tx.execute(
            select(subprocessors)
            .where(subprocessors.c.version.in_(found))
            .order_by(subprocessors.c.version, subprocessors.c.position)
        ):
            found[row.version].append(Subprocessor(row.name, row.purpose, row.location, row.data))
    return [SubprocessorList(**row._mapping, subprocessors=tuple(found[row.version])) for row in rows]


def lock_unannounced(tx: Connection) -> SubprocessorList | None:
    """The list that not everybody was told of, for one process at a time; None where there is none, or another process has it. Without
    its sub-processors."""
    row = tx.execute(
        select(lists)
        .where(lists.c.announced_at.is_(None), lists.c.withdrawn_at.is_(None))
        .order_by(lists.c.version)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    return None if row is None else SubprocessorList(**row._mapping)


def organizations_after(tx: Connection, number: int, limit: int) -> list[tuple[int, str]]:
    """Organizations in use, by number, after that one."""
    rows = tx.execute(
        select(organizations.c.number, organizations.c.organization_id)
        .where(
            organizations.c.number > number,
            organizations.c.state == organizations_pb2.ORGANIZATION_STATE_ACTIVE,
        )
        .order_by(organizations.c.number)
        .limit(limit)
    )
    return [(row.number, row.organization_id) for row in rows]


def set_told(
    tx: Connection, version: int, number: int, announced_at: datetime | None, effective_at: datetime
) -> None:
    """How far the telling is; the row is locked."""
    tx.execute(
        update(lists)
        .where(lists.c.version == version)
        .values(told_number=number, announced_at=announced_at, effective_at=effective_at)
    )


def withdraw(tx: Connection, version: int, at: datetime) -> None:
    """Taken back; publishing is locked."""
    tx.execute(update(lists).where(lists.c.version == version).values(withdrawn_at=at))


def find_objection(tx: Connection, organization_id: str, version: int) -> Objection | None:
    """An organization's to a list."""
    row = tx.execute(
        select(objections).where(
            objections.c.organization_id == organization_id, objections.c.version == version
        )
    ).one_or_none()
    return None if row is None else Objection(**row._mapping)


def add_objection(tx: Connection, objection: Objection) -> None:
    """Adds one; the organization's row is locked, and it has none."""
    tx.execute(
        insert(objections).values(
            organization_id=objection.organization_id,
            version=objection.version,
            reason=objection.reason,
            objected_by=objection.objected_by,
            objected_at=objection.objected_at,
        )
    )


def list_objections(tx: Connection, version: int, limit: int) -> list[Objection]:
    """To a list, oldest first."""
    rows = tx.execute(
        select(objections)
        .where(objections.c.version == version)
        .order_by(objections.c.objected_at, objections.c.organization_id)
        .limit(limit)
    )
    return [Objection(**row._mapping) for row in rows]


def erase(tx: Connection, organization_id: str) -> int:
    """Removes an organization's objections; how many."""
    return tx.execute(delete(objections).where(objections.c.organization_id == organization_id)).rowcount
