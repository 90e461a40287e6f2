"""Key stores: where the top of the key ladder lives, outside the database and its backups.

A root never leaves its store in the clear towards the database: callers hand over what is to be wrapped and get it back wrapped. What a
store's `destroy` is worth depends on the store, and each says so in a sentence that certificates repeat.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class KeyStoreError(Exception):
    """The key store cannot do what was asked: a root is absent, a file cannot be read, a wrapped key does not open. Holds no key."""


class RootAbsent(KeyStoreError):
    """There is no such root in the key store."""


class DoesNotOpen(KeyStoreError):
    """A wrapped key does not open under this root, or not under this name."""


@dataclass(frozen=True)
class Item:
    """One key to wrap or unwrap. name: what it is, bound as associated data. value: the key, or the wrapped key."""

    name: bytes
    value: bytes = field(repr=False)


@dataclass(frozen=True)
class RememberedHead:
    """The newest tree head that the key store has seen. root_hash: 32 bytes."""

    size: int
    root_hash: bytes


class SigningKey(Protocol):
    """An Ed25519 key that signs and does not leave the store."""

    @property
    def key_id(self) -> str:
        """First 16 bytes of SHA-256 of the public key, in hex."""

    @property
    def public_key(self) -> bytes:
        """32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""


class KeyStore(Protocol):
    """What custody and the audit log need of a key store. Every method raises KeyStoreError when the store cannot be used."""

    @property
    def statement(self) -> str:
        """What this store's `destroy` is worth, in a sentence."""

    def create(self) -> str:
        """Makes a root that is durable and was read back. Returns its id, "root_…"."""

    def wrap(self, root_id: str, items: Sequence[Item]) -> list[bytes]:
        """Wraps keys, in their order. Raises RootAbsent."""

    def unwrap(self, root_id: str, items: Sequence[Item]) -> list[bytes]:
        """Opens what `wrap` made, in order. Raises RootAbsent, DoesNotOpen."""

    def destroy(self, root_id: str) -> None:
        """Destroys a root; one that is gone already is no error."""

    def root_ids(self) -> list[str]:
        """Ids of all roots, sorted."""

    def remember_head(self, head: RememberedHead) -> None:
        """Remembers a tree head if it is larger than the remembered one."""

    def newest_head(self) -> RememberedHead | None:
        """The largest head that was ever remembered, or None."""

    def signing_key(self) -> SigningKey:
        """The key that signs tree heads, made when first asked for."""
