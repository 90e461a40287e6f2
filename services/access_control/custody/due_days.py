"""Which days a destruction is about, as it is written down: one for everybody, and others for organizations and applications with a rule of
their own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from shared.terms import rules_behind


@dataclass(frozen=True)
class DueDays:
    """Up to and including a UTC day; of lots (shared.terms) in `own` up to and including theirs."""

    day: date
    own: Mapping[str, date] = field(default_factory=dict)

    @property
    def newest(self) -> date:
        """The newest day that anybody is due for."""
        return max([self.day, *self.own.values()])

    def through(self, lot: str) -> date:
        """Up to which day a lot is meant."""
        return next((self.own[one] for one in rules_behind(lot) if one in self.own), self.day)

    def __str__(self) -> str:
        """ "2026-03-01", or "2026-03-01 org_…=2026-03-20 …" in order of lots: the same for the same days."""
        return " ".join(
            [self.day.isoformat(), *(f"{name}={day.isoformat()}" for name, day in sorted(self.own.items()))]
        )

    @staticmethod
    def parse(text: str) -> "DueDays":
        """What `str` made. Raises ValueError for anything else."""
        day, *own = text.split(" ")
        named = (each.split("=") for each in own)
        return DueDays(date.fromisoformat(day), {name: date.fromisoformat(its) for name, its in named})
