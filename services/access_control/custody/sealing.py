"""The cryptography of content keys: epoch key pairs, opening sealed data keys, deriving record keys.

Data keys are sealed with HPKE (RFC 9180), suite ML-KEM-768 + X25519, HKDF-SHA-256, AES-256-GCM, to the epoch's public key, bound to the
organization, the day, the data key's id and, where the epoch is an application's own, that. A record's key is
HMAC-SHA-256(data key, b"kept/record-key/v1\\0" ‖ record id).
"""

import hmac
from collections.abc import Iterable
from datetime import date
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_DATA_KEY: Final = b"kept/data-key/v1\0"
_RECORD_KEY: Final = b"kept/record-key/v1\0"
_SEED_BYTES: Final = 64  # ML-KEM's d ‖ z (FIPS 203)
_DATA_KEY_BYTES: Final = 32


class DoesNotUnseal(Exception):
    """A sealed data key is not of this epoch, organization, day and id, or was changed. Holds no key."""


class EpochPrivateKey:
    """The private half of an epoch. Its bytes are ML-KEM seed (64) ‖ X25519 private key (32)."""

    __slots__ = ("_mlkem", "_private_key", "_x25519")

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._mlkem = mlkem
        self._x25519 = x25519
        self._private_key = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)

    @classmethod
    def generate(cls) -> "EpochPrivateKey":
        """A new one."""
        return cls(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, raw: bytes) -> "EpochPrivateKey":
        """From `private_bytes`."""
        return cls(
            MLKEM768PrivateKey.from_seed_bytes(raw[:_SEED_BYTES]),
            X25519PrivateKey.from_private_bytes(raw[_SEED_BYTES:]),
        )

    @property
    def private_bytes(self) -> bytes:
        """96 bytes, to be wrapped."""
        return self._mlkem.private_bytes_raw() + self._x25519.private_bytes_raw()

    @property
    def public_bytes(self) -> bytes:
        """1,216 bytes: ML-KEM-768 encapsulation key (1,184) ‖ X25519 public key (32)."""
        return self._mlkem.public_key().public_bytes_raw() + self._x25519.public_key().public_bytes_raw()

    def unseal(
        self, organization_id: str, day: date, data_key_id: bytes, sealed: bytes, application: str = ""
    ) -> bytes:
        """The data key, 32 bytes. Raises DoesNotUnseal."""
        try:
            data_key = _SUITE.decrypt(
                sealed, self._private_key, data_key_info(organization_id, day, data_key_id, application)
            )
        except (InvalidTag, ValueError):
            raise DoesNotUnseal from None
        if len(data_key) != _DATA_KEY_BYTES:
            raise DoesNotUnseal
        return data_key


def data_key_info(organization_id: str, day: date, data_key_id: bytes, application: str = "") -> bytes:
    """What a sealed data key is bound to: HPKE's info. A data key's id has 16 bytes: what follows is the application's name."""
    place = _DATA_KEY + organization_id.encode() + b"\0" + day.isoformat().encode() + b"\0"
    return place + data_key_id + application.encode()


def record_key(data_key: bytes, record_id: bytes) -> bytes:
    """The key of one record, 32 bytes."""
    return hmac.digest(data_key, _RECORD_KEY + record_id, "sha256")


def record_keys(data_key: bytes, record_ids: Iterable[bytes]) -> dict[bytes, bytes]:
    """The keys of records, 32 bytes each, by record id."""
    keyed = HMAC(data_key, SHA256())
    keyed.update(_RECORD_KEY)
    keys: dict[bytes, bytes] = {}
    for record_id in record_ids:
        mac = keyed.copy()  # a third of what it takes to begin anew with the key
        mac.update(record_id)
        keys[record_id] = mac.finalize()
    return keys
