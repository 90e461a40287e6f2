"""Which rules are in force, for all processes of the service."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from services.safety_review.store.tables import rules_in_force

_LOCK: Final = 74  # an advisory lock of its own: who changes the rules waits for who changes them


@dataclass(frozen=True)
class InForce:
    """version: as verdicts cite it. digest: the file's SHA-256 in hex."""

    version: str
    digest: str
    since: datetime


def lock(tx: Connection) -> None:
    """Until the transaction ends nobody else changes the rules."""
    tx.execute(select(func.pg_advisory_xact_lock(_LOCK, 0)))


def find(tx: Connection) -> InForce | None:
    """What is in force; None before the first process has started."""
    row = tx.execute(
        select(rules_in_force.c.version, rules_in_force.c.digest, rules_in_force.c.since)
    ).one_or_none()
    return None if row is None else InForce(**row._mapping)


def put(tx: Connection, new: InForce) -> None:
    """Puts these into force."""
    values = {"version": new.version, "digest": new.digest, "since": new.since}
    tx.execute(
        insert(rules_in_force)
        .values(only_row=True, **values)
        .on_conflict_do_update(index_elements=["only_row"], set_=values)
    )
