"""Which stored records were not screened, and what screening said."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, LiteralString
from uuid import UUID

from sqlalchemy import Connection, exists, func, or_, select, tuple_, update

from kept.safety_review.v1 import screening_pb2
from services.logging.records import Row
from services.logging.store.tables import unscreened
from shared.driver import Uuid, execute, listed

Key = tuple[str, bytes]
_FLAGGED: Final[int] = screening_pb2.VERDICT_FLAGGED


@dataclass(slots=True)
class Verdict:
    """What screening said on a record. number: kept.safety_review.v1.Verdict. final: nothing more will be tried."""

    key: Key
    number: int
    rules_version: str
    final: bool


def expect(tx: Connection, rows: Iterable[Row]) -> None:
    """Writes down, with the rows themselves, that these with content are to be screened. All of them were received at one instant."""
    waiting = [row for row in rows if row.content is not None]
    if waiting:
        execute(
            tx,
            "INSERT INTO unscreened (organization_id, record_id, received_at) SELECT organization_id, record_id, %b "
            "FROM unnest(%t::text[], %b::uuid[]) AS waiting(organization_id, record_id)",
            (
                waiting[0].received_at,
                listed(row.organization_id for row in waiting),
                [Uuid(row.record_id) for row in waiting],
            ),
        )


def claim(
    tx: Connection,
    *,
    now: datetime,
    received_before: datetime,
    created_from: bytes,
    lease: timedelta,
    limit: int,
) -> list[Key]:
    """Takes up to `limit` records that wait, of one organization, for as long as `lease`. A claim longer than that was made before the
    clock was moved and counts no more."""
    free = or_(
        unscreened.c.claimed_until.is_(None),
        unscreened.c.claimed_until <= now,
        unscreened.c.claimed_until > now + lease,
    )
    waiting = (
        ~unscreened.c.given_up,
        unscreened.c.received_at < received_before,
        unscreened.c.record_id >= UUID(bytes=created_from),
        free,
    )
    first = tx.execute(
        select(unscreened.c.organization_id).where(*waiting).order_by(unscreened.c.received_at).limit(1)
    ).scalar_one_or_none()
    if first is None:
        return []
    keys = tx.execute(
        select(unscreened.c.organization_id, unscreened.c.record_id)
        .where(*waiting, unscreened.c.organization_id == first)
        .order_by(unscreened.c.received_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    if keys:
        _at(tx, [(one.organization_id, one.record_id.bytes) for one in keys], claimed_until=now + lease)
    return [(one.organization_id, one.record_id.bytes) for one in keys]


def _at(tx: Connection, keys: Sequence[Key], **values: object) -> None:
    place = tuple_(unscreened.c.organization_id, unscreened.c.record_id)
    tx.execute(
        update(unscreened)
        .where(place.in_([(one, UUID(bytes=record)) for one, record in keys]))
        .values(**values)
    )


def unclaim(tx: Connection, keys: Sequence[Key]) -> None:
    """Lets others take these again."""
    if keys:
        _at(tx, keys, claimed_until=None)


def give_up(tx: Connection, keys: Sequence[Key]) -> None:
    """Leaves these unscreened for good: they count as a backlog that a person must look at."""
    if keys:
        _at(tx, keys, given_up=True, claimed_until=None)


def give_up_older(tx: Connection, created_from: bytes, *, received_before: datetime) -> None:
    """Gives up everything that waits and whose id is below this one: nothing opens it any more. All of it was received before the given
    instant, which keeps the search short."""
    tx.execute(
        update(unscreened)
        .where(
            ~unscreened.c.given_up,
            unscreened.c.received_at < received_before,
            unscreened.c.record_id < UUID(bytes=created_from),
        )
        .values(given_up=True, claimed_until=None)
    )


# The bounds name the partitions in which these may lie; without them all are looked through.
_FLAG: Final[tuple[LiteralString, ...]] = (
    "UPDATE interactions SET verdict = given.number, rules_version = given.version "
    "FROM unnest(%b::text[], %b::uuid[], %b::int2[], %b::text[]) AS given(organization_id, record_id, number, version) "
    "WHERE interactions.organization_id = given.organization_id AND interactions.record_id = given.record_id "
    "AND interactions.record_id BETWEEN %b AND %b",
    "UPDATE retained SET verdict = given.number, rules_version = given.version "
    "FROM unnest(%b::text[], %b::uuid[], %b::int2[], %b::text[]) AS given(organization_id, record_id, number, version) "
    "WHERE retained.organization_id = given.organization_id AND retained.record_id = given.record_id "
    "AND retained.record_id BETWEEN %b AND %b",
)
_DONE: Final = (
    "DELETE FROM unscreened USING unnest(%t::text[], %b::uuid[]) AS done(organization_id, record_id) "
    "WHERE unscreened.organization_id = done.organization_id AND unscreened.record_id = done.record_id"
)


def record(tx: Connection, verdicts: Sequence[Verdict]) -> None:
    """Writes verdicts down. A final one ends the waiting; what is flagged bears it on its record, wherever that lies. One that is not final
    changes nothing: the record waits on, or is given up."""
    final = sorted((one for one in verdicts if one.final), key=lambda one: one.key)
    if not final:
        return
    flagged = [one for one in final if one.number == _FLAGGED]
    if flagged:
        ids = [Uuid(one.key[1]) for one in flagged]
        given = (
            [one.key[0] for one in flagged],
            ids,
            [one.number for one in flagged],
            [one.rules_version for one in flagged],
            min(ids),
            max(ids),
        )
        for statement in _FLAG:
            execute(tx, statement, given)
    execute(tx, _DONE, (listed(one.key[0] for one in final), [Uuid(one.key[1]) for one in final]))


def backlog(tx: Connection, limit: int) -> tuple[int, datetime | None]:
    """How many records wait to be screened, `limit` at most, and when the one of them was received that waits longest."""
    waiting = (
        select(unscreened.c.received_at)
        .where(~unscreened.c.given_up)
        .order_by(unscreened.c.received_at)
        .limit(limit)
        .subquery()
    )
    row = tx.execute(select(func.count(), func.min(waiting.c.received_at))).one()
    return int(row[0]), row[1]


def has_given_up(tx: Connection) -> bool:
    """Whether any record is left to a person."""
    return bool(tx.execute(select(exists().where(unscreened.c.given_up))).scalar_one())
