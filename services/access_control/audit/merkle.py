"""The Merkle tree of RFC 9162 §2.1, from stored nodes.

Stored are the roots of *complete* subtrees, by level and position: level 0 holds leaf hashes, the node (l, p) covers leaves p·2^l up to
(p+1)·2^l. They never change once written, so that everything here is a function of a tree size and of nodes that were there before it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NewType

Position = tuple[int, int]  # level, position in the level
Hash = NewType("Hash", bytes)
# A run of leaves, [start, end), whose hash a proof contains; start is aligned as RFC 9162 splits trees.
Span = tuple[int, int]

EMPTY_ROOT: Final = Hash(hashlib.sha256(b"").digest())


def leaf_hash(data: bytes) -> Hash:
    """SHA-256(0x00 ‖ data)."""
    return Hash(hashlib.sha256(b"\0" + data).digest())


def node_hash(left: bytes, right: bytes) -> Hash:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return Hash(hashlib.sha256(b"\1" + left + right).digest())


def _split(size: int) -> int:
    """The largest power of two smaller than `size` (at least 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def covering(span: Span) -> list[Position]:
    """The complete subtrees whose roots make up the hash of a span, from left to right; largest first, as RFC 9162 splits."""
    start, end = span
    found: list[Position] = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def span_hash(span: Span, nodes: Mapping[Position, bytes]) -> Hash:
    """MTH of a span (RFC 9162 §2.1.1) from nodes. Raises KeyError when one is missing."""
    parts = covering(span)
    if not parts:
        return EMPTY_ROOT
    result = Hash(nodes[parts[-1]])
    for position in reversed(parts[:-1]):
        result = node_hash(nodes[position], result)
    return result


def inclusion_spans(index: int, size: int) -> list[Span]:
    """The spans whose hashes prove leaf `index` in the tree of `size`, leaf first (RFC 9162 §2.1.3.1). Raises ValueError."""
    if not 0 <= index < size:
        raise ValueError("there is no such leaf in a tree of that size")
    spans: list[Span] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    spans.reverse()
    return spans


def consistency_spans(first: int, second: int) -> list[Span]:
    """The spans whose hashes prove that the tree of `first` is a prefix of that of `second` (RFC 9162 §2.1.4.1); none from 0, and none
    between equal sizes. Raises ValueError."""
    if not 0 <= first <= second:
        raise ValueError("the first size is larger than the second")
    if first in (0, second):
        return []
    spans: list[Span] = []
    start, end, known = (
        0,
        second,
        True,
    )  # known: the verifier has the hash of [start, first), because start is 0
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start, known = middle, False
    if not known:
        spans.append((start, end))
    spans.reverse()
    return spans


@dataclass(frozen=True)
class Growth:
    """What appending leaves makes of a tree. nodes: new complete subtrees, level 0 included."""

    size: int
    root_hash: Hash
    nodes: Mapping[Position, Hash]


def grow(size: int, edge: Mapping[Position, bytes], leaves: Sequence[Hash]) -> Growth:
    """Appends leaf hashes to a tree of `size`; `edge` holds the nodes of `covering((0, size))`."""
    known: dict[Position, bytes] = dict(edge)
    made: dict[Position, Hash] = {}
    for index, leaf in enumerate(leaves, start=size):
        level, position, current = 0, index, leaf
        known[level, position] = made[level, position] = current
        while position & 1:
            current = node_hash(known[level, position - 1], current)
            level, position = level + 1, position >> 1
            known[level, position] = made[level, position] = current
    grown = size + len(leaves)
    return Growth(grown, span_hash((0, grown), known), made)


def positions(spans: Sequence[Span]) -> Iterator[Position]:
    """All nodes that the hashes of these spans are made of."""
    for span in spans:
        yield from covering(span)
