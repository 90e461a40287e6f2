"""What retention asks of the tables: holding, letting go, dropping a day, erasing an organization, counting."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Date,
    Select,
    SmallInteger,
    String,
    Table,
    Text,
    all_,
    and_,
    cast,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from services.logging.store import (
    arrivals,
    billing,
    content_erasures,
    locks,
    partitions,
    screening,
    subjects,
    terms,
)
from services.logging.store.kept import IS_HELD
from services.logging.store.lots import application_of, is_of
from services.logging.store.stored_counts import WRITER as CORRECTIONS
from services.logging.store.stored_counts import Single, count_off
from services.logging.store.tables import (
    RECORD_COLUMNS,
    data_keys,
    dropped_counts,
    dropped_days,
    erasure_progress,
    erasure_receipts,
    holds,
    interactions,
    organization_fences,
    released_holds,
    removals,
    retained,
    stored_counts,
    unscreened,
)
from shared.database import among
from shared.ids import BEHIND_ALL_RECORDS, record_day
from shared.terms import lot_of, parts_of

# What of a row is copied for holds.
COPIED: Final = (*RECORD_COLUMNS, "verdict", "rules_version")
# The organization is said too: by it both lie on the same shard, on Citus.
ITS_DATA_KEY: Final = and_(
    data_keys.c.organization_id == interactions.c.organization_id,
    data_keys.c.data_key_id == interactions.c.data_key_id,
)


@dataclass(frozen=True)
class HeldRow:
    """A row that a hold keeps. The two keys are None where the record has no content. application: to whose own epoch it is sealed; "" for
    all others."""

    record_id: bytes
    data_key_id: bytes | None
    sealed_data_key: bytes | None
    application: str = ""


@dataclass(frozen=True)
class DayCount:
    """Records of one lot and day. held: kept by holds. application: whose own lot; "" for all others of the organization."""

    day: date
    organization_id: str
    records: int
    records_with_content: int
    held: int
    application: str = ""

    @property
    def lot(self) -> str:
        """Whose records they are (shared.terms)."""
        return lot_of(self.organization_id, self.application)


def lock_hold(tx: Connection, hold_id: str) -> bool:
    """One transaction at a time keeps or lets go for a hold. Whether it was let go."""
    locks.take_named(tx, "hold:" + hold_id)
    return tx.execute(select(exists().where(released_holds.c.hold_id == hold_id))).scalar_one()


def bury_hold(tx: Connection, hold_id: str) -> None:
    """Lets a locked hold go; what it kept is for `release`."""
    tx.execute(insert(released_holds).values(hold_id=hold_id).on_conflict_do_nothing())


def note_removed(tx: Connection, hold_id: str, removed: int) -> None:
    """Adds to what was gone by the end of a hold."""
    tx.execute(
        update(released_holds)
        .where(released_holds.c.hold_id == hold_id)
        .values(removed=released_holds.c.removed + removed)
    )


def removed_by(tx: Connection, hold_id: str) -> int:
    """How many rows are gone by the end of a hold."""
    asked = select(released_holds.c.removed).where(released_holds.c.hold_id == hold_id)
    return int(tx.execute(asked).scalar_one())


def by_day(record_ids: Sequence[bytes]) -> dict[date, list[UUID]]:
    """Records by the days whose partitions they are in: a statement on one day's looks into no other. What no record's id can be is left
    out."""
    days: dict[date, list[UUID]] = {}
    for one in sorted(record_ids):
        if one < BEHIND_ALL_RECORDS:
            days.setdefault(record_day(one), []).append(UUID(bytes=one))
    return days


def living_copies(organization_id: str, day: date, wanted: Sequence[UUID]) -> Select[Any]:
    """What is copied for holds of a day's rows that are in its partition: COPIED, the day and the sealed data key."""
    columns: list[Any] = [interactions.c[name] for name in COPIED]
    return (
        select(*columns, literal(day, Date).label("day"), data_keys.c.sealed.label("sealed_data_key"))
        .outerjoin_from(interactions, data_keys, ITS_DATA_KEY)
        .where(
            interactions.c.organization_id == organization_id,
            among(interactions.c.record_id, wanted),
            interactions.c.record_id.between(wanted[0], wanted[-1]),
        )
    )


def hold(
    tx: Connection, hold_id: str, organization_id: str, record_ids: Sequence[bytes], kind: int | None
) -> tuple[list[HeldRow], bool]:
    """Copies rows with their sealed data keys to `retained` and writes the hold down; returns those that are kept now, and whether
    any of them is new to the hold. Idempotent. The
    caller holds the organization's stripe exclusively. kind: kept.retention.v1.HoldKind; None where it is not known."""
    for day, wanted in by_day(record_ids).items():
        tx.execute(
            insert(retained)
            .from_select([*COPIED, "day", "sealed_data_key"], living_copies(organization_id, day, wanted))
            .on_conflict_do_nothing()
        )
    mine = and_(
        retained.c.organization_id == organization_id,
        among(retained.c.record_id, [UUID(bytes=one) for one in record_ids]),
    )
    written = select(
        literal(hold_id, Text), retained.c.organization_id, retained.c.record_id, literal(kind, SmallInteger)
    ).where(mine)
    added = tx.execute(
        insert(holds)
        .from_select(["hold_id", "organization_id", "record_id", "kind"], written)
        .on_conflict_do_nothing(),
        execution_options={"preserve_rowcount": True},
    )
    return held_rows(tx, retained, mine), added.rowcount > 0


def held_rows(tx: Connection, table: Table, condition: ColumnElement[bool]) -> list[HeldRow]:
    """Copies with their sealed data keys, in order of id."""
    columns = (table.c.record_id, table.c.data_key_id, table.c.sealed_data_key, application_of(table))
    asked = select(*columns).where(condition)
    return [
        HeldRow(record_id.bytes, None if data_key_id is None else data_key_id.bytes, sealed, application)
        for record_id, data_key_id, sealed, application in tx.execute(asked.order_by(table.c.record_id))
    ]


def organizations_of_hold(tx: Connection, hold_id: str) -> list[str]:
    """The organizations whose records a hold keeps."""
    asked = select(holds.c.organization_id).where(holds.c.hold_id == hold_id).distinct()
    return sorted(tx.execute(asked).scalars())


def release(
    tx: Connection, hold_id: str, organization_id: str, limit: int, through: UUID | None = None
) -> tuple[int, UUID | None]:
    """Ends what a hold keeps of an organization, at most so many records at once; how many rows are gone for good by it, and through which
    id it came, None where that was all. through: no further than this.

    A copy that no hold and no term needs goes. A row that is still in its partition stays there until its day is dropped, unless the
    erasure of its end user waits for it; where its content was erased, nothing of it waits to be screened any more. The caller holds the
    organization's stripe exclusively. What is gone is not counted on: it is in what this returns, and would be once more in what goes with
    its day, or with its organization.
    """
    mine = and_(holds.c.hold_id == hold_id, holds.c.organization_id == organization_id)
    if through is not None:
        mine &= holds.c.record_id <= through
    in_order = select(holds.c.record_id).where(mine).order_by(holds.c.record_id)
    kept = list(tx.execute(in_order.limit(limit + 1)).scalars())
    released = kept[:limit]
    tx.execute(delete(holds).where(mine, among(holds.c.record_id, released)))
    other = select(holds.c.record_id).where(
        holds.c.organization_id == organization_id, holds.c.record_id == retained.c.record_id
    )
    freed = {
        row.record_id: Single(row.day, row.lot, row.has_content)
        for row in tx.execute(
            delete(retained)
            .where(
                retained.c.organization_id == organization_id,
                among(retained.c.record_id, released),
                retained.c.by_term.is_(False),
                ~exists(other),
            )
            .returning(
                retained.c.record_id,
                retained.c.day,
                application_of(retained).label("lot"),
                retained.c.data_key_id.is_not(None).label("has_content"),
            )
        )
    }
    place = and_(interactions.c.organization_id == organization_id, among(interactions.c.record_id, freed))
    asked = select(interactions.c.record_id, interactions.c.content.is_not(None).label("has_content"))
    found = tx.execute(asked.where(place)) if freed else ()
    living = {row.record_id: row.has_content for row in found}
    ended = {record_id: one for record_id, one in freed.items() if record_id not in living}
    unseen = [record_id for record_id in freed if not living.get(record_id)]
    if ended:
        # Of the others nothing waits with others since their content was erased.
        screening.unfold(tx, organization_id)
        count_off(tx, organization_id, list(ended.values()))
    if unseen:
        tx.execute(
            delete(unscreened).where(
                unscreened.c.organization_id == organization_id, among(unscreened.c.record_id, unseen)
            )
        )
    outlived = {
        one: freed[one] for one, has_content in living.items() if freed[one].has_content and not has_content
    }
    content_erasures.let_go(tx, organization_id, released, outlived)
    gone = len(ended) + subjects.remove_let_go(tx, organization_id, released)
    return gone, released[-1] if len(kept) > limit else None


_ANY_ROWS: Final = func.sum(stored_counts.c.records) > 0


def lots_of_day(tx: Connection, day: date) -> set[str]:
    """The lots (shared.terms) that have rows of a day, or had some."""
    asked = select(stored_counts.c.organization_id, stored_counts.c.application)
    return {lot_of(*row) for row in tx.execute(asked.where(stored_counts.c.day == day).distinct())}


def counts_of_organization(tx: Connection, organization_id: str) -> list[DayCount]:
    """What there is of an organization, by day and lot."""
    return _counts(tx, stored_counts.c.organization_id == organization_id, limit=None)


def counts_of_day(tx: Connection, day: date) -> list[DayCount]:
    """What the day's partition holds, by lot."""
    return _counts(tx, stored_counts.c.day == day, limit=None)


@dataclass(frozen=True)
class Days:
    """Which days are asked for: up to and including one; of lots (shared.terms) with a rule of their own up to and including others.
    organization_id: of this one only; empty for all."""

    through: date
    own: Mapping[str, date] = field(default_factory=dict)
    organization_id: str = ""

    def condition(self) -> ColumnElement[bool]:
        """The same of `stored_counts`."""
        newest = max([self.through, *self.own.values()])
        days = stored_counts.c.day <= newest  # by this it finds them
        if self.own:
            given: dict[str, dict[str, str]] = {}
            for lot, day in self.own.items():
                organization_id, application = parts_of(lot)
                given.setdefault(organization_id, {})[application] = day.isoformat()
            named = cast(given, JSONB)[stored_counts.c.organization_id]
            own = [cast(named[one].astext, Date) for one in (stored_counts.c.application, literal("", Text))]
            days &= stored_counts.c.day <= func.coalesce(*own, literal(self.through, Date))
        if self.organization_id:
            days &= stored_counts.c.organization_id == self.organization_id
        return days


def stored_days(
    tx: Connection, asked: Days, after: tuple[date, str, str] | None, limit: int
) -> list[DayCount]:
    """What is stored of these days and not only for holds, by day and lot. A day whose rows all went with their end users is named
    too, with none: copies of them open until its key is destroyed, so it needs its run."""
    condition = asked.condition()
    if after is not None:
        condition &= tuple_(*_PLACE) > tuple_(
            literal(after[0], Date), literal(after[1], String), literal(after[2], String)
        )
    by_erasures = stored_counts.c.writer == CORRECTIONS
    by_erasures |= stored_counts.c.writer.startswith(CORRECTIONS + "/")
    return _counts(tx, condition, limit, or_(_ANY_ROWS, func.bool_or(by_erasures)))


def has_application(tx: Connection, organization_id: str, day: date, application: str) -> bool:
    """Whether an application has records of a day among its organization's. Looks through all of them where it has none."""
    low, high = partitions.bounds(day)
    return any(
        tx.execute(
            select(
                exists().where(
                    table.c.organization_id == organization_id,
                    table.c.record_id >= low,
                    table.c.record_id < high,
                    table.c.application == application,
                    is_of(table, ""),
                )
            )
        ).scalar_one()
        for table in (interactions, retained)
    )


# How many of the records that a row of `stored_counts` speaks of are kept by holds.
_HELD: Final = (
    select(func.count())
    .select_from(retained)
    .where(
        retained.c.day == stored_counts.c.day,
        retained.c.organization_id == stored_counts.c.organization_id,
        application_of(retained) == stored_counts.c.application,
        IS_HELD,
    )
    .scalar_subquery()
)
_PLACE: Final = (stored_counts.c.day, stored_counts.c.organization_id, stored_counts.c.application)


def _counts(tx: Connection, condition: Any, limit: int | None, counting: Any = _ANY_ROWS) -> list[DayCount]:
    rows = tx.execute(
        select(
            *_PLACE,
            cast(func.sum(stored_counts.c.records), stored_counts.c.records.type).label("records"),
            cast(func.sum(stored_counts.c.records_with_content), stored_counts.c.records.type).label(
                "content"
            ),
            _HELD.label("held"),
        )
        .where(condition)
        .group_by(*_PLACE)
        .having(counting)
        .order_by(*_PLACE)
        .limit(limit)
    )
    return [
        DayCount(row.day, row.organization_id, row.records, row.content, row.held, row.application)
        for row in rows
    ]


def removed(tx: Connection, run_id: str, day: date) -> tuple[int, int] | None:
    """How many rows a run took away of a day and how many of them are kept for holds; None when it did not yet."""
    row = tx.execute(select(removals).where(removals.c.run_id == run_id, removals.c.day == day)).one_or_none()
    return None if row is None else (row.dropped, row.held)


def is_dropped(tx: Connection, day: date) -> bool:
    """Whether the day's partition was dropped."""
    return bool(tx.execute(select(exists().where(dropped_days.c.day == day))).scalar_one())


def drop_day(
    tx: Connection, day: date, run_id: str, now: datetime, kept: Collection[str] = ()
) -> list[DayCount]:
    """Drops a closed day's partition and everything that belongs to it, and keeps the counts. Returns what was dropped, by lot.

    From when the partition goes until this transaction ends nobody reads or writes any day's rows: so what takes longer with each
    organization comes before. Who holds rows, lets them go or erases them reads `interactions` before it changes a count, and this waits
    for whoever has: so what they changed meanwhile is there once the partition is gone, and is little. kept: lots whose rows `terms.keep`
    copied to `retained`; they count as stored on.
    """
    partitions.begin_drop(tx, day)
    counted, held = _forget_counts(tx, day, kept), _held_on(tx, day)
    found = {lot: _day_count(day, lot, numbers, held) for lot, numbers in counted.items()}
    note_dropped(tx, run_id, [one for one in found.values() if one.records > 0])
    tx.execute(delete(data_keys).where(data_keys.c.day == day))
    partitions.drop(tx, day)  # from here on no hold can copy anything more out of it
    _correct_dropped(tx, run_id, day, found, _forget_counts(tx, day, kept), _held_on(tx, day))
    dropped = [one for one in found.values() if one.records > 0]
    total, of_holds = sum(one.records for one in dropped), sum(one.held for one in dropped)
    tx.execute(
        insert(dropped_days).values(day=day, run_id=run_id, dropped_at=now, dropped=total, held=of_holds)
    )
    _note_removal(tx, run_id, day, (total, of_holds), now)
    low, high = partitions.bounds(day)
    screening.unfold(tx, below=high)
    tx.execute(
        delete(unscreened).where(
            unscreened.c.record_id >= low,
            unscreened.c.record_id < high,
            ~exists().where(
                retained.c.organization_id == unscreened.c.organization_id,
                retained.c.record_id == unscreened.c.record_id,
            ),
        )
    )
    return dropped


# How many records, and how many with content.
_Numbers = tuple[int, int]


def _forget_counts(tx: Connection, day: date, kept: Collection[str]) -> dict[str, _Numbers]:
    """Forgets what is counted of a day, but of these lots; what it was, by lot."""
    # As one array: there may be more lots than a statement may have parameters. No id of an organization has a slash.
    counted_lot = stored_counts.c.organization_id + "/" + stored_counts.c.application
    staying = literal(["/".join(parts_of(one)) for one in sorted(kept)], ARRAY(Text))
    gone = delete(stored_counts).where(stored_counts.c.day == day, counted_lot != all_(staying))
    counted: dict[str, _Numbers] = {}
    for organization_id, application, records, with_content in tx.execute(
        gone.returning(
            stored_counts.c.organization_id,
            stored_counts.c.application,
            stored_counts.c.records,
            stored_counts.c.records_with_content,
        )
    ):
        lot = lot_of(organization_id, application)
        before = counted.get(lot, (0, 0))
        counted[lot] = (before[0] + records, before[1] + with_content)
    return counted


def _held_on(tx: Connection, day: date) -> dict[str, int]:
    """How many records of a day holds keep, by lot."""
    place = (retained.c.organization_id, application_of(retained))
    asked = select(*place, func.count()).where(retained.c.day == day, IS_HELD).group_by(*place)
    return {
        lot_of(organization_id, application): number
        for organization_id, application, number in tx.execute(asked)
    }


def _day_count(day: date, lot: str, numbers: _Numbers, held: Mapping[str, int]) -> DayCount:
    organization_id, application = parts_of(lot)
    return DayCount(day, organization_id, *numbers, held.get(lot, 0), application)


def _correct_dropped(
    tx: Connection,
    run_id: str,
    day: date,
    found: dict[str, DayCount],
    late: Mapping[str, _Numbers],
    held: Mapping[str, int],
) -> None:
    """Puts into what was found by lot, and was written down, what changed until the partition went. late: what was counted since. held: how
    many holds keep now."""
    changed = {lot for lot, one in found.items() if held.get(lot, 0) != one.held} | late.keys()
    for lot in changed:
        records, with_content = late.get(lot, (0, 0))
        if lot in found:
            records, with_content = (
                records + found[lot].records,
                with_content + found[lot].records_with_content,
            )
        found[lot] = _day_count(day, lot, (records, with_content), held)
    if changed:
        lots = tuple_(dropped_counts.c.organization_id, dropped_counts.c.application).in_(
            [parts_of(lot) for lot in sorted(changed)]
        )
        written = (dropped_counts.c.day == day, dropped_counts.c.run_id == run_id)
        tx.execute(delete(dropped_counts).where(*written, lots))
        note_dropped(tx, run_id, [found[lot] for lot in sorted(changed) if found[lot].records > 0])


def note_dropped(tx: Connection, run_id: str, counts: Sequence[DayCount]) -> None:
    """Keeps the counts of what goes, once for a lot and day."""
    if counts:
        tx.execute(
            insert(dropped_counts).on_conflict_do_nothing(),
            [
                {
                    "day": one.day,
                    "organization_id": one.organization_id,
                    "records": one.records,
                    "records_with_content": one.records_with_content,
                    "held": one.held,
                    "run_id": run_id,
                    "application": one.application,
                }
                for one in counts
            ],
        )


def note_removal(tx: Connection, run_id: str, day: date, now: datetime) -> tuple[int, int]:
    """Writes down that a run is through with a day; what it took away of it, and what of that holds keep."""
    row = tx.execute(
        select(
            func.coalesce(func.sum(dropped_counts.c.records), 0),
            func.coalesce(func.sum(dropped_counts.c.held), 0),
        ).where(dropped_counts.c.day == day, dropped_counts.c.run_id == run_id)
    ).one()
    numbers = int(row[0]), int(row[1])
    _note_removal(tx, run_id, day, numbers, now)
    return numbers


def _note_removal(tx: Connection, run_id: str, day: date, numbers: tuple[int, int], now: datetime) -> None:
    tx.execute(
        insert(removals)
        .values(run_id=run_id, day=day, dropped=numbers[0], held=numbers[1], removed_at=now)
        .on_conflict_do_nothing()
    )


def dropped_of_day(
    tx: Connection, day: date, run_ids: Sequence[str], after: str, limit: int
) -> list[DayCount]:
    """What was dropped with a day, by lot. run_ids: by these runs; empty for all. after: a lot."""
    by_these = [dropped_counts.c.run_id.in_(run_ids)] if run_ids else []
    place = (dropped_counts.c.organization_id, dropped_counts.c.application)
    behind = tuple_(*place) > tuple_(*[literal(part, String) for part in parts_of(after)])
    rows = tx.execute(
        select(dropped_counts)
        .where(dropped_counts.c.day == day, behind, *by_these)
        .order_by(*place)
        .limit(limit)
    )
    return [
        DayCount(
            row.day, row.organization_id, row.records, row.records_with_content, row.held, row.application
        )
        for row in rows
    ]


def receipt(
    tx: Connection, organization_id: str, erasure_id: str
) -> tuple[datetime, Mapping[str, int]] | None:
    """When an erasure was done and what it removed; None when it was not done."""
    row = tx.execute(
        select(erasure_receipts).where(
            erasure_receipts.c.organization_id == organization_id, erasure_receipts.c.erasure_id == erasure_id
        )
    ).one_or_none()
    return None if row is None else (row.erased_at, row.removed)


def erase(tx: Connection, organization_id: str, erasure_id: str, now: datetime) -> Mapping[str, int]:
    """Removes an organization's rows, data keys, counts and usage but what holds keep, as far as they are still there, and writes the
    receipt. The caller has raised the fence and holds the organization's stripe exclusively."""
    screening.unfold(tx, organization_id)
    terms.let_go(tx, organization_id)
    # What holds keep lives on in `retained`, with its sealed data keys; it does not count as removed. Before anything is counted: who drops
    # a day, and counts it, comes wholly before or after this.
    tx.execute(delete(interactions).where(interactions.c.organization_id == organization_id))
    stored = counts_of_organization(tx, organization_id)
    before = tx.execute(
        delete(erasure_progress)
        .where(
            erasure_progress.c.organization_id == organization_id, erasure_progress.c.erasure_id == erasure_id
        )
        .returning(erasure_progress.c.unscreened)
    ).scalar()
    kept_unscreened = exists().where(
        retained.c.organization_id == unscreened.c.organization_id,
        retained.c.record_id == unscreened.c.record_id,
    )
    removed = {
        "interactions": sum(one.records - one.held for one in stored),
        "data_keys": tx.execute(
            delete(data_keys).where(data_keys.c.organization_id == organization_id)
        ).rowcount,
        "unscreened": (before or 0)
        + tx.execute(
            delete(unscreened).where(unscreened.c.organization_id == organization_id, ~kept_unscreened)
        ).rowcount,
        "dropped_counts": tx.execute(
            delete(dropped_counts).where(dropped_counts.c.organization_id == organization_id)
        ).rowcount,
        "stored_counts": tx.execute(
            delete(stored_counts).where(stored_counts.c.organization_id == organization_id)
        ).rowcount,
        "usage_arrivals": arrivals.erase(tx, organization_id),
        **billing.erase(tx, organization_id),
    }
    # Pseudonyms in clear. Which records erased end users' were stays until retention has told everybody and certified it: it names nobody.
    subjects.erase_fences(tx, organization_id)
    tx.execute(
        insert(erasure_receipts).values(
            organization_id=organization_id, erasure_id=erasure_id, erased_at=now, removed=removed
        )
    )
    return removed


def note_erased(tx: Connection, organization_id: str, erasure_id: str, unscreened: int) -> None:
    """Adds to what the receipt will say was removed and nothing else counts."""
    if unscreened:
        added = insert(erasure_progress).values(
            organization_id=organization_id, erasure_id=erasure_id, unscreened=unscreened
        )
        tx.execute(
            added.on_conflict_do_update(
                constraint="erasure_progress_pkey",
                set_={"unscreened": erasure_progress.c.unscreened + added.excluded.unscreened},
            )
        )


def held_of(tx: Connection, organization_id: str) -> int:
    """How many records of an organization holds keep."""
    asked = (
        select(func.count())
        .select_from(retained)
        .where(retained.c.organization_id == organization_id, IS_HELD)
    )
    return int(tx.execute(asked).scalar_one())


def oldest_unheld_day(tx: Connection) -> date | None:
    """The oldest day whose partition has rows that nothing holds."""
    counts = (
        select(stored_counts.c.day, func.sum(stored_counts.c.records).label("records"), _HELD.label("held"))
        .group_by(*_PLACE)
        .subquery()
    )
    return tx.execute(
        select(func.min(counts.c.day)).where(counts.c.records > counts.c.held)
    ).scalar_one_or_none()


def held_beyond_their_day(tx: Connection) -> int:
    """How many records exist for holds alone."""
    dropped_with_its_day = exists().where(dropped_days.c.day == retained.c.day) | exists().where(
        dropped_counts.c.day == retained.c.day,
        dropped_counts.c.organization_id == retained.c.organization_id,
        dropped_counts.c.application == application_of(retained),
    )
    erased = exists().where(organization_fences.c.organization_id == retained.c.organization_id)
    asked = (
        select(func.count())
        .select_from(retained)
        .where(retained.c.by_term.is_(False), or_(dropped_with_its_day, erased))
    )
    return int(tx.execute(asked).scalar_one())
