"""The tree and its proofs, against the definitions of RFC 9162 §2.1 written down naively, and against known roots."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kept.evidence.merkle import verify_consistency, verify_inclusion
from services.access_control.audit import merkle

LEAVES = [b"kept-%d" % index for index in range(64)]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "e8a50b6a656ffa0a840bfd882762d629715b6fc1d9e1a8f0926eb7d1c1caf45b",
    2: "3148eed3b8580fc13fe996870b1cff9ee735c25e9031b16d393e1f0ccf41f2f5",
    3: "22cc2c21302c03dbceaf97c35efecaa2583e130c238ab9013074050f331173f9",
    7: "d97f87fe63da036e3f7dc3bfd42a4a52863535f582d740c67ebbdb6aad643d0b",
    8: "ec87754ba3cef6147eba314d9d7d4b6cc77ede498daf7bd501f52dc08d416d04",
}


def naive_root(data: Sequence[bytes]) -> bytes:
    """MTH, RFC 9162 §2.1.1."""
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\0" + data[0]).digest()
    k = 1
    while 2 * k < len(data):
        k *= 2
    return hashlib.sha256(b"\1" + naive_root(data[:k]) + naive_root(data[k:])).digest()


def naive_path(index: int, data: Sequence[bytes]) -> list[bytes]:
    """PATH, §2.1.3.1."""
    if len(data) == 1:
        return []
    k = 1
    while 2 * k < len(data):
        k *= 2
    if index < k:
        return [*naive_path(index, data[:k]), naive_root(data[k:])]
    return [*naive_path(index - k, data[k:]), naive_root(data[:k])]


def naive_proof(first: int, data: Sequence[bytes], known: bool = True) -> list[bytes]:
    """SUBPROOF, §2.1.4.1."""
    if first == len(data):
        return [] if known else [naive_root(data)]
    k = 1
    while 2 * k < len(data):
        k *= 2
    if first <= k:
        return [*naive_proof(first, data[:k], known), naive_root(data[k:])]
    return [*naive_proof(first - k, data[k:], False), naive_root(data[:k])]


def tree(data: Sequence[bytes], batch: int = 5) -> merkle.Growth:
    """Grown in batches, from stored nodes only."""
    nodes: dict[merkle.Position, bytes] = {}
    grown = merkle.Growth(0, merkle.EMPTY_ROOT, {})
    for start in range(0, len(data), batch):
        edge = {position: nodes[position] for position in merkle.covering((0, start))}
        grown = merkle.grow(start, edge, [merkle.leaf_hash(leaf) for leaf in data[start : start + batch]])
        assert not set(grown.nodes) & set(nodes), "a stored node was written twice"
        nodes |= grown.nodes
    return merkle.Growth(grown.size, grown.root_hash, {k: merkle.Hash(v) for k, v in nodes.items()})


@pytest.mark.parametrize(("size", "root"), ROOTS.items())
def test_known_roots(size: int, root: str) -> None:
    assert tree(LEAVES[:size]).root_hash.hex() == root


@pytest.mark.parametrize(("index", "size", "length"), [(0, 1, 0), (2, 3, 1), (0, 7, 3), (6, 7, 2)])
def test_known_lengths_of_inclusion_proofs(index: int, size: int, length: int) -> None:
    assert len(merkle.inclusion_spans(index, size)) == length


@pytest.mark.parametrize(
    ("first", "second", "length"), [(1, 2, 1), (3, 7, 4), (4, 7, 1), (6, 7, 3), (5, 5, 0), (0, 5, 0)]
)
def test_known_lengths_of_consistency_proofs(first: int, second: int, length: int) -> None:
    assert len(merkle.consistency_spans(first, second)) == length


@given(st.integers(1, 64), st.integers(1, 9), st.data())
def test_proofs_are_those_of_the_definition_and_verify(size: int, batch: int, data: st.DataObject) -> None:
    grown = tree(LEAVES[:size], batch)
    assert grown.root_hash == naive_root(LEAVES[:size])
    index = data.draw(st.integers(0, size - 1))
    path = [merkle.span_hash(span, grown.nodes) for span in merkle.inclusion_spans(index, size)]
    assert path == naive_path(index, LEAVES[:size])
    leaf = merkle.leaf_hash(LEAVES[index])
    assert verify_inclusion(leaf, index, size, path, grown.root_hash)
    first = data.draw(st.integers(0, size))
    proof = [merkle.span_hash(span, grown.nodes) for span in merkle.consistency_spans(first, size)]
    if first:
        assert proof == naive_proof(first, LEAVES[:size])
    assert verify_consistency(first, size, naive_root(LEAVES[:first]), grown.root_hash, proof)


@pytest.mark.parametrize("size", range(1, 20))
def test_no_other_place_leaf_root_or_proof_verifies(size: int) -> None:
    root = naive_root(LEAVES[:size])
    for index in range(size):
        leaf, path = merkle.leaf_hash(LEAVES[index]), naive_path(index, LEAVES[:size])
        assert verify_inclusion(leaf, index, size, path, root)
        assert not any(
            verify_inclusion(leaf, other, size, path, root) for other in range(size + 2) if other != index
        )
        assert not verify_inclusion(merkle.leaf_hash(b"another"), index, size, path, root)
        assert not verify_inclusion(leaf, index, size, [*path, bytes(32)], root)
        assert not verify_inclusion(leaf, -1, size, path, root)
        if path:
            assert not verify_inclusion(leaf, index, size, path[:-1], root)
        proof, prefix = naive_proof(index, LEAVES[:size]) if index else [], naive_root(LEAVES[:index])
        assert verify_consistency(index, size, prefix, root, proof)
        assert not verify_consistency(index, size, bytes(32), root, proof)
        assert not verify_consistency(index, size, prefix, bytes(32), proof) or index == 0
        assert not verify_consistency(index, size, prefix, root, [*proof, bytes(32)])


def test_an_empty_proof_from_nothing_proves_nothing_of_another_root() -> None:
    assert verify_consistency(0, 0, merkle.EMPTY_ROOT, merkle.EMPTY_ROOT, [])
    assert verify_consistency(0, 5, merkle.EMPTY_ROOT, naive_root(LEAVES[:5]), [])
    assert not verify_consistency(0, 5, naive_root(LEAVES[:1]), naive_root(LEAVES[:5]), [])
    assert not verify_consistency(0, 0, merkle.EMPTY_ROOT, naive_root(LEAVES[:5]), [])
    assert not verify_consistency(5, 3, naive_root(LEAVES[:5]), naive_root(LEAVES[:3]), [])
