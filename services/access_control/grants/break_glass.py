"""Breaking the glass: access that is taken at once, because nobody can be asked in time. It is short, loud, and looked at by somebody else
within a day, or who took it is granted nothing more.

For who is on call alone (policies/break_glass.cedar), and never where the organization approves each access itself.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from kept.access_control.v1 import grants_pb2
from services.access_control.audit.decision_log import DecisionLog
from services.access_control.grants.acts import GrantActs, View, end_grants
from services.access_control.grants.approval import require_approver
from services.access_control.grants.grant import Grant
from services.access_control.people.person import Person
from services.access_control.store import Connection, grant_changes
from services.access_control.store import grants as store
from shared.clock import Clock
from shared.database import Database
from shared.enums import short_name
from shared.errors import KeptError, Reason, invalid, wrong_state
from shared.identity import Caller
from shared.jobs import Job
from shared.telemetry import ALERT

# Somebody else has to look at it within this time. The longest it may last is in the contract.
REVIEW_WITHIN: Final = timedelta(days=1)
# Reviewers are reminded when so much of it is left.
_REMINDED: Final = timedelta(hours=6)
_UNJUSTIFIED: Final = grants_pb2.BREAK_GLASS_VERDICT_UNJUSTIFIED
_UNREVIEWED: Final = grants_pb2.BREAK_GLASS_VERDICT_UNSPECIFIED


def require_breakable(grant: Grant, customer_required: bool) -> None:
    """Whether this may be taken without asking. Raises INVALID_ARGUMENT, CUSTOMER_APPROVAL_REQUIRED."""
    data = grant.data
    if data is None or data.case_id or data.is_for_service:
        raise invalid("data", "must be records of an organization, for no case and no service")
    if customer_required:
        raise KeptError(
            Reason.REASON_CUSTOMER_APPROVAL_REQUIRED,
            "The organization approves each access itself; ask its admins with `kept access request`.",
        )


def require_reviewed(tx: Connection, person_id: str, now: datetime) -> None:
    """Raises BREAK_GLASS_UNREVIEWED while anything that the person took a day ago or more waits for somebody to look at it."""
    overdue = grant_changes.unreviewed(tx, due_by=now, person_id=person_id)
    if overdue:
        raise KeptError(
            Reason.REASON_BREAK_GLASS_UNREVIEWED,
            "Somebody else has to review an access that you took without asking; have them use `kept access review`.",
            metadata={"grant_id": overdue[0].grant_id},
        )


class BreakGlassReviews:
    """Looking at what was taken."""

    def __init__(self, database: Database, clock: Clock, acts: GrantActs, decisions: DecisionLog) -> None:
        self._database = database
        self._clock = clock
        self._acts = acts
        self._decisions = decisions

    @property
    def job(self) -> Job:
        """Reminds of reviews that are due soon, and raises the alert about those that are late."""
        return Job("break_glass", timedelta(minutes=1), self._remind)

    def review(
        self, caller: Caller, grant_id: str, verdict: "grants_pb2.BreakGlassVerdict.ValueType", note: str
    ) -> View:
        """Says what somebody else who could have approved it finds. The first word counts: said again the same, it changes nothing. Raises
        NOT_FOUND, SECOND_PERSON_REQUIRED, NOT_AUTHORIZED, WRONG_STATE."""
        with self._acts.deciding(caller, grant_id, "review"), self._database.transaction() as tx:
            now = self._clock.now()
            grant = self._acts.seen_by(tx, caller, grant_id, lock=True)
            glass = grant.broken_glass
            if glass is None:
                raise wrong_state(
                    "The grant was approved beforehand; there is nothing to review.", "APPROVED"
                )
            reviewer = self._acts.viewer(tx, caller, "share")
            assert isinstance(reviewer, Person)  # the contract admits staff alone
            require_approver(grant, reviewer, now)
            if glass.verdict != _UNREVIEWED:
                if (glass.verdict, glass.reviewed_by) == (verdict, caller.person_id):
                    return self._acts.view(tx, grant)
                raise wrong_state("Somebody has reviewed it already.", "REVIEWED")
            glass = replace(glass, verdict=verdict, reviewed_by=caller.person_id, reviewed_at=now, note=note)
            grant = replace(grant, broken_glass=glass)
            grant_changes.set_review(tx, grant)
            name = short_name(grants_pb2.BreakGlassVerdict, verdict)
            self._acts.write(
                tx,
                "break_glass.reviewed",
                grant,
                caller.actor,
                {"verdict": name, "note": note, "late": now >= glass.review_due_at},
            )
            if verdict == _UNJUSTIFIED:
                end_grants(tx, self._decisions, [grant], caller.actor, "it was not justified", now)
                grant = store.load(tx, grant_id) or grant
            return self._acts.view(tx, grant)

    def _remind(self) -> bool:
        with self._database.transaction() as tx:
            now = self._clock.now()
            waiting = grant_changes.unreviewed(tx, due_by=now + _REMINDED)
            for grant in grant_changes.remind_of(tx, waiting):
                assert grant.broken_glass is not None
                self._acts.write(
                    tx,
                    "break_glass.review_due",
                    grant,
                    "service:access_control",
                    {"due_at": grant.broken_glass.review_due_at.isoformat()},
                )
        ALERT.labels("break_glass_unreviewed").set(
            any(
                grant.broken_glass is not None and grant.broken_glass.review_due_at <= now
                for grant in waiting
            )
        )
        return False
