"""An organization's list of audit entries, verified offline (format: docs/audit-log.md).

What is shown: every entry's bytes are the ones committed to; entries are numbered without gaps from where the reader's knowledge ends and
chained to each other; each stands in the tree whose head is signed; and the list reaches its signed end. So nothing was changed, removed,
reordered or cut off since that end was signed. That the log had not taken its newest entries away before shows to who kept an older list.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from kept.evidence.merkle import leaf_hash, verify_consistency, verify_inclusion
from kept.evidence.verdicts import (
    HASH_BYTES,
    Evidence,
    EvidenceError,
    PinnedKeys,
    Verdict,
    canonical,
    check_signature,
    decode,
    parse,
)

_LEAF: Final = b"kept/leaf/v1\0"
_HEAD: Final = b"kept/tree-head/v1\0"
_END: Final = b"kept/end-of-list/v1\0"
NO_LEAF: Final = bytes(32)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Head:
    """A head whose signature was checked."""

    tree_size: int
    root_hash: bytes
    timestamp_ms: int


@dataclass(frozen=True)
class Known:
    """What a reader kept from last time: the list's end."""

    last_number: int = 0
    last_leaf_hash: bytes = NO_LEAF


def verify_list(exported: Any, keys: PinnedKeys, known: Known | None = None) -> Verdict:
    """Verifies an export: `{"organization_id", "pages": [{"entries": […], "head": {…}, "end": {…}}, …]}`, as `kept audit export` writes it.

    keys: of the audit log. known: where the reader's earlier list ended; the export continues from there. Without it the list must begin
    with number 1.
    """
    try:
        _check_list(Evidence(exported, "the export"), keys, known or Known())
    except EvidenceError as error:
        return Verdict(False, str(error))
    return Verdict(True)


def _check_list(exported: Evidence, keys: PinnedKeys, known: Known) -> None:
    checked = ListCheck(exported.text("organization_id"), keys, known)
    for page in exported.items("pages"):
        checked.add(page)
    checked.finish()


class ListCheck:
    """The same for a list that comes page by page, however long it is. Every method raises EvidenceError.

    reached: where the list ends. head: of the last page. without_text: numbers of the entries whose text is gone. The log erases one so,
    and so can whoever passes the list on: that they happened stays proved, what they said does not.
    """

    def __init__(self, organization_id: str, keys: PinnedKeys, known: Known | None = None) -> None:
        self.organization_id = organization_id
        self.reached = known or Known()
        self.head: Head | None = None
        self.without_text: list[int] = []
        self._keys = keys
        self._pages = 0
        self._unended: Evidence | None = None

    def add(self, value: Any) -> None:
        """Checks the next page."""
        self._check_end(is_last=False)
        self._pages += 1
        page = Evidence(value, f"page {self._pages}")
        head = check_head(page.nested("head"), self._keys)
        for entry in page.items("entries"):
            named = Evidence(entry, f"entry {self.reached.last_number + 1}")
            self.reached = _check_next(named, self.organization_id, head, self.reached)
            if not named.text("body"):
                self.without_text.append(self.reached.last_number)
        self._unended, self.head = page.nested("end"), head

    def finish(self) -> None:
        """Checks that the last page was the last."""
        if self._unended is None:
            raise EvidenceError("The export has no page, so nothing says where the list ends.")
        self._check_end(is_last=True)

    def _check_end(self, *, is_last: bool) -> None:
        # Pages may be of different moments: each one's end says at least that the list was not shorter then.
        if self._unended is not None and self.head is not None:
            _check_end(
                self._unended, self.organization_id, self.head, self.reached, self._keys, is_last=is_last
            )


def continues(later: Any, earlier: Any) -> Verdict:
    """Whether a verified export continues an earlier verified one. Both begin with number 1, and each entry is chained to all before it:
    one hash says that everything before is the same."""
    if earlier["organization_id"] != later["organization_id"]:
        return Verdict(False, "The earlier export is of another organization.")
    known, reached = earlier["pages"][-1]["end"], later["pages"][-1]["end"]
    number = int(known["last_number"])
    if int(reached["last_number"]) < number:
        return Verdict(
            False, f"The earlier export has {number} entries, this one fewer: entries were taken away."
        )
    found = reached["last_leaf_hash"]
    for page in later["pages"]:
        for entry in page["entries"]:
            if int(entry["number"]) == number + 1:
                found = entry["previous_leaf_hash"]
    if number > 0 and found != known["last_leaf_hash"]:
        return Verdict(False, "Entries of the earlier export were changed.")
    return Verdict(True)


def _check_next(entry: Evidence, organization_id: str, head: Head, before: Known) -> Known:
    number = entry.number("number")
    if entry.text("organization_id") != organization_id:
        raise EvidenceError(f"Entry {number} belongs to another organization.")
    if number != before.last_number + 1:
        raise EvidenceError(
            f"Entry {before.last_number + 1} is missing: number {number} stands in its place; entries were removed or reordered."
        )
    leaf = check_entry(entry, head)
    if not hmac.compare_digest(entry.digest("previous_leaf_hash"), before.last_leaf_hash):
        raise EvidenceError(
            f"Entry {number} does not continue entry {before.last_number}: they are of two different lists."
        )
    return Known(number, leaf)


def _check_end(
    end: Evidence, organization_id: str, head: Head, reached: Known, keys: PinnedKeys, *, is_last: bool
) -> None:
    last_number = end.number("last_number")
    fields = {
        "organization_id": end.text("organization_id"),
        "last_number": last_number,
        "last_leaf_hash": end.digest("last_leaf_hash").hex(),
        "tree_size": end.number("tree_size"),
        "key_id": end.text("key_id"),
    }
    message = canonical(fields, "the end of the list")
    check_signature(_END, message, end.binary("signature"), end.text("key_id"), keys, "the end of the list")
    if fields["organization_id"] != organization_id:
        raise EvidenceError("The end of the list belongs to another organization.")
    if fields["tree_size"] != head.tree_size:
        raise EvidenceError("The end of the list and the tree head are of different moments.")
    if last_number < reached.last_number or (is_last and last_number > reached.last_number):
        raise EvidenceError(
            f"The list ends with entry {reached.last_number}; by its signed end it has {last_number}: it was cut off."
        )
    if last_number == reached.last_number and not hmac.compare_digest(
        end.digest("last_leaf_hash"), reached.last_leaf_hash
    ):
        raise EvidenceError("The last entry is not the one that the signed end names.")


def check_head(head: Evidence, keys: PinnedKeys) -> Head:
    """A tree head, if a pinned key signed it. Raises EvidenceError."""
    fields = {
        "tree_size": head.number("tree_size"),
        "root_hash": head.digest("root_hash").hex(),
        "timestamp_ms": head.number("timestamp_ms"),
        "key_id": head.text("key_id"),
    }
    message = canonical(fields, "the tree head")
    check_signature(_HEAD, message, head.binary("signature"), head.text("key_id"), keys, "the tree head")
    return Head(head.number("tree_size"), head.digest("root_hash"), head.number("timestamp_ms"))


def signed_at(timestamp_ms: int) -> str:
    """A head's instant, RFC 3339 in UTC, to the second: what came later is not in what the head vouches for."""
    return f"{_EPOCH + timedelta(milliseconds=timestamp_ms):%Y-%m-%dT%H:%M:%SZ}"


def check_entry(entry: Evidence, head: Head) -> bytes:
    """Checks a logged entry's commitment and its place in the tree of `head`. Returns its leaf hash. Raises EvidenceError."""
    number = entry.number("number")
    body, salt, commitment = entry.binary("body"), entry.binary("salt"), entry.digest("commitment")
    erased = not body and not salt
    # HMAC takes a shorter key for the same with zeros at its end (RFC 2104 §2), so an entry would have several spellings.
    if not erased and (
        len(salt) != HASH_BYTES or not hmac.compare_digest(hmac.digest(salt, body, "sha256"), commitment)
    ):
        raise EvidenceError(f"Entry {number} was changed: its text is not the one that was committed to.")
    _check_readable(entry, body, number)
    organization_id = entry.text("organization_id").encode()
    if len(organization_id) >= 2**16:
        raise EvidenceError(f"Entry {number} names an organization of impossible length.")
    data = _LEAF + len(organization_id).to_bytes(2) + organization_id + number.to_bytes(8)
    leaf = leaf_hash(data + entry.digest("previous_leaf_hash") + commitment)
    proof = [
        decode(step, f"the proof of entry {number}") if isinstance(step, str) else b""
        for step in entry.items("inclusion_proof")
    ]
    if not verify_inclusion(leaf, entry.number("leaf_index"), head.tree_size, proof, head.root_hash):
        raise EvidenceError(
            f"Entry {number} is not in the tree of the signed head: it was changed, or the proof is of another."
        )
    return leaf


def check_act(entry: Evidence, head: Head, kind: str, service: str, what: str) -> Evidence:
    """Checks an entry as `check_entry` does, and that it is of an act that no other service reports: the log takes any service's word for
    what it did itself, so what an entry proves depends on whose it is. Returns what it says. what: for the reader, such as "a certificate".
    Raises EvidenceError."""
    check_entry(entry, head)
    try:
        said = Evidence(parse(entry.binary("body"), "The audit entry"), "the audit entry")
    except (ValueError, RecursionError):
        raise EvidenceError(
            "The audit entry's text is gone or no JSON; nothing ties this to the log."
        ) from None
    if (said.text("kind"), said.text("reported_by")) != (kind, service):
        raise EvidenceError(f"The audit entry is not that of {what}, reported by {service}.")
    if said.text("organization_id") != entry.text("organization_id"):
        raise EvidenceError("The audit entry stands in another organization's list than it says.")
    return said


def _check_readable(entry: Evidence, body: bytes, number: int) -> None:
    """What an export says in words beside an entry's bytes is what these bytes say."""
    if "entry" not in entry.raw:
        return
    try:
        said = parse(body, f"The text of entry {number}") if body else None
    except (ValueError, RecursionError):
        raise EvidenceError(f"The text of entry {number} is no JSON.") from None
    # Not by ==, to which true is 1.
    if canonical(entry.raw["entry"], f"Entry {number}") != canonical(said, f"The text of entry {number}"):
        raise EvidenceError(f"Entry {number} reads otherwise than the text that was committed to.")


def verify_heads(earlier: Any, later: Any, proof: Sequence[str], keys: PinnedKeys) -> Verdict:
    """Whether the log of the later head continues that of the earlier one. proof: hashes in base64, as GetConsistencyProof gives them."""
    try:
        first, second = (
            check_head(Evidence(earlier, "the earlier head"), keys),
            check_head(Evidence(later, "the later head"), keys),
        )
        path = [decode(step, "the consistency proof") for step in proof]
    except EvidenceError as error:
        return Verdict(False, str(error))
    if not verify_consistency(first.tree_size, second.tree_size, first.root_hash, second.root_hash, path):
        return Verdict(
            False,
            "The later head does not continue the earlier one: the log was rewritten, or it shows two faces.",
        )
    return Verdict(True)
