"""Who may handle a case: no one who has to do with its organization, no one who had a part in it before, and legal staff only what was
referred to them."""

from dataclasses import dataclass

from kept.options.v1 import roles_pb2
from services.safety_review.reviewing.cases import Case
from shared.errors import KeptError, Reason, not_found
from shared.identity import Caller


@dataclass(frozen=True)
class Reviewer:
    """A person at work. affiliations: organizations that they have to do with, as access control's directory has them."""

    person_id: str
    is_safety: bool
    is_legal: bool
    affiliations: frozenset[str] = frozenset()

    @classmethod
    def of(cls, caller: Caller) -> "Reviewer":
        """Whoever called."""
        return cls(
            caller.person_id,
            roles_pb2.STAFF_ROLE_SAFETY in caller.roles,
            roles_pb2.STAFF_ROLE_LEGAL in caller.roles,
            caller.affiliations,
        )


def require_sight(reviewer: Reviewer, case: Case) -> None:
    """Raises CONFLICT_OF_INTEREST for who has to do with the organization: they could warn it. NOT_FOUND for legal staff, of what was not
    referred to them."""
    if case.organization_id in reviewer.affiliations:
        raise KeptError(
            Reason.REASON_CONFLICT_OF_INTEREST,
            "You are affiliated with the organization; a colleague handles its cases.",
        )
    if not reviewer.is_safety and not case.referred:
        raise not_found("case")


def require_fit(reviewer: Reviewer, case: Case) -> None:
    """Raises what `require_sight` does; REVIEWER_EXCLUDED for who had a part in the case before; NOT_AUTHORIZED for safety staff, of what
    was referred to legal staff."""
    require_sight(reviewer, case)
    if reviewer.person_id in case.earlier_reviewers:
        raise KeptError(
            Reason.REASON_REVIEWER_EXCLUDED, "You had a part in this case before; a colleague handles it now."
        )
    if case.referred and not reviewer.is_legal:
        raise KeptError(
            Reason.REASON_NOT_AUTHORIZED,
            "The case was referred to legal staff.",
            metadata={"missing": "one of the roles LEGAL"},
        )
