"""What erasing content asks of the tables: a fence that writers look at, and contents that go piece by piece while log data stays.

Rows of partitions lose their content whether a hold keeps them or not: what is held lives in `retained` with its sealed data key, is read
from there, and goes from there when the last hold ends; what is left then is the row's log data. A record's content counts as removed once
neither place has it. No data key of these days is needed by anything else, so they go too. Pieces are bounded by the rows that are looked
at, for nothing but the key has an index.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Table, TextClause, and_, delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from services.logging.records import Row
from services.logging.store import locks, screening
from services.logging.store.kept import IS_HELD
from services.logging.store.lots import APPLICATION
from services.logging.store.stored_counts import Single, count_contents_off
from services.logging.store.tables import (
    content_erasures,
    data_keys,
    holds,
    interactions,
    retained,
    subject_records,
)
from shared.database import among
from shared.ids import record_day

Key = tuple[str, bytes]
# What lost its content in one place.
Stripped = Mapping[UUID, Single]


@dataclass(frozen=True)
class ContentAct:
    """An erasure as stored. below: 16 bytes, the first record id that it leaves alone. after: how far it has come."""

    erasure_id: str
    organization_id: str
    before: datetime
    below: bytes
    fenced_at: datetime
    after: bytes | None
    contents: int
    data_keys: int
    unscreened: int
    erased_at: datetime | None

    @property
    def is_done(self) -> bool:
        """Whether everything was looked at."""
        return self.erased_at is not None


def find(tx: Connection, erasure_id: str) -> ContentAct | None:
    """An erasure."""
    row = tx.execute(
        select(content_erasures).where(content_erasures.c.erasure_id == erasure_id)
    ).one_or_none()
    return None if row is None else _made(row)


def lock(tx: Connection, erasure_id: str, organization_id: str) -> ContentAct | None:
    """An organization's erasure, which nobody else changes before this transaction ends."""
    row = locks.row(tx, content_erasures, organization_id, erasure_id=erasure_id)
    return None if row is None else _made(row)


def _made(row: Any) -> ContentAct:
    return ContentAct(
        row.erasure_id,
        row.organization_id,
        row.before,
        row.below.bytes,
        row.fenced_at,
        None if row.after is None else row.after.bytes,
        row.contents,
        row.data_keys,
        row.unscreened,
        row.erased_at,
    )


def begin(
    tx: Connection, erasure_id: str, organization_id: str, before: datetime, below: bytes, now: datetime
) -> None:
    """Writes an erasure down, which raises its fence. The caller holds the organization's stripe exclusively."""
    screening.unfold(tx, organization_id)
    tx.execute(
        insert(content_erasures).values(
            erasure_id=erasure_id,
            organization_id=organization_id,
            before=before,
            below=UUID(bytes=below),
            fenced_at=now,
        )
    )


def fenced(tx: Connection, rows: Sequence[Row]) -> set[Key]:
    """Keys of rows with content that lie behind a fence of their organization. Asked under the stripes of the organizations, the answer
    stays true until the transaction ends. `stripes.share_and_look` says whether there is any use in asking."""
    asked = sorted({row.organization_id for row in rows if row.content is not None})
    bounds = {
        found.organization_id: found.below.bytes
        for found in tx.execute(
            # One row an erasure; PostgreSQL has no max of uuids before its version 18.
            select(content_erasures.c.organization_id, content_erasures.c.below)
            .where(content_erasures.c.organization_id.in_(asked))
            .order_by(content_erasures.c.below)
        )
    }
    return {
        row.key
        for row in rows
        if row.content is not None and row.record_id < bounds.get(row.organization_id, b"")
    }


_STRIP: Final = text(
    "UPDATE interactions SET data_key_id = NULL, content = NULL WHERE organization_id = :organization_id "  # noqa: S608 - constants
    f"AND record_id > :after AND record_id <= :last AND content IS NOT NULL RETURNING record_id, {APPLICATION} AS lot"
)
# What a hold keeps with its content is still to be screened, from the hold's copy.
_UNEXPECT: Final = text(
    "DELETE FROM unscreened WHERE organization_id = :organization_id AND record_id = ANY(CAST(:ids AS uuid[])) AND NOT EXISTS "
    "(SELECT FROM retained WHERE retained.organization_id = unscreened.organization_id AND retained.record_id = unscreened.record_id "
    "AND retained.content IS NOT NULL)"
)
# A term keeps the row, not what was erased of it; a hold keeps both until it ends.
_STRIP_KEPT: Final = text(
    "UPDATE retained SET data_key_id = NULL, content = NULL, sealed_data_key = NULL "  # noqa: S608 - constants
    "WHERE organization_id = :organization_id "
    "AND record_id = ANY(CAST(:ids AS uuid[])) AND by_term AND content IS NOT NULL "
    "AND EXISTS (SELECT FROM content_erasures AS act WHERE act.organization_id = retained.organization_id "
    "AND retained.record_id < act.below) "
    "AND NOT EXISTS (SELECT FROM holds WHERE holds.organization_id = retained.organization_id "
    f"AND holds.record_id = retained.record_id) RETURNING record_id, {APPLICATION} AS lot"
)
_STRIP_AGAIN: Final = text(
    "UPDATE interactions SET data_key_id = NULL, content = NULL WHERE organization_id = :organization_id "  # noqa: S608 - constants
    "AND record_id = ANY(CAST(:ids AS uuid[])) AND content IS NOT NULL "
    "AND EXISTS (SELECT FROM content_erasures AS act WHERE act.organization_id = interactions.organization_id "
    f"AND interactions.record_id < act.below) RETURNING record_id, {APPLICATION} AS lot"
)
_LOWEST: Final = UUID(int=0)


def step(tx: Connection, act: ContentAct, looked_at: int, through_day: date, now: datetime) -> ContentAct:
    """Does one piece of a locked erasure: at most so many rows are looked at. The caller holds the organization's stripe shared, which
    keeps holds away."""
    after = _LOWEST if act.after is None else UUID(bytes=act.after)
    # The bounds name the partitions in which these may lie.
    place = and_(
        interactions.c.organization_id == act.organization_id,
        interactions.c.record_id > after,
        interactions.c.record_id < UUID(bytes=act.below),
    )
    ids = select(interactions.c.record_id).where(place).order_by(interactions.c.record_id).limit(looked_at)
    looked = list(tx.execute(ids).scalars())
    if looked:
        within = {"organization_id": act.organization_id, "after": after, "last": looked[-1]}
        stripped, unseen = _stripped(tx, _STRIP, within)
        lost = _not_in(tx, retained, act.organization_id, stripped)
    else:
        stripped, unseen = _strip_kept(tx, act.organization_id, _kept_by_term(tx, act, looked_at))
        lost = _not_in(tx, interactions, act.organization_id, stripped)
    count_contents_off(tx, act.organization_id, list(lost.values()))
    values: dict[str, Any] = {
        "contents": act.contents + len(lost),
        "unscreened": act.unscreened + unseen,
    }
    if looked:
        values["after"] = looked[-1]
    elif len(stripped) < looked_at:
        values["data_keys"] = tx.execute(
            delete(data_keys).where(
                data_keys.c.organization_id == act.organization_id, data_keys.c.day <= through_day
            )
        ).rowcount
        values["erased_at"] = now
    tx.execute(
        update(content_erasures).where(content_erasures.c.erasure_id == act.erasure_id).values(**values)
    )
    done = find(tx, act.erasure_id)
    assert done is not None  # acts stay
    return done


def correct(tx: Connection, erasure_id: str, contents: int, data_keys: int, unscreened: int) -> None:
    """Puts what an erasure counted when it was done in the place of what it counted when it was done again, in a restored database."""
    tx.execute(
        update(content_erasures)
        .where(content_erasures.c.erasure_id == erasure_id)
        .values(contents=contents, data_keys=data_keys, unscreened=unscreened)
    )


def _stripped(tx: Connection, statement: TextClause, given: Mapping[str, object]) -> tuple[Stripped, int]:
    """What lost its content by a statement, and how many of these waited to be screened: with no content left, none does."""
    stripped = {
        row.record_id: Single(record_day(row.record_id.bytes), row.lot, has_content=True)
        for row in tx.execute(statement, given)
    }
    asked = {"organization_id": given["organization_id"], "ids": list(stripped)}
    return stripped, tx.execute(_UNEXPECT, asked).rowcount


def _not_in(tx: Connection, other: Table, organization_id: str, stripped: Stripped) -> Stripped:
    """Of what lost its content in one place, that of which the other has none either."""
    if not stripped:
        return stripped
    place = and_(
        other.c.organization_id == organization_id,
        among(other.c.record_id, stripped),
        other.c.record_id.between(min(stripped), max(stripped)),
    )
    there = set(tx.execute(select(other.c.record_id).where(place, other.c.content.is_not(None))).scalars())
    return {record_id: one for record_id, one in stripped.items() if record_id not in there}


def _kept_by_term(tx: Connection, act: ContentAct, limit: int) -> list[UUID]:
    """The next rows with content that a term keeps beyond their partition and no hold does."""
    asked = (
        select(retained.c.record_id)
        .where(
            retained.c.organization_id == act.organization_id,
            retained.c.record_id < UUID(bytes=act.below),
            retained.c.content.is_not(None),
            ~IS_HELD,
        )
        .order_by(retained.c.record_id)
        .limit(limit)
    )
    return list(tx.execute(asked).scalars())


def _strip_kept(tx: Connection, organization_id: str, record_ids: Sequence[UUID]) -> tuple[Stripped, int]:
    """Takes erased contents from those of the rows that a term keeps and no hold does; see `_stripped`."""
    if not record_ids:
        return {}, 0
    return _stripped(tx, _STRIP_KEPT, {"organization_id": organization_id, "ids": list(record_ids)})


def let_go(tx: Connection, organization_id: str, record_ids: Sequence[UUID], freed: Stripped) -> None:
    """Erased contents that holds kept go with the last of them: from those of the rows that a term keeps here, and with copies that were
    removed (freed), where the row in its partition has none either. The counts say so, and the erasures that go on; to one that is done
    they were held. The caller holds the organization's stripe exclusively."""
    stripped, _ = _strip_kept(tx, organization_id, record_ids)
    _count_lost(tx, organization_id, _not_in(tx, interactions, organization_id, {**stripped, **freed}))


def strip_again(tx: Connection, organization_id: str, record_ids: Sequence[UUID]) -> None:
    """Takes from these rows, but from copies of holds, what erasures had taken before, in a restored database; each counts as a piece does.
    The caller holds the organization's stripe exclusively."""
    if not record_ids:
        return
    asked = {"organization_id": organization_id, "ids": list(record_ids)}
    of_rows, unseen = _stripped(tx, _STRIP_AGAIN, asked)
    of_copies, unseen_of_copies = _stripped(tx, _STRIP_KEPT, asked)
    lost = {
        **_not_in(tx, retained, organization_id, of_rows),
        **_not_in(tx, interactions, organization_id, of_copies),
    }
    _count_lost(tx, organization_id, lost, unseen + unseen_of_copies)


def _count_lost(tx: Connection, organization_id: str, lost: Stripped, unseen: int = 0) -> None:
    """Contents that are in no place any more: the counts say so, and the erasures that go on, but of what an end user's erasure has taken.
    unseen: how many of them waited to be screened."""
    if not lost and not unseen:
        return
    count_contents_off(tx, organization_id, list(lost.values()))
    claimed = select(subject_records.c.record_id).where(
        subject_records.c.organization_id == organization_id,
        among(subject_records.c.record_id, lost),
        subject_records.c.has_content,
    )
    left = lost.keys() - set(tx.execute(claimed).scalars())
    going_on = (
        select(content_erasures.c.erasure_id, content_erasures.c.below)
        .where(content_erasures.c.organization_id == organization_id, content_erasures.c.erased_at.is_(None))
        .order_by(content_erasures.c.fenced_at, content_erasures.c.erasure_id)
    )
    for act in tx.execute(going_on).all():  # each content is one act's: of the first that it is due to
        mine = {one for one in left if one < act.below}
        left -= mine
        tx.execute(
            update(content_erasures)
            .where(content_erasures.c.erasure_id == act.erasure_id)
            .values(
                contents=content_erasures.c.contents + len(mine),
                unscreened=content_erasures.c.unscreened + unseen,
            )
        )
        unseen = 0


def held(tx: Connection, act: ContentAct) -> tuple[int, dict[str, int]]:
    """Of how many records holds keep the content now; and by hold, of how many."""
    mine = and_(
        retained.c.organization_id == act.organization_id,
        retained.c.record_id < UUID(bytes=act.below),
        retained.c.data_key_id.is_not(None),
    )
    records = tx.execute(select(func.count()).select_from(retained).where(mine)).scalar_one()
    kept = exists().where(
        retained.c.record_id == holds.c.record_id, retained.c.organization_id == holds.c.organization_id, mine
    )
    by_hold = tx.execute(
        select(holds.c.hold_id, func.count().label("records"))
        .where(holds.c.organization_id == act.organization_id, kept)
        .group_by(holds.c.hold_id)
        .order_by(holds.c.hold_id)
    )
    return int(records), {row.hold_id: row.records for row in by_hold}
