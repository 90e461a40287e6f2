"""Locks and fences: how writers and those who close something keep out of each other's way.

Every organization belongs to one of 64 stripes. Writers hold the stripes of their organizations shared until
they commit and read the fences under them; who raises a fence holds the stripe exclusively, or all of them for a
day. So a fence that is committed was seen by every later writer, and every earlier one was waited for. (One
advisory lock an organization would exhaust shared memory.) Stripes are always taken in ascending order.

Who folds usage (usage/folding.py) takes what it can get shared without waiting, and one lock more, so that one process does it at a time.

On Citus the stripe is taken on the node of the organization's shard (locks.py), and so is one lock more that all writers share: who closes
a day raises the fence first and then waits, on each node, for those who may not have seen it.
"""

import hashlib
from collections.abc import Collection, Iterable
from datetime import date, datetime
from typing import Final, LiteralString

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from services.logging.store import locks
from services.logging.store.tables import day_fences, organization_fences
from shared.driver import Uuid, execute, later, listed, rows, together

STRIPES: Final = 64
_CLASS: Final = 7301  # the first half of our advisory locks' keys
_WRITERS: Final = STRIPES  # on Citus: shared by all who write
_FOLDING: Final = STRIPES + 1
# A scan of one array has no order but the array's.
_SHARE: Final = "SELECT count(pg_advisory_xact_lock_shared(%t::int, stripe)) FROM unnest(%t::int[]) AS stripe"
_TRY_TO_SHARE: Final = (
    "SELECT stripe FROM unnest(%t::int[]) AS stripe WHERE pg_try_advisory_xact_lock_shared(%t::int, stripe)"
)
_TAKE: Final = "SELECT count(pg_advisory_xact_lock(%t::int, stripe)) FROM unnest(%t::int[]) AS stripe"
_CLOSED: Final = (
    "SELECT organization_id, NULL::date FROM organization_fences WHERE organization_id = ANY(%t::text[]) "
    "UNION ALL SELECT NULL, day FROM day_fences WHERE day = ANY(%t::date[])"
)
# Are there end users, or content, whose fence is younger than the oldest of the batch? Mostly there are none, and this is all that it
# costs.
_ERASED: Final = (
    "SELECT NULL, NULL WHERE EXISTS (SELECT FROM subject_fences WHERE organization_id = ANY(%t::text[]) AND below > %b) "
    "UNION ALL SELECT NULL, NULL WHERE EXISTS "
    "(SELECT FROM content_erasures WHERE organization_id = ANY(%t::text[]) AND below > %b)"
)
_FENCES: Final = f"{_CLOSED} UNION ALL {_ERASED}"


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
    _take(tx, _SHARE, {stripe_of(one) for one in organization_ids})


def try_to_share(tx: Connection, organization_ids: Iterable[str]) -> set[str]:
    """Takes the stripes of these organizations shared where nobody has them or waits for them exclusively; whose it got. Never waits."""
    names = set(organization_ids)
    if locks.are_on_shards(tx):
        return {
            one
            for one in sorted(names)
            if locks.try_to_take(tx, _CLASS, _WRITERS, one, shared=True)
            and locks.try_to_take(tx, _CLASS, stripe_of(one), one, shared=True)
        }
    of = {one: stripe_of(one) for one in names}
    got = {stripe for (stripe,) in rows(tx, _TRY_TO_SHARE, (listed(sorted(set(of.values()))), _CLASS))}
    return {one for one, stripe in of.items() if stripe in got}


def try_to_fold(tx: Connection) -> bool:
    """Whether this transaction is the one that folds usage, until it ends. Never waits."""
    return locks.try_to_take(tx, _CLASS, _FOLDING, "usage")


def take(tx: Connection, organization_id: str) -> None:
    """Takes an organization's stripe exclusively, until the transaction ends."""
    locks.take(tx, _CLASS, stripe_of(organization_id), organization_id)


def take_all(tx: Connection) -> None:
    """Takes all stripes exclusively, until the transaction ends."""
    _take(tx, _TAKE, range(STRIPES))


def _take(tx: Connection, statement: LiteralString, stripes: Iterable[int]) -> None:
    execute(tx, statement, (_CLASS, listed(sorted(stripes))))


def closed(
    tx: Connection, organization_ids: Iterable[str], days: Iterable[date]
) -> tuple[set[str], set[date]]:
    """Which of these organizations, and which of these days, are fenced off. Asked under the organizations' stripes, the answer stays true
    until the transaction ends."""
    found = rows(tx, _CLOSED, (listed(organization_ids), listed(days)))
    return {one for one, _ in found if one is not None}, {day for _, day in found if day is not None}


def share_and_look(
    tx: Connection, organization_ids: Collection[str], days: Iterable[date], lowest: bytes
) -> tuple[set[str], set[date], bool]:
    """Takes the stripes shared (`share`) and then asks what is `closed`, in one round trip: each statement sees what was committed when it
    began (READ COMMITTED, PostgreSQL 18 §13.2.1), so the second sees all that the first waited for.

    Besides, whether there are fences of end users, or of content, of these organizations that reach above the lowest record id (16 bytes):
    `store.subjects.fenced` and `store.content_erasures.fenced` tell which records they stop."""
    names, bound = listed(organization_ids), Uuid(lowest)
    asked = (names, listed(days), names, bound, names, bound)
    if locks.are_on_shards(tx):
        share(tx, organization_ids)
        found = rows(tx, _FENCES, asked)
    else:
        with together(tx):
            share(tx, organization_ids)
            answer = later(tx, _FENCES, asked)
        found = answer()
    return (
        {one for one, _ in found if one is not None},
        {day for _, day in found if day is not None},
        any(one is None and day is None for one, day in found),
    )


def close_organization(tx: Connection, organization_id: str, now: datetime) -> datetime:
    """Fences an organization off, after waiting for its writers; since when it is."""
    take(tx, organization_id)
    tx.execute(
        insert(organization_fences)
        .values(organization_id=organization_id, closed_at=now)
        .on_conflict_do_nothing()
    )
    asked = select(organization_fences.c.closed_at).where(
        organization_fences.c.organization_id == organization_id
    )
    since: datetime = tx.execute(asked).scalar_one()
    return since


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
