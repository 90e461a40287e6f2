"""Carries a retention run: keys first, rows after, a check that nothing older is left, a signed certificate for each organization last.

Each step is one bounded piece of work whose calls are idempotent, so one that broke off anywhere is simply done again. No transaction is
open during a call: what came of it is written if the run, locked now, is still as it was read; else another process was faster.
"""

from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Final

import structlog

from kept.access_control.v1 import keys_pb2
from kept.logging.v1 import lifecycle_pb2
from services.retention.certificates import destructions
from services.retention.certificates.certification import Certifier
from services.retention.holds.sweeping import is_behind
from services.retention.peers import Peers
from services.retention.rules import DueRules, RuleBook, days_of_lots, own_days
from services.retention.runs.statements import RunStatements
from services.retention.runs.states import Run, RunDay, RunSource, RunState
from services.retention.steps import Overtaken, unchanged
from services.retention.store import Tx
from services.retention.store import certificates as certificate_rows
from services.retention.store import runs as rows
from shared.audit import entry
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database, after_commit
from shared.errors import KeptError, Reason
from shared.ids import new_id
from shared.jobs import Job
from shared.outbox import Outbox
from shared.terms import parts_of

# Logging may know a new rule a moment later than this service; after that its refusal is a finding.
_PATIENCE: Final = timedelta(hours=1)
# A run that began so far ahead of now began by a clock that was wrong.
_AHEAD: Final = timedelta(hours=1)
# What a run is about is days old: a look for it may be older than the run by so much.
_LOOKED: Final = timedelta(minutes=1)
_PAGE: Final = 1000
_CERTIFICATES_A_STEP: Final = 100
_ACTOR: Final = "service:retention"
_log = structlog.get_logger(__name__)


class Runs:
    """Starts and carries runs; there is one at a time."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        peers: Peers,
        rules: RuleBook,
        certifier: Certifier,
    ) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._peers = peers
        self._rules = rules
        self._certifier = certifier
        self.job = Job("runs", timedelta(seconds=1), self.step)

    def start(self, actor: str) -> Run:
        """Starts a run over everything that is due now, or gives the one that is going on. Raises LEASE_LAPSED while no rule is in
        force, OVERLOADED right after a rule has changed."""
        with self._database.transaction() as tx:
            # One may end between the attempt and the look at it; then the second attempt starts ours.
            for _ in range(3):
                run = rows.going_on(tx) or self.start_in(tx, actor)
                if run is not None:
                    return run
        raise KeptError(
            Reason.REASON_OVERLOADED, "Other runs start and end; retry.", retry_after=timedelta(seconds=1)
        )

    def start_in(self, tx: Tx, actor: str) -> Run | None:
        """Starts a run in the caller's transaction; None where one is going on. Raises as `start` does."""
        self._rules.require_settled(tx)
        due = self._rules.due_in(tx)
        run = Run(
            run_id=new_id("run"),
            state=RunState.DESTROYING_KEYS,
            through_day=due.through_day,
            started_at=due.instant + CLOCK_TOLERANCE,
            started_by=actor,
            rule=due.default,
        )
        if not rows.start(tx, run):
            return None
        self._audit(tx, run, "run.started", actor, run.started_at, through_day=run.through_day.isoformat())
        after_commit(tx, self.job.wake.set)
        return rows.get(tx, run.run_id) or run

    def step(self) -> bool:
        """The job: one step of the run that is going on. True when the next one can be done at once."""
        with self._database.transaction() as tx:
            run = rows.going_on(tx)
        if run is None:
            return False
        try:
            match run.state:
                case RunState.DESTROYING_KEYS:
                    return self._destroy(run)
                case RunState.DROPPING_ROWS:
                    return self._drop(run)
                case _:
                    return self._certify(run)
        except Overtaken:
            return True

    def _at(self, run: Run) -> AbstractContextManager[Tx]:
        """See `unchanged`."""
        return unchanged(self._database, rows.lock, run.run_id, run)

    def due(self, tx: Tx, run: Run) -> DueRules:
        """What a run is about, by the rules as they were when it began."""
        return self._rules.due_of(tx, run.started_at, run.rule, run.through_day)

    def _due(self, run: Run) -> DueRules:
        with self._database.transaction() as tx:
            return self.due(tx, run)

    def _destroy(self, run: Run) -> bool:
        with self._database.transaction() as tx:
            if is_behind(tx, self._looked_since(run), self._clock.now()):
                return False  # what a hold on all that matches is on is found first
        answer = self._peers.keys.DestroyEpochs(
            keys_pb2.DestroyEpochsRequest(
                destruction_id=run.run_id,
                through_day=run.through_day.isoformat(),
                own=own_days(self._due(run)),
            )
        ).destruction
        destruction = destructions.from_message(run.run_id, answer)
        if destruction is None:
            return False
        destroyed = replace(run, destruction=destruction, epochs_destroyed=answer.epochs)
        with self._at(run) as tx:
            rows.save(tx, destroyed.to(RunState.DROPPING_ROWS))
        return True

    def _is_ahead(self, run: Run) -> bool:
        """Whether it began by a clock that was ahead and is not any more. It takes what is due, does not certify what is not, and makes way
        for another: all that waits for its end would else wait until that time has come."""
        return run.started_at > self._clock.now() + _AHEAD

    def _looked_since(self, run: Run) -> datetime:
        return self._clock.now() - _LOOKED if self._is_ahead(run) else run.started_at

    def _stored(self, run: Run, token: str) -> lifecycle_pb2.ListStoredDaysResponse:
        """A page of what is stored of what the run is about."""
        return self._peers.logging.ListStoredDays(
            lifecycle_pb2.ListStoredDaysRequest(
                through_day=run.through_day.isoformat(),
                own=own_days(self._due(run)),
                page_size=_PAGE,
                page_token=token,
            )
        )

    def _drop(self, run: Run) -> bool:
        if not run.days_listed:
            page = self._stored(run, run.days_token)
            listed = replace(run, days_token=page.next_page_token, days_listed=not page.next_page_token)
            with self._at(run) as tx:
                rows.add_days(tx, run.run_id, (date.fromisoformat(each.day) for each in page.days))
                rows.save(tx, listed)
            return True
        with self._database.transaction() as tx:
            day = rows.next_day(tx, run.run_id)
        if day is not None:
            self._drop_day(run, day)
            return True
        with self._at(run) as tx:
            days = rows.days(tx, run.run_id)
            dropped = replace(
                run,
                records_removed=sum(each.dropped - each.held for each in days),
                records_held=sum(each.held for each in days),
            )
            rows.save(tx, dropped.to(RunState.CERTIFYING))
        return True

    def _drop_day(self, run: Run, day: RunDay) -> None:
        own = self._due(run).own_days
        of_organizations = {name: own[name] for name in own if not parts_of(name)[1]}
        of_applications = {name: own[name] for name in own if name not in of_organizations}
        is_whole = day.day <= run.through_day
        try:
            answer = self._peers.logging.DropExpired(
                lifecycle_pb2.DropExpiredRequest(
                    run_id=run.run_id,
                    day=day.day.isoformat(),
                    keep_organization_ids=sorted(
                        name for name in of_organizations if is_whole and own[name] < day.day
                    ),
                    only_organization_ids=sorted(
                        name for name in of_organizations if not is_whole and own[name] >= day.day
                    ),
                    applications=days_of_lots(of_applications),
                    partition_stays=not is_whole,
                )
            )
        except KeptError as error:
            may_be_due = self._clock.now() < run.started_at + _PATIENCE and not self._is_ahead(run)
            if error.reason != Reason.REASON_NOT_DUE or may_be_due:
                raise
            _log.error("run.day_refused", run_id=run.run_id, day=day.day.isoformat())
            written = replace(day, is_refused=True)
        else:
            written = replace(day, dropped_at=self._clock.now(), dropped=answer.dropped, held=answer.held)
        with self._at(run) as tx:
            if rows.next_day(tx, run.run_id) == day:
                rows.save_day(tx, written)

    def _certify(self, run: Run) -> bool:
        if not run.is_checked:
            return self._check(run)
        with self._database.transaction() as tx:
            source = rows.next_source(tx, run.run_id)
            day = rows.next_uncounted(tx, run.run_id)
        if source is not None:
            self._collect_epochs(run, source)
            return True
        if day is not None:
            self._collect_counts(run, day)
            return True
        return self._issue(run)

    def _check(self, run: Run) -> bool:
        """Whether nothing of what the run is about is left, as logging sees it; a run that leaves something does not certify."""
        oldest = self._oldest_left(run)
        with self._at(run) as tx:
            refused = [day.day for day in rows.days(tx, run.run_id) if day.is_refused]
            left_behind = [day for day in (oldest, *refused) if day is not None]
            if left_behind:
                self._fail(tx, run, "rows_left", min(left_behind))
                return False
            rows.adopt(tx, run.run_id)
            rows.save(tx, replace(run, is_checked=True))
        return True

    def _oldest_left(self, run: Run) -> date | None:
        """The oldest day of which something is there that nothing holds. Days come in order, and after a run there are few."""
        token = ""
        while True:
            page = self._stored(run, token)
            for line in page.days:
                if line.records > line.held:
                    return date.fromisoformat(line.day)
            token = page.next_page_token
            if not token:
                return None

    def _fail(self, tx: Tx, run: Run, why: str, day: date) -> None:
        failed = run.to(RunState.NOT_CERTIFIED, self._clock.now())
        rows.save(tx, failed)
        certificate_rows.forget_act(tx, run.run_id)
        facts = {"through_day": run.through_day.isoformat(), "oldest_day": day.isoformat(), "why": why}
        removed = run.records_removed
        self._audit(
            tx, failed, "run.not_certified", _ACTOR, failed.ended_at, records_removed=removed, **facts
        )
        _log.error("run.not_certified", run_id=run.run_id, **facts)

    def _collect_epochs(self, run: Run, source: RunSource) -> None:
        page = self._peers.keys.ListDestroyedEpochs(
            keys_pb2.ListDestroyedEpochsRequest(
                destruction_id=source.source_run_id, page_size=_PAGE, page_token=source.epochs_token
            )
        )
        with self._at(run) as tx:
            if rows.next_source(tx, run.run_id) != source:
                return
            certificate_rows.add_epochs(
                tx,
                source.run_id,
                source.source_run_id,
                page.epochs,
            )
            # A restored database does not know what it had dropped, and finds nothing of it; logging is asked what went with these days.
            days = (date.fromisoformat(one.day) for one in page.epochs)
            rows.add_days(tx, run.run_id, days, self._clock.now())
            rows.save_source(
                tx,
                replace(source, epochs_token=page.next_page_token, epochs_listed=not page.next_page_token),
            )

    def _collect_counts(self, run: Run, day: RunDay) -> None:
        with self._database.transaction() as tx:
            sources = [source.run_id for source in rows.sources(tx, run.run_id)]
        page = self._peers.logging.ListDroppedCounts(
            lifecycle_pb2.ListDroppedCountsRequest(
                day=day.day.isoformat(), page_size=_PAGE, page_token=day.counts_token, run_ids=sources
            )
        )
        with self._at(run) as tx:
            if rows.next_uncounted(tx, run.run_id) != day:
                return
            certificate_rows.add_counts(tx, day.run_id, page.days)
            rows.save_day(
                tx, replace(day, counts_token=page.next_page_token, counts_listed=not page.next_page_token)
            )

    def _issue(self, run: Run) -> bool:
        """Signs the next certificates, and ends the run once all have their proof."""
        with self._at(run) as tx:
            signed, incomplete = certificate_rows.count_of_act(tx, run.run_id)
            alive = None if signed else certificate_rows.dropped_with_a_living_key(tx, run.run_id)
            if alive is not None:
                self._fail(tx, run, "keys_left", alive)
                return False
            organizations = certificate_rows.uncertified(tx, run.run_id, _CERTIFICATES_A_STEP)
            if organizations:
                statements = RunStatements(tx, run, self.due(tx, run))
                late = run.late_seconds
                for organization_id in organizations:
                    statement = statements.of(organization_id)
                    late = max(late, statement.late_seconds)
                    self._certifier.issue(tx, statement)
                rows.save(tx, replace(run, late_seconds=late))
                return True
            if incomplete:
                return False
            done = replace(run, certificates=signed).to(RunState.DONE, self._clock.now())
            rows.save(tx, done)
            rows.mark_certified(tx, run.run_id)
            certificate_rows.forget_act(tx, run.run_id)
            self._audit(
                tx,
                done,
                "run.ended",
                _ACTOR,
                done.ended_at,
                through_day=done.through_day.isoformat(),
                epochs_destroyed=done.epochs_destroyed,
                records_removed=done.records_removed,
                records_held=done.records_held,
                certificates=done.certificates,
                late_seconds=done.late_seconds,
            )
        if done.late_seconds:
            _log.warning("run.late", run_id=run.run_id, late_seconds=done.late_seconds)
        return False

    def _audit(
        self, tx: Tx, run: Run, kind: str, actor: str, at: datetime | None, **facts: str | int
    ) -> None:
        """at: the act's own instant."""
        at = at or self._clock.now()
        self._outbox.audit(tx, entry(kind, actor=actor, at=at, subjects=[run.run_id], facts=facts))
