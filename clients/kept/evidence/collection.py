"""Several pieces of evidence of one audit log, held against each other: exports of one organization continue each other, and no two heads
of one size differ. What is wrong is told with the name of the piece."""

from collections.abc import Sequence
from typing import Any, Final

from kept.evidence.audit import check_head, continues, signed_at, verify_list
from kept.evidence.verdicts import Evidence, EvidenceError, PinnedKeys, Verdict

# An export has pages, what a witness keeps has a head, a head its tree's size.
_KINDS: Final = ("pages", "head", "tree_size")


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


def about(piece: Any) -> dict[str, Any]:
    """What a verified piece is about: of whom, how far it reaches, as of when, which texts are gone. An old export stays as good as it was,
    so its reader has to see how old it is."""
    is_export = _kind(piece) == "pages"
    head = Evidence(piece["pages"][-1]["head"] if is_export else piece.get("head", piece), "the tree head")
    found = {"tree_size": head.number("tree_size"), "as_of": signed_at(head.number("timestamp_ms"))}
    if not is_export:
        return found
    last_number = int(piece["pages"][-1]["end"]["last_number"])
    entries = (entry for page in piece["pages"] for entry in page["entries"])
    gone = [int(entry["number"]) for entry in entries if not entry["body"]]
    of_list = {"organization_id": piece["organization_id"], "last_number": last_number}
    return of_list | found | {"entries_without_text": gone}


def _check(
    name: str,
    piece: Any,
    keys: PinnedKeys,
    roots: dict[int, tuple[str, bytes]],
    exports: dict[str, tuple[str, Any]],
) -> None:
    match _kind(piece):
        case "pages":
            result = verify_list(piece, keys)
            if not result.ok:
                raise EvidenceError(result.problem)
            heads = [page["head"] for page in piece["pages"]]
            _check_continuation(name, piece, exports)
        case "head":
            heads = [piece["head"]]
        case _:
            heads = [piece]
    for raw in heads:
        head = check_head(Evidence(raw, "the tree head"), keys)
        other, root = roots.setdefault(head.tree_size, (name, head.root_hash))
        if root != head.root_hash:
            raise EvidenceError(
                f"The head of {head.tree_size} entries has another root than the one in {other}: the log shows two faces."
            )


def _kind(piece: Any) -> str:
    """The one field that tells what a piece is. A piece with two would be verified as one kind and read as the other."""
    kinds = [name for name in _KINDS if name in Evidence(piece, "the file").raw]
    if not kinds:
        raise EvidenceError("It is neither an export nor a head.")
    if len(kinds) > 1:
        raise EvidenceError(f"It is more than one kind of evidence at once: it has {' and '.join(kinds)}.")
    return kinds[0]


def _check_continuation(name: str, export: Any, exports: dict[str, tuple[str, Any]]) -> None:
    organization_id = export["organization_id"]
    if organization_id in exports:
        other, earlier = exports[organization_id]
        result = continues(export, earlier)
        if not result.ok:
            raise EvidenceError(f"Held against {other}: {result.problem}")
    exports[organization_id] = (name, export)
