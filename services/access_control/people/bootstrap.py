"""The first two operators of an empty installation: `python -m services.access_control bootstrap`. Once.

Every later role is proposed by one operator and confirmed by another. The first two have nobody, so they are made together, each as the
other's second person, by whoever can reach the service's database and key store anyway.

With `--recover` it works again where fewer than two operators are in force: all have left, nobody confirmed their roles in time, or their
provider is not on the list of sub-processors, so that they neither ask for a power nor approve one. Every
receiver of notifications is told, and the audit log has how many there were. While two are in force it refuses: operators are made by
operators.
"""

import argparse
import hashlib
import re
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from kept.options.v1 import roles_pb2
from services.access_control.audit.decision_log import DecisionLog
from services.access_control.audit.log import AuditLog
from services.access_control.config import AccessControlConfig
from services.access_control.grants.ended_authority import end_lost
from services.access_control.key_stores import KeyStoreError
from services.access_control.key_stores.configured import open_key_store
from services.access_control.notifications import Ids, Notifications
from services.access_control.people.directory import add_person, identity_taken
from services.access_control.people.person import Identity, Person
from services.access_control.people.standing import AGREEMENTS_NEEDED, Agreement, ReviewTerms, RoleAssignment
from services.access_control.store import Connection, standing
from services.access_control.store import directory as store
from shared.clock import Clock
from shared.config import ConfigError, load
from shared.database import Database, migrate
from shared.errors import KeptError, wrong_state
from shared.ids import new_id
from shared.names import is_shown
from shared.server import clock_for

AGREEMENT: Final = (
    "I keep what I learn of customers' data confidential, use it for nothing but the purpose of the grant under which I see it, "
    "keep to the security controls of the company, and know that every access of mine is recorded and shown to the customer."
)
_AGREEMENT_LASTS: Final = timedelta(days=365)
_DOCUMENTED: Final = "docs/people.md"
_PERSON: Final = re.compile(r"\s*([^<>\x00-\x1f]{1,200}?)\s*<([!-;=?-~]{3,254})>\s*")
_SUBJECT: Final = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True)
class First:
    """One of the first two. subject: `sub` of their workforce tokens."""

    display_name: str
    email: str
    subject: str


def bootstrap(
    database: Database,
    clock: Clock,
    decisions: DecisionLog,
    issuer: str,
    firsts: tuple[First, First],
    document_sha256: bytes,
    *,
    recover: bool = False,
    terms: ReviewTerms | None = None,
) -> list[Person]:
    """Makes two operators, each confirmed by the other, with the agreement that they signed. recover: also where there are people, of whom
    fewer than two are operators in force. Raises WRONG_STATE where it is not the time for it, or one of the two is disabled;
    ALREADY_EXISTS where they are one and the same, or somebody else has an address; CONFUSABLE; INVALID_ARGUMENT for a name that shows
    nothing."""
    now = clock.now()
    terms = terms or ReviewTerms()
    with database.transaction() as tx:
        everybody = store.lock_everybody(tx)
        in_force = sum(_is_operator(person, now) for person in everybody)
        if in_force >= 2:
            raise wrong_state("There are two operators; operators are made by operators.", "BOOTSTRAPPED")
        if everybody and not recover:
            raise wrong_state("There are people already; --recover makes operators again.", "BOOTSTRAPPED")
        ids = [_person_id(tx, issuer, first) for first in firsts]
        if ids[0] is not None and ids[0] == ids[1]:
            raise identity_taken()
        people = []
        for first, known in zip(firsts, ids, strict=True):
            person_id = known or new_id("person")
            person = Person(person_id, first.display_name, first.email)
            if known is None:
                # Of the first two neither is there before the other, so each is the one that its own identity is confirmed by.
                identity = Identity(
                    new_id("identity"), person_id, issuer, first.subject, person_id, now, person_id
                )
                add_person(tx, person, identity, now)
            people.append(person)
        kind = "operator.recovered" if everybody else "operator.bootstrapped"
        end_lost(tx, decisions, [person.person_id for person in people], people[0].person_id, kind, now)
        for person, other in zip(people, reversed(people), strict=True):
            facts: dict[str, str | int | bool] = {
                "role": "OPERATOR",
                "document_sha256": document_sha256.hex(),
                "expires_at": (now + _AGREEMENT_LASTS).isoformat(),
            }
            if everybody:
                facts["operators_in_force_before"] = in_force
            subjects = _make_operator(tx, person.person_id, other.person_id, document_sha256, terms, now)
            decisions.write(tx, kind, other.person_id, subjects=subjects, facts=facts)
            if everybody:
                decisions.tell(tx, kind, Ids(person_id=person.person_id, actor=other.person_id))
        made = [store.person(tx, person.person_id) for person in people]
        found = [person for person in made if person is not None]
        if not all(_is_operator(person, now) for person in found):
            raise wrong_state("One of the two would not count: disabled, or of a provider.", "DISABLED")
    return found


def _is_operator(person: Person, now: datetime) -> bool:
    """Whether the person may ask for an operator's power, and approve another's."""
    return person.is_listed(now) and roles_pb2.STAFF_ROLE_OPERATOR in person.roles_at(now)


def _person_id(tx: Connection, issuer: str, first: First) -> str | None:
    """Who signs in with this identity already. Raises ALREADY_EXISTS where that is somebody with another address."""
    person = store.person_of_identity(tx, issuer, first.subject)
    if person is None:
        return None
    if person.email.casefold() != first.email.casefold():
        raise identity_taken()
    return person.person_id


def _make_operator(
    tx: Connection, person_id: str, other: str, document_sha256: bytes, terms: ReviewTerms, now: datetime
) -> list[str]:
    """The role and the agreement, by the other one. Returns the ids of what it is about."""
    review = terms.confirmed(other, now)
    known = store.person(tx, person_id, "update")
    for held in known.roles if known is not None else ():
        if held.role == roles_pb2.STAFF_ROLE_OPERATOR:
            store.end_assignment(tx, held.role_assignment_id, other, now)
    role = RoleAssignment(new_id("role"), person_id, roles_pb2.STAFF_ROLE_OPERATOR, other, now, other, review)
    store.add_assignment(tx, role)
    agreement = Agreement(
        new_id("agreement"),
        person_id,
        AGREEMENTS_NEEDED,
        document_sha256,
        now,
        now + _AGREEMENT_LASTS,
        other,
        now,
        review,
    )
    standing.add_agreement(tx, agreement)
    return [person_id, role.role_assignment_id, agreement.agreement_id]


def _first(person: str, subject: str) -> First:
    found = _PERSON.fullmatch(person)
    if found is None or not found[2].count("@") == 1:
        raise ConfigError(f"--person {person!r} is not of the form 'Name <mail>'", _DOCUMENTED)
    if not is_shown(found[1]):
        raise ConfigError(f"--person {person!r} has a name that shows nothing", _DOCUMENTED)
    if _SUBJECT.fullmatch(subject) is None:
        raise ConfigError("--subject must be 1 to 200 printable ASCII characters without spaces", _DOCUMENTED)
    return First(found[1], found[2], subject)


def _document(given: str | None) -> bytes:
    if given is None:
        return hashlib.sha256(AGREEMENT.encode()).digest()
    if re.fullmatch(r"[0-9a-f]{64}", given) is None:
        raise ConfigError("--agreement-sha256 must be 64 hexadecimal digits", _DOCUMENTED)
    return bytes.fromhex(given)


def main(arguments: list[str], migrations: Path) -> int:
    """The command. Returns the process's exit code; what goes wrong is one sentence on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m services.access_control bootstrap",
        description="Makes the first two operators of an installation, each as the other's second person.",
        epilog=f"Without --agreement-sha256 both sign this: {AGREEMENT}",
    )
    parser.add_argument("--config", type=Path, required=True, help="the service's TOML file")
    parser.add_argument(
        "--person", action="append", default=[], metavar="'Name <mail>'", help="twice, each with a --subject"
    )
    parser.add_argument(
        "--subject", action="append", default=[], metavar="SUB", help="`sub` of the person's workforce tokens"
    )
    parser.add_argument(
        "--agreement-sha256", metavar="HEX", help="SHA-256 of the confidentiality agreement that both signed"
    )
    parser.add_argument(
        "--recover",
        action="store_true",
        help="where there are people, and fewer than two operators whose role and agreement are in force",
    )
    options = parser.parse_args(arguments)
    try:
        if len(options.person) != 2 or len(options.subject) != 2:
            raise ConfigError("It takes exactly two people: --person and --subject, twice each", _DOCUMENTED)
        first, second = map(_first, options.person, options.subject)
        document = _document(options.agreement_sha256)
        config = load(AccessControlConfig, "access_control", options.config)
        issuer = workforce_issuers(config)[0]
        clock = clock_for(config)
        database = Database.configured(config, pool=2)
        if config.migrate_at_start:
            migrate(database, migrations)
        notifications = Notifications.configured(config.notifications, database, clock)
        audit_log = AuditLog(database, clock, open_key_store(config.key_store))
        made = bootstrap(
            database,
            clock,
            DecisionLog(database, audit_log, clock, notifications),
            issuer,
            (first, second),
            document,
            recover=options.recover,
            terms=config.review_terms,
        )
        for person in made:
            sys.stdout.write(f"{person.person_id}  {person.display_name} <{person.email}>  operator\n")
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyStoreError as error:
        sys.stderr.write(f"bootstrap: {error}\n")
        return 1
    except KeptError as error:
        sys.stderr.write(f"bootstrap: {error.text} [{error.name}]\n")
        return 1
    return 0


def workforce_issuers(config: AccessControlConfig) -> tuple[str, ...]:
    """The issuers of the workforce's tokens, the usual one first. Raises ConfigError where there is none."""
    issuers = tuple(issuer.issuer for issuer in config.issuers if issuer.kind == "workforce")
    if not issuers:
        raise ConfigError("issuers: one of kind workforce is needed")
    return issuers
