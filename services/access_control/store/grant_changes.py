"""What changes of a grant: votes, states, what it covers, extensions, and what somebody found about a broken glass."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, and_, delete, update
from sqlalchemy.dialects.postgresql import insert

from services.access_control.grants.grant import Grant, Vote
from services.access_control.grants.messages import asked_message
from services.access_control.store.grants import approvals, grants, loaded


def add_vote(tx: Connection, grant_id: str, vote: Vote) -> None:
    """Adds an approval; a second one of the same person changes nothing. The grant must be locked."""
    tx.execute(
        insert(approvals)
        .values(
            grant_id=grant_id,
            round=vote.round,
            approved_by=vote.approved_by,
            by_customer=vote.by_customer,
            approved_at=vote.approved_at,
        )
        .on_conflict_do_nothing()
    )


def set_state(tx: Connection, grant: Grant) -> None:
    """Writes the grant's state and times. The grant must be locked."""
    tx.execute(
        update(grants)
        .where(grants.c.grant_id == grant.grant_id)
        .values(
            state=grant.state,
            valid_from=grant.valid_from,
            expires_at=grant.expires_at,
            ended_at=grant.ended_at,
            rules=",".join(grant.rules),
        )
    )


def set_scope(tx: Connection, grant: Grant) -> None:
    """Writes what a narrowed grant covers, how long, and what was asked for. The grant must be locked."""
    data = grant.data
    values: dict[str, object] = {"duration": grant.duration}
    if grant.asked is not None:
        values["asked"] = asked_message(*grant.asked).SerializeToString(deterministic=True)
    if data is not None:
        values |= {
            "detail": data.detail,
            "budget": data.budget,
            "covers_from": data.start,
            "covers_until": data.until,
            "record_ids": b"".join(sorted(data.record_ids)),
        }
    tx.execute(update(grants).where(grants.c.grant_id == grant.grant_id).values(values))


def set_extension(tx: Connection, grant: Grant) -> None:
    """Writes the extension that waits, or that none does (then nobody's votes on one are left), and what came of the last one. The grant
    must be locked."""
    waiting = grant.extension
    tx.execute(
        update(grants)
        .where(grants.c.grant_id == grant.grant_id)
        .values(
            round=grant.round,
            duration=grant.duration,
            extension_duration=waiting.duration if waiting else None,
            extension_reason=waiting.reason if waiting else "",
            extension_requested_at=waiting.requested_at if waiting else None,
        )
    )
    if waiting is None:
        tx.execute(
            delete(approvals).where(approvals.c.grant_id == grant.grant_id, approvals.c.round > grant.round)
        )


def set_review(tx: Connection, grant: Grant) -> None:
    """Writes what somebody found about a broken glass. The grant must be locked."""
    glass = grant.broken_glass
    assert glass is not None
    tx.execute(
        update(grants)
        .where(grants.c.grant_id == grant.grant_id)
        .values(
            review_verdict=glass.verdict,
            reviewed_by=glass.reviewed_by,
            reviewed_at=glass.reviewed_at,
            review_note=glass.note,
        )
    )


def unreviewed(tx: Connection, *, due_by: datetime, person_id: str = "") -> list[Grant]:
    """Broken glasses (of one person) that nobody has looked at and whose review is due by an instant, oldest first."""
    waits = and_(
        grants.c.review_due_at.is_not(None), grants.c.review_verdict == 0, grants.c.review_due_at <= due_by
    )
    found = loaded(tx, and_(waits, grants.c.requested_by == person_id) if person_id else waits)
    return [grant for _, grant in reversed(found)]


def remind_of(tx: Connection, waiting: Collection[Grant]) -> list[Grant]:
    """Those of the grants of whose review nobody was reminded yet; from now on somebody was."""
    new = set(
        tx.execute(
            update(grants)
            .where(grants.c.grant_id.in_([grant.grant_id for grant in waiting]), ~grants.c.review_reminded)
            .values(review_reminded=True)
            .returning(grants.c.grant_id)
        ).scalars()
    )
    return [grant for grant in waiting if grant.grant_id in new]
