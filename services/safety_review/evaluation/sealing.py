"""Items of a set at rest: AES-256-GCM (NIST SP 800-38D) under the set's key, which lies with access control and not here; random 96-bit
nonces, of which a set has 5,000 at most. A sealed item is nonce ‖ ciphertext ‖ tag; set and place are bound to it, so that no item takes
another's place. Before sealing an item is filled up to a power of two, so that its length does not tell which prompt it was.
"""

import json
import secrets
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import KeptError, Reason

_NONCE: Final = 12
_SHORTEST: Final = 1024


@dataclass(frozen=True)
class Item:
    """A text of an upheld case, without whose. category: of the case. texts: as screening would see them."""

    category: str
    texts: tuple[str, ...] = field(repr=False)


def seal(key: bytes, set_id: str, place: int, item: Item) -> bytes:
    """The item as it is stored."""
    plain = json.dumps([item.category, item.texts], ensure_ascii=False).encode()
    size = max(_SHORTEST, 1 << (len(plain) - 1).bit_length())
    nonce = secrets.token_bytes(_NONCE)
    # JSON ends before the spaces do.
    return nonce + AESGCM(key).encrypt(nonce, plain.ljust(size), _name(set_id, place))


def open_item(key: bytes, set_id: str, place: int, sealed: bytes) -> Item:
    """What `seal` sealed. Raises INTERNAL for what does not open here: nothing of it is shown."""
    try:
        plain = AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], _name(set_id, place))
    except (InvalidTag, ValueError):
        raise KeptError(Reason.REASON_INTERNAL, "An item of the set does not open.") from None
    category, texts = json.loads(plain)
    return Item(category, tuple(texts))


def _name(set_id: str, place: int) -> bytes:
    return f"kept/evaluation-item/v1\0{set_id}\0{place}".encode()
