"""Audit entries: what happened, in ids and facts, never in content."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime

from kept.access_control.v1 import audit_pb2
from shared.ids import new_id


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

    kind: "<noun>.<past participle>". actor: "person_…", "member_…" or "service:<name>". subjects: ids; record ids as 16 bytes are written
    as UUIDs. facts: names of at most 40 lower-case letters, values of at most 1,000 characters. entry_id: given where the same act
    may be reported twice.
    """
    made = audit_pb2.AuditEntry(
        entry_id=entry_id or new_id("entry"),
        organization_id=organization_id,
        kind=kind,
        actor=actor,
        subjects=[
            str(uuid.UUID(bytes=subject)) if isinstance(subject, bytes) else subject for subject in subjects
        ],
        facts={
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in (facts or {}).items()
        },
    )
    made.occurred_at.FromDatetime(at)
    return made
