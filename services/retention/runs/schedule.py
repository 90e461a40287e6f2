"""Starts a run by itself once a day, as soon as something is due that no run has dealt with; and keeps the alerts about runs."""

from datetime import datetime, timedelta
from typing import Final

from kept.logging.v1 import lifecycle_pb2
from services.retention import store
from services.retention.peers import Peers
from services.retention.rules import DueRules, RuleBook, own_days
from services.retention.runs.runs import Runs
from services.retention.runs.states import Run, RunState
from services.retention.store import runs as rows
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.jobs import Job
from shared.telemetry import ALERT

_ACTOR: Final = "service:retention"
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
        now = self._clock.now()
        with self._database.transaction() as tx:
            last = rows.newest(tx)
            try:
                due = self._rules.due_in(tx)
            except KeptError as error:
                if error.reason == Reason.REASON_LEASE_LAPSED:  # the first rule is not in force yet
                    return False
                raise
            before = None if last is None else self._runs.due(tx, last)
            is_uncertified = rows.is_any_uncertified(tx)
            last_done = rows.newest_done(tx)
            done = None if last_done is None else self._runs.due(tx, last_done)
        ALERT.labels("retention_run_not_certified").set(is_uncertified)
        if last is not None and before is not None and not last.is_over:
            _alert_late(before.is_late(now, done))
            return False
        if (
            last is not None
            and before is not None
            and not _is_another_needed(last, due.is_more_than(before), now)
        ):
            _alert_late(is_uncertified and due.is_late(now, done))
            return False
        # What is due ought to be gone by now: an alert, unless logging can say that there is nothing.
        is_late = due.is_late(now, done)
        try:
            is_needed = is_uncertified or self._is_anything_stored(due)
        except KeptError:
            _alert_late(is_late)
            raise
        _alert_late(is_late and is_needed)
        if is_needed:
            self._start(last)
        return False

    def _start(self, last: Run | None) -> None:
        """Starts a run, unless another process was faster or a rule has just changed."""
        try:
            with self._database.transaction() as tx:
                if store.try_lock(tx, "schedule") and rows.newest(tx) == last:
                    self._runs.start_in(tx, _ACTOR)
        except KeptError as error:
            if error.reason != Reason.REASON_OVERLOADED:
                raise

    def _is_anything_stored(self, due: DueRules) -> bool:
        page = self._peers.logging.ListStoredDays(
            lifecycle_pb2.ListStoredDaysRequest(
                through_day=due.through_day.isoformat(), own=own_days(due), page_size=1
            )
        )
        return bool(page.days or page.next_page_token)


def _alert_late(is_late: bool) -> None:
    ALERT.labels("retention_run_late").set(is_late)


def _is_another_needed(last: Run, is_more_due: bool, now: datetime) -> bool:
    """Whether the run that was started last leaves work for another one, if anything is stored. is_more_due: than when it began."""
    if last.state is RunState.DONE:
        return is_more_due
    # An end that lies ahead was written before the clock was set back: it is no reason to wait.
    return last.ended_at is None or not last.ended_at <= now < last.ended_at + _RETRY
