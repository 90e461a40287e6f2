"""Which keys sign tree heads, signed once, or may sign no more: what a key store remembers of its signing keys.

It is remembered here, beside the keys and outside the database, so that a key that was revoked stays revoked whatever state the database
was restored to. Private keys of past signers are destroyed; their public halves stay, for what they signed stays.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.access_control.key_stores import KeyStoreError


def key_id_of(public_key: bytes) -> str:
    """First 16 bytes of SHA-256 of the public key, in hex."""
    return hashlib.sha256(public_key).digest()[:16].hex()


@dataclass(frozen=True)
class Signer:
    """A signing key. retired_at: it signs nothing from then on. revoked_at: what it signed proves nothing from then on, whenever it says
    that it was signed; somebody else may have the key. label: how the key store finds the private half; empty where it never had it."""

    public_key: bytes
    label: str
    retired_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def key_id(self) -> str:
        """See key_id_of."""
        return key_id_of(self.public_key)


@dataclass(frozen=True)
class Signers:
    """All signing keys that there ever were, oldest first: the last one signs."""

    known: Sequence[Signer]

    @property
    def current(self) -> Signer:
        """The one that signs."""
        return self.known[-1]

    def replaced_by(self, successor: Signer, at: datetime) -> "Signers":
        """The successor signs from now on."""
        past = [signer if signer.retired_at else replace(signer, retired_at=at) for signer in self.known]
        return Signers((*past, successor))

    def with_past(self, public_key: bytes, at: datetime) -> "Signers":
        """A key of somewhere else is a past one too; one that is known stays as it is."""
        if key_id_of(public_key) in {signer.key_id for signer in self.known}:
            return self
        return Signers((Signer(public_key, label="", retired_at=at), *self.known))

    def revoked(self, key_id: str, at: datetime) -> "Signers":
        """A past key proves nothing any more. The first time counts. Raises ValueError for the current one, or one that is not known."""
        if key_id == self.current.key_id or key_id not in {signer.key_id for signer in self.known}:
            raise ValueError("only a past key can be revoked")
        return Signers(
            tuple(
                replace(signer, revoked_at=at)
                if signer.key_id == key_id and signer.revoked_at is None
                else signer
                for signer in self.known
            )
        )

    def as_text(self) -> str:
        """What `parsed` reads."""
        return json.dumps(
            [
                {
                    "public_key": signer.public_key.hex(),
                    "label": signer.label,
                    "retired_at": signer.retired_at.isoformat() if signer.retired_at else None,
                    "revoked_at": signer.revoked_at.isoformat() if signer.revoked_at else None,
                }
                for signer in self.known
            ]
        )


def parsed(text: str | bytes) -> Signers:
    """Raises KeyStoreError."""
    try:
        known = tuple(
            Signer(
                bytes.fromhex(item["public_key"]),
                str(item["label"]),
                _instant(item["retired_at"]),
                _instant(item["revoked_at"]),
            )
            for item in json.loads(text)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise KeyStoreError("the list of signing keys cannot be read") from error
    if not known or any(len(signer.public_key) != 32 for signer in known):
        raise KeyStoreError("the list of signing keys is not whole")
    return Signers(known)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
