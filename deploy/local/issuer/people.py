"""The vendor's workforce of a local stack: who there is, and how they prove it.

Names only: what somebody may do is decided by access control's directory, never here and never in a token.
Passwords are made at random when the stack is made. The people file holds their scrypt hashes (RFC 7914);
the passwords themselves lie in a file of mode 0600 from which the person at the keyboard signs in.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from deploy.local import private_files


@dataclass(frozen=True)
class Person:
    """One of the workforce. `duties` are the roles that the story gives to them; no token claims them."""

    username: str
    """What they sign in with, and the `sub` of their tokens."""
    name: str
    duties: tuple[str, ...]

    @property
    def email(self) -> str:
        return f"{self.username}@vendor.example"


WORKFORCE = (
    Person("olga", "Olga Operator", ("operator",)),
    Person("omar", "Omar Operator", ("operator",)),
    Person("emma", "Emma Engineer", ("engineer",)),
    Person("elias", "Elias Engineer", ("engineer", "on_call")),
    Person("sara", "Sara Safety", ("safety",)),
    Person("samir", "Samir Safety", ("safety",)),
    Person("lena", "Lena Legal", ("legal",)),
    Person("luca", "Luca Legal", ("legal",)),
    Person("carla", "Carla Compliance", ("compliance",)),
    Person("chen", "Chen Compliance", ("compliance",)),
    Person("ada", "Ada Auditor", ("auditor",)),
)

# 4 MiB and some 10 ms: the passwords are random (96 bits), so nothing has to be bought with time.
_COST = {"n": 2**12, "r": 8, "p": 1}


def create(people: Path, passwords: Path) -> None:
    """Write both files unless they are there: hashes for the issuer, passwords for whoever signs in."""
    if people.exists() and passwords.exists():
        return
    chosen = {person.username: secrets.token_urlsafe(12) for person in WORKFORCE}
    entries = []
    for person in WORKFORCE:
        salt = secrets.token_bytes(16)
        entries.append(
            {
                "username": person.username,
                "name": person.name,
                "email": person.email,
                "salt": salt.hex(),
                "hash": _hash(chosen[person.username], salt).hex(),
            }
        )
    private_files.write(passwords, json.dumps(chosen, indent=2) + "\n")
    private_files.write(people, json.dumps(entries, indent=2) + "\n")


def password(passwords: Path, username: str) -> str:
    """The generated password of one of the workforce, for signing in from a script."""
    return str(json.loads(passwords.read_text())[username])


@dataclass(frozen=True)
class _Entry:
    username: str
    name: str
    email: str
    salt: str
    hash: str


class Workforce:
    """Verifies passwords against a people file."""

    def __init__(self, people: Path) -> None:
        self._entries = {entry["username"]: _Entry(**entry) for entry in json.loads(people.read_text())}

    def verify(self, username: str, password: str) -> _Entry | None:
        """The person, or None: for a wrong password and, after the same time, for an unknown name."""
        entry = self._entries.get(username)
        salt = bytes.fromhex(entry.salt) if entry else b"\0" * 16
        expected = bytes.fromhex(entry.hash) if entry else b"\0" * 64
        right = hmac.compare_digest(_hash(password, salt), expected)
        return entry if right else None


def _hash(password: str, salt: bytes) -> bytes:
    # surrogatepass: what a form can carry must not make the hash fail
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, **_COST, maxmem=2**26)
