"""The erasure of one end user as stored, its states, and what is said of it. Pure; subject_erasures carries it out."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from services.retention.certificates.certificate import Receipt, SealedCopies
from services.retention.holds import hold as holds
from services.retention.holds.hold import Hold
from shared.terms import NEVER, Rule, TermKind

_LABEL: Final = b"kept/subject/v1\0"


class SubjectState(StrEnum):
    """Where it is. DONE goes on to COMPLETING when the last hold has ended, and comes back; FAILED is final."""

    ERASING = "ERASING"
    FORGETTING = "FORGETTING"
    CERTIFYING = "CERTIFYING"
    DONE = "DONE"
    COMPLETING = "COMPLETING"
    CERTIFYING_REST = "CERTIFYING_REST"
    FAILED = "FAILED"


def commitment(salt: bytes, organization_id: str, end_user: str) -> bytes:
    """Whose erasure it is, for whoever has the salt and the pseudonym: HMAC-SHA-256(salt, label ‖ organization ‖ 0 ‖ pseudonym). Pseudonyms
    are few and often guessable, so a bare digest would name them; with 32 random bytes as the key it does not."""
    return hmac.digest(salt, _LABEL + organization_id.encode() + b"\0" + end_user.encode(), "sha256")


@dataclass(frozen=True)
class SubjectOrder:
    """A customer's request that an end user be erased. end_user: as it stands in the records, 1 to 128 characters."""

    request_id: str
    organization_id: str
    end_user: str = field(repr=False)
    requested_by: str


@dataclass(frozen=True)
class SubjectErasure:
    """One erasure. end_user: None once logging has erased. told_token, told: how far the other services know which records are gone, and
    of how many. is_kept, is_complete: as an organization's erasure has them. held_by: records of the end user by hold, of holds that keep
    some or did."""

    erasure_id: str
    request_id: str
    organization_id: str
    requested_by: str
    end_user: str | None = field(repr=False)
    salt: bytes = field(repr=False)
    commitment: bytes
    state: SubjectState
    started_at: datetime
    fenced_at: datetime | None = None
    ended_at: datetime | None = None
    told_token: str = ""
    told: int = 0
    is_kept: bool = False
    is_complete: bool = False
    receipts: tuple[Receipt, ...] = ()
    held_by: tuple[tuple[str, int], ...] = ()

    def is_of(self, order: SubjectOrder) -> bool:
        """Whether this is what an order asks for."""
        same = commitment(self.salt, order.organization_id, order.end_user)
        return (self.organization_id, self.requested_by) == (
            order.organization_id,
            order.requested_by,
        ) and hmac.compare_digest(same, self.commitment)


def kept_sentences(erasure: SubjectErasure, named: Sequence[Hold]) -> list[str]:
    """What holds keep of the end user, and why. named: the holds of `held_by`."""
    records = dict(erasure.held_by)
    sentences = []
    for group in holds.by_reason(named):
        count = records.get(group[0].hold_id, 0)
        if len(group) > 1:  # they may keep the same ones
            subject = "Records of the end user are"
        else:
            subject = "1 record of the end user is" if count == 1 else f"{count} records of the end user are"
        sentences.append(f"{subject} kept by {holds.kept_by(group)}.")
    return sentences


def unreadable_by(rule: Rule, day: date) -> datetime:
    """When the key of a UTC day is destroyed at the latest, by a rule. When it really was stands in the certificate of that day's run."""
    if rule.term.kind is TermKind.AT_MOST:
        return rule.term_end(day)
    due = rule.due_at(day)
    return due if due == NEVER else due + rule.run_window


def sealed_copies(rules: Sequence[Rule], days: Sequence[tuple[date, int]]) -> list[SealedCopies]:
    """What backups may hold sealed. days: UTC day, and how many of its records that had content are gone. rules: those that count for the
    organization and its applications; to which key a record's copy is sealed is not known any more, so the longest counts."""
    return [
        SealedCopies(day, records, max(unreadable_by(rule, day) for rule in rules))
        for day, records in days
        if records
    ]


def copy_sentences(sealed: Sequence[SealedCopies], removed: int) -> list[str]:
    """What becomes of copies outside of the services' tables. Says no more than is so."""
    if not removed:
        return []
    sentences = []
    if sealed:
        last = max(copies.unreadable_by for copies in sealed)
        sentences += [
            "Access control releases the keys of these records to nobody, whatever copy of a record it is shown.",
            "Backups of logging's database may hold their content, sealed. The keys of its days serve other records and are destroyed with "
            f"those days, by the rule in force not later than {last:%Y-%m-%d %H:%M} UTC; from then on such a copy opens nowhere. The "
            "certificates of those days' runs prove it.",
        ]
    sentences.append(
        "Log data, which names the end user, is not sealed: a backup of logging's database from before the erasure holds it for as long as "
        "that backup exists."
    )
    return sentences
