"""The first two operators of an empty installation: `python -m services.access_control bootstrap`. Once.

Every later role is proposed by one operator and confirmed by another. The first two have nobody, so they are made together, each as the
other's second person, by whoever can reach the service's database and key store anyway.
"""

import argparse
import hashlib
import re
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from kept.options.v1 import roles_pb2
from services.access_control.audit_log import AuditLog
from services.access_control.config import AccessControlConfig
from services.access_control.decision_log import DecisionLog
from services.access_control.directory import identity_taken
from services.access_control.key_stores import KeyStoreError
from services.access_control.key_stores.files import FileKeyStore
from services.access_control.people import Person, RoleAssignment
from services.access_control.store import directory as store
from shared.clock import Clock
from shared.config import ConfigError, load
from shared.database import Database, migrate
from shared.errors import KeptError, wrong_state
from shared.ids import new_id
from shared.server import clock_for

AGREEMENT: Final = (
    "I keep what I learn of customers' data confidential, use it for nothing but the purpose of the grant under which I see it, "
    "keep to the security controls of the company, and know that every access of mine is recorded and shown to the customer."
)
_AGREEMENT_LASTS: Final = timedelta(days=365)
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
) -> list[Person]:
    """Makes the first two operators, each confirmed by the other, with the agreement that they signed. Raises WRONG_STATE where anybody
    exists, ALREADY_EXISTS where the two are one and the same."""
    now = clock.now()
    people = [Person(new_id("person"), first.display_name, first.email) for first in firsts]
    with database.transaction() as tx:
        if not store.require_empty(tx):
            raise wrong_state("There are people already; operators are made by operators.", "BOOTSTRAPPED")
        for person, first in zip(people, firsts, strict=True):
            if not store.add_person(tx, person, issuer, first.subject, now):
                raise identity_taken()
        for person, other in zip(people, reversed(people), strict=True):
            role = RoleAssignment(
                new_id("role"),
                person.person_id,
                roles_pb2.STAFF_ROLE_OPERATOR,
                other.person_id,
                now,
                other.person_id,
            )
            store.add_assignment(tx, role)
            agreement_id = new_id("agreement")
            expires_at = now + _AGREEMENT_LASTS
            store.add_agreement(
                tx, agreement_id, person.person_id, document_sha256, now, expires_at, other.person_id, now
            )
            decisions.write(
                tx,
                "operator.bootstrapped",
                other.person_id,
                subjects=[person.person_id, role.role_assignment_id, agreement_id],
                facts={
                    "role": "OPERATOR",
                    "document_sha256": document_sha256.hex(),
                    "expires_at": expires_at.isoformat(),
                },
            )
    return people


def _first(person: str, subject: str) -> First:
    found = _PERSON.fullmatch(person)
    if found is None or not found[2].count("@") == 1:
        raise ConfigError(f"--person {person!r} is not of the form 'Name <mail>'.")
    if _SUBJECT.fullmatch(subject) is None:
        raise ConfigError("--subject must be 1 to 200 printable ASCII characters without spaces.")
    return First(found[1], found[2], subject)


def _document(given: str | None) -> bytes:
    if given is None:
        return hashlib.sha256(AGREEMENT.encode()).digest()
    if re.fullmatch(r"[0-9a-f]{64}", given) is None:
        raise ConfigError("--agreement-sha256 must be 64 hexadecimal digits.")
    return bytes.fromhex(given)


def main(arguments: list[str], migrations: Path) -> int:
    """The command. Returns the process's exit code; what goes wrong is one sentence on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m services.access_control bootstrap",
        description="Makes the first two operators of an empty installation, each as the other's second person.",
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
    options = parser.parse_args(arguments)
    try:
        if len(options.person) != 2 or len(options.subject) != 2:
            raise ConfigError("It takes exactly two people: --person and --subject, twice each.")
        first, second = map(_first, options.person, options.subject)
        document = _document(options.agreement_sha256)
        config = load(AccessControlConfig, "access_control", options.config)
        issuer = workforce_issuer(config)
        clock = clock_for(config)
        database = Database(config.database_url.get_secret_value(), pool=2)
        if config.migrate_at_start:
            migrate(database, migrations)
        decisions = DecisionLog(database, AuditLog(database, clock, FileKeyStore(config.key_store)), clock)
        for person in bootstrap(database, clock, decisions, issuer, (first, second), document):
            sys.stdout.write(f"{person.person_id}  {person.display_name} <{person.email}>  operator\n")
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeptError as error:
        sys.stderr.write(f"bootstrap: {error.text} [{error.name}]\n")
        return 1
    except KeyStoreError as error:
        sys.stderr.write(f"bootstrap: {error}\n")
        return 1
    return 0


def workforce_issuer(config: AccessControlConfig) -> str:
    """The issuer of the workforce's tokens. Raises ConfigError unless there is exactly one."""
    issuers = [issuer.issuer for issuer in config.issuers if issuer.kind == "workforce"]
    if len(issuers) != 1:
        raise ConfigError("issuers: exactly one of kind workforce is needed.")
    return issuers[0]
