"""Which rule counted when, read off retention's feed: what the invariants about terms go by."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from kept.retention.v1 import rules_pb2
from shared.terms import NEVER, Rule, parts_of, rule_of, rules_behind
from tests.simulation.looks import Looks

# A run has its window, and people look at the end of a day: what is there a day after it had to be gone is too old.
_SLACK = timedelta(days=1)


@dataclass(frozen=True)
class Interval:
    """A rule and when it counts: [since, until)."""

    since: datetime
    until: datetime
    rule: Rule


class RulesOverTime:
    """All rules that there were, are, and are about to be."""

    def __init__(self, looks: Looks) -> None:
        self._changes: dict[str, list[tuple[datetime, Rule | None]]] = {}
        for subject, payload, effective_at in looks.rows(
            "retention", "SELECT subject, payload, effective_at FROM rule_changes ORDER BY version"
        ):
            rule = rule_of(rules_pb2.RuleChange.FromString(bytes(payload)))
            self._changes.setdefault(subject, []).append((effective_at, rule))

    @property
    def applications(self) -> list[str]:
        """The lots of applications that have terms of their own, or had them."""
        return sorted(subject for subject in self._changes if parts_of(subject)[1])

    def has_own(self, lot: str, since: datetime, until: datetime) -> bool | None:
        """Whether a lot had a term of its own all the time between two instants, or at none; None where it had one at some."""
        before = [rule for at, rule in self._changes.get(lot, []) if at <= since][-1:] or [None]
        found = {rule is not None for rule in before} | {
            rule is not None for at, rule in self._changes.get(lot, []) if since < at <= until
        }
        return found.pop() if len(found) == 1 else None

    def intervals(self, lot: str) -> list[Interval]:
        """What counted for a lot (shared.terms), oldest first."""
        begins = sorted({at for subject in rules_behind(lot) for at, _ in self._changes.get(subject, [])})
        ends = [*begins[1:], NEVER]
        return [
            Interval(since, until, self._at(lot, since)) for since, until in zip(begins, ends, strict=True)
        ]

    def _at(self, lot: str, instant: datetime) -> Rule:
        for subject in rules_behind(lot):
            stated = [rule for at, rule in self._changes.get(subject, []) if at <= instant]
            if stated and stated[-1] is not None:
                return stated[-1]
        raise AssertionError("the default rule is the first of all")

    def in_force(self, lot: str, instant: datetime) -> Interval:
        """What counts for a lot at an instant."""
        return next(each for each in reversed(self.intervals(lot)) if each.since <= instant)

    def first_due_at(self, lot: str, day: date) -> datetime:
        """When the records of a day were due for the first time, or will be: from then on they may be gone, whatever came later."""
        return min(
            (
                due_at
                for each in self.intervals(lot)
                if (due_at := max(each.since, each.rule.due_at(day))) < each.until
            ),
            default=NEVER,
        )

    def due_since(self, lot: str, day: date, instant: datetime) -> datetime:
        """Since when they are due by the rule that counts at an instant, or from when on they will be."""
        now = self.in_force(lot, instant)
        return max(now.since, now.rule.due_at(day))

    def is_too_old(self, lot: str, day: date, now: datetime) -> bool:
        """Whether what is there of a day is too old."""
        rule = self.in_force(lot, now)
        end = rule.rule.term_end(day)
        return end < NEVER and now >= max(end, rule.since) + _SLACK
