"""The words that name customers and their people, for who takes them out of texts. Nothing is kept of an erased organization, so nothing is
told."""

from collections.abc import Collection
from dataclasses import dataclass

from services.settings.store import identifiers as store
from shared.database import Database


@dataclass(frozen=True)
class Identifiers:
    """names: of organizations. emails: of members, of who is invited, contacts. people: first and last names."""

    names: list[str]
    emails: list[str]
    people: list[tuple[str, str]]


class NamesOfCustomers:
    """The read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, organization_ids: Collection[str]) -> Identifiers:
        """Of all of these together; which word is whose is not told."""
        with self._database.transaction() as tx:
            return Identifiers(
                store.names(tx, organization_ids),
                store.emails(tx, organization_ids),
                store.people(tx, organization_ids),
            )
