"""How far each rule over log data is, and what they found."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from services.safety_review.store.tables import flags, log_findings, log_rule_progress


@dataclass(frozen=True)
class Progress:
    """looked_until: windows that began before were looked at once; settled_until: those that were for the last time."""

    rule_id: str
    looked_until: datetime
    settled_until: datetime


@dataclass(frozen=True)
class LogFinding:
    """What a rule found in a window, and the case that came of it. Whom it is about only its id tells, to who knows."""

    finding_id: str
    rule_id: str
    rules_version: str
    organization_id: str
    window_from: datetime
    window_until: datetime
    counted: int
    threshold: int
    case_id: str
    found_at: datetime


_PROGRESS = (log_rule_progress.c.rule_id, log_rule_progress.c.looked_until, log_rule_progress.c.settled_until)


def begin(tx: Connection, new: Progress) -> None:
    """Where a rule begins that is new; one that is known stays where it is."""
    tx.execute(insert(log_rule_progress).values(**asdict(new)).on_conflict_do_nothing())


def forget_others(tx: Connection, rule_ids: Collection[str]) -> None:
    """Removes how far other rules were: should one come back, it begins then."""
    tx.execute(delete(log_rule_progress).where(log_rule_progress.c.rule_id.not_in(rule_ids)))


def progress(tx: Connection) -> dict[str, Progress]:
    """How far each rule is."""
    return {row.rule_id: Progress(**row._mapping) for row in tx.execute(select(*_PROGRESS))}


def take(tx: Connection, rule_id: str, now: datetime, lease: timedelta) -> bool:
    """Leases a rule, unless somebody else has it. A lease longer than that was given before the clock was moved."""
    taken = log_rule_progress.c.taken_until
    free = or_(taken.is_(None), taken <= now, taken > now + lease)
    took = (
        update(log_rule_progress)
        .where(log_rule_progress.c.rule_id == rule_id, free)
        .values(taken_until=now + lease)
    )
    return bool(tx.execute(took).rowcount)


def lock(tx: Connection, rule_id: str) -> Progress | None:
    """How far a rule is; until the transaction ends nobody else answers for it."""
    row = tx.execute(
        select(*_PROGRESS).where(log_rule_progress.c.rule_id == rule_id).with_for_update()
    ).one_or_none()
    return None if row is None else Progress(**row._mapping)


def put(tx: Connection, rule_id: str, **values: Any) -> None:
    """Changes a locked rule's progress; nobody has it any more."""
    tx.execute(
        update(log_rule_progress)
        .where(log_rule_progress.c.rule_id == rule_id)
        .values(taken_until=None, **values)
    )


def is_known(tx: Connection, finding_id: str) -> bool:
    """Whether there is that finding."""
    return bool(tx.execute(select(exists().where(log_findings.c.finding_id == finding_id))).scalar_one())


def add(tx: Connection, new: LogFinding) -> None:
    """Stores a finding."""
    tx.execute(insert(log_findings).values(**asdict(new)))


def counts(tx: Connection) -> dict[str, int]:
    """Findings that there are, by rule."""
    rows = tx.execute(select(log_findings.c.rule_id, func.count()).group_by(log_findings.c.rule_id))
    return {row[0]: row[1] for row in rows}


def of_cases(tx: Connection, case_ids: Collection[str], most: int) -> dict[str, list[tuple[LogFinding, int]]]:
    """The findings of each case, the oldest first, at most so many, and how many records of each are in it."""
    found: dict[str, list[tuple[LogFinding, int]]] = {case_id: [] for case_id in case_ids}
    records = (
        select(func.count())
        .select_from(flags)
        .where(flags.c.case_id == log_findings.c.case_id, flags.c.finding_id == log_findings.c.finding_id)
        .scalar_subquery()
    )
    place = func.row_number().over(
        partition_by=log_findings.c.case_id, order_by=(log_findings.c.found_at, log_findings.c.finding_id)
    )
    numbered = (
        select(log_findings, records.label("records"), place.label("place"))
        .where(log_findings.c.case_id.in_(case_ids))
        .subquery()
    )
    for row in tx.execute(select(numbered).where(numbered.c.place <= most).order_by(numbered.c.place)):
        values = dict(row._mapping)
        del values["place"]
        number = values.pop("records")
        found[row.case_id].append((LogFinding(**values), number))
    return found


def forget_empty(tx: Connection, case_ids: Collection[str]) -> None:
    """Removes findings of these cases of which no record is left: an end user was erased."""
    left = exists().where(
        flags.c.case_id == log_findings.c.case_id, flags.c.finding_id == log_findings.c.finding_id
    )
    tx.execute(delete(log_findings).where(log_findings.c.case_id.in_(case_ids), ~left))
