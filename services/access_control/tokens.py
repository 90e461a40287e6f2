"""Tokens of people, and who in the directory they stand for."""

from collections.abc import Callable
from typing import Final

from kept.options.v1 import roles_pb2
from services.access_control.grants import not_authorized
from services.access_control.people import Member, Person
from services.access_control.store import Connection, directory
from shared.identity import Caller, CallerKind
from shared.redaction import Secret

# Verifies a token for an audience: shared.identity.TokenVerifier.verify.
Verify = Callable[[Secret, str], Caller]

_AUDIENCE: Final = "kept:"


class Tokens:
    """Finds the person behind a token."""

    def __init__(self, verify: Verify) -> None:
        self._verify = verify

    def verify(self, token: str, service: str) -> Caller:
        """The caller that a token proves, if it was made for the service that shows it. Raises UNAUTHENTICATED: a token for another
        service opens nothing here."""
        return self._verify(Secret(token), _AUDIENCE + service)

    def person(self, tx: Connection, caller: Caller) -> Person:
        """The person of the workforce, whichever of their identities it is. Raises NOT_AUTHORIZED for nobody that we know."""
        person = (
            directory.person_of_identity(tx, caller.issuer, caller.subject)
            if caller.kind is CallerKind.STAFF and caller.subject.isprintable()
            else None
        )
        if person is None:
            raise not_authorized("an entry in the directory")
        return person

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
