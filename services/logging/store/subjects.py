"""What erasing one end user asks of the tables: a fence that writers look at, rows that go piece by piece, and ids of what went.

Rows of partitions are looked through first, then what holds and terms keep beyond their partitions (`retained`); pieces are bounded by
what is looked at, for nothing but the key has an index. A row that a hold keeps stays where it is, in both places, and is written down
with the others: `remove_let_go` takes it when its last hold ends.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from services.logging.records import Row
from services.logging.store import locks, screening
from services.logging.store.lots import APPLICATION
from services.logging.store.stored_counts import Single, count_off
from services.logging.store.tables import (
    holds,
    interactions,
    organization_fences,
    retained,
    subject_erasures,
    subject_fences,
    subject_records,
)
from shared.database import among
from shared.ids import record_day

ROWS: Final = "rows"
COPIES: Final = "copies"
DONE: Final = "done"
FORGOTTEN: Final = "forgotten"
Tx = Connection
Key = tuple[str, bytes]


@dataclass(frozen=True)
class SubjectAct:
    """An erasure as stored. below: 16 bytes, the first record id that is not older than the fence. after: how far this stage has come."""

    erasure_id: str
    organization_id: str
    fenced_at: datetime
    below: bytes
    stage: str
    after: bytes | None
    interactions: int
    unscreened: int
    erased_at: datetime | None

    @property
    def is_done(self) -> bool:
        """Whether everything was looked at."""
        return self.erased_at is not None


@dataclass(frozen=True)
class DayErased:
    """Records of one UTC day. held: those that holds keep now."""

    day: date
    removed: int
    removed_with_content: int
    held: int


_HELD: Final = exists().where(
    retained.c.organization_id == subject_records.c.organization_id,
    retained.c.record_id == subject_records.c.record_id,
)


def _made(row: Any) -> SubjectAct:
    return SubjectAct(
        row.erasure_id,
        row.organization_id,
        row.fenced_at,
        row.below.bytes,
        row.stage,
        None if row.after is None else row.after.bytes,
        row.interactions,
        row.unscreened,
        row.erased_at,
    )


def find(tx: Connection, erasure_id: str) -> SubjectAct | None:
    """An erasure."""
    row = tx.execute(
        select(subject_erasures).where(subject_erasures.c.erasure_id == erasure_id)
    ).one_or_none()
    return None if row is None else _made(row)


def lock(tx: Connection, erasure_id: str, organization_id: str) -> SubjectAct | None:
    """An organization's erasure, which nobody else changes before this transaction ends."""
    row = locks.row(tx, subject_erasures, organization_id, erasure_id=erasure_id)
    return None if row is None else _made(row)


def bound_above(tx: Connection, organization_id: str, end_user: str, bound: bytes) -> bytes:
    """A bound for record ids at least this high, and above every record of the end user. Few ids are as high as that: of clocks that are
    wrong."""
    highest = tx.execute(
        select(interactions.c.record_id)
        .where(
            interactions.c.organization_id == organization_id,
            interactions.c.record_id >= UUID(bytes=bound),
            interactions.c.end_user == end_user,
        )
        .order_by(interactions.c.record_id.desc())
        .limit(1)
    ).scalar_one_or_none()
    return bound if highest is None else (highest.int + 1).to_bytes(16)


def begin(
    tx: Connection, erasure_id: str, organization_id: str, end_user: str, below: bytes, now: datetime
) -> None:
    """Writes an erasure down and raises its fence, or moves the one that stands. The caller holds the organization's stripe exclusively."""
    bound = UUID(bytes=below)
    screening.unfold(tx, organization_id)
    tx.execute(
        insert(subject_erasures).values(
            erasure_id=erasure_id,
            organization_id=organization_id,
            fenced_at=now,
            below=bound,
            stage=ROWS,
        )
    )
    fence = insert(subject_fences).values(
        organization_id=organization_id, end_user=end_user, below=bound, fenced_at=now, erasure_id=erasure_id
    )
    tx.execute(
        fence.on_conflict_do_update(
            constraint="subject_fences_pkey",
            set_={
                # A clock that was set back lowers no fence.
                "below": func.greatest(subject_fences.c.below, fence.excluded.below),
                "fenced_at": func.greatest(subject_fences.c.fenced_at, fence.excluded.fenced_at),
                "erasure_id": fence.excluded.erasure_id,
            },
        )
    )


def is_fenced(tx: Connection, act: SubjectAct, end_user: str) -> bool:
    """Whether the fence of an erasure stands for this end user."""
    return bool(
        tx.execute(
            select(
                exists().where(
                    subject_fences.c.organization_id == act.organization_id,
                    subject_fences.c.end_user == end_user,
                    subject_fences.c.below >= UUID(bytes=act.below),
                )
            )
        ).scalar_one()
    )


_BOUNDS: Final = text(
    "SELECT organization_id, end_user, below FROM subject_fences "
    "JOIN unnest(CAST(:organizations AS text[]), CAST(:end_users AS text[])) AS asked (organization_id, end_user) "
    "USING (organization_id, end_user)"
)


def fenced(tx: Connection, rows: Sequence[Row]) -> set[Key]:
    """Keys of rows that lie behind the fence of their end user. Asked under the stripes of the organizations, the answer stays true until
    the transaction ends. `stripes.share_and_look` says whether there is any use in asking."""
    asked = sorted({(row.organization_id, row.end_user) for row in rows})
    bounds = {
        (found.organization_id, found.end_user): found.below.bytes
        for found in tx.execute(
            _BOUNDS, {"organizations": [one for one, _ in asked], "end_users": [user for _, user in asked]}
        )
    }
    return {row.key for row in rows if row.record_id < bounds.get((row.organization_id, row.end_user), b"")}


# Whether an erasure that goes on may need the fence. By it alone an erasure knows its end user, and which of them are one end user's is
# written nowhere: so each keeps all fences of its organization that reach as high as its own did.
_IS_NEEDED: Final = exists().where(
    subject_erasures.c.organization_id == subject_fences.c.organization_id,
    subject_erasures.c.below <= subject_fences.c.below,
    subject_erasures.c.erased_at.is_(None),
)


def _is_past_use(instant: datetime) -> ColumnElement[bool]:
    """Of fences: no writer comes to them any more, for they were raised before an instant, or nothing of the organization is written; and
    no erasure needs them."""
    is_closed = exists().where(organization_fences.c.organization_id == subject_fences.c.organization_id)
    return and_(or_(subject_fences.c.fenced_at < instant, is_closed), ~_IS_NEEDED)


def fenced_before(tx: Connection, instant: datetime, limit: int) -> list[Key]:
    """Fences that are past their use, where raised before an instant: organization and the bound they set."""
    rows = tx.execute(
        select(subject_fences.c.organization_id, subject_fences.c.below)
        .where(_is_past_use(instant))
        .limit(limit)
    )
    return [(row.organization_id, row.below.bytes) for row in rows]


def lower_fences(tx: Connection, organization_id: str, below: Collection[bytes], instant: datetime) -> None:
    """Takes those of these fences away that are past their use. The caller holds the organization's stripe exclusively."""
    tx.execute(
        delete(subject_fences).where(
            subject_fences.c.organization_id == organization_id,
            subject_fences.c.below.in_([UUID(bytes=one) for one in below]),
            _is_past_use(instant),
        )
    )


def erase_fences(tx: Connection, organization_id: str) -> None:
    """Takes an erased organization's fences away, but what an erasure that goes on needs: that goes when it is done. The caller holds the
    organization's stripe exclusively."""
    tx.execute(delete(subject_fences).where(subject_fences.c.organization_id == organization_id, ~_IS_NEEDED))


_NOTE: Final = text(
    "INSERT INTO subject_records (erasure_id, organization_id, record_id, day, has_content) "
    "SELECT :erasure_id, :organization_id, id, day, has_content "
    "FROM unnest(CAST(:ids AS uuid[]), CAST(:days AS date[]), CAST(:contents AS boolean[])) AS mine (id, day, has_content) "
    "ON CONFLICT DO NOTHING"
)


def step(
    tx: Connection,
    act: SubjectAct,
    end_user: str,
    looked_at: int,
    now: datetime,
    before: Callable[[Sequence[bytes]], None],
) -> SubjectAct:
    """Does one piece of a locked erasure: at most so many rows are looked at. before: called with the ids of the end user's among them,
    before any goes. The caller holds the organization's stripe, which keeps holds away."""
    table = interactions if act.stage == ROWS else retained
    last = _last(tx, table, act, looked_at)
    mine = _mine(tx, table, act, end_user, last)
    if mine:
        before([record_id.bytes for record_id, _ in mine])
        tx.execute(
            _NOTE,
            {
                "erasure_id": act.erasure_id,
                "organization_id": act.organization_id,
                "ids": [record_id for record_id, _ in mine],
                "days": [record_day(record_id.bytes) for record_id, _ in mine],
                "contents": [has_content for _, has_content in mine],
            },
        )
    gone, unseen = remove(tx, act.organization_id, [one for one, _ in mine])
    values: dict[str, Any] = {
        "interactions": act.interactions + gone,
        "unscreened": act.unscreened + unseen,
        "after": last,
    }
    if last is None:
        values["stage"] = COPIES if act.stage == ROWS else DONE
        values["erased_at"] = now if values["stage"] == DONE else None
    tx.execute(
        update(subject_erasures).where(subject_erasures.c.erasure_id == act.erasure_id).values(**values)
    )
    done = find(tx, act.erasure_id)
    assert done is not None
    return done


def _within(table: Table, act: SubjectAct) -> Any:
    place = and_(table.c.organization_id == act.organization_id, table.c.record_id < UUID(bytes=act.below))
    return place if act.after is None else and_(place, table.c.record_id > UUID(bytes=act.after))


def _last(tx: Connection, table: Table, act: SubjectAct, looked_at: int) -> UUID | None:
    """The id that this piece ends with; None where it reaches to the end."""
    found: UUID | None = tx.execute(
        select(table.c.record_id)
        .where(_within(table, act))
        .order_by(table.c.record_id)
        .offset(looked_at - 1)
        .limit(1)
    ).scalar_one_or_none()
    return found


def _mine(
    tx: Connection, table: Table, act: SubjectAct, end_user: str, last: UUID | None
) -> list[tuple[UUID, bool]]:
    has_content: ColumnElement[bool] = table.c.data_key_id.is_not(None)
    if table is interactions:  # a copy may have what was erased of the row
        has_content |= exists().where(
            retained.c.organization_id == table.c.organization_id,
            retained.c.record_id == table.c.record_id,
            retained.c.data_key_id.is_not(None),
        )
    asked = select(table.c.record_id, has_content.label("has_content")).where(
        _within(table, act), table.c.end_user == end_user
    )
    if last is not None:
        asked = asked.where(table.c.record_id <= last)
    return [(row.record_id, row.has_content) for row in tx.execute(asked)]


# The bounds name the partitions in which these may lie.
_REMOVE: Final = text(
    "DELETE FROM interactions WHERE organization_id = :organization_id "  # noqa: S608 - constants
    "AND record_id BETWEEN :first AND :last "
    "AND record_id = ANY(CAST(:ids AS uuid[])) AND NOT EXISTS (SELECT 1 FROM retained "
    "WHERE retained.organization_id = interactions.organization_id AND retained.record_id = interactions.record_id) "
    f"RETURNING record_id, data_key_id IS NOT NULL AS has_content, {APPLICATION} AS lot"
)
_REMOVE_KEPT: Final = text(
    "DELETE FROM retained WHERE organization_id = :organization_id "  # noqa: S608 - constants
    "AND record_id BETWEEN :first AND :last "
    "AND record_id = ANY(CAST(:ids AS uuid[])) AND by_term AND NOT EXISTS (SELECT 1 FROM holds "
    "WHERE holds.organization_id = retained.organization_id AND holds.record_id = retained.record_id) "
    f"RETURNING record_id, data_key_id IS NOT NULL AS has_content, {APPLICATION} AS lot"
)
_UNEXPECT: Final = text(
    "DELETE FROM unscreened WHERE organization_id = :organization_id AND record_id = ANY(CAST(:ids AS uuid[]))"
)


def remove(tx: Connection, organization_id: str, record_ids: Sequence[UUID]) -> tuple[int, int]:
    """Removes rows that no hold keeps, of partitions and of what terms keep longer, and what waits for their screening; the counts of their
    days say so. Returns how many of each are gone."""
    if not record_ids:
        return 0, 0
    wanted = {
        "organization_id": organization_id,
        "first": min(record_ids),
        "last": max(record_ids),
        "ids": list(record_ids),
    }
    # Copies first: what is left of them is held, and keeps its row. What lay in both places is one record, with what content either had.
    gone: dict[UUID, Single] = {}
    for statement in (_REMOVE_KEPT, _REMOVE):
        for row in tx.execute(statement, wanted):
            copy = gone.get(row.record_id)
            has_content = row.has_content or (copy is not None and copy.has_content)
            gone[row.record_id] = Single(record_day(row.record_id.bytes), row.lot, has_content)
    if not gone:
        return 0, 0
    count_off(tx, organization_id, list(gone.values()))
    unseen = tx.execute(_UNEXPECT, {"organization_id": organization_id, "ids": list(gone)}).rowcount
    return len(gone), unseen


def remove_let_go(tx: Connection, organization_id: str, record_ids: Collection[UUID]) -> int:
    """Of rows whose last hold has just ended, removes those that an erasure wants gone; how many. The caller holds the organization's
    stripe exclusively."""
    wanted = tx.execute(
        select(subject_records.c.record_id)
        .where(
            subject_records.c.organization_id == organization_id,
            among(subject_records.c.record_id, record_ids),
        )
        .distinct()
    ).scalars()
    return remove(tx, organization_id, sorted(wanted))[0]


def held(tx: Connection, erasure_id: str) -> dict[str, int]:
    """How many records of an erasure each hold keeps now, by hold."""
    rows = tx.execute(
        select(holds.c.hold_id, func.count().label("records"))
        .join(
            subject_records,
            and_(
                subject_records.c.organization_id == holds.c.organization_id,
                subject_records.c.record_id == holds.c.record_id,
            ),
        )
        .where(subject_records.c.erasure_id == erasure_id)
        .group_by(holds.c.hold_id)
        .order_by(holds.c.hold_id)
    )
    return {row.hold_id: row.records for row in rows}


def days(tx: Connection, erasure_id: str) -> list[DayErased]:
    """What an erasure is about, by day; empty once it is forgotten."""
    is_held = _HELD.label("is_held")
    each = (
        select(subject_records.c.day, subject_records.c.has_content, is_held)
        .where(subject_records.c.erasure_id == erasure_id)
        .subquery()
    )
    rows = tx.execute(
        select(
            each.c.day,
            func.count().filter(~each.c.is_held).label("removed"),
            func.count().filter(~each.c.is_held, each.c.has_content).label("with_content"),
            func.count().filter(each.c.is_held).label("held"),
        )
        .group_by(each.c.day)
        .order_by(each.c.day)
    )
    return [DayErased(row.day, row.removed, row.with_content, row.held) for row in rows]


def erased_ids(tx: Connection, erasure_id: str, after: bytes | None, limit: int) -> list[bytes]:
    """Ids of an erasure's records that nothing holds, after an id, in order."""
    asked = select(subject_records.c.record_id).where(subject_records.c.erasure_id == erasure_id, ~_HELD)
    if after is not None:
        asked = asked.where(subject_records.c.record_id > UUID(bytes=after))
    return [
        one.bytes for one in tx.execute(asked.order_by(subject_records.c.record_id).limit(limit)).scalars()
    ]


def forget(tx: Connection, erasure_id: str) -> None:
    """Forgets which records an erasure was about."""
    tx.execute(delete(subject_records).where(subject_records.c.erasure_id == erasure_id))
    tx.execute(
        update(subject_erasures).where(subject_erasures.c.erasure_id == erasure_id).values(stage=FORGOTTEN)
    )
