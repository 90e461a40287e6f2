"""The audit log: entries chained by organization, committed to in one Merkle tree (RFC 9162), heads signed. Bytes: docs/audit-log.md.

An entry is appended in its act's own transaction, by a plain insert that makes no two acts wait for each other. A sequencer then gives what
has no place yet its number, its chain and its leaf, one batch at a time under the tree's row lock.
"""

import hmac
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import rfc8785
import structlog

from kept.access_control.v1 import audit_pb2
from services.access_control.audit import merkle
from services.access_control.audit.signing_keys import SigningKeys
from services.access_control.key_stores import KeyStore, RememberedHead, SigningKey
from services.access_control.store import Connection
from services.access_control.store import audit as store
from shared.audit import require_own, written_facts, written_subjects
from shared.audit_kinds import require_declared
from shared.clock import Clock
from shared.config import ConfigError
from shared.database import Database
from shared.errors import KeptError, Reason, invalid, not_found
from shared.ids import new_id
from shared.jobs import Job

# Of an entry's body.
_VERSION: Final = 1
_LEAF: Final = b"kept/leaf/v1\0"
_HEAD: Final = b"kept/tree-head/v1\0"
_END: Final = b"kept/end-of-list/v1\0"
_NO_LEAF: Final = bytes(32)
_canonical: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_BATCH: Final = 1_000
# Whoever reads integrates first; this is for heads to be kept up where nobody reads.
_EVERY: Final = timedelta(milliseconds=250)
# The newest head is never older than this, as long as the service runs.
_RENEW_MS: Final = 10 * 60 * 1000
# A read first has what waits integrated, but works off no more than this before it answers.
_BATCHES_BEFORE_A_READ: Final = 10
# Entries that one page of a service's own looks through: some 10 ms.
_LOOKED_AT: Final = 5_000
# A page ends early rather than outgrow a gRPC message (4 MiB): entries may name thousands of records.
_PAGE_BYTES: Final = 2 * 1024 * 1024
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TreeHead:
    """A signed head. signature: Ed25519 over b"kept/tree-head/v1\\0" and the other fields as canonical JSON."""

    tree_size: int
    root_hash: bytes
    timestamp_ms: int
    key_id: str
    signature: bytes


@dataclass(frozen=True)
class EndOfList:
    """Where an organization's list ends in a tree of `tree_size`, signed."""

    organization_id: str
    last_number: int
    last_leaf_hash: bytes
    tree_size: int
    key_id: str
    signature: bytes


@dataclass(frozen=True)
class LoggedEntry:
    """An entry in its place, with its inclusion proof. body and salt are empty once erased."""

    body: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    commitment: bytes
    organization_id: str
    number: int
    previous_leaf_hash: bytes
    leaf_index: int
    inclusion_proof: Sequence[bytes]


@dataclass(frozen=True)
class EntryList:
    """A page of an organization's entries, the head that its proofs lead to, and where the whole list ends in it."""

    entries: Sequence[LoggedEntry]
    head: TreeHead
    end: EndOfList
    complete: bool


@dataclass(frozen=True)
class OwnEntries:
    """A page of a service's own entries with their positions; everything of it up to `position` is listed."""

    entries: Sequence[tuple[int, audit_pb2.AuditEntry]]
    position: int
    complete: bool


def own_entry(body: bytes | None, service: str) -> audit_pb2.AuditEntry | None:
    """The entry that a body was made of, if this service reported it. A fact may be called `reported_by` too, so the body is read."""
    if body is None:  # erased
        return None
    said = json.loads(body)
    if said["reported_by"] != service:
        return None
    made = audit_pb2.AuditEntry(
        entry_id=said["entry_id"],
        organization_id=said["organization_id"],
        kind=said["kind"],
        actor=said["actor"],
        subjects=said["subjects"],
        facts=said["facts"],
    )
    made.occurred_at.FromJsonString(said["occurred_at"])
    return made


def entry_body(entry: audit_pb2.AuditEntry, service: str) -> bytes:
    """The entry as it is committed to: canonical JSON (RFC 8785), the reporting service included."""
    return _body(
        entry.entry_id,
        entry.organization_id,
        entry.kind,
        entry.actor,
        entry.occurred_at.ToJsonString(),
        list(entry.subjects),
        dict(entry.facts),
        service,
    )


def _body(
    entry_id: str,
    organization_id: str,
    kind: str,
    actor: str,
    occurred_at: str,
    subjects: list[str],
    facts: dict[str, str],
    service: str,
) -> bytes:
    return canonical(
        {
            "version": _VERSION,
            "entry_id": entry_id,
            "organization_id": organization_id,
            "kind": kind,
            "actor": actor,
            "occurred_at": occurred_at,
            "subjects": subjects,
            "facts": facts,
            "reported_by": service,
        }
    )


def instant(at: datetime) -> str:
    """RFC 3339 in UTC with 0, 3 or 6 digits of a second, as protobuf's JSON has it."""
    text = at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="auto")
    return (text.removesuffix("000") if at.microsecond else text) + "Z"


def canonical(value: Mapping[str, object]) -> bytes:
    """Canonical JSON (RFC 8785) of objects, lists, texts and small integers, with ASCII names: for these the standard library's encoder
    writes the same bytes, ten times as fast."""
    return _canonical.encode(value).encode()


def leaf_data(organization_id: str, number: int, previous_leaf_hash: bytes, commitment: bytes) -> bytes:
    """The bytes of a leaf: label, organization (length as u16), number (u64), previous leaf hash, commitment; big-endian."""
    name = organization_id.encode()
    return _LEAF + len(name).to_bytes(2) + name + number.to_bytes(8) + previous_leaf_hash + commitment


class AuditLog:
    """The audit log. job: the sequencer, to be put among the service's jobs."""

    def __init__(self, database: Database, clock: Clock, key_store: KeyStore, *, batch: int = _BATCH) -> None:
        self._database = database
        self._clock = clock
        self._key_store = key_store
        self.signing_keys = SigningKeys(database, clock, key_store, self.append)
        self._batch = batch
        self.job = Job("audit-log", _EVERY, self.integrate)

    def verify_at_start(self) -> None:
        """Makes the head of the empty tree and registers the signing key. Raises ConfigError when the database holds a smaller or
        another tree than the key store remembers: it was restored to an older state, and serving from it would tell another past."""
        remembered = self._key_store.newest_head()
        with self._database.transaction() as tx:
            self.signing_keys.bring_up_to_date(tx)
            store.begin_tree(tx, self._signed(self.signing_keys.latest(), 0, merkle.EMPTY_ROOT, 0))
            tree = self._tree(tx)
            if remembered is not None:
                self._require_remembered(tx, tree, remembered)

    @staticmethod
    def _require_remembered(tx: Connection, tree: store.TreeRow, remembered: RememberedHead) -> None:
        if remembered.size > tree.size:
            raise ConfigError(
                f"The audit log in the database has {tree.size} entries, the key store has seen {remembered.size}: the database "
                "was restored to an older state. Restore it with its WAL to the end",
                "docs/backups.md",
            )
        span = (0, remembered.size)
        nodes = store.read_nodes(tx, merkle.covering(span))
        if not hmac.compare_digest(merkle.span_hash(span, nodes), remembered.root_hash):
            raise ConfigError(
                f"The audit log's first {remembered.size} entries are not the ones that the key store has seen: this is not the "
                "database that belongs to it, or it was changed",
                "docs/operations/disaster.md",
            )

    def append(self, tx: Connection, entry: audit_pb2.AuditEntry, *, service: str = "access_control") -> bool:
        """Appends in the caller's transaction. False when the entry's id is known: then nothing changes, whatever came with it.

        service: who reports, a service's name.
        """
        return store.add_entries(tx, [self.committed(entry, service=service)]) == 1

    def append_all(self, entries: Sequence[audit_pb2.AuditEntry], service: str) -> tuple[int, int]:
        """Appends what another service reports; durable when it returns. How many were new, and the highest position among all.

        Raises INVALID_ARGUMENT, and appends none, where a kind is not that service's to report, or not known to this version: the sender
        puts the entry aside and tries again every hour, so an older version of this service loses nothing of a newer one of another.
        """
        try:
            require_own(entries, service)
        except KeptError as error:
            _log.error("audit.not_taken", service=service, fields=error.fields)
            raise
        committed = [self.committed(entry, service=service) for entry in entries]
        with self._database.transaction() as tx:
            appended = store.add_entries(tx, committed)
            return appended, store.highest_sequence(tx, [entry.entry_id for entry in committed])

    def own_entries(self, service: str, after: int, limit: int) -> OwnEntries:
        """Up to `limit` entries that a service reported, after a position. Fewer, or none, where others' lie between: a page looks at a
        bounded number of entries, whosever they are."""
        with self._database.transaction() as tx:
            rows = store.list_own(tx, service, after, _LOOKED_AT)
        found: list[tuple[int, audit_pb2.AuditEntry]] = []
        size = 0
        for sequence, body in rows:
            entry = own_entry(body, service)
            if entry is not None:
                size += entry.ByteSize()
                if len(found) == limit or (found and size > _PAGE_BYTES):
                    return OwnEntries(found, after, complete=False)
                found.append((sequence, entry))
            after = sequence
        return OwnEntries(found, after, complete=len(rows) < _LOOKED_AT)

    def committed(self, entry: audit_pb2.AuditEntry, *, service: str = "access_control") -> store.NewEntry:
        """The entry with its exact bytes and a salted commitment to them, to be inserted."""
        body = entry_body(entry, service)
        return self._committed(entry.entry_id, entry.organization_id, entry.kind, body)

    def decided(
        self,
        kind: str,
        actor: str,
        organization_id: str,
        facts: Mapping[str, str | int | bool],
        subjects: Iterable[str | bytes] = (),
        entry_id: str | None = None,
    ) -> store.NewEntry:
        """As `committed`, of a decision that this service made now, without the message by which others report: see shared.audit.entry."""
        entry_id, at = entry_id or new_id("entry"), instant(self._clock.now())
        require_declared(kind, facts)
        body = _body(
            entry_id,
            organization_id,
            kind,
            actor,
            at,
            written_subjects(subjects),
            written_facts(facts),
            "access_control",
        )
        return self._committed(entry_id, organization_id, kind, body)

    def _committed(self, entry_id: str, organization_id: str, kind: str, body: bytes) -> store.NewEntry:
        salt = secrets.token_bytes(32)
        commitment = hmac.digest(salt, body, "sha256")
        return store.NewEntry(entry_id, organization_id, kind, body, salt, commitment, self._clock.now())

    def integrate(self) -> bool:
        """Gives one batch of waiting entries their places and signs the new head. True when there is more. Raises INTERNAL, and gives none,
        where the tree is smaller than the key store has seen, or the lists do not add up to it."""
        # Remembered before it is looked at: what the key store has seen was committed by then.
        remembered = self._key_store.newest_head()
        with self._database.transaction() as tx:
            if not store.is_anything_waiting(tx):
                self._renew(tx)
                return False
            tree = self._tree(tx, lock=True)
            if remembered is not None and remembered.size > tree.size:
                raise KeptError(
                    Reason.REASON_INTERNAL,
                    "The audit log is smaller than it was: the database was restored to an older state.",
                )
            rows = store.waiting(tx, self._batch)
            if not rows:
                return False  # another process was faster
            _require_whole(tx)
            grown = self._place(tx, tree, rows)
        self._key_store.remember_head(RememberedHead(grown.size, grown.root_hash))
        return len(rows) == self._batch

    def _renew(self, tx: Connection) -> None:
        """Signs the head of a quiet log anew, so that an old head that is shown instead of the newest can be told by its time."""
        if self._is_fresh(self._tree(tx)):
            return
        tree = self._tree(tx, lock=True)
        if not self._is_fresh(tree):
            key = self.signing_keys.current(tx)
            store.replace_tree(tx, tree.size, self._signed(key, tree.size, tree.root_hash, tree.timestamp_ms))

    def _is_fresh(self, tree: store.TreeRow) -> bool:
        return self._clock.now().timestamp() * 1000 - tree.timestamp_ms < _RENEW_MS

    def head(self) -> TreeHead:
        """The newest signed head, of a tree that holds everything that was committed before the call."""
        self._catch_up()
        with self._database.transaction() as tx:
            return _head(self._tree(tx))

    def list_entries(self, organization_id: str, after_number: int, limit: int) -> EntryList:
        """Up to `limit` entries of an organization after a number; entries, proofs, head and end from one snapshot.
        The page ends early when bodies grow large. Raises INTERNAL where the lists do not add up to the tree."""
        self._catch_up()
        with self._database.transaction() as tx:
            store.snapshot(tx)
            tree = self._tree(tx)
            _require_whole(tx)
            rows = store.list_entries(tx, organization_id, after_number, limit, _PAGE_BYTES)
            chain = store.read_chains(tx, [organization_id]).get(organization_id, store.ChainRow(0, _NO_LEAF))
            logged = self._with_proofs(tx, tree.size, rows)
        reached = logged[-1].number if logged else after_number
        return EntryList(
            logged, _head(tree), self._end(organization_id, chain, tree), reached >= chain.last_number
        )

    def entry(self, entry_id: str) -> tuple[LoggedEntry, TreeHead]:
        """An entry with its proof, and the head that the proof leads to. Raises NOT_FOUND, NOT_YET_INTEGRATED."""
        self._catch_up()
        with self._database.transaction() as tx:
            store.snapshot(tx)
            tree = self._tree(tx)
            row = store.read_entry(tx, entry_id)
            if row is None:
                raise not_found("audit entry")
            if row.leaf_index is None:
                raise KeptError(
                    Reason.REASON_NOT_YET_INTEGRATED,
                    "The entry is in the log and not yet in the tree; retry shortly.",
                    retry_after=timedelta(milliseconds=200),
                )
            return self._with_proofs(tx, tree.size, [row])[0], _head(tree)

    def consistency_proof(self, first: int, second: int) -> list[bytes]:
        """RFC 9162 §2.1.4.1; empty from 0 and between equal sizes. Raises INVALID_ARGUMENT for sizes that are none of this tree's."""
        if first > second:
            raise invalid("first_size", "is larger than second_size")
        with self._database.transaction() as tx:
            if second > self._tree(tx).size:
                raise invalid("second_size", "is larger than the newest head's tree")
            spans = merkle.consistency_spans(first, second)
            nodes = store.read_nodes(tx, merkle.positions(spans))
        return [merkle.span_hash(span, nodes) for span in spans]

    def _place(self, tx: Connection, tree: store.TreeRow, rows: Sequence[store.WaitingRow]) -> merkle.Growth:
        chains = store.read_chains(tx, {row.organization_id for row in rows})
        placed: list[store.PlacedRow] = []
        leaves: list[merkle.Hash] = []
        for row in rows:
            chain = chains.get(row.organization_id, store.ChainRow(0, _NO_LEAF))
            number = chain.last_number + 1
            leaf = merkle.leaf_hash(
                leaf_data(row.organization_id, number, chain.last_leaf_hash, row.commitment)
            )
            chains[row.organization_id] = store.ChainRow(number, leaf)
            placed.append(store.PlacedRow(row.sequence, number, chain.last_leaf_hash))
            leaves.append(leaf)
        grown = merkle.grow(tree.size, store.read_nodes(tx, merkle.covering((0, tree.size))), leaves)
        store.place(tx, tree.size, placed)
        store.write_chains(tx, chains)
        store.add_nodes(tx, grown.nodes)
        head = self._signed(self.signing_keys.current(tx), grown.size, grown.root_hash, tree.timestamp_ms)
        if not store.replace_tree(tx, tree.size, head):
            raise KeptError(Reason.REASON_CONFLICT, "The tree grew in the meantime; nothing was changed.")
        return grown

    def _tree(self, tx: Connection, *, lock: bool = False) -> store.TreeRow:
        tree = store.read_tree(tx, lock=lock)
        if tree is None:
            raise KeptError(Reason.REASON_INTERNAL, "The audit log was not begun.")
        return tree

    def _catch_up(self) -> None:
        for _ in range(_BATCHES_BEFORE_A_READ):
            if not self.integrate():
                return

    def _with_proofs(self, tx: Connection, size: int, rows: Sequence[store.EntryRow]) -> list[LoggedEntry]:
        spans = {
            row.leaf_index: merkle.inclusion_spans(row.leaf_index, size)
            for row in rows
            if row.leaf_index is not None
        }
        nodes = store.read_nodes(
            tx, [position for found in spans.values() for position in merkle.positions(found)]
        )
        logged = []
        for row in rows:
            assert row.leaf_index is not None
            assert row.number is not None
            assert row.previous_leaf_hash is not None
            logged.append(
                LoggedEntry(
                    body=row.body or b"",
                    salt=row.salt or b"",
                    commitment=row.commitment,
                    organization_id=row.organization_id,
                    number=row.number,
                    previous_leaf_hash=row.previous_leaf_hash,
                    leaf_index=row.leaf_index,
                    inclusion_proof=[merkle.span_hash(span, nodes) for span in spans[row.leaf_index]],
                )
            )
        return logged

    def _signed(self, key: SigningKey, size: int, root_hash: bytes, not_before_ms: int) -> store.TreeRow:
        # A clock that was stepped back does not make a newer head look older.
        timestamp_ms = max(not_before_ms, int(self._clock.now().timestamp() * 1000))
        fields: dict[str, Any] = {
            "tree_size": size,
            "root_hash": root_hash.hex(),
            "timestamp_ms": timestamp_ms,
            "key_id": key.key_id,
        }
        return store.TreeRow(
            size, root_hash, timestamp_ms, key.key_id, key.sign(_HEAD + rfc8785.dumps(fields))
        )

    def _end(self, organization_id: str, chain: store.ChainRow, tree: store.TreeRow) -> EndOfList:
        key, size = self.signing_keys.known_as(tree.key_id), tree.size
        fields: dict[str, Any] = {
            "organization_id": organization_id,
            "last_number": chain.last_number,
            "last_leaf_hash": chain.last_leaf_hash.hex(),
            "tree_size": size,
            "key_id": key.key_id,
        }
        signature = key.sign(_END + rfc8785.dumps(fields))
        return EndOfList(
            organization_id, chain.last_number, chain.last_leaf_hash, size, key.key_id, signature
        )


def _require_whole(tx: Connection) -> None:
    """Each leaf is one entry of one list. What is signed or placed while they do not add up could not be put right any more; access does
    not depend on it."""
    size, listed = store.count_listed(tx)
    if listed != size:
        raise KeptError(
            Reason.REASON_INTERNAL,
            "The organizations' lists do not add up to the audit log's tree: the database was changed.",
        )


def _head(tree: store.TreeRow) -> TreeHead:
    return TreeHead(tree.size, tree.root_hash, tree.timestamp_ms, tree.key_id, tree.signature)
