"""What makes people count, as messages: people, roles, agreements, identities, providers, reviews."""

from datetime import datetime

from kept.access_control.v1 import directory_pb2
from services.access_control.people.person import Identity, Person
from services.access_control.people.standing import Agreement, Provider, Review, RoleAssignment
from services.access_control.store.affiliations import Affiliation
from services.access_control.store.reviews import Reviewed


def review(last: Review, now: datetime) -> directory_pb2.Review:
    """The last confirmation, and where that leaves it now."""
    made = directory_pb2.Review(reviewed_by=last.reviewed_by, state=last.state_at(now))
    made.reviewed_at.FromDatetime(last.reviewed_at)
    made.due_at.FromDatetime(last.due_at)
    made.lapses_at.FromDatetime(last.lapses_at)
    return made


def role(assigned: RoleAssignment, now: datetime) -> directory_pb2.RoleAssignment:
    """A role."""
    made = directory_pb2.RoleAssignment(
        role_assignment_id=assigned.role_assignment_id,
        role=assigned.role,
        assigned_by=assigned.assigned_by,
        confirmed_by=assigned.confirmed_by,
        review=review(assigned.review, now) if assigned.review is not None else None,
    )
    made.assigned_at.FromDatetime(assigned.assigned_at)
    return made


def agreement(signed: Agreement, now: datetime) -> directory_pb2.Agreement:
    """An agreement."""
    made = directory_pb2.Agreement(
        agreement_id=signed.agreement_id,
        kinds=sorted(signed.kinds),
        document_sha256=signed.document_sha256,
        recorded_by=signed.recorded_by,
        review=review(signed.review, now),
    )
    made.signed_at.FromDatetime(signed.signed_at)
    made.expires_at.FromDatetime(signed.expires_at)
    return made


def person(known: Person, now: datetime) -> directory_pb2.Person:
    """A person."""
    made = directory_pb2.Person(
        person_id=known.person_id,
        display_name=known.display_name,
        email=known.email,
        roles=[role(assigned, now) for assigned in known.roles],
        disabled=known.disabled,
        provider_id=known.provider.provider_id if known.provider is not None else "",
        agreements=[agreement(signed, now) for signed in known.agreements],
    )
    if known.agreement_until is not None:
        made.agreement_until.FromDatetime(known.agreement_until)
    return made


def identity(known: Identity) -> directory_pb2.Identity:
    """An identity."""
    return directory_pb2.Identity(
        identity_id=known.identity_id,
        person_id=known.person_id,
        issuer=known.issuer,
        subject=known.subject,
        linked_by=known.linked_by,
        confirmed_by=known.confirmed_by,
    )


def provider(known: Provider, now: datetime) -> directory_pb2.Provider:
    """A provider."""
    made = directory_pb2.Provider(
        provider_id=known.provider_id,
        name=known.name,
        created_by=known.created_by,
        confirmed_by=known.confirmed_by,
        agreements=[agreement(signed, now) for signed in known.agreements],
        review=review(known.review, now),
    )
    made.created_at.FromDatetime(known.created_at)
    if known.ended_at is not None:
        made.ended_at.FromDatetime(known.ended_at)
    if known.until is not None:
        made.counts_until.FromDatetime(known.until)
    if known.listed_until is not None:
        made.listed_until.FromDatetime(known.listed_until)
    return made


def review_item(due: Reviewed, now: datetime) -> directory_pb2.ReviewItem:
    """Something that is to be confirmed."""
    return directory_pb2.ReviewItem(
        subject_id=due.subject_id,
        holder_id=due.holder_id,
        holder_name=due.holder_name,
        role=due.role,
        kinds=sorted(due.kinds),
        review=review(due.review, now),
    )


def affiliation(known: Affiliation) -> directory_pb2.Affiliation:
    """Whom of the customers somebody has to do with."""
    made = directory_pb2.Affiliation(
        person_id=known.person_id, organization_id=known.organization_id, declared_by=known.declared_by
    )
    made.declared_at.FromDatetime(known.declared_at)
    return made
