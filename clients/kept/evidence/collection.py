"""Several pieces of evidence of one audit log, held against each other: exports of one organization continue each other, and no two heads
of one size differ. What is wrong is told with the name of the piece."""

from collections.abc import Sequence
from typing import Any

from kept.evidence.audit import check_head, continues, verify_list
from kept.evidence.verdicts import Evidence, EvidenceError, PinnedKeys, Verdict


def verify_collection(pieces: Sequence[tuple[str, Any]], keys: PinnedKeys) -> Verdict:
    """The first thing that is wrong, in the order of the pieces: oldest first. pieces: each with a name, such as its file's; an export as
    `kept audit export` writes it, a head, or `{"head": …}` as a witness keeps it."""
    roots: dict[int, tuple[str, bytes]] = {}
    exports: dict[str, tuple[str, Any]] = {}
    for name, piece in pieces:
        try:
            _check(name, piece, keys, roots, exports)
        except EvidenceError as error:
            return Verdict(False, str(error) if len(pieces) == 1 else f"{name}: {error}")
    return Verdict(True)


def _check(
    name: str,
    piece: Any,
    keys: PinnedKeys,
    roots: dict[int, tuple[str, bytes]],
    exports: dict[str, tuple[str, Any]],
) -> None:
    if isinstance(piece, dict) and ("tree_size" in piece or "head" in piece):
        heads = [piece.get("head", piece)]
    else:
        result = verify_list(piece, keys)
        if not result.ok:
            raise EvidenceError(result.problem)
        heads = [page["head"] for page in piece["pages"]]
        _check_continuation(name, piece, exports)
    for raw in heads:
        head = check_head(Evidence(raw, "the tree head"), keys)
        other, root = roots.setdefault(head.tree_size, (name, head.root_hash))
        if root != head.root_hash:
            raise EvidenceError(
                f"The head of {head.tree_size} entries has another root than the one in {other}: the log shows two faces."
            )


def _check_continuation(name: str, export: Any, exports: dict[str, tuple[str, Any]]) -> None:
    organization_id = export["organization_id"]
    if organization_id in exports:
        other, earlier = exports[organization_id]
        result = continues(export, earlier)
        if not result.ok:
            raise EvidenceError(f"Held against {other}: {result.problem}")
    exports[organization_id] = (name, export)
