"""Sign-ins as log data, and the networks that an account is known from."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from kept.settings.v1 import members_pb2
from services.settings.store.members import Member
from services.settings.store.removal import remove_some
from services.settings.store.tables import known_sources, sign_ins


@dataclass(frozen=True)
class SignIn:
    """One sign-in. number: grows."""

    number: int
    at: datetime
    outcome: "members_pb2.SignInOutcome.ValueType"


def add(
    tx: Connection, member: Member | None, outcome: "members_pb2.SignInOutcome.ValueType", at: datetime
) -> None:
    """Writes one down. member: None where nobody has the address."""
    tx.execute(
        insert(sign_ins).values(
            organization_id=None if member is None else member.organization_id,
            member_id=None if member is None else member.member_id,
            outcome=outcome,
            at=at,
        )
    )


def newest(tx: Connection, member_id: str, before: int, limit: int) -> list[SignIn]:
    """A member's, newest first. before: only with a smaller number; 0 for all."""
    found = select(sign_ins.c.number, sign_ins.c.at, sign_ins.c.outcome).where(
        sign_ins.c.member_id == member_id
    )
    if before:
        found = found.where(sign_ins.c.number < before)
    return [SignIn(*row) for row in tx.execute(found.order_by(sign_ins.c.number.desc()).limit(limit))]


def latest(tx: Connection, member_id: str) -> datetime | None:
    """The latest instant that a successful sign-in of a member bears. Not that of the newest: clocks differ."""
    succeeded = sign_ins.c.outcome == members_pb2.SIGN_IN_OUTCOME_SUCCEEDED
    found = select(func.max(sign_ins.c.at)).where(sign_ins.c.member_id == member_id, succeeded)
    return tx.execute(found).scalar_one_or_none()


def last(tx: Connection, member_id: str) -> tuple[datetime | None, int]:
    """When a member's last sign-in was, if there is one, and how many failed since."""
    own = sign_ins.c.member_id == member_id
    succeeded = sign_ins.c.outcome == members_pb2.SIGN_IN_OUTCOME_SUCCEEDED
    row = tx.execute(
        select(sign_ins.c.number, sign_ins.c.at)
        .where(own, succeeded)
        .order_by(sign_ins.c.number.desc())
        .limit(1)
    ).one_or_none()
    failed = tx.execute(
        select(func.count())
        .select_from(sign_ins)
        .where(own, ~succeeded, sign_ins.c.number > (0 if row is None else row.number))
    ).scalar_one()
    return (None if row is None else row.at), failed


def remove_older(tx: Connection, before: datetime, limit: int) -> int:
    """Removes those from before an instant, `limit` at most. Returns how many."""
    old = (
        select(sign_ins.c.number)
        .where(sign_ins.c.at < before)
        .order_by(sign_ins.c.at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return tx.execute(delete(sign_ins).where(sign_ins.c.number.in_(old))).rowcount


def erase(tx: Connection, organization_id: str) -> int:
    """Removes an organization's; how many."""
    return tx.execute(delete(sign_ins).where(sign_ins.c.organization_id == organization_id)).rowcount


def is_known(tx: Connection, account: bytes, source: bytes, since: datetime) -> bool:
    """Whether the account was signed in from that source since an instant."""
    return (
        tx.execute(
            select(known_sources.c.last_at).where(
                known_sources.c.account_sha256 == account,
                known_sources.c.source_sha256 == source,
                known_sources.c.last_at >= since,
            )
        ).one_or_none()
        is not None
    )


def remember(tx: Connection, account: bytes, source: bytes, at: datetime) -> None:
    """The account was signed in from that source."""
    tx.execute(
        upsert(known_sources)
        .values(account_sha256=account, source_sha256=source, last_at=at)
        .on_conflict_do_update(index_elements=["account_sha256", "source_sha256"], set_={"last_at": at})
    )


def sources_of(tx: Connection, account: bytes) -> list[datetime]:
    """When an account was last signed in from each source, newest first."""
    return list(
        tx.scalars(
            select(known_sources.c.last_at)
            .where(known_sources.c.account_sha256 == account)
            .order_by(known_sources.c.last_at.desc())
        )
    )


def forget_sources(tx: Connection, account: bytes) -> None:
    """The account is gone."""
    tx.execute(delete(known_sources).where(known_sources.c.account_sha256 == account))


def forget_sources_older(tx: Connection, before: datetime, limit: int) -> int:
    """Forgets sources from which nobody signed in since an instant, `limit` at most. Returns how many."""
    return remove_some(tx, known_sources, known_sources.c.last_at < before, limit)
