"""Locks and fences: how writers and those who close something keep out of each other's way.

Every organization belongs to one of 64 stripes. Writers hold the stripes of their organizations shared until
they commit and read the fences under them; who raises a fence holds the stripe exclusively, or all of them for a
day. So a fence that is committed was seen by every later writer, and every earlier one was waited for. (One
advisory lock an organization would exhaust shared memory.) Stripes are always taken in ascending order.

On Citus the stripe is taken on the node of the organization's shard (locks.py), and so is one lock more that all writers share: who closes
a day raises the fence first and then waits, on each node, for those who may not have seen it.
"""

import hashlib
from collections.abc import Iterable
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from services.logging.store import locks
from services.logging.store.tables import day_fences, organization_fences

STRIPES: Final = 64
_CLASS: Final = 7301  # the first half of our advisory locks' keys
_WRITERS: Final = STRIPES  # on Citus: shared by all who write


def stripe_of(organization_id: str) -> int:
    """The stripe of an organization, the same in every process for ever."""
    return hashlib.sha256(organization_id.encode()).digest()[0] % STRIPES


def share(tx: Connection, organization_ids: Iterable[str]) -> None:
    """Takes the stripes of these organizations shared, until the transaction ends."""
    if locks.are_on_shards(tx):
        for one in sorted(set(organization_ids)):
            locks.take(tx, _CLASS, _WRITERS, one, shared=True)
            locks.take(tx, _CLASS, stripe_of(one), one, shared=True)
        return
    _take(tx, "pg_advisory_xact_lock_shared", {stripe_of(one) for one in organization_ids})


def take(tx: Connection, organization_id: str) -> None:
    """Takes an organization's stripe exclusively, until the transaction ends."""
    locks.take(tx, _CLASS, stripe_of(organization_id), organization_id)


def take_all(tx: Connection) -> None:
    """Takes all stripes exclusively, until the transaction ends."""
    _take(tx, "pg_advisory_xact_lock", range(STRIPES))


def _take(tx: Connection, function: str, stripes: Iterable[int]) -> None:
    # A scan of one array has no order but the array's.
    tx.execute(
        text(f"SELECT count({function}(:class, stripe)) FROM unnest(CAST(:stripes AS int[])) AS stripe"),  # noqa: S608 - constants
        {"class": _CLASS, "stripes": sorted(stripes)},
    )


def closed_organizations(tx: Connection, organization_ids: Iterable[str]) -> set[str]:
    """Which of these organizations are fenced off. Asked under their stripes, the answer stays true until the transaction ends."""
    table = organization_fences
    asked = select(table.c.organization_id).where(table.c.organization_id.in_(sorted(set(organization_ids))))
    return set(tx.execute(asked).scalars())


def closed_days(tx: Connection, days: Iterable[date]) -> set[date]:
    """Which of these days are fenced off. Asked under any stripe, the answer stays true until the transaction ends."""
    return set(tx.execute(select(day_fences.c.day).where(day_fences.c.day.in_(sorted(set(days))))).scalars())


def close_organization(tx: Connection, organization_id: str, now: datetime) -> None:
    """Fences an organization off, after waiting for its writers."""
    take(tx, organization_id)
    tx.execute(
        insert(organization_fences)
        .values(organization_id=organization_id, closed_at=now)
        .on_conflict_do_nothing()
    )


def close_day(tx: Connection, day: date, now: datetime) -> None:
    """Fences a day off, after waiting for all writers; on Citus `wait_for_writers` waits, once this is committed."""
    if not locks.are_on_shards(tx):
        take_all(tx)
    tx.execute(insert(day_fences).values(day=day, closed_at=now).on_conflict_do_nothing())


def wait_for_writers(tx: Connection) -> None:
    """To be called in a transaction of its own once a day's fence is committed. On Citus a commit is not seen on all nodes at the same
    moment, and a fence of a day is on all: so whoever may have read it before is waited for after. Nothing to do on one server."""
    if locks.are_on_shards(tx):
        for name in locks.names_on_each_node(tx):
            locks.take(tx, _CLASS, _WRITERS, name)
