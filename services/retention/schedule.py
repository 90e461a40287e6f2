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
                rule, through_day = self._rules.due_in(tx)
            except KeptError as error:
                if error.reason == Reason.REASON_LEASE_LAPSED:  # the first rule is not in force yet
                    return False
                raise
        is_uncertified = last is not None and last.state is RunState.NOT_CERTIFIED
        ALERT.labels("retention_run_not_certified").set(is_uncertified)
        if last is not None and not last.is_over:
            _alert_late(now >= last.rule.term_end(last.through_day))
            return False
        if last is not None and not _is_another_needed(last, through_day, now):
            _alert_late(False)
            return False
        # What is due ought to be gone by now: an alert, unless logging can say that there is nothing.
        is_late = now >= rule.term_end(through_day)
        try:
            is_needed = is_uncertified or self._is_anything_stored(through_day)
        except KeptError:
            _alert_late(is_late)
            raise
        _alert_late(is_late and is_needed)
        if is_needed:
            with self._database.transaction() as tx:
                if store.try_lock(tx, "schedule") and rows.newest(tx) == last:
                    self._runs.start_in(tx, _ACTOR)
        return False

    def _is_anything_stored(self, through_day: date) -> bool:
        page = self._peers.logging.ListStoredDays(
            lifecycle_pb2.ListStoredDaysRequest(through_day=through_day.isoformat(), page_size=1)
        )
        return bool(page.days or page.next_page_token)


def _alert_late(is_late: bool) -> None:
    ALERT.labels("retention_run_late").set(is_late)


def _is_another_needed(last: Run, through_day: date, now: datetime) -> bool:
    """Whether the run that was started last leaves work for another one, if anything is due."""
    if not last.is_over:
        return False
    if last.state is RunState.DONE:
        return last.through_day < through_day
    # An end that lies ahead was written before the clock was set back: it is no reason to wait.
    return last.ended_at is None or not last.ended_at <= now < last.ended_at + _RETRY
