"""What a person left in the tables of an organization, apart from the account: acts by id, and requests by name and address."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from services.settings.store.members import Member, email_key
from services.settings.store.tables import (
    account_deletions,
    api_keys,
    data_controls_changes,
    notification_addresses,
    subject_requests,
    terms_acceptances,
    zero_data_retention_requests,
)
from services.settings.store.trust_tables import subprocessor_objections, trust_requests


@dataclass(frozen=True)
class Act:
    """Something that a person did. kind: as the audit log names it. subject: what it was about, by id or version."""

    kind: str
    subject: str
    at: datetime


# Kind, what it was about, when, by whom: each column that holds a member's id.
_ACTS = (
    (
        "data_controls.updated",
        data_controls_changes.c.organization_id,
        data_controls_changes.c.accepted_at,
        data_controls_changes.c.changed_by,
    ),
    (
        "zero_data_retention.requested",
        zero_data_retention_requests.c.request_id,
        zero_data_retention_requests.c.requested_at,
        zero_data_retention_requests.c.requested_by,
    ),
    (
        "account_deletion.requested",
        account_deletions.c.account_deletion_id,
        account_deletions.c.requested_at,
        account_deletions.c.requested_by,
    ),
    (
        "account_deletion.confirmed",
        account_deletions.c.account_deletion_id,
        account_deletions.c.confirmed_at,
        account_deletions.c.confirmed_by,
    ),
    (
        "account_deletion.cancelled",
        account_deletions.c.account_deletion_id,
        account_deletions.c.cancelled_at,
        account_deletions.c.cancelled_by,
    ),
    (
        "subject_request.created",
        subject_requests.c.subject_request_id,
        subject_requests.c.created_at,
        subject_requests.c.requested_by,
    ),
    (
        "terms.accepted",
        terms_acceptances.c.duty,
        terms_acceptances.c.accepted_at,
        terms_acceptances.c.accepted_by,
    ),
    (
        "api_key.registered",
        api_keys.c.api_key_id,
        api_keys.c.registered_at,
        api_keys.c.registered_by,
    ),
    ("api_key.revoked", api_keys.c.api_key_id, api_keys.c.revoked_at, api_keys.c.revoked_by),
    (
        "subprocessors.objected",
        subprocessor_objections.c.version,
        subprocessor_objections.c.objected_at,
        subprocessor_objections.c.objected_by,
    ),
)


def acts_of(tx: Connection, member: Member, limit: int) -> list[Act]:
    """What a member did for the organization, oldest first."""
    found = union_all(
        *(
            select(literal(kind).label("kind"), cast(subject, Text).label("subject"), at.label("at")).where(
                by == member.member_id
            )
            for kind, subject, at, by in _ACTS
        ),
        select(
            literal("document.requested"), trust_requests.c.trust_request_id, trust_requests.c.requested_at
        ).where(_asked_by(member)),
    )
    rows = tx.execute(found.order_by("at", "kind", "subject").limit(limit))
    return [Act(row.kind, row.subject, row.at) for row in rows]


@dataclass(frozen=True)
class Asked:
    """A request for a document, as far as it is about a person."""

    trust_request_id: str
    name: str
    email: str
    company: str
    requested_at: datetime


def asked_by(tx: Connection, member: Member, limit: int) -> list[Asked]:
    """What a member asked for in whatever name, and what was asked for in the member's, newest first."""
    columns = (
        trust_requests.c.trust_request_id,
        trust_requests.c.name,
        trust_requests.c.email,
        trust_requests.c.company,
        trust_requests.c.requested_at,
    )
    rows = tx.execute(
        select(*columns).where(_asked_by(member)).order_by(trust_requests.c.number.desc()).limit(limit)
    )
    return [Asked(**row._mapping) for row in rows]


def forget(tx: Connection, member: Member) -> None:
    """Takes a member's name and address away from what the organization asked for, which stays, and from the list of whom to write to."""
    tx.execute(
        update(trust_requests)
        .where(_asked_by(member))
        # The digest is of a name and an address, which can be guessed.
        .values(name="", email="", content_sha256=b"")
    )
    tx.execute(delete(notification_addresses).where(_listed(member)))


def follow(tx: Connection, member: Member, email: str) -> None:
    """A member has another address: what was asked for under the one before goes by it from now on, and so does what is written."""
    tx.execute(update(trust_requests).where(_asked_as(member)).values(email=email))
    topics = tx.execute(
        delete(notification_addresses).where(_listed(member)).returning(notification_addresses.c.topic)
    ).scalars()
    for topic in topics.all():
        tx.execute(
            insert(notification_addresses)
            .values(
                organization_id=member.organization_id, topic=topic, email_key=email_key(email), email=email
            )
            .on_conflict_do_nothing()
        )


def _listed(member: Member) -> ColumnElement[bool]:
    return (notification_addresses.c.organization_id == member.organization_id) & (
        notification_addresses.c.email_key == email_key(member.email)
    )


def _asked_by(member: Member) -> ColumnElement[bool]:
    """What the member asked for under whatever address, and what anybody of the organization did under the member's."""
    return or_(trust_requests.c.requested_by == member.member_id, _asked_as(member))


def _asked_as(member: Member) -> ColumnElement[bool]:
    return (trust_requests.c.organization_id == member.organization_id) & (
        func.lower(trust_requests.c.email) == email_key(member.email)
    )
