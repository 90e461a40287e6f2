"""Key stores: where the top of the key ladder lives, outside the database and its backups.

A root never leaves its store in the clear towards the database: callers hand over what is to be wrapped and get it back wrapped. What a
store's `destroy` is worth depends on the store, and each says so in a sentence that certificates repeat.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from shared.errors import KeptError, Reason

if TYPE_CHECKING:
    from services.access_control.key_stores.signers import Signers


class KeyStoreError(KeptError):
    """The key store cannot do what was asked. Callers may retry: a token can be away for a while. detail: what is wrong, for the operator
    (the text, which leaves the process, names no place). Holds no key."""

    def __init__(self, detail: str, reason: "Reason.ValueType" = Reason.REASON_KEY_STORE_UNAVAILABLE) -> None:
        retry_after = timedelta(seconds=1) if reason == Reason.REASON_KEY_STORE_UNAVAILABLE else None
        super().__init__(reason, "The key store cannot do this now.", retry_after=retry_after)
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class RootAbsent(KeyStoreError):
    """There is no such root in the key store: no retry helps."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, Reason.REASON_INTERNAL)


class DoesNotOpen(KeyStoreError):
    """A wrapped key does not open under this root, or not under this name: no retry helps."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, Reason.REASON_INTERNAL)


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
    """What custody and the audit log need of a key store. Every method raises KeyStoreError when the store cannot be used. Of what is
    about signing keys one process does one thing at a time: whoever calls has a lock that all processes know (store.audit.lock_signers)."""

    @property
    def place(self) -> str:
        """Where the roots are, in a few words."""

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

    def signers(self) -> "Signers":
        """All signing keys that there ever were here."""

    def replace_signing_key(self, key_id: str, at: datetime) -> SigningKey:
        """Makes a new signing key, durable before the one of this id is retired and its private half destroyed. Where another key signs by
        now, nothing is done. Returns the one that signs."""

    def add_past_signing_key(self, public_key: bytes, at: datetime) -> None:
        """Has a key that was published and that the list does not name be a past one, retired at that time, and what private half of it
        is here destroyed. One that the list names stays as it is."""

    def revoke_signing_key(self, key_id: str, at: datetime) -> None:
        """Remembers for ever that what a past key signed proves nothing. Raises ValueError for the current one, or an unknown one."""
