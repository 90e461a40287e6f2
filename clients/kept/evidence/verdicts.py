"""What a check of evidence comes to, and the pieces that all checks share: pinned keys, signatures, fields of the right type."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# Public keys, 32 bytes each, by key id: taken once from a source that the reader trusts, never out of the evidence itself.
# One that was revoked is among them too: what it signed is worth nothing, and it is told apart from a key that nobody knows.
PinnedKeys = Mapping[str, "bytes | Revoked"]
HASH_BYTES: Final = 32
_DECIMAL: Final = re.compile("[0-9]{1,19}")


@dataclass(frozen=True)
class Revoked:
    """In the place of a public key: it was revoked, on a day as people write it."""

    on: str


@dataclass(frozen=True)
class Verdict:
    """ok, or the first thing that is wrong as a sentence in `problem`."""

    ok: bool
    problem: str = ""


class EvidenceError(Exception):
    """Something is wrong with a piece of evidence; the text is a sentence for a person."""


class Evidence:
    """A JSON object whose fields are read with their types checked. Every method raises EvidenceError."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, dict):
            raise EvidenceError(f"{what} is missing or no JSON object.")
        self._value: dict[str, Any] = value
        self._what = what

    def nested(self, name: str) -> "Evidence":
        """A nested object."""
        return Evidence(self._value.get(name), f"{name} of {self._what}")

    def text(self, name: str) -> str:
        """A string."""
        value = self._value.get(name)
        if not isinstance(value, str):
            raise EvidenceError(f"{name} of {self._what} is missing or no text.")
        try:
            value.encode()
        except UnicodeEncodeError:  # JSON may spell half a surrogate pair
            raise EvidenceError(f"{name} of {self._what} is no Unicode text.") from None
        return value

    def number(self, name: str) -> int:
        """An integer that is not negative and fits 63 bits, as a number or, as protobuf's JSON has it, as text."""
        value = self._value.get(name)
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            raise EvidenceError(f"{name} of {self._what} is missing or no number.")
        return value

    def items(self, name: str) -> list[Any]:
        """A list."""
        value = self._value.get(name)
        if not isinstance(value, list):
            raise EvidenceError(f"{name} of {self._what} is missing or no list.")
        return value

    def binary(self, name: str) -> bytes:
        """Base64 (RFC 4648 §4)."""
        return decode(self.text(name), f"{name} of {self._what}")

    def digest(self, name: str) -> bytes:
        """32 bytes in base64."""
        value = self.binary(name)
        if len(value) != HASH_BYTES:
            raise EvidenceError(f"{name} of {self._what} is not {HASH_BYTES} bytes.")
        return value

    @property
    def raw(self) -> dict[str, Any]:
        """The object itself."""
        return self._value


def parse(content: bytes, what: str) -> Any:
    """JSON whose objects name each thing once. RFC 8259 §4 leaves open what a name that comes twice says: readers take the first, or the
    last, and each would be sure that it was verified. Raises ValueError or RecursionError for what is no JSON, EvidenceError for a name
    that comes twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise EvidenceError(f"{what} says something twice: one object has two fields of one name.")
        return found

    return json.loads(content, object_pairs_hook=once)


def decode(text: Any, what: str) -> bytes:
    """Base64 (RFC 4648 §4), strictly: bits that say nothing must be zero (§3.5), so that no bytes are written in two ways. Raises
    EvidenceError."""
    if not isinstance(text, str):
        raise EvidenceError(f"{what} is no text.")
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise EvidenceError(f"{what} is not base64.") from None
    if base64.b64encode(decoded).decode() != text:
        raise EvidenceError(f"{what} is not base64.")
    return decoded


def canonical(value: Any, what: str) -> bytes:
    """RFC 8785. Raises EvidenceError for what it cannot write."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, ValueError, RecursionError):
        raise EvidenceError(f"{what} cannot be written as canonical JSON.") from None


def check_signature(
    label: bytes, message: bytes, signature: bytes, key_id: str, keys: PinnedKeys, what: str
) -> None:
    """Ed25519 over label ‖ message by a pinned key. Raises EvidenceError."""
    public_key = keys.get(key_id)
    if public_key is None:
        raise EvidenceError(
            f"{what} is signed with a key that is not pinned; `kept trust` shows which keys are new."
        )
    if isinstance(public_key, Revoked):
        raise EvidenceError(
            f"{what} is signed with a key that was revoked on {public_key.on}: somebody else may have made it; get it anew."
        )
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, label + message)
    except (InvalidSignature, ValueError):
        raise EvidenceError(f"The signature of {what} is not valid.") from None
