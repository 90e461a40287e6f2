"""Tokens of people, and who in the directory they stand for."""

from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar

from kept.options.v1 import roles_pb2
from services.access_control.grants.approval import not_authorized
from services.access_control.people.known_people import KnownPeople
from services.access_control.people.person import Member, Person
from services.access_control.store import Connection, directory, identities
from shared.database import Database
from shared.errors import KeptError
from shared.identity import Caller, CallerKind, RefusedToken
from shared.redaction import Secret

# Verifies a token for an audience: shared.identity.TokenVerifier.verify.
Verify = Callable[[Secret, str], Caller]

_AUDIENCE: Final = "kept:"
_ENTRY: Final = "an entry in the directory"
Found = TypeVar("Found")


class Tokens:
    """Finds the person behind a token."""

    def __init__(self, database: Database, verify: Verify) -> None:
        self._database = database
        self._verify = verify
        self._people = KnownPeople()

    def verify(self, token: str, service: str) -> Caller:
        """The caller that a token proves, if it was made for the service that shows it. Raises UNAUTHENTICATED: a token for another
        service opens nothing here. Whose it is, if it was signed for somebody whom we know, goes along for the audit log."""
        try:
            return self._verify(Secret(token), _AUDIENCE + service)
        except RefusedToken as error:
            with self._database.transaction() as tx:
                error.actor = self.actor(tx, error.caller)
            raise

    def actor(self, tx: Connection, caller: Caller) -> str:
        """The id of the person or member, for the audit log; empty for nobody that we know."""
        try:
            if caller.kind is CallerKind.CUSTOMER:
                return self.member(tx, caller).member_id
            return self.person(tx, caller).person_id
        except KeptError:
            return ""

    def person_id(self, tx: Connection, caller: Caller) -> str:
        """The id of the person of the workforce, whichever of their identities it is. Raises NOT_AUTHORIZED for nobody that we know."""
        _require_staff(caller)
        return _known(identities.person_id_of(tx, caller.issuer, caller.subject))

    def person(self, tx: Connection, caller: Caller) -> Person:
        """The person, with what they hold. Raises NOT_AUTHORIZED for nobody that we know."""
        return _known(directory.person(tx, self.person_id(tx, caller)))

    def person_and(
        self, tx: Connection, caller: Caller, others: Collection[str]
    ) -> tuple[str, Mapping[str, Person]]:
        """The id of the person, and in the same look others of the workforce by id; not for who changes people. Raises NOT_AUTHORIZED for
        nobody that we know."""
        _require_staff(caller)
        person_id, people = self._people.look(tx, caller.issuer, caller.subject, others)
        return _known(person_id), people

    def member(self, tx: Connection, caller: Caller) -> Member:
        """The customer's member, of the organization that the issuer vouches for. Raises NOT_AUTHORIZED."""
        known = caller.kind is CallerKind.CUSTOMER and caller.subject.isprintable()
        member = directory.member(tx, caller.subject) if known else None
        if (
            member is None
            or member.organization_id != caller.organization_id
            or member.role == roles_pb2.CUSTOMER_ROLE_UNSPECIFIED
        ):
            raise not_authorized("a membership")
        return member


def _require_staff(caller: Caller) -> None:
    # The database would not take every character, and nobody is called so.
    if caller.kind is not CallerKind.STAFF or not caller.subject.isprintable():
        raise not_authorized(_ENTRY)


def _known(found: Found | None) -> Found:
    if found is None:
        raise not_authorized(_ENTRY)
    return found
