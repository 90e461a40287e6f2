"""People of the workforce as they were read before, where nothing about them has changed since: a granted read asks for the same few again
and again, page after page. Whether anything has changed is asked of the database each time, in one look at all of them.
"""

import threading
from collections.abc import Collection
from typing import Final

from services.access_control.people import Person
from services.access_control.store import Connection, bases, directory

_REMEMBERED: Final = 1_000


class KnownPeople:
    """For transactions that do not change people themselves."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Person]] = {}
        self._lock = threading.Lock()

    def by_id(self, tx: Connection, person_ids: Collection[str]) -> dict[str, Person]:
        """People by id as the transaction sees them now; unknown ids are left out."""
        # Before what they stand for is read: what changes in between is noticed the next time.
        standings = bases.standings(tx, person_ids)
        known = {each: self._known.get(each) for each in standings}
        found = {each: was[1] for each, was in known.items() if was is not None and was[0] == standings[each]}
        changed = standings.keys() - found.keys()
        if changed:
            read = directory.people_by_id(tx, changed)
            with self._lock:
                for person_id, person in read.items():
                    self._known.pop(person_id, None)
                    self._known[person_id] = (standings[person_id], person)
                while len(self._known) > _REMEMBERED:
                    self._known.pop(next(iter(self._known)))
            found |= read
        return found
