"""Wrapping one key under another: AES-256-GCM (NIST SP 800-38D), random 96-bit nonce, the name of the wrapped key as associated data.

A wrapped key is nonce ‖ ciphertext ‖ tag. No key wraps anywhere near 2^32 others, which random nonces allow.
"""

import secrets
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.access_control.key_stores import DoesNotOpen, Item

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


def new_key() -> bytes:
    """A new AES-256 key."""
    return secrets.token_bytes(KEY_BYTES)


def name_of(kind: str, *parts: str) -> bytes:
    """The name that a wrapped key is bound to: its kind and whose it is. Parts are ids, days and numbers, none with a NUL."""
    return b"kept/wrapped/v1\0" + "\0".join((kind, *parts)).encode()


def wrap(key: bytes, name: bytes, value: bytes) -> bytes:
    """`value` wrapped under `key` as `name`."""
    return wrap_all(key, [Item(name, value)])[0]


def wrap_all(key: bytes, items: Sequence[Item]) -> list[bytes]:
    """Many values wrapped under one key; its schedule is set up once."""
    cipher = AESGCM(key)
    drawn = secrets.token_bytes(_NONCE_BYTES * len(items))
    nonces = [drawn[at : at + _NONCE_BYTES] for at in range(0, len(drawn), _NONCE_BYTES)]
    return [
        nonce + cipher.encrypt(nonce, item.value, item.name)
        for nonce, item in zip(nonces, items, strict=True)
    ]


def unwrap(key: bytes, name: bytes, wrapped: bytes) -> bytes:
    """What `wrap` wrapped. Raises DoesNotOpen."""
    return unwrap_all(key, [Item(name, wrapped)])[0]


def unwrap_all(key: bytes, items: Sequence[Item]) -> list[bytes]:
    """What `wrap_all` wrapped. Raises DoesNotOpen."""
    cipher = AESGCM(key)
    try:
        return [
            cipher.decrypt(item.value[:_NONCE_BYTES], item.value[_NONCE_BYTES:], item.name) for item in items
        ]
    except (InvalidTag, ValueError):
        raise DoesNotOpen("a wrapped key does not open under the key and name it should") from None
