"""Ended authority ends grants: a grant rests on who holds it and on whoever approved it, and falls with either, at once and for good. An
extension that waits falls with whoever approved it so far, and leaves the grant as it was.

Whatever takes authority away (a role that ends or lapses, an agreement that ends or runs out, a person who is disabled, a provider that
ends) calls `end_lost` in its own transaction, with the people locked. Whatever gives authority calls it before, so that a grant which
fell with a lapse that nobody noticed yet does not rise again with it. At the instant of a lapse decisions refuse by themselves already.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

from services.access_control.audit.decision_log import DecisionLog
from services.access_control.grants.acts import deny_extension, end_grants
from services.access_control.grants.approval import may_decide, require_requester
from services.access_control.grants.grant import Grant
from services.access_control.people.person import Person
from services.access_control.store import Connection
from services.access_control.store import directory as store
from services.access_control.store import grants as grant_store
from shared.errors import KeptError


def whose_authority_ended(grant: Grant, people: Mapping[str, Person], now: datetime) -> str | None:
    """ "requester" or "approver" where one of these people could not hold the grant, or approve it, at this moment; None otherwise. Powers
    are grants like others. A grant that no person had to approve rests on its holder alone."""
    holder = people.get(grant.requested_by)
    if holder is not None and not _may_hold(grant, holder, now):
        return "requester"
    for vote in grant.votes_in_force if grant.staff_approvals_needed else ():
        approver = people.get(vote.approved_by)
        if not vote.by_customer and approver is not None and not may_decide(grant, approver, now):
            return "approver"
    return None


def _may_hold(grant: Grant, person: Person, now: datetime) -> bool:
    try:
        require_requester(grant, person, now)
    except KeptError:
        return False
    return True


def end_lost(
    tx: Connection, decisions: DecisionLog, person_ids: Collection[str], actor: str, why: str, now: datetime
) -> int:
    """Ends the grants, undecided ones too, that rested on what these people have no longer, and denies the extensions. They must be locked.
    why: what happened, such as "a role ended". Returns how many grants ended."""
    people = store.people_by_id(tx, person_ids)
    ended = 0
    for grant in grant_store.open_of_people(tx, person_ids):
        whose = whose_authority_ended(grant, people, now)
        if whose is not None:
            ended += end_grants(tx, decisions, [grant], actor, f"the {whose}'s authority ended: {why}", now)
        elif whose_authority_ended(grant.next_round, people, now) is not None:
            deny_extension(tx, decisions, grant, actor, f"the approver's authority ended: {why}", now)
    return ended


def end_of_member(
    tx: Connection, decisions: DecisionLog, member_id: str, actor: str, why: str, now: datetime
) -> None:
    """Ends the grants, undecided ones too, that a customer's admin holds or that rest on her approval, and denies the extensions that she
    approved. What she approved before others approved it anew stays."""
    for grant in grant_store.open_of_person(tx, member_id):
        if member_id == grant.requested_by or _has_approved(grant, member_id):
            end_grants(tx, decisions, [grant], actor, why, now)
        elif _has_approved(grant.next_round, member_id):
            deny_extension(tx, decisions, grant, actor, why, now)


def _has_approved(grant: Grant, person_id: str) -> bool:
    return any(vote.approved_by == person_id for vote in grant.votes_in_force)
