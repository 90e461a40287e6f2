"""Tables and queries of what makes people count: agreements, providers, and the reviews of both and of roles."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from kept.access_control.v1 import directory_pb2
from services.access_control.people.standing import Agreement, Provider, Review
from services.access_control.store import metadata


def review_columns() -> list[Column[Any]]:
    """Of what is reviewed. due_noted_at, lapse_noted_at: when that was told, once each."""
    return [
        Column("reviewed_by", Text, nullable=False),
        Column("reviewed_at", DateTime(timezone=True), nullable=False),
        Column("review_due_at", DateTime(timezone=True), nullable=False),
        Column("lapses_at", DateTime(timezone=True), nullable=False),
        Column("due_noted_at", DateTime(timezone=True)),
        Column("lapse_noted_at", DateTime(timezone=True)),
    ]


# `number` is the order of creation.
providers = Table(
    "providers",
    metadata,
    Column("provider_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("confirmed_by", Text, nullable=False, server_default=""),
    Column("ended_by", Text, nullable=False, server_default=""),
    Column("ended_at", DateTime(timezone=True)),
    # Until when it is known to be on the published list of sub-processors; NULL where it is not.
    Column("listed_until", DateTime(timezone=True)),
    *review_columns(),
    UniqueConstraint("number", name="providers_number"),
)
# Of a person or of a provider. kinds: kept.access_control.v1.AgreementKind.
agreements = Table(
    "agreements",
    metadata,
    Column("agreement_id", Text, primary_key=True),
    Column("person_id", Text, ForeignKey("people.person_id")),
    Column("provider_id", Text, ForeignKey("providers.provider_id")),
    Column("kinds", ARRAY(Integer), nullable=False),
    Column("document_sha256", LargeBinary, nullable=False),
    Column("signed_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("recorded_by", Text, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("ended_by", Text, nullable=False, server_default=""),
    Column("ended_at", DateTime(timezone=True)),
    *review_columns(),
    CheckConstraint("(person_id IS NULL) <> (provider_id IS NULL)", name="agreements_one_signer"),
    Index("agreements_by_person", "person_id"),
    Index("agreements_by_provider", "provider_id"),
)
# What somebody or something is called looks like this: `field` says which name it is.
looks = Table(
    "looks",
    metadata,
    Column("field", Text, primary_key=True),
    Column("look", Text, primary_key=True),
    Column("bearer_id", Text, nullable=False),
)


def claim_looks(tx: Connection, field: str, wanted: Collection[str], bearer_id: str) -> bool:
    """Reserves what a name looks like. False where somebody else's looks the same; roll back then. A provider that was ended leaves its
    name to the next."""
    claim = insert(looks).values(
        [{"field": field, "look": look, "bearer_id": bearer_id} for look in sorted(wanted)]
    )
    over = select(providers.c.provider_id).where(providers.c.ended_at.is_not(None))
    claimed = tx.execute(
        claim.on_conflict_do_update(
            index_elements=[looks.c.field, looks.c.look],
            set_={"bearer_id": claim.excluded.bearer_id},
            where=looks.c.bearer_id.in_(over),
        ).returning(looks.c.look)
    ).all()
    return len(claimed) == len(wanted)


def review_values(review: Review) -> dict[str, Any]:
    """A confirmation as columns: whatever was noted of the one before counts no more."""
    return {
        "reviewed_by": review.reviewed_by,
        "reviewed_at": review.reviewed_at,
        "review_due_at": review.due_at,
        "lapses_at": review.lapses_at,
        "due_noted_at": None,
        "lapse_noted_at": None,
    }


def review_of(row: Any) -> Review:
    """The confirmation in a row."""
    return Review(row.reviewed_by, row.reviewed_at, row.review_due_at, row.lapses_at)


def add_agreement(tx: Connection, agreement: Agreement) -> None:
    """Adds a signed agreement of a person or a provider."""
    of_provider = agreement.signer_id.startswith("provider_")
    tx.execute(
        insert(agreements).values(
            agreement_id=agreement.agreement_id,
            person_id=None if of_provider else agreement.signer_id,
            provider_id=agreement.signer_id if of_provider else None,
            kinds=sorted(agreement.kinds),
            document_sha256=agreement.document_sha256,
            signed_at=agreement.signed_at,
            expires_at=agreement.expires_at,
            recorded_by=agreement.recorded_by,
            recorded_at=agreement.recorded_at,
            **review_values(agreement.review),
        )
    )


def _agreement(row: Any) -> Agreement:
    return Agreement(
        row.agreement_id,
        row.person_id or row.provider_id,
        frozenset(directory_pb2.AgreementKind.ValueType(kind) for kind in row.kinds),
        bytes(row.document_sha256),
        row.signed_at,
        row.expires_at,
        row.recorded_by,
        row.recorded_at,
        review_of(row),
    )


def agreement(tx: Connection, agreement_id: str) -> Agreement | None:
    """An agreement that was not ended. Lock its signer first."""
    row = tx.execute(
        select(agreements).where(agreements.c.agreement_id == agreement_id, agreements.c.ended_at.is_(None))
    ).one_or_none()
    return None if row is None else _agreement(row)


def agreements_of(tx: Connection, signer_ids: Collection[str]) -> dict[str, list[Agreement]]:
    """Agreements by signer (people and providers), in order of recording; ended ones are left out."""
    found: dict[str, list[Agreement]] = {}
    if signer_ids:
        ids = list(signer_ids)
        query = select(agreements).where(
            or_(agreements.c.person_id.in_(ids), agreements.c.provider_id.in_(ids)),
            agreements.c.ended_at.is_(None),
        )
        for row in tx.execute(query.order_by(agreements.c.recorded_at, agreements.c.agreement_id)):
            found.setdefault(row.person_id or row.provider_id, []).append(_agreement(row))
    return found


def add_provider(tx: Connection, provider: Provider) -> None:
    """Adds a proposed provider."""
    tx.execute(
        insert(providers).values(
            provider_id=provider.provider_id,
            name=provider.name,
            created_by=provider.created_by,
            created_at=provider.created_at,
            **review_values(provider.review),
        )
    )


def provider_of(row: Any, signed: Collection[Agreement]) -> Provider:
    """A provider from a row of its table and what it signed."""
    return Provider(
        row.provider_id,
        row.name,
        row.created_by,
        row.created_at,
        review_of(row),
        row.confirmed_by,
        row.ended_at,
        tuple(signed),
        row.listed_until,
    )


def provider(tx: Connection, provider_id: str, lock: str | None = None) -> Provider | None:
    """A provider, ended ones included. lock: "share" keeps it as it is until the transaction ends, "update" is for who changes it."""
    query = select(providers).where(providers.c.provider_id == provider_id)
    if lock is not None:
        query = query.with_for_update(read=lock == "share")
    row = tx.execute(query).one_or_none()
    if row is None:
        return None
    return provider_of(row, agreements_of(tx, [provider_id]).get(provider_id, ()))


def providers_by_id(tx: Connection, provider_ids: Collection[str]) -> dict[str, Provider]:
    """Providers by id, with their agreements; unknown ids are left out."""
    if not provider_ids:
        return {}
    rows = tx.execute(select(providers).where(providers.c.provider_id.in_(list(provider_ids)))).all()
    signed = agreements_of(tx, [row.provider_id for row in rows])
    return {row.provider_id: provider_of(row, signed.get(row.provider_id, ())) for row in rows}


def list_providers(tx: Connection, after: int, limit: int) -> list[tuple[int, Provider]]:
    """Providers in order of creation, each with its number, after that number."""
    rows = tx.execute(
        select(providers).where(providers.c.number > after).order_by(providers.c.number).limit(limit)
    ).all()
    signed = agreements_of(tx, [row.provider_id for row in rows])
    return [(row.number, provider_of(row, signed.get(row.provider_id, ()))) for row in rows]


def set_listed(tx: Connection, provider_id: str, until: datetime | None) -> None:
    """Until when a locked provider is known to be on the published list; None: it is not."""
    tx.execute(update(providers).where(providers.c.provider_id == provider_id).values(listed_until=until))


def confirm_provider(tx: Connection, provider_id: str, by: str, review: Review) -> None:
    """The provider counts from now on."""
    tx.execute(
        update(providers)
        .where(providers.c.provider_id == provider_id)
        .values(confirmed_by=by, **review_values(review))
    )
