"""Runs, their days, and whose destructions they certify."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.retention.certificates.destructions import Destruction
from services.retention.rules import RuleInForce
from services.retention.runs.states import Progress, Run, RunDay, RunSource, RunState
from services.retention.store import Tx
from services.retention.store.tables import certificates, run_days, run_sources, runs
from shared.terms import Term, TermKind

_OVER = (RunState.DONE, RunState.NOT_CERTIFIED)


def _made(row: Row[Any]) -> Run:
    return Run(
        run_id=row.run_id,
        state=RunState(row.state),
        through_day=row.through_day,
        started_at=row.started_at,
        started_by=row.started_by,
        rule=RuleInForce(
            Term(TermKind(row.term_kind), row.term_days),
            timedelta(seconds=row.run_window_seconds),
            row.rule_version,
            row.rule_effective_at,
        ),
        ended_at=row.ended_at,
        epochs_destroyed=row.epochs_destroyed,
        records_removed=row.records_removed,
        records_held=row.records_held,
        certificates=row.certificates,
        late_seconds=row.late_seconds,
        destruction=Destruction(
            row.run_id, row.marked_at, row.destroyed_at, row.root_key_id, row.key_store_statement
        ),
        days_listed=row.days_listed,
        days_token=row.days_token,
        is_checked=row.is_checked,
        number=row.number,
    )


def start(tx: Tx, run: Run) -> bool:
    """Adds a run; False when another one is going on."""
    added = tx.execute(
        upsert(runs)
        .values(
            run_id=run.run_id,
            state=run.state,
            through_day=run.through_day,
            started_at=run.started_at,
            started_by=run.started_by,
            term_kind=run.rule.term.kind,
            term_days=run.rule.term.days,
            run_window_seconds=int(run.rule.run_window.total_seconds()),
            rule_version=run.rule.version,
            rule_effective_at=run.rule.effective_at,
        )
        .on_conflict_do_nothing()
        .returning(runs.c.run_id)
    ).first()
    return added is not None


def save(tx: Tx, run: Run) -> None:
    """Stores what may change of a locked run."""
    tx.execute(
        update(runs)
        .where(runs.c.run_id == run.run_id)
        .values(
            state=run.state,
            ended_at=run.ended_at,
            epochs_destroyed=run.epochs_destroyed,
            records_removed=run.records_removed,
            records_held=run.records_held,
            certificates=run.certificates,
            late_seconds=run.late_seconds,
            marked_at=run.destruction.marked_at,
            destroyed_at=run.destruction.destroyed_at,
            root_key_id=run.destruction.root_key_id,
            key_store_statement=run.destruction.key_store_statement,
            days_listed=run.days_listed,
            days_token=run.days_token,
            is_checked=run.is_checked,
        )
    )


def get(tx: Tx, run_id: str) -> Run | None:
    """One run."""
    row = tx.execute(select(runs).where(runs.c.run_id == run_id)).one_or_none()
    return None if row is None else _made(row)


def newest(tx: Tx) -> Run | None:
    """The run that was started last."""
    row = tx.execute(select(runs).order_by(runs.c.number.desc()).limit(1)).one_or_none()
    return None if row is None else _made(row)


def newest_done(tx: Tx) -> Run | None:
    """The run that was started last of those that certified."""
    row = tx.execute(
        select(runs).where(runs.c.state == RunState.DONE).order_by(runs.c.number.desc()).limit(1)
    ).one_or_none()
    return None if row is None else _made(row)


def is_any_uncertified(tx: Tx) -> bool:
    """Whether a run left something behind, and none since has certified for it."""
    return tx.execute(select(_uncertified().exists())).scalar_one()


def _uncertified() -> Select[tuple[str]]:
    return select(runs.c.run_id).where(runs.c.state == RunState.NOT_CERTIFIED, runs.c.certified_by.is_(None))


def going_on(tx: Tx) -> Run | None:
    """The run that is not over."""
    row = tx.execute(select(runs).where(runs.c.state.not_in(_OVER))).one_or_none()
    return None if row is None else _made(row)


def lock(tx: Tx, run_id: str) -> Run | None:
    """One run; nobody else changes it before this transaction ends."""
    row = tx.execute(select(runs).where(runs.c.run_id == run_id).with_for_update()).one_or_none()
    return None if row is None else _made(row)


def page(tx: Tx, before: int | None, limit: int) -> list[Run]:
    """Runs, newest first."""
    query = select(runs).order_by(runs.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(runs.c.number < before)
    return [_made(row) for row in tx.execute(query)]


def add_days(tx: Tx, run_id: str, days: Iterable[date], dropped_at: datetime | None = None) -> None:
    """Days whose rows the run drops, or dropped; what is known stays."""
    values = [{"run_id": run_id, "day": day, "dropped_at": dropped_at} for day in sorted(set(days))]
    if values:
        tx.execute(upsert(run_days).on_conflict_do_nothing(), values)


def _day(row: Row[Any]) -> RunDay:
    return RunDay(**row._mapping)


def next_day(tx: Tx, run_id: str) -> RunDay | None:
    """The oldest day that is neither dropped nor refused."""
    row = tx.execute(
        select(run_days)
        .where(run_days.c.run_id == run_id, run_days.c.dropped_at.is_(None), run_days.c.is_refused.is_(False))
        .order_by(run_days.c.day)
        .limit(1)
    ).one_or_none()
    return None if row is None else _day(row)


def next_uncounted(tx: Tx, run_id: str) -> RunDay | None:
    """The oldest dropped day whose counts are not all here yet."""
    row = tx.execute(
        select(run_days)
        .where(
            run_days.c.run_id == run_id,
            run_days.c.dropped_at.is_not(None),
            run_days.c.counts_listed.is_(False),
        )
        .order_by(run_days.c.day)
        .limit(1)
    ).one_or_none()
    return None if row is None else _day(row)


def days(tx: Tx, run_id: str) -> Sequence[RunDay]:
    """All days of a run, oldest first."""
    rows = tx.execute(select(run_days).where(run_days.c.run_id == run_id).order_by(run_days.c.day))
    return [_day(row) for row in rows]


def progress(tx: Tx, run_ids: Sequence[str]) -> dict[str, Progress]:
    """How far runs are, by run; none of one that has nothing to tell."""
    of_days = (
        select(
            run_days.c.run_id,
            func.count().label("days"),
            func.count(run_days.c.dropped_at).label("dropped"),
            func.coalesce(func.sum(run_days.c.dropped - run_days.c.held), 0).label("removed"),
            func.coalesce(func.sum(run_days.c.held), 0).label("held"),
        )
        .where(run_days.c.run_id.in_(run_ids))
        .group_by(run_days.c.run_id)
    )
    signed = (
        select(certificates.c.act_id, func.count().label("signed"))
        .where(certificates.c.act_id.in_(run_ids))
        .group_by(certificates.c.act_id)
    )
    by_act = {row.act_id: row.signed for row in tx.execute(signed)}
    return {
        row.run_id: Progress(
            row.days, row.dropped, int(row.removed), int(row.held), by_act.get(row.run_id, 0)
        )
        for row in tx.execute(of_days)
    }


def save_day(tx: Tx, day: RunDay) -> None:
    """Stores what may change of a day."""
    tx.execute(
        update(run_days)
        .where(run_days.c.run_id == day.run_id, run_days.c.day == day.day)
        .values(
            dropped_at=day.dropped_at,
            is_refused=day.is_refused,
            dropped=day.dropped,
            held=day.held,
            counts_token=day.counts_token,
            counts_listed=day.counts_listed,
        )
    )


def adopt(tx: Tx, run_id: str) -> None:
    """Makes the run certify its own destructions and those of runs before it that did not certify, with the days that they
    dropped."""
    uncertified = _uncertified()
    tx.execute(insert(run_sources).values(run_id=run_id, source_run_id=run_id))
    tx.execute(
        insert(run_sources).from_select(
            ["run_id", "source_run_id"], select(literal(run_id), uncertified.subquery().c.run_id)
        )
    )
    tx.execute(
        upsert(run_days)
        .from_select(
            ["run_id", "day", "dropped_at", "dropped", "held"],
            select(
                literal(run_id), run_days.c.day, run_days.c.dropped_at, run_days.c.dropped, run_days.c.held
            ).where(run_days.c.run_id.in_(uncertified), run_days.c.dropped_at.is_not(None)),
        )
        .on_conflict_do_nothing()
    )


def next_source(tx: Tx, run_id: str) -> RunSource | None:
    """A run whose destroyed epochs are not all here yet."""
    row = tx.execute(
        select(run_sources)
        .where(run_sources.c.run_id == run_id, run_sources.c.epochs_listed.is_(False))
        .order_by(run_sources.c.source_run_id)
        .limit(1)
    ).one_or_none()
    return None if row is None else RunSource(**row._mapping)


def save_source(tx: Tx, source: RunSource) -> None:
    """Stores how far the listing of a source is."""
    tx.execute(
        update(run_sources)
        .where(run_sources.c.run_id == source.run_id, run_sources.c.source_run_id == source.source_run_id)
        .values(epochs_token=source.epochs_token, epochs_listed=source.epochs_listed)
    )


def sources(tx: Tx, run_id: str) -> Sequence[Run]:
    """The runs that a run certifies, oldest first."""
    rows = tx.execute(
        select(runs)
        .join(run_sources, run_sources.c.source_run_id == runs.c.run_id)
        .where(run_sources.c.run_id == run_id)
        .order_by(runs.c.number)
    )
    return [_made(row) for row in rows]


def mark_certified(tx: Tx, run_id: str) -> None:
    """What the run's sources destroyed is certified now."""
    sourced = select(run_sources.c.source_run_id).where(run_sources.c.run_id == run_id)
    tx.execute(update(runs).where(runs.c.run_id.in_(sourced)).values(certified_by=run_id))
