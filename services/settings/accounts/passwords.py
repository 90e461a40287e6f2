"""Passwords: argon2id (RFC 9106), in the encoded form that carries parameters and salt."""

import secrets
import unicodedata

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerifyMismatchError

from services.settings.config import PasswordHashing
from shared.redaction import Secret


class Passwords:
    """Makes and compares hashes. Both take as long as the configured cost says; never call them inside a transaction."""

    def __init__(self, cost: PasswordHashing) -> None:
        self._hasher = PasswordHasher(
            time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes, type=Type.ID
        )
        # What the password of nobody is compared with, so that an unknown e-mail costs what a known one costs.
        self._nobody = self._hasher.hash(secrets.token_urlsafe(32))

    def hash(self, password: Secret) -> str:
        """A new hash."""
        return self._hasher.hash(_prepared(password))

    @property
    def nobodys(self) -> str:
        """A hash that no password matches: of a value that was drawn once and kept nowhere."""
        return self._nobody

    def matches(self, password: Secret, stored: str | None) -> bool:
        """Whether this is the password of that hash. None stands for an account that does not exist: never, after equal work. A hash of
        another cost than the configured one takes its own time, until its owner signs in (see `is_outdated`)."""
        try:
            self._hasher.verify(self._nobody if stored is None else stored, _prepared(password))
        except VerifyMismatchError:
            return False
        return stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether a hash was made with other parameters than those configured now; whoever has the password makes it anew."""
        return self._hasher.check_needs_rehash(stored)


def _prepared(password: Secret) -> str:
    # RFC 8265 §4.2: keyboards differ in how they compose a letter; the person typed the same.
    return unicodedata.normalize("NFC", password.reveal())
