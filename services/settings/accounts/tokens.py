"""Bearer secrets that are shown or sent once.

Claims are 256 random bits, of which the SHA-256 is kept. Invitations and password resets are signed as well (HMAC-SHA-256, RFC 2104): one
that was made up, altered, meant for something else or is too old is told from a good one without a look into the database, and what lies in
the database makes no token without the key, which does not. That each works once is the database's to say.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final

from shared import ids
from shared.config import ConfigError
from shared.redaction import Secret, SecretBytes

HANDLE_BYTES: Final = 16
_VERSION: Final = b"\x01"
_MAC_BYTES: Final = 32
_LENGTH: Final = len(_VERSION) + 8 + HANDLE_BYTES + _MAC_BYTES
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LEAST_KEY: Final = 32


class Purpose(Enum):
    """What a token is good for; one for something else does not verify."""

    INVITATION = b"kept invitation"
    PASSWORD_RESET = b"kept password reset"
    EMAIL_CHANGE = b"kept e-mail change"


@dataclass(frozen=True)
class Opened:
    """What a good token says. handle: 16 random bytes that name it. expires_at: the first instant at which it is worth nothing."""

    handle: bytes = field(repr=False)
    expires_at: datetime


class Tokens:
    """Signs and opens tokens. keys: the first signs, all of them open, so that a key can be replaced."""

    def __init__(self, keys: Sequence[SecretBytes]) -> None:
        self._keys = tuple(keys)

    def issue(self, purpose: Purpose, handle: bytes, expires_at: datetime) -> Secret:
        """The token of a handle: the same for the same arguments and key. 76 characters of base64url."""
        said = _VERSION + ((expires_at - _EPOCH) // _MICROSECOND).to_bytes(8) + handle
        return Secret(base64.urlsafe_b64encode(said + _mac(self._keys[0], purpose, said)).decode("ascii"))

    def open(self, purpose: Purpose, token: Secret, now: datetime) -> Opened | None:
        """What a token says; None for one that is not ours, not for this purpose, or expired."""
        try:
            raw = base64.b64decode(token.reveal(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        said, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if len(raw) != _LENGTH or not said.startswith(_VERSION):
            return None
        if not any(hmac.compare_digest(mac, _mac(key, purpose, said)) for key in self._keys):
            return None
        expires_at = _EPOCH + int.from_bytes(said[1:9]) * _MICROSECOND
        return Opened(said[9:], expires_at) if now < expires_at else None


def new_handle() -> bytes:
    """16 random bytes."""
    return ids.entropy(HANDLE_BYTES)


def keys_of(files: Sequence[Path], trust_domain: str) -> list[SecretBytes]:
    """The signing keys in these files, each 32 random bytes or more in base64. Without files, which only a local stack may be, a key that
    is no secret: what tokens rest on then is their random handle. Raises ConfigError."""
    if not files:
        return [SecretBytes(hashlib.sha256(f"kept local tokens of {trust_domain}".encode()).digest())]
    return [_key(path) for path in files]


def _key(path: Path) -> SecretBytes:
    try:
        value = base64.b64decode(path.read_text("ascii").strip(), validate=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"token_key_files: {path}: cannot be read as base64 ({type(error).__name__})"
        ) from error
    if len(value) < _LEAST_KEY:
        raise ConfigError(f"token_key_files: {path}: holds {len(value)} bytes; it takes {_LEAST_KEY} or more")
    return SecretBytes(value)


def _mac(key: SecretBytes, purpose: Purpose, said: bytes) -> bytes:
    return hmac.digest(key.reveal(), purpose.value + b"\0" + said, hashlib.sha256)


def new_token() -> Secret:
    """32 random bytes, base64url without padding: 43 characters."""
    return Secret(base64.urlsafe_b64encode(ids.entropy(32)).rstrip(b"=").decode("ascii"))


def fingerprint(token: Secret) -> bytes:
    """What is stored of a token. A plain hash is enough: there is nothing to guess in so many random bits."""
    return hashlib.sha256(token.reveal().encode()).digest()
