"""Verifying Merkle proofs (RFC 9162 §2.1.3.2 and §2.1.4.2), from the verifier's side alone."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 ‖ data)."""
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf with this hash stands at `index` in the tree of `size` with this root."""
    if not 0 <= index < size:
        return False
    position, last = index, size - 1
    current = leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            current = _node(sibling, current)
            while not position & 1 and position != 0:
                position, last = position >> 1, last >> 1
        else:
            current = _node(current, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and hmac.compare_digest(current, root)


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the tree of `first` leaves is a prefix of that of `second`. From 0 the proof is empty and the root that of the empty tree."""
    if not 0 <= first <= second:
        return False
    if first == 0:
        empty = hmac.compare_digest(first_root, EMPTY_ROOT)
        return empty and not proof and (second > 0 or hmac.compare_digest(second_root, EMPTY_ROOT))
    if first == second:
        return not proof and hmac.compare_digest(first_root, second_root)
    path = list(proof)
    if first & (first - 1) == 0:  # a complete subtree: its root is known and not sent
        path.insert(0, first_root)
    if not path:
        return False
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old, new = _node(sibling, old), _node(sibling, new)
            while not position & 1 and position != 0:
                position, last = position >> 1, last >> 1
        else:
            new = _node(new, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and hmac.compare_digest(old, first_root) and hmac.compare_digest(new, second_root)
