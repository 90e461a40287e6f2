"""What logging is asked for the rules over log data: every window of every rule, in order, once it is over, and once more a day later, when
no record can come for it any more.

How far each rule is stands in the database and moves in the transaction that files an answer. So a window is asked for again after a crash
of either side, and filed once. A new version of the rules goes on where the one before was: no window is left out between the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.safety_review.detection.in_force import Rules, version_of
from services.safety_review.detection.rule_fields import Action
from services.safety_review.log_data.rules import LogRule
from services.safety_review.store import log_rules as store
from services.safety_review.store.log_rules import Progress
from shared import pages
from shared.clock import Clock
from shared.database import Database
from shared.telemetry import ALERT

# How long after its creation a record usually has come: gateways send in batches.
GRACE: Final = timedelta(minutes=2)
# Logging takes no record later than a day after its creation (kept.logging.v1, RECORD_TOO_LATE).
SETTLES: Final = timedelta(hours=24)
# What may be passed over in one answer.
_MOST_PASSED: Final = timedelta(days=7)
_LEASE: Final = timedelta(minutes=2)
_BEHIND: Final = timedelta(hours=1)
_LIST: Final = "log_rules"


@dataclass(frozen=True)
class Question:
    """A window of a rule. is_last: nothing can come for it any more."""

    rule: LogRule
    rules_version: str
    begins: datetime
    is_last: bool

    @property
    def ends(self) -> datetime:
        """Where the window ends, exclusive."""
        return self.begins + self.rule.window

    @property
    def due_at(self) -> datetime:
        """From when on it is asked."""
        return self.ends + GRACE + (SETTLES if self.is_last else timedelta())

    def may_pass_until(self, now: datetime) -> datetime:
        """Up to where windows are due, from this one on, which is: so far an answer may say that there is nothing. At most seven days."""
        further = min(now - self.due_at, _MOST_PASSED - self.rule.window) // self.rule.window
        return self.ends + further * self.rule.window


@dataclass(frozen=True)
class Standing:
    """A rule, how far it is, and findings of it that there are."""

    rule: LogRule
    looked_until: datetime | None
    findings: int


class LogQuestions:
    """Asks, one window after the other."""

    def __init__(self, database: Database, clock: Clock, rules: Rules) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules

    def take(self) -> tuple[Question, datetime] | None:
        """The question that is due for longest, leased to the caller, and up to where windows may be passed over with it. None while this
        process does not have the rules in force."""
        rules = self._rules.matcher.rules
        in_force = self._rules.in_force()
        if in_force is None or in_force.digest != rules.digest:
            return None
        now = self._clock.now()
        with self._database.transaction() as tx:
            known = store.progress(tx)
            if known.keys() != {rule.id for rule in rules.log_rules}:
                store.forget_others(tx, [rule.id for rule in rules.log_rules])
                for rule in rules.log_rules:
                    store.begin(tx, Progress(rule.id, rule.window_of(now), rule.window_of(now)))
                known = store.progress(tx)
            due = [
                question
                for rule in rules.log_rules
                for question in questions(rule, version_of(rules), known[rule.id])
                if question.due_at <= now
            ]
            for question in sorted(due, key=lambda one: one.due_at):
                if store.take(tx, question.rule.id, now, _LEASE):
                    return question, question.may_pass_until(now)
        return None

    def watch(self) -> bool:
        """A job's step: says by an alert that windows are over for an hour and were not looked at."""
        now = self._clock.now()
        rules = self._rules.matcher.rules
        with self._database.transaction() as tx:
            known = store.progress(tx)
        ALERT.labels("log_rules_behind").set(
            any(
                rule.id in known and known[rule.id].looked_until + rule.window + GRACE < now - _BEHIND
                for rule in rules.log_rules
            )
        )
        return False

    def page(self, size: int, token: str) -> tuple[Sequence[Standing], str]:
        """A page of the rules, in the file's order, and the next page's token. Raises INVALID_ARGUMENT for a token that this list did not
        give."""
        with self._database.transaction() as tx:
            known, findings = store.progress(tx), store.counts(tx)
        numbered = [
            (
                place,
                Standing(
                    rule,
                    known[rule.id].looked_until if rule.id in known else None,
                    findings.get(rule.id, 0),
                ),
            )
            for place, rule in enumerate(self._rules.matcher.rules.log_rules, start=1)
        ]
        found, next_token = pages.page(
            _LIST, size, token, lambda after, most: numbered[after : after + most], lambda one: one[0]
        )
        return [standing for _, standing in found], next_token


def questions(rule: LogRule, version: str, progress: Progress) -> Sequence[Question]:
    """What is to be asked next for a rule. One that only observes is asked once: nothing says that a window was counted already."""
    first = Question(rule, version, rule.window_of(progress.looked_until), is_last=False)
    if rule.action is Action.OBSERVE:
        return (first,)
    return first, Question(rule, version, rule.window_of(progress.settled_until), is_last=True)


def moved(question: Question, until: datetime) -> dict[str, datetime]:
    """How far the rule is once windows are answered from the question's up to an instant, by column."""
    if question.is_last:
        return {"settled_until": until}
    if question.rule.action is Action.OBSERVE:
        return {"looked_until": until, "settled_until": until}
    return {"looked_until": until}
