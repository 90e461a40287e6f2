"""What a run would do now, organization by organization and day by day, and what is kept and why. Asks, and writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from kept.logging.v1 import lifecycle_pb2
from kept.retention.v1 import rules_pb2
from services.retention.peers import Peers
from services.retention.rules import DueRules, RuleBook, RuleInForce, days_of_lots, own_days
from services.retention.store import keeping as hold_rows
from services.retention.store.keeping import Keeping
from shared.database import Database
from shared.terms import lot_of

_LINES: Final = 1000
# Before all days: of whom nothing else is said, nothing is asked.
_NO_DAY: Final = date.min.isoformat()


@dataclass(frozen=True)
class PlannedDay:
    """One lot's day (shared.terms). goes: rows that would go. held: rows that holds keep. rule: by which it is due, or not; holds: those
    that keep something of the day. application: whose own lot it is; "" for all others."""

    organization_id: str
    day: date
    goes: int
    held: int
    rule: RuleInForce
    due_at: datetime
    holds: Sequence[Keeping] = ()
    application: str = ""

    @property
    def lot(self) -> str:
        """Whose records it is about."""
        return lot_of(self.organization_id, self.application)


@dataclass(frozen=True)
class Plan:
    """What a run would do now. through_day: by the default rule. days: what is due. kept_longer: what is not, because of a longer term.
    is_truncated: there is more of either than is here."""

    through_day: date
    days: Sequence[PlannedDay]
    kept_longer: Sequence[PlannedDay]
    is_truncated: bool


class Planner:
    """Makes plans."""

    def __init__(self, database: Database, peers: Peers, rules: RuleBook) -> None:
        self._database = database
        self._peers = peers
        self._rules = rules

    def plan(self) -> Plan:
        """What is due now. Raises LEASE_LAPSED while no rule is in force."""
        with self._database.transaction() as tx:
            due = self._rules.due_in(tx)
        going = self._stored(due.through_day.isoformat(), own_days(due))
        longer = days_of_lots(
            {name: due.through_day for name, day in due.own_days.items() if day < due.through_day}
        )
        staying = self._stored(_NO_DAY, longer) if longer else lifecycle_pb2.ListStoredDaysResponse()
        days = self._explained(due, going)
        kept = [each for each in self._explained(due, staying) if each.day > due.through(each.lot)]
        return Plan(due.through_day, days, kept, bool(going.next_page_token or staying.next_page_token))

    def _stored(
        self, through_day: str, own: Sequence[rules_pb2.OrganizationDue]
    ) -> lifecycle_pb2.ListStoredDaysResponse:
        return self._peers.logging.ListStoredDays(
            lifecycle_pb2.ListStoredDaysRequest(through_day=through_day, own=own, page_size=_LINES)
        )

    def _explained(self, due: DueRules, page: lifecycle_pb2.ListStoredDaysResponse) -> list[PlannedDay]:
        lines = [each for each in page.days if each.records]
        held = {(each.organization_id, date.fromisoformat(each.day)) for each in lines if each.held}
        with self._database.transaction() as tx:
            keeping = hold_rows.keeping_on(tx, held)
        planned: list[PlannedDay] = []
        for each in lines:
            day, rule = date.fromisoformat(each.day), due.of(lot_of(each.organization_id, each.application))
            planned.append(
                PlannedDay(
                    each.organization_id,
                    day,
                    each.records - each.held,
                    each.held,
                    rule,
                    rule.due_at(day),
                    keeping.get((each.organization_id, day), ()) if each.held else (),
                    each.application,
                )
            )
        return planned
