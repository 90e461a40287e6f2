"""Which stored records were not screened, and what screening said."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, islice
from operator import attrgetter
from typing import Final, LiteralString, TypeVar
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    true,
    tuple_,
    update,
)

from kept.safety_review.v1 import screening_pb2
from services.logging.records import RECORD_ID_BYTES, Row
from services.logging.store.tables import unscreened, unscreened_batches
from shared.driver import Uuid, execute, listed, rows

Key = tuple[str, bytes]
_ORGANIZATION: Final = attrgetter("organization_id")
_FLAGGED: Final[int] = screening_pb2.VERDICT_FLAGGED


# Records that wait to be screened together, and are: a batch of safety review's contract has no more.
BATCH_RECORDS: Final = 500
_T = TypeVar("_T")


@dataclass(slots=True)
class Verdict:
    """What screening said on a record. number: kept.safety_review.v1.Verdict. final: nothing more will be tried."""

    key: Key
    number: int
    rules_version: str
    final: bool


@dataclass(slots=True)
class Screened:
    """Verdicts on records in the order of their keys. waits_together: one row says that all of them wait, and of no others."""

    verdicts: Sequence[Verdict]
    waits_together: bool

    @property
    def key(self) -> Key:
        """The key of that row."""
        return self.verdicts[0].key


def in_batches(items: Iterable[_T], organization_of: Callable[[_T], str]) -> Iterator[list[_T]]:
    """What came together, as it waits to be screened: by organization, at most BATCH_RECORDS at a time. items: in the order of their
    keys."""
    for _, mine in groupby(items, key=organization_of):
        while batch := list(islice(mine, BATCH_RECORDS)):
            yield batch


def expect(tx: Connection, stored: Iterable[Row]) -> None:
    """Writes down, with the rows themselves, that these with content are to be screened: those of a batch in one row (`in_batches`), what
    is alone in its batch in one of its own. stored: in the order of their keys, all received at one instant."""
    batches = list(in_batches((row for row in stored if row.content is not None), _ORGANIZATION))
    if not batches:
        return
    received_at = batches[0][0].received_at
    single = [batch[0] for batch in batches if len(batch) == 1]
    several = [batch for batch in batches if len(batch) > 1]
    if single:
        _wait(tx, [(row.key, received_at) for row in single])
    if several:
        execute(
            tx,
            "INSERT INTO unscreened_batches (organization_id, first_record_id, received_at, record_ids) "
            "SELECT organization_id, first_record_id, %b, record_ids "
            "FROM unnest(%t::text[], %b::uuid[], %b::bytea[]) AS waiting(organization_id, first_record_id, record_ids)",
            (
                received_at,
                listed(batch[0].organization_id for batch in several),
                [Uuid(batch[0].record_id) for batch in several],
                [b"".join([row.record_id for row in batch]) for batch in several],
            ),
        )


def _wait(tx: Connection, records: Sequence[tuple[Key, datetime]], condition: LiteralString = "") -> None:
    """Writes rows of `unscreened` for records, and when they were received."""
    execute(
        tx,
        "INSERT INTO unscreened (organization_id, record_id, received_at) SELECT * "
        "FROM unnest(%t::text[], %b::uuid[], %b::timestamptz[]) AS waiting(organization_id, record_id, received_at) "
        + condition,
        (
            listed(organization_id for (organization_id, _), _ in records),
            [Uuid(record_id) for (_, record_id), _ in records],
            [received_at for _, received_at in records],
        ),
    )


# What was removed meanwhile, or has lost its content, has nothing to be screened.
_IS_THERE: Final = (
    "WHERE EXISTS (SELECT FROM interactions AS stored WHERE stored.organization_id = waiting.organization_id "
    "AND stored.record_id = waiting.record_id AND stored.content IS NOT NULL) "
    "OR EXISTS (SELECT FROM retained AS stored WHERE stored.organization_id = waiting.organization_id "
    "AND stored.record_id = waiting.record_id AND stored.content IS NOT NULL) "
    "ON CONFLICT DO NOTHING"
)


def unfold(tx: Connection, organization_id: str | None = None, below: UUID | None = None) -> None:
    """Gives a row of its own to each record that waits with others: of an organization, or of all; below: as far as the lowest of them is
    below this. To be called before records are removed, by whoever holds their stripe: then all that waits of them stands in one table."""
    which = [
        *([] if organization_id is None else [unscreened_batches.c.organization_id == organization_id]),
        *([] if below is None else [unscreened_batches.c.first_record_id < below]),
    ]
    _unfold(tx, and_(true(), *which))


def unfold_some(
    tx: Connection, received_before: datetime, limit: int, organization_id: str | None = None
) -> bool:
    """The same of what was received before an instant, at most so many batches, oldest first; what others hold is left to them. Whether
    there may be more."""
    of = [] if organization_id is None else [unscreened_batches.c.organization_id == organization_id]
    old = (
        select(unscreened_batches.c.organization_id, unscreened_batches.c.first_record_id)
        .where(unscreened_batches.c.received_at < received_before, *of)
        .order_by(unscreened_batches.c.received_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    keys = [(one.organization_id, one.first_record_id.bytes) for one in tx.execute(old)]
    unfold_batches(tx, keys)
    return len(keys) == limit


def unfold_batches(tx: Connection, keys: Sequence[Key]) -> None:
    """Gives rows of their own to what waits in these batches, by their first records; what was unfolded before is no batch any more."""
    if keys:
        place = tuple_(unscreened_batches.c.organization_id, unscreened_batches.c.first_record_id)
        _unfold(
            tx, place.in_([(organization_id, UUID(bytes=first)) for organization_id, first in sorted(keys)])
        )


def _unfold(tx: Connection, which: ColumnElement[bool]) -> None:
    taken = tx.execute(delete(unscreened_batches).where(which).returning(unscreened_batches)).all()
    records = sorted(
        ((batch.organization_id, record_id), batch.received_at)
        for batch in taken
        for record_id in _ids_of(batch.record_ids)
    )
    if records:
        _wait(tx, records, _IS_THERE)


def _ids_of(joined: bytes) -> list[bytes]:
    return [joined[at : at + RECORD_ID_BYTES] for at in range(0, len(joined), RECORD_ID_BYTES)]


def claim(
    tx: Connection,
    *,
    now: datetime,
    received_before: datetime,
    created_from: bytes,
    lease: timedelta,
    limit: int,
) -> list[Key]:
    """Takes up to `limit` records that wait, of one organization, for as long as `lease`. Those that were never taken come first: however
    many there are that others stumble over, they hold up nobody. A claim longer than `lease` was made before the clock was moved and
    counts no more."""
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
    oldest = select(unscreened.c.organization_id).order_by(unscreened.c.received_at).limit(1)
    for turn in (unscreened.c.claimed_until.is_(None), unscreened.c.claimed_until.is_not(None)):
        first = tx.execute(oldest.where(*waiting, turn)).scalar_one_or_none()
        if first is not None:
            break
    else:
        return []
    keys = tx.execute(
        select(unscreened.c.organization_id, unscreened.c.record_id)
        .where(*waiting, turn, unscreened.c.organization_id == first)
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


_DONE_BATCHES: Final = (
    "DELETE FROM unscreened_batches AS batch USING unnest(%t::text[], %b::uuid[]) AS done(organization_id, first_record_id) "
    "WHERE batch.organization_id = done.organization_id AND batch.first_record_id = done.first_record_id "
    "RETURNING batch.organization_id, batch.first_record_id::text"
)


def record(tx: Connection, screened: Sequence[Screened]) -> None:
    """Writes verdicts down. A final one ends the waiting; what is flagged bears it on its record, wherever that lies. One that is not final
    changes nothing: the record waits on, by itself, or is given up."""
    final = sorted(
        (one for batch in screened for one in batch.verdicts if one.final), key=lambda one: one.key
    )
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
    ended = _end_batches(tx, [batch for batch in screened if batch.waits_together])
    left = [one.key for one in final if one.key not in ended]
    if left:
        execute(tx, _DONE, (listed(key[0] for key in left), [Uuid(key[1]) for key in left]))


def _end_batches(tx: Connection, screened: Sequence[Screened]) -> set[Key]:
    """Ends the waiting of batches that are screened whole, as far as they were not unfolded meanwhile; whose it was. Unfolds the others."""
    whole = {batch.key: batch for batch in screened if all(one.final for one in batch.verdicts)}
    unfold_batches(tx, [batch.key for batch in screened if batch.key not in whole])
    if not whole:
        return set()
    keys = sorted(whole)
    found = rows(tx, _DONE_BATCHES, (listed(key[0] for key in keys), [Uuid(key[1]) for key in keys]))
    ended = [whole[organization_id, UUID(first).bytes] for organization_id, first in found]
    return {one.key for batch in ended for one in batch.verdicts}


def backlog(tx: Connection, limit: int) -> tuple[int, datetime | None]:
    """How many records wait to be screened, `limit` at most, and when the one of them was received that waits longest."""
    waiting = (
        select(unscreened.c.received_at)
        .where(~unscreened.c.given_up)
        .order_by(unscreened.c.received_at)
        .limit(limit)
        .subquery()
    )
    single, since = tx.execute(select(func.count(), func.min(waiting.c.received_at))).one()
    of_batches = func.sum(func.octet_length(unscreened_batches.c.record_ids)) / RECORD_ID_BYTES
    several, of_batches_since = tx.execute(
        select(of_batches, func.min(unscreened_batches.c.received_at))
    ).one()
    oldest = min((one for one in (since, of_batches_since) if one is not None), default=None)
    return min(limit, int(single) + int(several or 0)), oldest


def has_given_up(tx: Connection) -> bool:
    """Whether any record is left to a person."""
    return bool(tx.execute(select(exists().where(unscreened.c.given_up))).scalar_one())
