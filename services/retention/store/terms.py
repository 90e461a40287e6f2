"""Contract terms."""

from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.retention.store import Tx
from services.retention.store.tables import contract_terms as terms
from services.retention.terms.contract_term import ContractTerm, Effect, TermState
from shared.terms import Term, TermKind

_OVER = (TermState.ENDED, TermState.WITHDRAWN)


def _stored(effect: Effect) -> dict[str, Any]:
    values = asdict(effect)
    values["let_go"] = [day.isoformat() for day in effect.let_go]
    values["counted_at"] = effect.counted_at.isoformat()
    return values


def _effect(values: dict[str, Any]) -> Effect:
    return Effect(
        **values
        | {
            "before": Term(TermKind(values["before"]["kind"]), values["before"]["days"]),
            "after": Term(TermKind(values["after"]["kind"]), values["after"]["days"]),
            "let_go": tuple(date.fromisoformat(day) for day in values["let_go"]),
            "counted_at": datetime.fromisoformat(values["counted_at"]),
        }
    )


def _made(row: Row[Any]) -> ContractTerm:
    values = dict(row._mapping)
    term = Term(TermKind(values.pop("kind")), values.pop("days"))
    return ContractTerm(
        **values
        | {
            "term": term,
            "state": TermState(values["state"]),
            "content_sha256": bytes(values["content_sha256"]),
            "effect": _effect(values["effect"]),
        }
    )


def add(tx: Tx, term: ContractTerm) -> bool:
    """Adds a term; False when the person's request id is known, or the organization has a proposal."""
    added = tx.execute(
        upsert(terms)
        .values(
            term_id=term.term_id,
            request_id=term.request_id,
            content_sha256=term.content_sha256,
            organization_id=term.organization_id,
            kind=term.term.kind,
            days=term.term.days,
            reference=term.reference,
            from_day=term.from_day,
            until_day=term.until_day,
            state=term.state,
            proposed_by=term.proposed_by,
            proposed_at=term.proposed_at,
            effect=_stored(term.effect),
            application=term.application,
        )
        .on_conflict_do_nothing()
        .returning(terms.c.term_id)
    ).first()
    return added is not None


def get(tx: Tx, term_id: str) -> ContractTerm | None:
    """One term."""
    row = tx.execute(select(terms).where(terms.c.term_id == term_id)).one_or_none()
    return None if row is None else _made(row)


def get_by_request(tx: Tx, person_id: str, request_id: str) -> ContractTerm | None:
    """The term that somebody's request proposed."""
    row = tx.execute(
        select(terms).where(terms.c.proposed_by == person_id, terms.c.request_id == request_id)
    ).one_or_none()
    return None if row is None else _made(row)


def lock(tx: Tx, term_id: str) -> ContractTerm | None:
    """One term; nobody else changes it before this transaction ends."""
    row = tx.execute(select(terms).where(terms.c.term_id == term_id).with_for_update()).one_or_none()
    return None if row is None else _made(row)


def save(tx: Tx, term: ContractTerm) -> None:
    """Stores what may change of a locked term."""
    tx.execute(
        update(terms)
        .where(terms.c.term_id == term.term_id)
        .values(
            state=term.state,
            confirmed_by=term.confirmed_by,
            effective_at=term.effective_at,
            end_proposed_by=term.end_proposed_by,
            end_proposed_at=term.end_proposed_at,
            end_confirmed_by=term.end_confirmed_by,
            end_reason=term.end_reason,
            ended_at=term.ended_at,
            effect=_stored(term.effect),
        )
    )


def in_force(tx: Tx, organization_id: str, application: str) -> list[ContractTerm]:
    """The terms of an organization's application, or of the organization itself, that are in force: one, but for the moment in which
    another takes its place."""
    rows = tx.execute(
        select(terms)
        .where(
            terms.c.organization_id == organization_id,
            terms.c.application == application,
            terms.c.state == TermState.IN_FORCE,
        )
        .with_for_update()
    )
    return [_made(row) for row in rows]


def lots(tx: Tx) -> tuple[int, int]:
    """Of how many lots (shared.terms) there are terms that are not over, and how many bytes their names have altogether."""
    named = (
        select(terms.c.organization_id, terms.c.application).where(terms.c.state.not_in(_OVER)).distinct()
    ).subquery()
    size = func.octet_length(named.c.organization_id) + func.octet_length(named.c.application)
    number, names = tx.execute(
        select(func.count(), func.coalesce(func.sum(size), 0)).select_from(named)
    ).one()
    return int(number), int(names)


def open_after(tx: Tx, number: int, limit: int) -> list[ContractTerm]:
    """Terms that are not over, in order."""
    rows = tx.execute(
        select(terms)
        .where(terms.c.state.not_in(_OVER), terms.c.number > number)
        .order_by(terms.c.number)
        .limit(limit)
    )
    return [_made(row) for row in rows]


def page(tx: Tx, organization_id: str, before: int | None, limit: int) -> list[ContractTerm]:
    """Terms, newest first; of one organization, or of all when it is empty. before: the number that the last page ended with."""
    query = select(terms).order_by(terms.c.number.desc()).limit(limit)
    if organization_id:
        query = query.where(terms.c.organization_id == organization_id)
    if before is not None:
        query = query.where(terms.c.number < before)
    return [_made(row) for row in tx.execute(query)]
