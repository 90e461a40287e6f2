"""A retention run as stored, and its state machine. Pure; runs carries it out."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum

from services.retention.certificates.destructions import Destruction
from services.retention.rules import RuleInForce
from shared.errors import wrong_state


class RunState(StrEnum):
    """Where a run is. DONE and NOT_CERTIFIED are final."""

    DESTROYING_KEYS = "DESTROYING_KEYS"
    DROPPING_ROWS = "DROPPING_ROWS"
    CERTIFYING = "CERTIFYING"
    DONE = "DONE"
    NOT_CERTIFIED = "NOT_CERTIFIED"


_NEXT = {
    RunState.DESTROYING_KEYS: frozenset({RunState.DROPPING_ROWS}),
    RunState.DROPPING_ROWS: frozenset({RunState.CERTIFYING}),
    RunState.CERTIFYING: frozenset({RunState.DONE, RunState.NOT_CERTIFIED}),
    RunState.DONE: frozenset(),
    RunState.NOT_CERTIFIED: frozenset(),
}


@dataclass(frozen=True)
class Run:
    """One run. rule: as it was in force when the run began; days_listed, is_checked: how far within a state it is."""

    run_id: str
    state: RunState
    through_day: date
    started_at: datetime
    started_by: str
    rule: RuleInForce
    ended_at: datetime | None = None
    epochs_destroyed: int = 0
    records_removed: int = 0
    records_held: int = 0
    certificates: int = 0
    late_seconds: int = 0
    destruction: Destruction = field(default_factory=lambda: Destruction(""))
    days_listed: bool = False
    days_token: str = ""
    is_checked: bool = False
    number: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return not _NEXT[self.state]

    def to(self, state: RunState, now: datetime | None = None) -> "Run":
        """The run in its next state; with `now` where that is a final one. Raises WRONG_STATE for a step that does not exist."""
        if state not in _NEXT[self.state]:
            raise wrong_state(f"A run does not go from here to {state}.", self.state)
        return replace(self, state=state, ended_at=now if not _NEXT[state] else None)


@dataclass(frozen=True)
class RunDay:
    """One UTC day of a run. dropped_at: when its rows were gone; is_refused: logging says that not all of it is due."""

    run_id: str
    day: date
    dropped_at: datetime | None = None
    is_refused: bool = False
    dropped: int = 0
    held: int = 0
    counts_token: str = ""
    counts_listed: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a run is: days that are known, those of them whose rows are gone; rows removed and held with these, certificates signed."""

    days: int = 0
    days_dropped: int = 0
    removed: int = 0
    held: int = 0
    certificates: int = 0


@dataclass(frozen=True)
class RunSource:
    """A run whose destructions another one certifies; most often itself."""

    run_id: str
    source_run_id: str
    epochs_token: str = ""
    epochs_listed: bool = False
