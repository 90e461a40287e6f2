"""What a run's certificate says of one organization."""

from collections.abc import Sequence

from services.retention.certificates.certificate import (
    MOST_HOLDS,
    ApplicationRule,
    CertifiedDay,
    HoldNamed,
    Statement,
    late_seconds,
)
from services.retention.rules import DueRules, RuleInForce
from services.retention.runs.states import Run
from services.retention.store import Tx
from services.retention.store import certificates as certificate_rows
from services.retention.store import keeping as hold_rows
from services.retention.store import runs as rows
from shared.terms import lot_of


class RunStatements:
    """Statements for a run's organizations. What is the same for all of them is read once."""

    def __init__(self, tx: Tx, run: Run, due: DueRules) -> None:
        self._tx = tx
        self._run = run
        self._due = due
        self._days = {day.day: day for day in rows.days(tx, run.run_id)}
        self._destructions = {source.run_id: source.destruction for source in rows.sources(tx, run.run_id)}

    def of(self, organization_id: str) -> Statement:
        """The statement for one organization."""
        tx, run = self._tx, self._run
        epochs = certificate_rows.epochs(tx, run.run_id, organization_id)
        counts = certificate_rows.counts(tx, run.run_id, organization_id)
        touched = sorted({(one.day, one.application) for one in epochs} | set(counts))
        days = [
            CertifiedDay(
                day,
                tuple(one.epoch_key_id for one in epochs if (one.day, one.application) == (day, application)),
                tuple(
                    sorted(
                        {
                            one.destruction_id
                            for one in epochs
                            if (one.day, one.application) == (day, application)
                        }
                    )
                ),
                *counts.get((day, application), (0, 0)),
                application,
            )
            for day, application in touched
        ]
        touched_days = sorted({day for day, _ in touched})
        named, more = hold_rows.keeping(tx, organization_id, run.started_at, touched_days, MOST_HOLDS)
        cited = {one.destruction_id for one in epochs}
        lots = {name: lot_of(organization_id, name) for name in sorted({name for _, name in touched})}
        dropped = [
            dropped_at
            for day, _ in counts
            if day in self._days and (dropped_at := self._days[day].dropped_at) is not None
        ]
        return Statement(
            organization_id=organization_id,
            act_id=run.run_id,
            started_at=run.started_at,
            rule=self._due.of(organization_id),
            through_day=self._due.through(organization_id),
            days=days,
            destructions=[self._destructions[each] for each in self._destructions if each in cited],
            removed_at=max(dropped, default=None),
            removed=sum(removed for removed, _ in counts.values()),
            held=sum(held for _, held in counts.values()),
            late_seconds=max(
                self._late(self._due.of(lot), [day for day in days if day.application == name])
                for name, lot in lots.items()
            ),
            holds=[HoldNamed(hold_id, kind, records) for hold_id, kind, records in named],
            more_holds=more,
            applications=[
                ApplicationRule(name, self._due.of(lot), self._due.through(lot))
                for name, lot in lots.items()
                if name
            ],
        )

    def _late(self, rule: RuleInForce, days: Sequence[CertifiedDay]) -> int:
        oldest = next((day for day in days if (day.removed or 0) + (day.held or 0) > 0), None)
        if oldest is None:
            return 0
        # Rows without content have no key: they are gone when they are dropped.
        gone = [self._destructions[each].destroyed_at for each in oldest.destruction_ids]
        gone_at = max((at for at in gone if at is not None), default=None)
        if gone_at is None and oldest.day in self._days:
            gone_at = self._days[oldest.day].dropped_at
        return late_seconds(rule, oldest.day, gone_at)
