"""People of the workforce as they were read before, where nothing about them has changed since: a granted read asks for the same few again
and again, page after page. Whether anything has changed is asked of the database each time, in one look at all of them.
"""

from collections.abc import Collection
from typing import Final

from services.access_control.people.person import Person
from services.access_control.store import Connection, bases, directory
from shared.remembered import Remembered

_REMEMBERED: Final = 1_000


class KnownPeople:
    """For transactions that do not change people themselves."""

    def __init__(self) -> None:
        self._known: Remembered[str, tuple[str, Person]] = Remembered(_REMEMBERED)

    def look(
        self, tx: Connection, issuer: str, subject: str, person_ids: Collection[str]
    ) -> tuple[str | None, dict[str, Person]]:
        """Whose confirmed identity this is, and people by id, as the transaction sees them now; unknown ids are left out."""
        # Before what they stand for is read: what changes in between is noticed the next time.
        signed_in, standings = bases.standings(tx, issuer, subject, person_ids)
        known = {each: self._known.get(each) for each in standings}
        found = {each: was[1] for each, was in known.items() if was is not None and was[0] == standings[each]}
        changed = standings.keys() - found.keys()
        if changed:
            read = directory.people_by_id(tx, changed)
            for person_id, person in read.items():
                self._known.put(person_id, (standings[person_id], person))
            found |= read
        return signed_in, found
