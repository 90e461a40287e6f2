"""The tables of retention and the queries over them; nothing else in this service knows SQL.

Every function takes an open transaction (`Tx`). Rows come out as the domain's frozen dataclasses.
"""

from datetime import datetime

from sqlalchemy import Connection, exists, func, select

from services.retention.store.tables import audit_position, metadata, outbox, rule_changes
from services.retention.store.tables import runs as _runs
from shared.change_feed import Change

Tx = Connection

__all__ = [
    "Tx",
    "audit_position",
    "change_in_force",
    "is_run_going_on",
    "lock",
    "metadata",
    "newest_change_at",
    "outbox",
    "own_changes_in_force",
    "rule_changes",
    "try_lock",
]


def lock(tx: Tx, name: str) -> None:
    """One transaction at a time, over all replicas, until this one ends."""
    tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("retention:" + name, 0))))


def try_lock(tx: Tx, name: str) -> bool:
    """The same lock, if it is free."""
    key = func.hashtextextended("retention:" + name, 0)
    return bool(tx.execute(select(func.pg_try_advisory_xact_lock(key))).scalar_one())


def change_in_force(tx: Tx, subject: str, now: datetime) -> Change | None:
    """The rule change of a subject that is in force at an instant."""
    row = tx.execute(
        select(rule_changes)
        .where(rule_changes.c.subject == subject, rule_changes.c.effective_at <= now)
        .order_by(rule_changes.c.version.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else Change(row.version, row.subject, row.payload, row.effective_at)


def is_run_going_on(tx: Tx) -> bool:
    """Whether there is a run that is not over."""
    over = _runs.c.state.in_(["DONE", "NOT_CERTIFIED"])
    return bool(tx.execute(select(exists().where(~over))).scalar_one())


def own_changes_in_force(tx: Tx, now: datetime, within: str = "") -> list[Change]:
    """The changes of all lots (shared.terms) that are in force at an instant, the newest of each; an organization's before its
    applications'. within: of subjects that begin so."""
    newest = (
        select(func.max(rule_changes.c.version))
        .where(
            rule_changes.c.subject != "",
            rule_changes.c.subject.startswith(within, autoescape=True),
            rule_changes.c.effective_at <= now,
        )
        .group_by(rule_changes.c.subject)
    )
    rows = tx.execute(
        select(rule_changes)
        .where(rule_changes.c.version.in_(newest))
        .order_by(func.length(rule_changes.c.subject), rule_changes.c.subject)
    )
    return [Change(row.version, row.subject, row.payload, row.effective_at) for row in rows]


def newest_change_at(tx: Tx) -> datetime | None:
    """From when on the newest change counts; None where there is none but the very first."""
    newest: datetime | None = tx.execute(
        select(func.max(rule_changes.c.effective_at)).where(rule_changes.c.version > 1)
    ).scalar_one()
    return newest
