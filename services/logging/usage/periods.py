"""The periods of product analytics: a UTC day each, with a key of its own that organizations' pseudonyms are made with.

A pseudonym is HMAC-SHA-256(key of the day, label ‖ organization) (RFC 2104), shortened to 128 bits: within a day an organization counts as
one, from one day to the next nothing tells that it is the same. A day is over once no record of it can come any more, 24 hours and the
clocks' tolerance after its end. Then its key is destroyed, and hour by hour its rows become cells of groups; what is of a smaller group
goes with the pseudonyms.

Keys lie in an unlogged table: in no WAL, no base backup and no standby. A crash of the database may take the key of a day that still goes
on, and it gets another one: organizations are counted under each key by itself, so that none is taken for two. What counts is the table:
a process asks it for the key each time, and remembers a lost one for a minute at most.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from services.logging.recording.admission import LATE_WINDOW
from services.logging.store import Tx, analytics
from services.logging.usage.fields import MINIMUM_GROUP
from shared import ids
from shared.clock import CLOCK_TOLERANCE
from shared.database import Database, after_commit
from shared.ids import day_start

_LABEL: Final = b"kept usage pseudonym v1\0"
_KEY_BYTES: Final = 32
# From a day's end on, until it is over.
_AFTERWARDS: Final = LATE_WINDOW + 2 * CLOCK_TOLERANCE


@dataclass(frozen=True)
class PeriodKey:
    """The key of a day. key_id: stands with every row that it made the pseudonym of."""

    key_id: UUID
    key: bytes = field(repr=False)

    def pseudonym(self, organization_id: str) -> UUID:
        """What stands for an organization."""
        return UUID(bytes=hmac.digest(self.key, _LABEL + organization_id.encode(), "sha256")[:16])


def first_open_day(now: datetime) -> date:
    """The oldest day that is not over."""
    return (now - _AFTERWARDS).astimezone(UTC).date()


class Periods:
    """The days' keys, as they are needed, and the end of days."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: dict[date, PeriodKey] = {}  # those that the last counts were made with

    def keys(self, tx: Tx, days: Iterable[date], now: datetime) -> dict[date, PeriodKey]:
        """The keys of these days, those left out that are over: a key that is destroyed is never made again. tx: what is counted in it;
        a key that is made in it is remembered once it is committed."""
        oldest = first_open_day(now)
        found: dict[date, PeriodKey] = {}
        for day in sorted(
            days
        ):  # in order, so that no two transactions wait for each other's new keys in a circle
            if day < oldest:
                continue
            proposed = (UUID(bytes=ids.entropy(16)), ids.entropy(_KEY_BYTES))
            found[day] = PeriodKey(*analytics.key_of(tx, day, proposed))
        after_commit(tx, partial(self._keys.update, found))
        return found

    def forget_organization(self, tx: Tx, organization_id: str) -> None:
        """Gives an organization's rows, as long as a key could tell whose they are, pseudonyms that are no function of anything: also by
        keys that only this process remembers. The caller holds its stripe exclusively and has closed it: nothing of it is counted any
        more."""
        stored = {PeriodKey(key_id, key) for key_id, key in analytics.keys(tx)}
        for known in stored.union(list(self._keys.values())):
            pseudonym = known.pseudonym(organization_id)
            analytics.rename(tx, known.key_id, pseudonym, UUID(bytes=ids.entropy(16)))

    def close(self, now: datetime) -> bool:
        """Destroys keys of days that are over, forgets those that the table has lost, and makes cells of the oldest hour of days that are
        over; True when there may be another. A job's step; it can be repeated after any failure, and another process may be at it."""
        oldest = first_open_day(now)
        for day in [one for one in list(self._keys) if one < oldest]:
            self._keys.pop(day, None)
        with self._database.transaction() as tx:
            has_old = analytics.has_keys(tx, oldest)
            stored = {key_id for key_id, _ in analytics.keys(tx)}
        for day, known in list(self._keys.items()):
            if known.key_id not in stored:
                self._keys.pop(day, None)
        if has_old:
            with self._database.transaction() as tx:
                analytics.destroy_keys(tx, oldest)
        with self._database.transaction() as tx:
            hour = analytics.oldest_hour(tx, day_start(oldest))
            if hour is not None:
                analytics.fold(tx, hour, MINIMUM_GROUP)
        return hour is not None


def day_of(hour: int) -> date:
    """The UTC day of an hour since 1970."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hour)).date()
