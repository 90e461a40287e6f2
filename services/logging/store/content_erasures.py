"""What erasing content asks of the tables: a fence that writers look at, and contents that go piece by piece while log data stays.

Rows of partitions lose their content whether a hold keeps them or not: what is held lives in `retained` with its sealed data key, is read
from there, and goes from there when the last hold ends; what is left then is the row's log data. No data key of these days is needed by
anything else, so they go too. Pieces are bounded by the rows that are looked at, for nothing but the key has an index.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, TextClause, and_, delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from services.logging.records import Row
from services.logging.store import locks, screening
from services.logging.store.kept import IS_HELD
from services.logging.store.lots import APPLICATION
from services.logging.store.stored_counts import add
from services.logging.store.tables import (
    content_erasures,
    data_keys,
    holds,
    interactions,
    retained,
)
from shared.ids import record_day

# Who counts in `stored_counts` what erasures took away: below zero, so that the sum is what is there.
WRITER: Final = "content erasure"
Key = tuple[str, bytes]
# A record that lost its content, and the application whose own lot it is of.
Stripped = tuple[UUID, str]


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
    else:
        stripped, unseen = _kept_by_term(tx, act, looked_at)
    _count_off(tx, act.organization_id, stripped)
    values: dict[str, Any] = {
        "contents": act.contents + len(stripped),
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


def _stripped(
    tx: Connection, statement: TextClause, given: Mapping[str, object]
) -> tuple[list[Stripped], int]:
    """Which records lost their content by a statement, and how many of them waited to be screened: with no content left, none does."""
    stripped = [(row.record_id, row.lot) for row in tx.execute(statement, given)]
    ids = [record_id for record_id, _ in stripped]
    unseen = tx.execute(_UNEXPECT, {"organization_id": given["organization_id"], "ids": ids}).rowcount
    return stripped, unseen


def _kept_by_term(tx: Connection, act: ContentAct, limit: int) -> tuple[list[Stripped], int]:
    """Strips the next rows that a term keeps beyond their partition and no hold does; see `_stripped`."""
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
    return strip_let_go(tx, act.organization_id, list(tx.execute(asked).scalars()))


def strip_let_go(
    tx: Connection, organization_id: str, record_ids: Sequence[UUID]
) -> tuple[list[Stripped], int]:
    """Takes erased contents from those of the rows that a term keeps and no hold does any more; see `_stripped`. The caller holds the
    organization's stripe."""
    if not record_ids:
        return [], 0
    asked = {"organization_id": organization_id, "ids": list(record_ids)}
    return _stripped(tx, _STRIP_KEPT, asked)


def strip_again(tx: Connection, organization_id: str, record_ids: Sequence[UUID]) -> None:
    """Takes from these rows, but from copies of holds, what erasures had taken before, in a restored database; each counts as a piece does.
    The caller holds the organization's stripe exclusively."""
    if not record_ids:
        return
    asked = {"organization_id": organization_id, "ids": list(record_ids)}
    stripped, unseen = _stripped(tx, _STRIP_AGAIN, asked)
    kept_by_term, unseen_of_these = _stripped(tx, _STRIP_KEPT, asked)
    stripped += kept_by_term
    _count_off(tx, organization_id, stripped)
    tx.execute(
        update(content_erasures)
        .where(content_erasures.c.organization_id == organization_id, content_erasures.c.erased_at.is_(None))
        .values(
            contents=content_erasures.c.contents + len(stripped),
            unscreened=content_erasures.c.unscreened + unseen + unseen_of_these,
        )
    )


def _count_off(tx: Connection, organization_id: str, stripped: Sequence[Stripped]) -> None:
    contents = Counter((record_day(record_id.bytes), lot) for record_id, lot in stripped)
    add(tx, organization_id, WRITER, {}, {place: -count for place, count in contents.items()})


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
