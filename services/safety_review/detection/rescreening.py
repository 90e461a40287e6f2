"""Re-screening: what is still stored is screened by other rules than it was, because a person asked for it and another approved it.

Here is only who asked for what and how far it is. Logging opens the records, under the grant, and hands them to screening like any others;
access control refuses what the grant does not cover, and when it has ended.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from kept.errors.v1 import reasons_pb2
from kept.safety_review.v1 import detectors_pb2
from services.safety_review import notices
from services.safety_review.detection.in_force import Rules, version_of
from services.safety_review.store import rescreenings as store
from services.safety_review.store.rescreenings import Rescreening
from shared import audit, pages
from shared.clock import Clock
from shared.database import Database
from shared.enums import short_name
from shared.errors import KeptError, Reason, invalid, not_found
from shared.identity import Caller
from shared.organizations import RequireOrganization
from shared.outbox import Outbox

_LEASE: Final = timedelta(minutes=5)
_DONE: Final = detectors_pb2.RESCREENING_STATE_DONE
_FAILED: Final = detectors_pb2.RESCREENING_STATE_FAILED
_LIST: Final = "rescreenings"


class Rescreenings:
    """All of them."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        rules: Rules,
        require_organization: RequireOrganization,
    ) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._rules = rules
        self._require_organization = require_organization

    def start(
        self, caller: Caller, grant_id: str, organization_id: str, created_from: datetime, until: datetime
    ) -> Rescreening:
        """Starts one, or returns the one that there is. Raises ALREADY_EXISTS for other bounds, INVALID_ARGUMENT,
        UNKNOWN_ORGANIZATION, and what access control answers with when it cannot say."""
        if created_from >= until:
            raise invalid("until", "must be later than from")
        self._require_organization(organization_id)
        now = self._clock.now()
        version = version_of(self._rules.matcher.rules)
        new = Rescreening(grant_id, organization_id, created_from, until, version, caller.person_id, now)
        with self._database.transaction() as tx:
            if store.add(tx, new):
                self._outbox.audit(
                    tx,
                    audit.entry(
                        "rescreening.started",
                        actor=caller.actor,
                        at=now,
                        organization_id=organization_id,
                        subjects=[grant_id],
                        facts={"rules_version": version},
                    ),
                )
            there = store.find(tx, grant_id)
        assert there is not None
        if (there.organization_id, there.created_from, there.created_until) != (
            organization_id,
            created_from,
            until,
        ):
            raise KeptError(Reason.REASON_ALREADY_EXISTS, "There is another re-screening under this grant.")
        return there

    def page(self, size: int, token: str) -> tuple[Sequence[Rescreening], str]:
        """A page, the newest first, and the next page's token. Raises INVALID_ARGUMENT for a token that this list did not give."""
        with self._database.transaction() as tx:
            return pages.page(
                _LIST, size, token, lambda before, most: store.page(tx, before, most), lambda one: one.number
            )

    def take(self) -> Rescreening | None:
        """One to work on, leased to the caller."""
        with self._database.transaction() as tx:
            return store.take(tx, self._clock.now(), _LEASE)

    def report(
        self, grant_id: str, after: bytes, screened: int, left_out: int, *, done: bool, problem: str
    ) -> None:
        """Takes down how far one is. Raises NOT_FOUND, INVALID_ARGUMENT."""
        if problem and f"REASON_{problem}" not in reasons_pb2.Reason.DESCRIPTOR.values_by_name:
            raise invalid("problem", "is no reason")
        with self._database.transaction() as tx:
            known = store.find(tx, grant_id, lock=True)
            if known is None:
                raise not_found("re-screening")
            if (
                known.state != store.RUNNING
                or after < known.after
                or (after == known.after and not (done or problem))
            ):
                return
            state = _FAILED if problem else _DONE if done else store.RUNNING
            counts = {"screened": known.screened + screened, "left_out": known.left_out + left_out}
            store.put(tx, grant_id, after=after, state=state, problem=problem, taken_until=None, **counts)
            if state != store.RUNNING:
                self._outbox.audit(
                    tx,
                    audit.entry(
                        "rescreening.ended",
                        actor=notices.SERVICE,
                        at=self._clock.now(),
                        organization_id=known.organization_id,
                        subjects=[grant_id],
                        facts={
                            **counts,
                            "state": short_name(detectors_pb2.RescreeningState, state).lower(),
                            "problem": problem,
                        },
                    ),
                )
