"""A deletion certificate: what its body says, how it is signed, and the envelope that carries the proof.

The body is canonical JSON (RFC 8785). The signature is Ed25519 (RFC 8032) over `kept/certificate/v1`, a zero byte and the body. The audit
log's entry `certificate.signed` names the body's SHA-256; the envelope carries that entry, its inclusion proof (RFC 9162 §2.1.3) and
the signed tree head, so that all of it verifies offline.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

import rfc8785

from kept.access_control.v1 import audit_pb2
from services.retention.certificates.destructions import Destruction
from services.retention.certificates.signing import SigningKey
from services.retention.rules import RuleInForce
from shared.ids import derived_id

CONTEXT: Final = b"kept/certificate/v1\0"
# A body names at most so many holds, and says how many more there are.
MOST_HOLDS: Final = 1000
# Stands in every certificate of every organization, so that it says nothing about any one of them; without it one that counts what a law
# forbids to speak of as gone would say what is not so.
RESERVATION: Final = (
    "Certificates of all organizations say this: what a law requires to be kept and forbids to speak of is counted here as removed. Nobody "
    "can read it as long as that is so, it stands in the vendor's own audit log, which auditors check, and it goes when the duty ends. "
    "Whether there is any, a certificate may not say."
)


@dataclass(frozen=True)
class CertifiedDay:
    """What went of one UTC day: keys, and rows where they are counted by day (erasures count by service instead). application: of whose own
    lot (shared.terms) alone it tells; "" for all others."""

    day: date
    epoch_key_ids: tuple[str, ...]
    destruction_ids: tuple[str, ...]
    removed: int | None = None
    held: int | None = None
    application: str = ""


@dataclass(frozen=True)
class ApplicationRule:
    """The rule that counted for the own lot of an application, and up to which UTC day that is due."""

    application: str
    rule: RuleInForce
    through_day: date


@dataclass(frozen=True)
class HoldNamed:
    """A hold that kept something back. records: None where a restored database does not know how many. ended_at: in a further certificate,
    when it was over."""

    hold_id: str
    kind: str
    records: int | None
    ended_at: datetime | None = None
    removed: int | None = None


@dataclass(frozen=True)
class Receipt:
    """What one service did for an erasure. kept: what stays there with its hold, as it said last."""

    service: str
    erased_at: datetime
    removed: Mapping[str, int]
    kept: int = 0


@dataclass(frozen=True)
class SealedCopies:
    """Copies of the content of a day's erased records that backups may hold, sealed. unreadable_by: when the day's key is destroyed at the
    latest, by the rule in force when this is signed."""

    day: date
    records: int
    unreadable_by: datetime


@dataclass(frozen=True)
class SubjectNamed:
    """Of an end user's erasure: whose it is, and what becomes of copies. commitment: 32 bytes (subject_states). fenced_at: what was created
    before is erased, and not written any more. copies: sentences."""

    commitment: bytes
    fenced_at: datetime
    sealed: Sequence[SealedCopies]
    copies: Sequence[str]


@dataclass(frozen=True)
class ContentNamed:
    """Of an erasure of content from before zero data retention. before: from when on that counts. fenced_at: from when on no older
    content is written. contents: of how many records logging removed the content, but what holds kept. stays: what is not touched, in
    sentences."""

    before: datetime
    fenced_at: datetime
    contents: int
    stays: Sequence[str]


@dataclass(frozen=True)
class Statement:
    """All that a certificate says.

    act_id: the run or erasure. rule: the organization's, as it was when the act began. removed_at: when the last row went. late_seconds:
    how long after it ought to have been gone the keys of the oldest day were destroyed. more_holds: how many kept something besides
    `holds`. kept: what remains and why, in sentences. completes: the certificate that this one completes, for a further one. subject: of an
    end user's erasure. content: of an erasure of content; no record is removed by it. applications: rules of those that it tells of by
    themselves.
    """

    organization_id: str
    act_id: str
    started_at: datetime
    rule: RuleInForce
    through_day: date | None
    days: Sequence[CertifiedDay]
    destructions: Sequence[Destruction]
    removed_at: datetime | None
    removed: int
    held: int
    late_seconds: int = 0
    holds: Sequence[HoldNamed] = ()
    more_holds: int = 0
    receipts: Sequence[Receipt] = ()
    kept: Sequence[str] = ()
    completes: str = ""
    subject: SubjectNamed | None = None
    content: ContentNamed | None = None
    applications: Sequence[ApplicationRule] = ()

    @property
    def is_further(self) -> bool:
        """Whether it follows a certificate of the same act."""
        return bool(self.completes)

    @property
    def certificate_id(self) -> str:
        """The same for the same act, organization and part of it: a step that is done again makes no second certificate."""
        return _id_of(self.act_id, self.organization_id, "further" if self.is_further else "first")


def _id_of(act_id: str, organization_id: str, part: str) -> str:
    name = f"{act_id}/{organization_id}/{part}"
    return derived_id("certificate", hashlib.sha256(b"certificate:" + name.encode()).digest())


def first_id(act_id: str, organization_id: str) -> str:
    """The id of an act's first certificate: all that is known of one that was lost with a database."""
    return _id_of(act_id, organization_id, "first")


def instant(at: datetime | None) -> str | None:
    """An instant as bodies write it: RFC 3339, UTC, microseconds."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def body(statement: Statement, signed_at: datetime) -> bytes:
    """The canonical bytes that are signed."""
    named = list(statement.holds)[:MOST_HOLDS]
    content: dict[str, Any] = {
        "format": 1,
        "certificate_id": statement.certificate_id,
        "organization_id": statement.organization_id,
        "act_id": statement.act_id,
        "further": statement.is_further,
        "completes": statement.completes or None,
        "signed_at": instant(signed_at),
        "started_at": instant(statement.started_at),
        "rule": _rule(statement.rule),
        "through_day": None if statement.through_day is None else statement.through_day.isoformat(),
        "days": [_day(day) for day in sorted(statement.days, key=lambda each: (each.day, each.application))],
        "destructions": [
            {
                "destruction_id": destruction.destruction_id,
                "marked_at": instant(destruction.marked_at),
                "destroyed_at": instant(destruction.destroyed_at),
                "root_key_id": destruction.root_key_id,
                "key_store_statement": destruction.key_store_statement,
            }
            for destruction in statement.destructions
        ],
        "removed_at": instant(statement.removed_at),
        "records_removed": statement.removed,
        "records_held": statement.held,
        "late_seconds": statement.late_seconds,
        "holds": [_hold(hold) for hold in named],
        "holds_not_named": len(statement.holds) - len(named) + statement.more_holds,
        "receipts": [
            {
                "service": receipt.service,
                "erased_at": instant(receipt.erased_at),
                "removed": dict(receipt.removed),
                "kept": receipt.kept,
            }
            for receipt in statement.receipts
        ],
        "kept": list(statement.kept),
        "reservation": RESERVATION,
    }
    if statement.applications:
        content["applications"] = [
            {
                "application": one.application,
                "rule": _rule(one.rule),
                "through_day": one.through_day.isoformat(),
            }
            for one in statement.applications
        ]
    if statement.subject is not None:
        content["subject"] = _subject(statement.subject)
    if statement.content is not None:
        content["content"] = {
            "before": instant(statement.content.before),
            "fenced_at": instant(statement.content.fenced_at),
            "contents_removed": statement.content.contents,
            "stays": list(statement.content.stays),
        }
    return rfc8785.dumps(content)


def _subject(subject: SubjectNamed) -> dict[str, Any]:
    return {
        "commitment": _base64(subject.commitment),
        "fenced_at": instant(subject.fenced_at),
        "sealed_copies": [
            {
                "day": copies.day.isoformat(),
                "records": copies.records,
                "unreadable_by": instant(copies.unreadable_by),
            }
            for copies in subject.sealed
        ],
        "sealed_copies_unreadable_by": instant(
            max((copies.unreadable_by for copies in subject.sealed), default=None)
        ),
        "copies": list(subject.copies),
    }


def _rule(rule: RuleInForce) -> dict[str, Any]:
    return {
        "kind": str(rule.term.kind),
        "days": rule.term.days,
        "run_window_seconds": int(rule.run_window.total_seconds()),
        "version": rule.version,
        "effective_at": instant(rule.effective_at),
    }


def _day(day: CertifiedDay) -> dict[str, Any]:
    said: dict[str, Any] = {
        "day": day.day.isoformat(),
        "epoch_key_ids": sorted(day.epoch_key_ids),
        "destruction_ids": sorted(day.destruction_ids),
    }
    if day.application:
        said["application"] = day.application
    if day.removed is not None:
        said["records_removed"] = day.removed
    if day.held is not None:
        said["records_held"] = day.held
    return said


def _hold(hold: HoldNamed) -> dict[str, Any]:
    said: dict[str, Any] = {"hold_id": hold.hold_id, "kind": hold.kind}
    if hold.records is not None:
        said["records"] = hold.records
    if hold.ended_at is not None:
        said["ended_at"] = instant(hold.ended_at)
    if hold.removed is not None:
        said["records_removed"] = hold.removed
    return said


def late_seconds(rule: RuleInForce, oldest: date | None, gone_at: datetime | None) -> int:
    """How many seconds after it ought to have been gone the oldest day was; 0 when in time or when there was nothing. Begun seconds
    count."""
    if oldest is None or gone_at is None:
        return 0
    return max(0, math.ceil((gone_at - rule.late_from(oldest)).total_seconds()))


@dataclass(frozen=True)
class Certificate:
    """A signed certificate as stored. body: the exact bytes that are signed. envelope: JSON, once the audit log's proof is there."""

    certificate_id: str
    organization_id: str
    act_id: str
    is_further: bool
    signed_at: datetime
    body: bytes
    key_id: str
    signature: bytes
    entry_id: str
    envelope: bytes | None = None
    number: int = field(default=0, compare=False)

    @property
    def sha256(self) -> str:
        """SHA-256 of the body, in hex, as the audit entry names it."""
        return hashlib.sha256(self.body).hexdigest()


def completed(signed: Sequence[Certificate], act_id: str, organization_id: str) -> str:
    """The id of the certificate that a further one of the act completes. signed: those of the act that are known here, oldest first."""
    return signed[0].certificate_id if signed else first_id(act_id, organization_id)


def sign(statement: Statement, key: SigningKey, signed_at: datetime) -> Certificate:
    """The certificate, without its envelope."""
    content = body(statement, signed_at)
    return _signed(
        content,
        statement.certificate_id,
        statement.organization_id,
        statement.act_id,
        statement.is_further,
        key,
        signed_at,
    )


def repeat(lost: Certificate, key: SigningKey, signed_at: datetime) -> Certificate:
    """What a certificate says, signed once more under an id of its own: for one whose first signing is in the audit log and was lost with a
    database. Its body says which it `repeats`; whoever has kept the lost one sees that both say the same, but for when they were signed."""
    certificate_id = derived_id(
        "certificate", hashlib.sha256(b"certificate:again:" + lost.certificate_id.encode()).digest()
    )
    said = json.loads(lost.body) | {
        "certificate_id": certificate_id,
        "signed_at": instant(signed_at),
        "repeats": lost.certificate_id,
    }
    return _signed(
        rfc8785.dumps(said),
        certificate_id,
        lost.organization_id,
        lost.act_id,
        lost.is_further,
        key,
        signed_at,
    )


def _signed(
    content: bytes,
    certificate_id: str,
    organization_id: str,
    act_id: str,
    is_further: bool,
    key: SigningKey,
    signed_at: datetime,
) -> Certificate:
    return Certificate(
        certificate_id=certificate_id,
        organization_id=organization_id,
        act_id=act_id,
        is_further=is_further,
        signed_at=signed_at,
        body=content,
        key_id=key.key_id,
        signature=key.sign(CONTEXT + content),
        entry_id=derived_id(
            "entry", hashlib.sha256(b"certificate.signed:" + certificate_id.encode()).digest()
        ),
    )


def envelope(certificate: Certificate, entry: audit_pb2.LoggedEntry, head: audit_pb2.TreeHead) -> bytes:
    """The JSON that a person keeps: body, key id, signature, audit entry with proof, tree head; bytes in base64.

    Raises ValueError when the entry does not name this certificate: a proof of something else proves nothing.
    """
    if certificate.sha256.encode() not in entry.body or certificate.certificate_id.encode() not in entry.body:
        raise ValueError("the audit entry is not this certificate's")
    return rfc8785.dumps(
        {
            "body": json.loads(certificate.body),
            "key_id": certificate.key_id,
            "signature": _base64(certificate.signature),
            "audit_entry": {
                "body": _base64(entry.body),
                "salt": _base64(entry.salt),
                "commitment": _base64(entry.commitment),
                "organization_id": entry.organization_id,
                "number": entry.number,
                "previous_leaf_hash": _base64(entry.previous_leaf_hash),
                "leaf_index": entry.leaf_index,
                "inclusion_proof": [_base64(node) for node in entry.inclusion_proof],
            },
            "head": {
                "tree_size": head.tree_size,
                "root_hash": _base64(head.root_hash),
                "timestamp_ms": head.timestamp_ms,
                "key_id": head.key_id,
                "signature": _base64(head.signature),
            },
        }
    )


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
