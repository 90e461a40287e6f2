"""Changes of an account's address: those that wait for their token, and those whose old address is being told."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from services.settings.store.removal import remove_some
from services.settings.store.tables import email_changes


@dataclass(frozen=True)
class EmailChange:
    """One change. replaced: the old address, once it is done. `expires_at` is the first instant at which it is worth nothing."""

    member_id: str
    email: str
    replaced: str | None
    requested_at: datetime
    expires_at: datetime
    handle: bytes = field(repr=False)


def add(tx: Connection, change: EmailChange) -> None:
    """Adds one."""
    tx.execute(
        insert(email_changes).values(
            handle=change.handle,
            member_id=change.member_id,
            email=change.email,
            requested_at=change.requested_at,
            expires_at=change.expires_at,
        )
    )


def find(tx: Connection, handle: bytes) -> EmailChange | None:
    """The change with this handle."""
    row = tx.execute(select(email_changes).where(email_changes.c.handle == handle)).one_or_none()
    return None if row is None else EmailChange(**row._mapping)


def finish(tx: Connection, handle: bytes, replaced: str, forgotten_at: datetime) -> bool:
    """Marks one as done; False where it was done before: of several transactions one does it."""
    return (
        tx.execute(
            update(email_changes)
            .where(email_changes.c.handle == handle, email_changes.c.replaced.is_(None))
            .values(replaced=replaced, expires_at=forgotten_at)
        ).rowcount
        == 1
    )


def of_member(tx: Connection, member_id: str) -> list[EmailChange]:
    """A member's, in order of asking."""
    rows = tx.execute(
        select(email_changes)
        .where(email_changes.c.member_id == member_id)
        .order_by(email_changes.c.requested_at, email_changes.c.handle)
    )
    return [EmailChange(**row._mapping) for row in rows]


def count(tx: Connection, member_id: str, now: datetime) -> int:
    """How many a member has that are not over."""
    return tx.execute(
        select(func.count())
        .select_from(email_changes)
        .where(email_changes.c.member_id == member_id, email_changes.c.expires_at > now)
    ).scalar_one()


def remove_expired(tx: Connection, now: datetime, limit: int) -> int:
    """Removes those that are over, `limit` at most. Returns how many."""
    return remove_some(tx, email_changes, email_changes.c.expires_at <= now, limit)
