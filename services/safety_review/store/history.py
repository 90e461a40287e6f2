"""What people did with cases: decisions, claims, and what they opened."""

from datetime import datetime

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from services.safety_review.reviewing.cases import DISMISSED, Case
from services.safety_review.store.tables import claims, decisions, openings


def add_decision(tx: Connection, case: Case) -> None:
    """Writes down how a locked case was closed, this turn."""
    assert case.closed_at is not None
    tx.execute(
        insert(decisions)
        .values(
            case_id=case.case_id,
            turn=case.turn,
            category=case.category,
            round=case.round,
            state=case.state,
            overturns=case.state == DISMISSED and case.told_at is not None,
            begun_at=case.begun_at or case.opened_at,
            due_at=case.due_at,
            decided_at=case.closed_at,
        )
        .on_conflict_do_nothing()
    )


def lock_person(tx: Connection, person_id: str) -> None:
    """One person takes one case at a time, so that two at once do not both take the last one of the day."""
    tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("claims:" + person_id, 0))))


def claimed_since(tx: Connection, person_id: str, since: datetime) -> list[datetime]:
    """When a person took cases after `since`, each case and turn once, the oldest first."""
    rows = tx.execute(
        select(claims.c.claimed_at)
        .where(claims.c.person_id == person_id, claims.c.claimed_at > since)
        .order_by(claims.c.claimed_at)
    )
    return [row.claimed_at for row in rows]


def has_claimed(tx: Connection, person_id: str, case: Case) -> bool:
    """Whether the person took the case before, this turn."""
    rows = tx.execute(
        select(claims.c.case_id).where(
            claims.c.person_id == person_id,
            claims.c.case_id == case.case_id,
            claims.c.turn == case.turn,
        )
    )
    return rows.one_or_none() is not None


def add_claim(tx: Connection, person_id: str, case: Case, at: datetime) -> None:
    """Counts a case that a person took; once a turn."""
    tx.execute(
        insert(claims)
        .values(person_id=person_id, case_id=case.case_id, turn=case.turn, claimed_at=at)
        .on_conflict_do_nothing()
    )


def forget_claims(tx: Connection, before: datetime) -> None:
    """Removes claims that no report asks for any more."""
    tx.execute(delete(claims).where(claims.c.claimed_at < before))


def opening(tx: Connection, request_id: str) -> tuple[str, bytes, str] | None:
    """Who opened something under this id, with what, and the case."""
    row = tx.execute(select(openings).where(openings.c.request_id == request_id)).one_or_none()
    return None if row is None else (row.person_id, bytes(row.request_sha256), row.case_id)


def add_opening(tx: Connection, request_id: str, person_id: str, request_sha256: bytes, case_id: str) -> bool:
    """Remembers it. False where another call with this id was first; roll back then."""
    added = tx.execute(
        insert(openings)
        .values(request_id=request_id, person_id=person_id, request_sha256=request_sha256, case_id=case_id)
        .on_conflict_do_nothing()
        .returning(openings.c.request_id)
    )
    return added.one_or_none() is not None
