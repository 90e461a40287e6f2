"""Requests for documents, of customers and of people who are none yet."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, and_, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from kept.settings.v1 import trust_pb2
from services.settings.store.removal import remove_some
from services.settings.store.tables import members
from services.settings.store.trust_tables import trust_documents as documents
from services.settings.store.trust_tables import trust_requests as requests


@dataclass(frozen=True)
class TrustRequest:
    """One request. organization_id, requested_by: of a customer who was signed in, and the member. document_id: None for an addendum that
    was not approved."""

    trust_request_id: str
    number: int
    request_id: str
    content_sha256: bytes = field(repr=False)
    claim_sha256: bytes = field(repr=False)
    kind: "trust_pb2.DocumentKind.ValueType"
    document_id: str | None
    name: str = field(repr=False)
    email: str = field(repr=False)
    company: str = field(repr=False)
    organization_id: str | None
    state: "trust_pb2.TrustRequestState.ValueType"
    requested_at: datetime
    decided_at: datetime | None = None
    decided_by: str | None = None
    reason: str = ""
    link: str = ""
    requested_by: str | None = None


def add(tx: Connection, request: TrustRequest) -> TrustRequest | None:
    """The request with its number, or None when its request id is taken."""
    row = tx.execute(
        insert(requests)
        .values(
            trust_request_id=request.trust_request_id,
            request_id=request.request_id,
            content_sha256=request.content_sha256,
            claim_sha256=request.claim_sha256,
            kind=request.kind,
            document_id=request.document_id,
            name=request.name,
            email=request.email,
            company=request.company,
            organization_id=request.organization_id,
            state=request.state,
            requested_at=request.requested_at,
            reason=request.reason,
            link=request.link,
            requested_by=request.requested_by,
        )
        .on_conflict_do_nothing(index_elements=["request_id"])
        .returning(requests)
    ).one_or_none()
    return None if row is None else TrustRequest(**row._mapping)


def find_by_request(tx: Connection, request_id: str) -> TrustRequest | None:
    """The one that a call made."""
    row = tx.execute(select(requests).where(requests.c.request_id == request_id)).one_or_none()
    return None if row is None else TrustRequest(**row._mapping)


def find_by_claim(tx: Connection, claim_sha256: bytes) -> TrustRequest | None:
    """The one of a claim."""
    row = tx.execute(select(requests).where(requests.c.claim_sha256 == claim_sha256)).one_or_none()
    return None if row is None else TrustRequest(**row._mapping)


def lock(tx: Connection, trust_request_id: str) -> TrustRequest | None:
    """As it is now, and nobody decides it before this transaction ends."""
    row = tx.execute(
        select(requests).where(requests.c.trust_request_id == trust_request_id).with_for_update()
    ).one_or_none()
    return None if row is None else TrustRequest(**row._mapping)


def list_after(tx: Connection, decided_too: bool, number: int, limit: int) -> list[TrustRequest]:
    """Oldest first, after the one with that number."""
    query = select(requests).where(requests.c.number > number)
    if not decided_too:
        query = query.where(requests.c.state == trust_pb2.TRUST_REQUEST_STATE_REQUESTED)
    return [
        TrustRequest(**row._mapping) for row in tx.execute(query.order_by(requests.c.number).limit(limit))
    ]


def waiting(tx: Connection) -> int:
    """How many wait for a decision."""
    return int(
        tx.execute(
            select(func.count())
            .select_from(requests)
            .where(requests.c.state == trust_pb2.TRUST_REQUEST_STATE_REQUESTED)
        ).scalar_one()
    )


def decide(tx: Connection, decided: TrustRequest) -> None:
    """Writes the decision; the row is locked."""
    tx.execute(
        update(requests)
        .where(requests.c.trust_request_id == decided.trust_request_id)
        .values(
            state=decided.state,
            document_id=decided.document_id,
            decided_at=decided.decided_at,
            decided_by=decided.decided_by,
            reason=decided.reason,
            link=decided.link,
        )
    )


def approved_addendum(tx: Connection, organization_id: str) -> tuple[str, datetime] | None:
    """The version of the data processing addendum that an organization got last, and when."""
    row = tx.execute(
        select(documents.c.version, requests.c.decided_at)
        .join(documents, documents.c.document_id == requests.c.document_id)
        .where(
            requests.c.organization_id == organization_id,
            requests.c.state == trust_pb2.TRUST_REQUEST_STATE_APPROVED,
            requests.c.kind == trust_pb2.DOCUMENT_KIND_DATA_PROCESSING_ADDENDUM,
        )
        .order_by(requests.c.decided_at.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else (row.version, row.decided_at)


# What an organization's terms name for as long as it is there: the addendum that it got.
_IS_ITS_ADDENDUM: Final = and_(
    requests.c.organization_id.is_not(None),
    requests.c.kind == trust_pb2.DOCUMENT_KIND_DATA_PROCESSING_ADDENDUM,
    requests.c.state == trust_pb2.TRUST_REQUEST_STATE_APPROVED,
)


def remove_older(tx: Connection, before: datetime, limit: int) -> int:
    """Forgets what was asked before an instant, but addenda that organizations got, `limit` at most. Returns how many."""
    return remove_some(tx, requests, (requests.c.requested_at < before) & ~_IS_ITS_ADDENDUM, limit)


def blank_older(tx: Connection, before: datetime, limit: int) -> int:
    """Forgets who asked, before an instant, for the addenda that organizations got, `limit` at most. Returns how many."""
    old = (
        select(requests.c.trust_request_id)
        .where(
            requests.c.requested_at < before,
            _IS_ITS_ADDENDUM,
            # The company stays where who asked has left, and the rest is gone.
            or_(requests.c.company != "", requests.c.requested_by.is_not(None)),
        )
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return tx.execute(
        update(requests)
        .where(requests.c.trust_request_id.in_(old))
        # The digest is of a name and an address, which can be guessed.
        .values(name="", email="", company="", reason="", content_sha256=b"", requested_by=None)
    ).rowcount


def blank_departed(tx: Connection, limit: int) -> int:
    """Forgets who asked and is no member any more, `limit` at most: what a process of the version before leaves when it removes somebody,
    for it goes by the address alone and keeps the digest. Returns how many."""
    has_left = and_(
        requests.c.requested_by.is_not(None),
        ~exists().where(members.c.member_id == requests.c.requested_by),
        or_(requests.c.name != "", requests.c.email != "", requests.c.content_sha256 != b""),
    )
    is_forgotten = and_(requests.c.name == "", requests.c.email == "", requests.c.content_sha256 != b"")
    left = (
        select(requests.c.trust_request_id)
        .where(or_(has_left, is_forgotten))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return tx.execute(
        update(requests)
        .where(requests.c.trust_request_id.in_(left))
        .values(name="", email="", content_sha256=b"")
    ).rowcount


def erase(tx: Connection, organization_id: str) -> int:
    """Removes an organization's; how many."""
    return tx.execute(delete(requests).where(requests.c.organization_id == organization_id)).rowcount
