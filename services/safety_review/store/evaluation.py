"""Evaluation sets, their sealed items, and what people decided of what a version of the rules flagged."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from services.safety_review.reviewing.cases import DISMISSED, UPHELD
from services.safety_review.store.tables import cases, evaluation_items, evaluation_sets, flags, past_cases
from services.safety_review.store.verdicts import RecordKey


@dataclass(frozen=True)
class EvaluationSet:
    """A set as it is known. categories: items by category, 0 for a withheld one. removed: pieces taken out, by kind. number: in order of
    making; 0 before it is stored."""

    set_id: str
    request_id: str
    built_by: str
    built_at: datetime
    ends_at: datetime
    needed_organizations: int
    categories: Mapping[str, int]
    removed: Mapping[str, int]
    sealed_sha256: bytes
    ended_at: datetime | None = None
    number: int = 0

    @property
    def items(self) -> int:
        """How many there are, or were."""
        return sum(self.categories.values())


class Upheld(NamedTuple):
    """A record of an upheld case. is_text: flagged for what it says; else only counted, by a rule over log data."""

    key: RecordKey
    category: str
    is_text: bool


def _made(row: Row[Any]) -> EvaluationSet:
    return EvaluationSet(**{**row._mapping, "sealed_sha256": bytes(row.sealed_sha256)})


def upheld(tx: Connection, wanted: Collection[tuple[str, bytes]]) -> dict[tuple[str, bytes], Upheld]:
    """Of (case id, record id) those whose case is upheld."""
    is_text = flags.c.finding_id.is_(None)
    rows = tx.execute(
        select(
            flags.c.case_id,
            flags.c.record_id,
            flags.c.organization_id,
            cases.c.category,
            func.bool_or(is_text).label("is_text"),
        )
        .join(cases, cases.c.case_id == flags.c.case_id)
        .where(
            flags.c.case_id.in_({case_id for case_id, _ in wanted}),
            flags.c.record_id.in_({record_id for _, record_id in wanted}),
            cases.c.state == UPHELD,
        )
        .group_by(flags.c.case_id, flags.c.record_id, flags.c.organization_id, cases.c.category)
    )
    found = {
        (row.case_id, bytes(row.record_id)): Upheld(
            RecordKey(row.organization_id, bytes(row.record_id)), row.category, row.is_text
        )
        for row in rows
    }
    return {one: found[one] for one in wanted if one in found}


def add(tx: Connection, made: EvaluationSet, sealed: Sequence[bytes]) -> bool:
    """Stores a set with its items. False where the request id is known; roll back then."""
    values = {name: value for name, value in vars(made).items() if name != "number"}
    added = tx.execute(
        insert(evaluation_sets).values(**values).on_conflict_do_nothing().returning(evaluation_sets.c.set_id)
    ).one_or_none()
    if added is None:
        return False
    tx.execute(
        insert(evaluation_items),
        [{"set_id": made.set_id, "place": place, "sealed": one} for place, one in enumerate(sealed)],
    )
    return True


def find(tx: Connection, set_id: str, *, lock: bool = False) -> EvaluationSet | None:
    """One set."""
    query = select(evaluation_sets).where(evaluation_sets.c.set_id == set_id)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _made(row)


def find_request(tx: Connection, request_id: str) -> EvaluationSet | None:
    """The set that a request made."""
    row = tx.execute(select(evaluation_sets).where(evaluation_sets.c.request_id == request_id)).one_or_none()
    return None if row is None else _made(row)


def page(tx: Connection, before: int, limit: int) -> list[EvaluationSet]:
    """Sets, newest first, below that number; 0 begins."""
    query = select(evaluation_sets).order_by(evaluation_sets.c.number.desc()).limit(limit)
    if before:
        query = query.where(evaluation_sets.c.number < before)
    return [_made(row) for row in tx.execute(query)]


def over(tx: Connection, now: datetime, limit: int) -> list[str]:
    """Sets whose term is over and that have not ended."""
    rows = tx.execute(
        select(evaluation_sets.c.set_id)
        .where(evaluation_sets.c.ended_at.is_(None), evaluation_sets.c.ends_at <= now)
        .limit(limit)
    )
    return [row.set_id for row in rows]


def end(tx: Connection, set_id: str, at: datetime) -> None:
    """A locked set has no items any more."""
    tx.execute(delete(evaluation_items).where(evaluation_items.c.set_id == set_id))
    tx.execute(update(evaluation_sets).where(evaluation_sets.c.set_id == set_id).values(ended_at=at))


def sealed_items(tx: Connection, set_id: str) -> list[bytes]:
    """A set's items, in their places."""
    rows = tx.execute(
        select(evaluation_items.c.sealed)
        .where(evaluation_items.c.set_id == set_id)
        .order_by(evaluation_items.c.place)
    )
    return [bytes(row.sealed) for row in rows]


def decided(tx: Connection, rules_version: str) -> dict[str, tuple[int, int]]:
    """By category, of the records that a version of the rules flagged: in upheld cases, in dismissed ones."""
    there = (
        select(
            cases.c.category,
            func.count().filter(cases.c.state == UPHELD).label("upheld"),
            func.count().filter(cases.c.state == DISMISSED).label("dismissed"),
        )
        .join(flags, flags.c.case_id == cases.c.case_id)
        .where(flags.c.rules_version == rules_version)
        .group_by(cases.c.category)
    )
    gone = (
        select(
            past_cases.c.category,
            func.sum(past_cases.c.number).filter(past_cases.c.what == "upheld"),
            func.sum(past_cases.c.number).filter(past_cases.c.what == "dismissed"),
        )
        .where(past_cases.c.rules_version == rules_version)
        .group_by(past_cases.c.category)
    )
    found: dict[str, tuple[int, int]] = {}
    for category, upheld_, dismissed in (*tx.execute(there), *tx.execute(gone)):
        before = found.get(category, (0, 0))
        found[category] = before[0] + int(upheld_ or 0), before[1] + int(dismissed or 0)
    return found
