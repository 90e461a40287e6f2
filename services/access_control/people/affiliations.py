"""Affiliations: people of the workforce who have to do with a customer do not decide on that customer.

Declaring takes one person and counts at once; taking it back takes another one, for else whoever wants to decide a case would first end
what stands in the way.
"""

from typing import Final

from kept.options.v1 import roles_pb2
from services.access_control.audit.decision_log import DecisionLog, Question
from services.access_control.authorization.authority import powers_in_force
from services.access_control.grants.ended_authority import end_lost
from services.access_control.people.second_person import require_other
from services.access_control.store import Connection, directory
from services.access_control.store import affiliations as store
from services.access_control.store.affiliations import Affiliation
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, limit_reached, not_found
from shared.organizations import RequireOrganization

# More than a person can have to do with; a page of an answer.
MOST: Final = 100
_POWER: Final = roles_pb2.POWER_ROLE_ASSIGNMENT
_REFUSED: Final = "directory.refused"


class Affiliations:
    """The acts. actor: the person who acts."""

    def __init__(
        self, database: Database, clock: Clock, decisions: DecisionLog, require_known: RequireOrganization
    ) -> None:
        self._database = database
        self._clock = clock
        self._decisions = decisions
        self._require_known = require_known

    def declare(self, actor: str, person_id: str, organization_id: str) -> Affiliation:
        """Counts at once; grants for cases of the organization end that the person holds or has approved. Raises POWER_REQUIRED for another
        person, NOT_FOUND, LIMIT_REACHED, UNKNOWN_ORGANIZATION, LEASE_LAPSED."""
        question = Question(actor, subjects=(person_id, organization_id), facts={"act": "declare"})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            if actor != person_id:
                self._require_power(tx, actor)
            self._require_known(organization_id)
            if directory.person(tx, person_id, lock="update") is None:
                raise not_found("person")
            known = store.of_person(tx, person_id)
            for one in known:
                if one.organization_id == organization_id:
                    return one
            if len(known) >= MOST:
                raise limit_reached("There are as many affiliations as there may be.", "affiliation", MOST)
            now = self._clock.now()
            made = Affiliation(person_id, organization_id, actor, now)
            store.add(tx, made)
            ended = end_lost(tx, self._decisions, [person_id], actor, "an affiliation was declared", now)
            self._decisions.write(
                tx,
                "affiliation.declared",
                actor,
                subjects=[person_id, organization_id],
                facts={"ended_grants": ended},
            )
            return made

    def end(self, actor: str, person_id: str, organization_id: str) -> None:
        """Counts no more. Raises SECOND_PERSON_REQUIRED for one's own."""
        question = Question(actor, subjects=(person_id, organization_id), facts={"act": "end"})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            require_other(actor, person_id)
            directory.person(tx, person_id, lock="update")
            # What fell with it does not rise again.
            end_lost(tx, self._decisions, [person_id], actor, "an affiliation ended", self._clock.now())
            if store.end(tx, person_id, organization_id):
                self._decisions.write(
                    tx, "affiliation.ended", actor, subjects=[person_id, organization_id], facts={}
                )

    def of_person(self, person_id: str) -> list[Affiliation]:
        """Those in force, by organization."""
        with self._database.transaction() as tx:
            return store.of_person(tx, person_id)

    def _require_power(self, tx: Connection, actor: str) -> None:
        person = directory.person(tx, actor)
        if person is None or _POWER not in powers_in_force(tx, person, self._clock):
            raise KeptError(
                Reason.REASON_POWER_REQUIRED,
                "To declare it for somebody else needs a grant of a power that is in force; request one.",
                metadata={"power": roles_pb2.Power.Name(_POWER)},
            )
