"""Who reads under a grant: one of the workforce, or an admin of the organization; whose grant it is, and what is shown to whom."""

from collections.abc import Mapping

from services.access_control.audit.decision_log import Question
from services.access_control.grants.acts import approvers_of
from services.access_control.grants.grant import Grant
from services.access_control.people.person import Member, Person
from services.access_control.people.tokens import Tokens
from services.access_control.store import Connection
from shared.errors import KeptError, Reason
from shared.identity import Caller


def grant_required() -> KeptError:
    """There is no grant, or it is nothing to who asks."""
    return KeptError(
        Reason.REASON_GRANT_REQUIRED,
        "This needs a grant of your own; request one with `kept access request`.",
    )


def shows_held(grant: Grant) -> bool:
    """Whether it shows what is due and only a hold keeps. Not to a customer: there are holds that the law forbids to tell it of, and what
    is there beyond its term would tell."""
    return not grant.is_customers_own


def held(grant: Grant | None, person_id: str) -> Grant:
    """The grant, if the person reads under it. Another's is none, and so is a power, or a service's permission: neither opens a record to a
    person. Raises GRANT_REQUIRED."""
    if grant is None or grant.requested_by != person_id or grant.data is None or grant.data.is_for_service:
        raise grant_required()
    return grant


class Readers:
    """Finds them by their tokens, and says in the question whose it is."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def reader(
        self, tx: Connection, caller: Caller, organization_id: str, question: Question
    ) -> Person | Member:
        """Who reads; what is refused is theirs from here on, and a customer's is the own organization's matter, whatever it names. Raises
        WRONG_ORGANIZATION where a customer names another."""
        if not caller.is_customer:
            person = self._tokens.person(tx, caller)
            question.actor = person.person_id
            return person
        member = self._tokens.member(tx, caller)
        question.actor, question.organization_id = member.member_id, member.organization_id
        caller.require_organization(organization_id)
        return member

    def holder(
        self,
        tx: Connection,
        caller: Caller,
        organization_id: str,
        grant: Grant | None,
        question: Question,
    ) -> tuple[Person | Member, Mapping[str, Person] | None]:
        """The same of who reads page after page: with whoever of the workforce the grant concerns, read in one look where it is one of them
        (None for a customer's)."""
        if caller.is_customer:
            return self.reader(tx, caller, organization_id, question), None
        concerned = {grant.requested_by, *approvers_of(grant)} if grant is not None else ()
        question.actor, people = self._tokens.person_and(tx, caller, concerned)
        if question.actor not in people:  # whose grant it is not
            raise grant_required()
        return people[question.actor], people
