"""Audit entries: what happened, in ids and facts, never in content."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from kept.access_control.v1 import audit_pb2
from shared.audit_kinds import KINDS, require_declared
from shared.errors import invalid
from shared.ids import new_id

_MOST_FACT: Final = 1_000  # access_control.v1.AuditEntry.facts
# Control characters (Cc), and what else ends a line (Zl, Zp).
_NO_LINE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# What an entry's body says beside the message's own fields (docs/audit-log.md).
_SAID_OF_ALL: Final = frozenset({*audit_pb2.AuditEntry.DESCRIPTOR.fields_by_name, "version", "reported_by"})


def entry(
    kind: str,
    *,
    actor: str,
    at: datetime,
    organization_id: str = "",
    subjects: Iterable[str | bytes] = (),
    facts: Mapping[str, str | int | bool] | None = None,
    entry_id: str | None = None,
) -> audit_pb2.AuditEntry:
    """An entry for the audit log.

    kind, facts: as shared.audit_kinds declares them; anything else is a ValueError. actor: "person_…", "member_…" or "service:<name>".
    subjects: ids; record ids as 16 bytes are written as UUIDs. facts: see written_facts. entry_id: given where the same act may be
    reported twice.
    """
    require_declared(kind, facts or ())
    made = audit_pb2.AuditEntry(
        entry_id=entry_id or new_id("entry"),
        organization_id=organization_id,
        kind=kind,
        actor=actor,
        subjects=written_subjects(subjects),
        facts=written_facts(facts or {}),
    )
    made.occurred_at.FromDatetime(at)
    return made


def require_own(entries: Sequence[audit_pb2.AuditEntry], service: str) -> None:
    """Raises INVALID_ARGUMENT where an entry is of another service's kind, or of none that is known here, or has a fact that its kind does
    not declare and that is called like a field of every entry: nothing that a service says of itself looks like another's word.

    service: who reports them. What it says of its own acts is its own word otherwise, with facts that a newer version of it may know alone.
    """
    for index, reported in enumerate(entries):
        kind = KINDS.get(reported.kind)
        if kind is None:
            raise invalid(f"entries[{index}].kind", "is no kind of entry that is known here")
        if kind.owner not in ("", service):
            raise invalid(f"entries[{index}].kind", f"is {kind.owner}'s to report")
        if (_SAID_OF_ALL - kind.facts).intersection(reported.facts):
            raise invalid(f"entries[{index}].facts", "has one that is called like a field of the entry")


def written_subjects(subjects: Iterable[str | bytes]) -> list[str]:
    """Ids as an entry has them: record ids, 16 bytes, as UUIDs."""
    return [_as_uuid(subject) if isinstance(subject, bytes) else subject for subject in subjects]


def written_facts(facts: Mapping[str, str | int | bool]) -> dict[str, str]:
    """Facts as an entry has them: each value one line of at most 1,000 characters, for the log takes no other. What people wrote may have
    more lines and be longer: these become spaces, and the rest is cut."""
    return {
        name: str(value).lower() if isinstance(value, bool) else _line(str(value))
        for name, value in facts.items()
    }


def _line(value: str) -> str:
    if len(value) <= _MOST_FACT and value.isprintable():
        return value
    return _NO_LINE.sub(" ", value[:_MOST_FACT])


def _as_uuid(record_id: bytes) -> str:
    # By hand, for there may be hundreds: uuid.UUID takes three times as long.
    digits = record_id.hex()
    if len(digits) != 32:
        raise ValueError("a record id is 16 bytes")
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
