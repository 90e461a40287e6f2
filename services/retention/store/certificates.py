"""Certificates, the keys they are signed with, and what an act destroyed and removed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import DateTime, Row, cast, exists, func, select, union, update
from sqlalchemy.dialects.postgresql import insert as upsert

from kept.access_control.v1 import keys_pb2
from kept.logging.v1 import lifecycle_pb2
from services.retention.certificates.certificate import Certificate
from services.retention.certificates.signing import SigningKey
from services.retention.erasures.content_states import ContentState
from services.retention.erasures.organization_states import ErasureState
from services.retention.store import Tx
from services.retention.store.tables import (
    act_counts,
    act_epochs,
    certificates,
    content_erasures,
    erasures,
    signing_keys,
)


class ActEpoch(NamedTuple):
    """An epoch that an act destroyed. application: whose own it was; "" for all others."""

    day: date
    epoch_key_id: str
    destruction_id: str
    application: str


@dataclass(frozen=True)
class PublicKey:
    """A public key and since when it signs."""

    key_id: str
    public_key: bytes
    created_at: datetime


def _made(row: Row[Any]) -> Certificate:
    return Certificate(
        certificate_id=row.certificate_id,
        organization_id=row.organization_id,
        act_id=row.act_id,
        is_further=row.is_further,
        signed_at=row.signed_at,
        body=bytes(row.body),
        key_id=row.key_id,
        signature=bytes(row.signature),
        entry_id=row.entry_id,
        envelope=None if row.envelope is None else bytes(row.envelope),
        number=row.number,
    )


def add_key(tx: Tx, key: SigningKey, now: datetime) -> None:
    """Makes a public key known; one that is known stays as it is."""
    tx.execute(
        upsert(signing_keys)
        .values(key_id=key.key_id, public_key=key.public_key, created_at=now)
        .on_conflict_do_nothing()
    )


def keys(tx: Tx) -> list[PublicKey]:
    """All public keys, newest first."""
    rows = tx.execute(select(signing_keys).order_by(signing_keys.c.created_at.desc(), signing_keys.c.key_id))
    return [PublicKey(row.key_id, bytes(row.public_key), row.created_at) for row in rows]


def add(tx: Tx, certificate: Certificate) -> bool:
    """Adds a certificate; False when it is there already."""
    added = tx.execute(
        upsert(certificates)
        .values(
            certificate_id=certificate.certificate_id,
            organization_id=certificate.organization_id,
            act_id=certificate.act_id,
            is_further=certificate.is_further,
            signed_at=certificate.signed_at,
            body=certificate.body,
            key_id=certificate.key_id,
            signature=certificate.signature,
            entry_id=certificate.entry_id,
            tried_at=certificate.signed_at,
        )
        .on_conflict_do_nothing()
        .returning(certificates.c.certificate_id)
    ).first()
    return added is not None


def take_unfinished(tx: Tx, now: datetime, limit: int) -> list[Certificate]:
    """Certificates without an envelope, those that waited longest first; they go to the end of the line."""
    found = [
        _made(row)
        for row in tx.execute(
            select(certificates)
            .where(certificates.c.envelope.is_(None))
            .order_by(certificates.c.tried_at, certificates.c.number)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ]
    if found:
        ids = [certificate.certificate_id for certificate in found]
        tx.execute(update(certificates).where(certificates.c.certificate_id.in_(ids)).values(tried_at=now))
    return found


def replace_unfinished(tx: Tx, certificate_id: str, made: Certificate) -> bool:
    """Puts another certificate of the same act in the place of one that nobody was shown; False where it is gone already."""
    changed = tx.execute(
        update(certificates)
        .where(certificates.c.certificate_id == certificate_id, certificates.c.envelope.is_(None))
        .values(
            certificate_id=made.certificate_id,
            signed_at=made.signed_at,
            body=made.body,
            key_id=made.key_id,
            signature=made.signature,
            entry_id=made.entry_id,
        )
    )
    return changed.rowcount == 1


def complete(tx: Tx, certificate_id: str, envelope: bytes) -> None:
    """Stores an envelope; the first one stays."""
    tx.execute(
        update(certificates)
        .where(certificates.c.certificate_id == certificate_id, certificates.c.envelope.is_(None))
        .values(envelope=envelope)
    )


def get(tx: Tx, certificate_id: str) -> Certificate | None:
    """One complete certificate."""
    row = tx.execute(
        select(certificates).where(
            certificates.c.certificate_id == certificate_id, certificates.c.envelope.is_not(None)
        )
    ).one_or_none()
    return None if row is None else _made(row)


def page(tx: Tx, organization_id: str, before: int | None, limit: int) -> list[Certificate]:
    """Complete certificates, newest first; of one organization, or of all when it is empty."""
    query = (
        select(certificates)
        .where(certificates.c.envelope.is_not(None))
        .order_by(certificates.c.number.desc())
        .limit(limit)
    )
    if organization_id:
        query = query.where(certificates.c.organization_id == organization_id)
    if before is not None:
        query = query.where(certificates.c.number < before)
    return [_made(row) for row in tx.execute(query)]


def of_act(tx: Tx, act_id: str) -> list[Certificate]:
    """An act's certificates, complete or not, oldest first. For erasures: a run may have as many as there are organizations."""
    rows = tx.execute(
        select(certificates).where(certificates.c.act_id == act_id).order_by(certificates.c.number)
    )
    return [_made(row) for row in rows]


def newest_complete(tx: Tx, act_id: str) -> Certificate | None:
    """An act's newest certificate that can be handed out."""
    complete = [each for each in of_act(tx, act_id) if each.envelope is not None]
    return complete[-1] if complete else None


def count_of_act(tx: Tx, act_id: str) -> tuple[int, int]:
    """(certificates of an act, those of them without an envelope)."""
    row = tx.execute(
        select(
            func.count().label("signed"),
            func.count().filter(certificates.c.envelope.is_(None)).label("incomplete"),
        ).where(certificates.c.act_id == act_id)
    ).one()
    return row.signed, row.incomplete


def add_epochs(tx: Tx, act_id: str, destruction_id: str, epochs: Iterable[keys_pb2.DestroyedEpoch]) -> None:
    """Epochs that a destruction destroyed, for an act; what is known stays."""
    values = [
        {
            "act_id": act_id,
            "organization_id": one.organization_id,
            "epoch_key_id": one.epoch_key_id,
            "day": date.fromisoformat(one.day),
            "destruction_id": destruction_id,
            "application": one.application,
        }
        for one in epochs
    ]
    if values:
        tx.execute(upsert(act_epochs).on_conflict_do_nothing(), values)


def add_counts(tx: Tx, act_id: str, counts: Iterable[lifecycle_pb2.StoredDay]) -> None:
    """What logging dropped, for an act; what is known stays."""
    values = [
        {
            "act_id": act_id,
            "organization_id": one.organization_id,
            "day": date.fromisoformat(one.day),
            "removed": one.records - one.held,
            "held": one.held,
            "with_content": one.records_with_content,
            "application": one.application,
        }
        for one in counts
        if one.records or one.held
    ]
    if values:
        tx.execute(upsert(act_counts).on_conflict_do_nothing(), values)


def dropped_with_a_living_key(tx: Tx, act_id: str) -> date | None:
    """The oldest day of which the act dropped content whose key it did not destroy; None when there is none. The keys of an organization
    that is erased are its erasure's to destroy and to certify, and so are those of days that an erasure of content has destroyed."""
    destroyed = exists().where(
        act_epochs.c.act_id == act_id,
        act_epochs.c.organization_id == act_counts.c.organization_id,
        act_epochs.c.day == act_counts.c.day,
        act_epochs.c.application == act_counts.c.application,
    )
    erased = exists().where(
        erasures.c.organization_id == act_counts.c.organization_id, erasures.c.state != ErasureState.CLOSING
    )
    early = exists().where(
        content_erasures.c.organization_id == act_counts.c.organization_id,
        content_erasures.c.state != ContentState.DESTROYING_KEYS,
        # The day began before that instant: with UTC's midnight, whatever the session's zone is.
        func.timezone("UTC", cast(act_counts.c.day, DateTime)) < content_erasures.c.before,
    )
    oldest: date | None = tx.execute(
        select(func.min(act_counts.c.day)).where(
            act_counts.c.act_id == act_id, act_counts.c.with_content > 0, ~destroyed, ~erased, ~early
        )
    ).scalar_one()
    return oldest


def uncertified(tx: Tx, act_id: str, limit: int) -> list[str]:
    """Organizations of which the act destroyed or removed something, and that have no certificate of it yet."""
    touched = union(
        select(act_epochs.c.organization_id).where(act_epochs.c.act_id == act_id),
        select(act_counts.c.organization_id).where(act_counts.c.act_id == act_id),
    ).subquery()
    certified = select(certificates.c.organization_id).where(certificates.c.act_id == act_id)
    rows = tx.execute(
        select(touched.c.organization_id)
        .where(touched.c.organization_id.not_in(certified))
        .order_by(touched.c.organization_id)
        .limit(limit)
    )
    return [row.organization_id for row in rows]


def epochs(tx: Tx, act_id: str, organization_id: str) -> Sequence[ActEpoch]:
    """One organization's epochs in an act."""
    rows = tx.execute(
        select(act_epochs)
        .where(act_epochs.c.act_id == act_id, act_epochs.c.organization_id == organization_id)
        .order_by(act_epochs.c.day, act_epochs.c.epoch_key_id)
    )
    return [ActEpoch(row.day, row.epoch_key_id, row.destruction_id, row.application) for row in rows]


def counts(tx: Tx, act_id: str, organization_id: str) -> dict[tuple[date, str], tuple[int, int]]:
    """(removed, held) by day and application, of one organization in an act."""
    rows = tx.execute(
        select(act_counts).where(
            act_counts.c.act_id == act_id, act_counts.c.organization_id == organization_id
        )
    )
    return {(row.day, row.application): (row.removed, row.held) for row in rows}


def forget_act(tx: Tx, act_id: str) -> None:
    """Nothing is collected for an act any more: its certificates say it all."""
    tx.execute(act_epochs.delete().where(act_epochs.c.act_id == act_id))
    tx.execute(act_counts.delete().where(act_counts.c.act_id == act_id))
