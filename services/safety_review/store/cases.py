"""Cases and the flags in them."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from kept.safety_review.v1 import cases_pb2
from services.safety_review.reviewing.cases import APPEAL_FOR, CLAIMED, DISMISSED, OPEN, UPHELD, Case, Rate
from services.safety_review.reviewing.reviewers import Reviewer
from services.safety_review.store.tables import cases, erasures, flags
from services.safety_review.store.verdicts import RecordKey
from shared import pages
from shared.database import behind

# What is read of a flag. Of a full case, places would be most of it, and nothing that reads cases says them.
_READ: Final = tuple(column for column in flags.c if column is not flags.c.places)
_JOINABLE = text("state <= 3 AND NOT is_full")  # the index's own words, so that it serves


@dataclass(frozen=True)
class Flag:
    """A record in a case: which rules matched and where, never what. hold_request_id: empty where there is no content to hold.

    places: (rule id, part, offset, part, offset) of matches, from and up to (exclusive), in code points. They are only written: a flag that
    was read says none.
    """

    organization_id: str
    record_id: bytes
    rules_version: str
    case_id: str
    rule_ids: tuple[str, ...]
    flagged_at: datetime
    hold_request_id: str
    hold_ends_at: datetime
    end_user_hash: bytes = b""
    finding_id: str | None = None
    places: tuple[tuple[str, int, int, int, int], ...] = ()


class Place(NamedTuple):
    """A place in the list of cases."""

    severity: int
    opened_at: datetime
    case_id: str


def _made(row: Row[Any]) -> Case:
    values = dict(row._mapping)
    for people in ("earlier_reviewers", "took_part"):
        values[people] = tuple(values[people])
    values["rates"] = tuple(Rate(*rate) for rate in values["rates"])
    return Case(**values)


def _made_flag(row: Row[Any]) -> Flag:
    values = dict(row._mapping)
    values["record_id"] = bytes(values["record_id"])
    values["end_user_hash"] = bytes(values["end_user_hash"])
    values["rule_ids"] = tuple(values["rule_ids"])
    return Flag(**values)


def _values(case: Case) -> dict[str, Any]:
    # asdict would go into the rates, which are tuples by name.
    values = {field.name: getattr(case, field.name) for field in fields(case)}
    people = {"earlier_reviewers": list(case.earlier_reviewers), "took_part": list(case.took_part)}
    return values | people | {"rates": list(map(list, case.rates))}


def lock_joinable(tx: Connection, organization_id: str, category: str) -> Case | None:
    """The case that flags of this category join now, locked; None if one has to be opened."""
    row = tx.execute(
        select(cases)
        .where(cases.c.organization_id == organization_id, cases.c.category == category, _JOINABLE)
        .with_for_update()
    ).one_or_none()
    return None if row is None else _made(row)


def add(tx: Connection, case: Case) -> bool:
    """Adds a case. False when another transaction opened one for the same organization and category first."""
    added = tx.execute(
        insert(cases).values(**_values(case)).on_conflict_do_nothing().returning(cases.c.case_id)
    )
    return added.one_or_none() is not None


def find(tx: Connection, case_id: str) -> Case | None:
    """One case."""
    row = tx.execute(select(cases).where(cases.c.case_id == case_id)).one_or_none()
    return None if row is None else _made(row)


def lock(tx: Connection, case_id: str) -> Case | None:
    """One case; nobody changes it or joins it before this transaction ends."""
    row = tx.execute(select(cases).where(cases.c.case_id == case_id).with_for_update()).one_or_none()
    return None if row is None else _made(row)


def update_to(tx: Connection, case: Case) -> None:
    """Stores a locked case as it is now."""
    values = _values(case)
    tx.execute(update(cases).where(cases.c.case_id == values.pop("case_id")).values(**values))


def page(
    tx: Connection,
    state: "cases_pb2.CaseState.ValueType",
    after: Place | None,
    limit: int,
    now: datetime,
    *,
    without: Collection[str] = (),
    only_referred: bool = False,
) -> list[Case]:
    """Cases after a place in the list, the most severe and oldest first. state: only in this one as it counts now; 0: all. without:
    organizations whose cases are left out."""
    statement = (
        select(cases).order_by(cases.c.severity.desc(), cases.c.opened_at, cases.c.case_id).limit(limit)
    )
    if state != cases_pb2.CASE_STATE_UNSPECIFIED:
        statement = statement.where(_counts_as(state, now))
    if without:
        statement = statement.where(cases.c.organization_id.not_in(list(without)))
    if only_referred:
        statement = statement.where(cases.c.referred)
    if after is not None:
        later = func.row(cases.c.opened_at, cases.c.case_id) > func.row(after.opened_at, after.case_id)
        statement = statement.where(
            or_(cases.c.severity < after.severity, and_(cases.c.severity == after.severity, later))
        )
    return [_made(row) for row in tx.execute(statement)]


def lock_next(tx: Connection, reviewer: Reviewer, now: datetime) -> Case | None:
    """The most urgent case that this person may handle, locked, past those that somebody else is just taking: services.safety_review.
    reviewers.require_fit, for the database."""
    desks = [desk for desk, is_there in ((False, reviewer.is_safety), (True, reviewer.is_legal)) if is_there]
    row = tx.execute(
        select(cases)
        .where(
            _counts_as(OPEN, now),
            cases.c.organization_id.not_in(list(reviewer.affiliations)),
            cases.c.referred.in_(desks),
            ~cases.c.earlier_reviewers.contains([reviewer.person_id]),
        )
        .order_by(
            func.coalesce(cases.c.due_at <= now, False).desc(),
            cases.c.severity.desc(),
            cases.c.due_at.nulls_last(),
            cases.c.case_id,
        )
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    return None if row is None else _made(row)


def told(tx: Connection, organization_id: str, after: pages.Place | None, limit: int) -> list[Case]:
    """An organization's cases that it was told of, in that order, behind that place (when it was told, id)."""
    rows = tx.execute(
        select(cases)
        .where(
            cases.c.organization_id == organization_id,
            cases.c.told_at.is_not(None),
            behind(after, cases.c.told_at, cases.c.case_id),
        )
        .order_by(cases.c.told_at, cases.c.case_id)
        .limit(limit)
    )
    return [_made(row) for row in rows]


def _counts_as(state: "cases_pb2.CaseState.ValueType", now: datetime) -> ColumnElement[bool]:
    """services.safety_review.reviewing.cases.as_of, for the database."""
    if state == OPEN:
        return or_(cases.c.state == OPEN, and_(cases.c.state == CLAIMED, cases.c.claimed_until <= now))
    if state == CLAIMED:
        return and_(cases.c.state == CLAIMED, cases.c.claimed_until > now)
    return cases.c.state == state


def add_flags(tx: Connection, new: Sequence[Flag]) -> None:
    """Adds flags to a locked case."""
    tx.execute(insert(flags), [asdict(flag) for flag in new])


def flags_of(tx: Connection, case_ids: Collection[str]) -> dict[str, list[Flag]]:
    """The flags of each case, the oldest first."""
    found: dict[str, list[Flag]] = {case_id: [] for case_id in case_ids}
    rows = tx.execute(
        select(*_READ).where(flags.c.case_id.in_(found)).order_by(flags.c.flagged_at, flags.c.record_id)
    )
    for row in rows:
        found[row.case_id].append(_made_flag(row))
    return found


def record_ids(tx: Connection, case_id: str) -> list[bytes]:
    """The records of a case, each once, by id."""
    rows = tx.execute(
        select(flags.c.record_id).where(flags.c.case_id == case_id).distinct().order_by(flags.c.record_id)
    )
    return [bytes(row.record_id) for row in rows]


def undismissed(tx: Connection, keys: Collection[RecordKey]) -> set[RecordKey]:
    """Which of the records are in a case that was not dismissed: a person looks or has looked at them, and a hold is on them."""
    rows = tx.execute(
        select(flags.c.organization_id, flags.c.record_id)
        .join(cases, cases.c.case_id == flags.c.case_id)
        .where(
            flags.c.record_id.in_([key.record_id for key in keys]),
            flags.c.organization_id.in_({key.organization_id for key in keys}),
            cases.c.state != DISMISSED,
        )
    )
    return {RecordKey(row.organization_id, bytes(row.record_id)) for row in rows}.intersection(keys)


def case_of(tx: Connection, key: RecordKey) -> Case | None:
    """The case that a record is in and that was not dismissed."""
    row = tx.execute(
        select(cases)
        .join(flags, flags.c.case_id == cases.c.case_id)
        .where(
            flags.c.organization_id == key.organization_id,
            flags.c.record_id == key.record_id,
            cases.c.state != DISMISSED,
        )
        .limit(1)
    ).one_or_none()
    return None if row is None else _made(row)


def is_to_hold(tx: Connection, key: RecordKey, hold_request_id: str) -> bool:
    """Whether a record's hold is still that of a case that was not dismissed."""
    held = select(flags.c.case_id).join(cases, cases.c.case_id == flags.c.case_id)
    return (
        tx.execute(
            held.where(
                flags.c.organization_id == key.organization_id,
                flags.c.record_id == key.record_id,
                flags.c.hold_request_id == hold_request_id,
                cases.c.state != DISMISSED,
            ).limit(1)
        ).one_or_none()
        is not None
    )


def held_undecided(tx: Connection, now: datetime, until: datetime, limit: int) -> list[Flag]:
    """Flags whose holds end by then while their case is undecided, or while the customer may appeal, those that end first; their cases are
    locked, past those that somebody else just acts on. Also those that would be over: after a restore the end that is stored here may be
    an earlier one than retention has. None of erased organizations."""
    may_be_appealed = and_(
        cases.c.state == UPHELD,
        cases.c.appealed_at.is_(None),
        cases.c.closed_at + APPEAL_FOR > func.greatest(flags.c.hold_ends_at, now),
    )
    rows = tx.execute(
        select(*_READ)
        .join(cases, cases.c.case_id == flags.c.case_id)
        .where(
            or_(cases.c.state.not_in([UPHELD, DISMISSED]), may_be_appealed),
            flags.c.hold_request_id != "",
            flags.c.hold_ends_at <= until,
            ~exists().where(erasures.c.organization_id == cases.c.organization_id),
        )
        .order_by(flags.c.hold_ends_at, flags.c.case_id, flags.c.record_id)
        .limit(limit)
        .with_for_update(of=cases, skip_locked=True)
    )
    return [_made_flag(row) for row in rows]


def hold_again(tx: Connection, flag: Flag) -> None:
    """A flag of a locked case has a new hold, or one that ends later."""
    tx.execute(
        update(flags)
        .where(
            flags.c.organization_id == flag.organization_id,
            flags.c.record_id == flag.record_id,
            flags.c.rules_version == flag.rules_version,
        )
        .values(hold_request_id=flag.hold_request_id, hold_ends_at=flag.hold_ends_at)
    )
