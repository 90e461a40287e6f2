"""Starts a run by itself once a day, as soon as something is due that no run has dealt with; and keeps the alerts about runs."""

from datetime import date, datetime, timedelta
from typing import Final

from kept.logging.v1 import lifecycle_pb2
from services.retention import store
from services.retention.peers import Peers
from services.retention.rules import RuleBook
from services.retention.run_states import Run, RunState
from services.retention.runs import Runs
from services.retention.store import runs as rows
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.jobs import Job
from shared.telemetry import ALERT

# A run that left something behind is tried again after this, until one certifies.
_RETRY: Final = timedelta(hours=1)


class Schedule:
    """The scheduler of runs. Replicas ask in turn; the database lets one run exist."""

    def __init__(self, database: Database, clock: Clock, peers: Peers, rules: RuleBook, runs: Runs) -> None:
        self._database = database
        self._clock = clock
        self._peers = peers
        self._rules = rules
        self._runs = runs
        self.job = Job("schedule", timedelta(seconds=2), self.step)

    def step(self) -> bool:
        """The job: starts a run when one is needed."""
        try:
            _, through_day = self._rules.due_now()
        except KeptError as error:
            if error.reason == Reason.REASON_LEASE_LAPSED:  # the first rule is not in force yet
                return False
            raise
        now = self._clock.now()
        with self._database.transaction() as tx:
            if not store.try_lock(tx, "schedule"):
                return False
            last = rows.newest(tx)
            self._alert(last)
            if last is not None and not _is_another_needed(last, through_day, now):
                return False
            page = self._peers.logging.ListStoredDays(
                lifecycle_pb2.ListStoredDaysRequest(through_day=through_day.isoformat(), page_size=1000)
            )
            if any(day.records for day in page.days) or page.next_page_token:
                self._runs.start("service:retention")
        return False

    def _alert(self, last: Run | None) -> None:
        late = (
            last is not None
            and not last.is_over
            and self._clock.now() >= last.rule.term_end(last.through_day)
        )
        ALERT.labels("retention_run_late").set(int(late))
        not_certified = last is not None and last.state is RunState.NOT_CERTIFIED
        ALERT.labels("retention_run_not_certified").set(int(not_certified))


def _is_another_needed(last: Run, through_day: date, now: datetime) -> bool:
    """Whether the run that was started last leaves work for another one, if anything is due."""
    if not last.is_over:
        return False
    if last.state is RunState.DONE:
        return last.through_day < through_day
    # An end that lies ahead was written before the clock was set back: it is no reason to wait.
    return last.ended_at is None or not last.ended_at <= now < last.ended_at + _RETRY
