"""Who watches the audit log of a history: what it saw once must be there for ever, and what is new must follow from it (invariant 9)."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.simulation.looks import Looks

_NO_LEAF = bytes(32)


@dataclass
class AuditWitness:
    """What was seen of the log: leaf hashes in order, each organization's last number and its leaf hash, and the roots of the complete
    subtrees that make up the newest head, largest first (RFC 9162 §2.1.1), so that what is new costs no more than itself."""

    leaves: list[bytes] = field(default_factory=list)
    _last: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    _peaks: list[tuple[int, bytes]] = field(default_factory=list)

    def look(self, looks: Looks) -> Iterator[str]:
        """What is wrong with what came since the last look: at any instant."""
        seen = len(self.leaves)
        size, root = looks.rows("access_control", "SELECT size, root_hash FROM audit_tree")[0]
        if size < seen:
            yield f"9: the head has size {size}, after one of size {seen}"
        placed = looks.rows(
            "access_control",
            "SELECT leaf_index, organization_id, number, previous_leaf_hash, hash FROM audit_entries "
            f"LEFT JOIN audit_nodes ON level = 0 AND position = leaf_index WHERE leaf_index >= {seen} ORDER BY leaf_index",
        )
        for leaf_index, organization_id, number, previous, leaf in placed:
            last_number, last_leaf = self._last.get(organization_id, (0, _NO_LEAF))
            whose = organization_id or "the vendor"
            if leaf_index != len(self.leaves) or leaf is None:
                yield f"9: the entry of {whose} at {leaf_index} does not follow {len(self.leaves)} leaves"
                return
            if number != last_number + 1 or bytes(previous) != last_leaf:
                yield f"9: entry {number} of {whose} does not follow its entry {last_number}"
                return
            self._last[organization_id] = number, bytes(leaf)
            self._append(bytes(leaf))
        if size != len(self.leaves) or bytes(root) != self._root():
            yield f"9: the head of size {size} is not the root of the {len(self.leaves)} leaves"

    def look_at_all(self, looks: Looks) -> Iterator[str]:
        """What is wrong with the whole log, once every entry had its time to be placed."""
        waiting = looks.rows("access_control", "SELECT count(*) FROM audit_entries WHERE leaf_index IS NULL")[
            0
        ][0]
        if waiting:
            yield f"9: {waiting} entries have no place in the tree"
        now = looks.rows("access_control", "SELECT hash FROM audit_nodes WHERE level = 0 ORDER BY position")
        if [bytes(leaf) for (leaf,) in now] != self.leaves:
            yield "9: leaves that were seen earlier are others now"

    def _append(self, leaf: bytes) -> None:
        self.leaves.append(leaf)
        peak = 1, leaf
        while self._peaks and self._peaks[-1][0] == peak[0]:
            width, left = self._peaks.pop()
            peak = 2 * width, hashlib.sha256(b"\x01" + left + peak[1]).digest()
        self._peaks.append(peak)

    def _root(self) -> bytes:
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        root = self._peaks[-1][1]
        for _, left in reversed(self._peaks[:-1]):
            root = hashlib.sha256(b"\x01" + left + root).digest()
        return root
