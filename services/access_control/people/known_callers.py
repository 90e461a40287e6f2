"""Who somebody is, kept in memory from one decision to the next. What is kept is never trusted: a decision that rests on it is written
down, and counts, only where the directory still says the same in the statement that writes it."""

from dataclasses import dataclass
from typing import Final

from services.access_control.people.person import Member, Person
from services.access_control.people.tokens import Tokens
from services.access_control.store import Connection, bases
from shared.identity import Caller, CallerKind
from shared.remembered import Remembered

_REMEMBERED: Final = 10_000


@dataclass(frozen=True)
class Known:
    """Somebody as the directory had them: a person of the workforce or a customer's member. basis: read before, never after."""

    who: Person | Member
    basis: bases.Basis


class KnownCallers:
    """Who was read lately, by what their tokens prove."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._known: Remembered[tuple[CallerKind, str, str, str], Known] = Remembered(_REMEMBERED)

    def find(self, caller: Caller) -> Known | None:
        """Who it was when last read, if that was lately."""
        return self._known.get(_key(caller))

    def read(self, tx: Connection, caller: Caller) -> Person | Member:
        """Read now, and kept. Raises NOT_AUTHORIZED for somebody that we do not know."""
        is_member = caller.kind is CallerKind.CUSTOMER
        if not caller.subject.isprintable():  # the database would not take it, and nobody is called so
            return self._find(tx, caller)
        basis = bases.basis(
            tx,
            None if is_member else caller.issuer,
            None if is_member else caller.subject,
            caller.subject if is_member else None,
        )
        found = Known(self._find(tx, caller), basis)
        self._known.put(_key(caller), found)
        return found.who

    def _find(self, tx: Connection, caller: Caller) -> Person | Member:
        if caller.kind is CallerKind.CUSTOMER:
            return self._tokens.member(tx, caller)
        return self._tokens.person(tx, caller)


def _key(caller: Caller) -> tuple[CallerKind, str, str, str]:
    # A member is one of the organization that the token names, and of no other.
    return caller.kind, caller.issuer, caller.subject, caller.organization_id
