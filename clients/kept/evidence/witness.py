"""What a witness makes of the head that it is shown, given the last one that it saw. It needs no trust in the log, only its own memory.

A log that rewrites its past, or shows different people different logs, shows a head that does not continue the one remembered; a log that
is held back shows an old one, or one that was dated ahead so that it does not seem old.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from kept.evidence.audit import Head, check_head
from kept.evidence.merkle import verify_consistency
from kept.evidence.verdicts import Evidence, EvidenceError, PinnedKeys, Verdict, decode

# Hashes in base64, as GetConsistencyProof gives them, between two tree sizes.
Proof = Callable[[int, int], Sequence[str]]
# How far clocks may be apart.
_TOLERANCE_MS: Final = 5_000


def look(
    seen: Any | None,
    shown: Any,
    proof: Proof,
    keys: PinnedKeys,
    *,
    now_ms: int,
    stale_after_ms: int | None = None,
) -> Verdict:
    """The verdict on the head `shown`. seen: the one remembered, None the first time. proof: asks the log. stale_after_ms: how old the
    newest head may be by the witness's clock; None for any age. No head may be dated ahead of that clock."""
    try:
        _look(seen, check_head(Evidence(shown, "the head shown now"), keys), proof, keys)
        _require_fresh(shown, now_ms, stale_after_ms)
    except EvidenceError as error:
        return Verdict(False, str(error))
    return Verdict(True)


def _look(seen: Any | None, head: Head, proof: Proof, keys: PinnedKeys) -> None:
    if seen is None:
        return
    # Its signature was checked when it was seen; its key may have been replaced or revoked since. It is our own memory that counts.
    before = _remembered(Evidence(seen, "the remembered head"))
    if head.tree_size < before.tree_size:
        raise EvidenceError(
            f"The log had {before.tree_size} entries and now shows {head.tree_size}: entries were taken away, or it is another log."
        )
    if head.tree_size == before.tree_size:
        if head.root_hash != before.root_hash:
            raise EvidenceError(
                f"Two heads of {head.tree_size} entries have different roots: the log shows two faces."
            )
    else:
        path = [decode(step, "the consistency proof") for step in proof(before.tree_size, head.tree_size)]
        if not verify_consistency(before.tree_size, head.tree_size, before.root_hash, head.root_hash, path):
            raise EvidenceError(
                f"The log of {head.tree_size} entries does not continue the one of {before.tree_size}: it was rewritten, or it shows two "
                "faces."
            )
    if head.timestamp_ms < before.timestamp_ms:
        raise EvidenceError("The head shown now was signed before the one remembered: an old one is shown.")


def _remembered(head: Evidence) -> Head:
    return Head(head.number("tree_size"), head.digest("root_hash"), head.number("timestamp_ms"))


def _require_fresh(shown: Any, now_ms: int, stale_after_ms: int | None) -> None:
    age_ms = now_ms - Evidence(shown, "the head shown now").number("timestamp_ms")
    if age_ms < -_TOLERANCE_MS:
        raise EvidenceError(
            f"The newest head is dated {-age_ms // 1000} seconds ahead of this machine's clock: one of the two is wrong, and a head dated "
            "ahead would hide that the log is held back. `kept doctor` compares the clocks."
        )
    if stale_after_ms is not None and age_ms > stale_after_ms:
        raise EvidenceError(
            f"The newest head was signed {age_ms // 60_000} minutes ago: an old one is shown, or the log signs none any more."
        )
