"""Password resets: addresses that somebody asked for, and what can be used once."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select

from services.settings.store.removal import remove_some
from services.settings.store.tables import password_reset_requests, password_resets


@dataclass(frozen=True)
class ResetRequest:
    """Somebody asked for this address, whoever has it."""

    number: int
    email_key: str
    requested_at: datetime


@dataclass(frozen=True)
class PasswordReset:
    """One that can be used. `expires_at` is the first instant at which it is worth nothing."""

    member_id: str
    requested_at: datetime
    expires_at: datetime
    handle: bytes = field(repr=False)


def ask(tx: Connection, email_key: str, at: datetime) -> None:
    """Writes down what was asked for."""
    tx.execute(insert(password_reset_requests).values(email_key=email_key, requested_at=at))


def count_asked(tx: Connection) -> int:
    """How many wait."""
    return tx.execute(select(func.count()).select_from(password_reset_requests)).scalar_one()


def take_asked(tx: Connection, limit: int) -> list[ResetRequest]:
    """What waits, oldest first, taken away: of several transactions one gets each."""
    first = (
        select(password_reset_requests.c.number)
        .order_by(password_reset_requests.c.number)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = tx.execute(
        delete(password_reset_requests)
        .where(password_reset_requests.c.number.in_(first))
        .returning(password_reset_requests)
    )
    return sorted((ResetRequest(**row._mapping) for row in rows), key=lambda one: one.number)


def add(tx: Connection, reset: PasswordReset) -> None:
    """Adds one."""
    tx.execute(
        insert(password_resets).values(
            handle=reset.handle,
            member_id=reset.member_id,
            requested_at=reset.requested_at,
            expires_at=reset.expires_at,
        )
    )


def find(tx: Connection, handle: bytes) -> PasswordReset | None:
    """The reset with this handle."""
    row = tx.execute(select(password_resets).where(password_resets.c.handle == handle)).one_or_none()
    return None if row is None else PasswordReset(**row._mapping)


def take(tx: Connection, handle: bytes) -> PasswordReset | None:
    """Uses one up: of several transactions one gets it."""
    row = tx.execute(
        delete(password_resets).where(password_resets.c.handle == handle).returning(password_resets)
    ).one_or_none()
    return None if row is None else PasswordReset(**row._mapping)


def open_of(tx: Connection, member_id: str, now: datetime) -> list[PasswordReset]:
    """A member's that can still be used, the oldest first."""
    rows = tx.execute(
        select(password_resets)
        .where(password_resets.c.member_id == member_id, password_resets.c.expires_at > now)
        .order_by(password_resets.c.expires_at, password_resets.c.handle)
    )
    return [PasswordReset(**row._mapping) for row in rows]


def remove_expired(tx: Connection, now: datetime, limit: int) -> int:
    """Removes those that are worth nothing any more, `limit` at most. Returns how many."""
    return remove_some(tx, password_resets, password_resets.c.expires_at <= now, limit)
