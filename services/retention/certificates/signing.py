"""The key that certificates are signed with: Ed25519 (RFC 8032), in a file that only this service reads."""

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from shared.config import ConfigError

_OTHERS: Final = 0o007


@dataclass(frozen=True)
class SigningKey:
    """A key pair. key_id: the first 16 bytes of SHA-256 of the public key, in hex; public_key: 32 bytes."""

    _private: Ed25519PrivateKey
    public_key: bytes
    key_id: str

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"


def of(private: Ed25519PrivateKey) -> SigningKey:
    """The key pair of a private key."""
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return SigningKey(private, public, key_id(public))


def key_id(public_key: bytes) -> str:
    """How a public key is named."""
    return hashlib.sha256(public_key).digest()[:16].hex()


def load_or_create(path: Path) -> SigningKey:
    """The key in a PEM file (PKCS #8), made when there is no file.

    Replicas that start together agree on one: the file appears whole and never replaces another. Raises ConfigError for a file that
    cannot be read, holds something else, or that everybody may read.
    """
    try:
        if not path.exists():
            _create(path)
        if path.stat().st_mode & _OTHERS:
            raise ConfigError(f"signing_key: {path} is open to everybody; make its mode 0600")
        private = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"signing_key: {path} cannot be read or made ({type(error).__name__})") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"signing_key: {path} holds no private key in PEM without a password") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"signing_key: {path} holds a key that is not Ed25519")
    return of(private)


def _create(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another replica was faster; its key counts
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        draft.unlink()
