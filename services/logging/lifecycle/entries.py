"""What the audit log is told of holds' rows, and in whose list: a restored database takes it over from there."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

from kept.access_control.v1 import audit_pb2
from services.logging.store.retention import HeldRow
from shared.audit import entry

ACTOR: Final = "service:logging"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def held(
    hold_id: str,
    organization_id: str,
    kept: Sequence[HeldRow],
    kind: int | None,
    at: datetime,
    *,
    is_secret: bool,
    bounds: Mapping[str, str] = _NOTHING,
) -> audit_pb2.AuditEntry:
    """Rows are kept for a hold from now on: a restored database has to know what it must not drop. kind: kept.retention.v1.HoldKind; None
    where it is not known. bounds: of a hold on all that matches, but for whose records."""
    whose, subjects = list_of(hold_id, organization_id, is_secret=is_secret)
    facts: dict[str, str | int | bool] = dict(bounds)
    if kind is not None:
        facts["hold_kind"] = kind
    # The last ones named: a restored database may still have what an erasure had taken from them.
    bare = [row for row in kept if row.data_key_id is None]
    if bare:
        facts["without_content"] = len(bare)
        kept = [*(row for row in kept if row.data_key_id is not None), *bare]
    return entry(
        "rows.held",
        actor=ACTOR,
        at=at,
        organization_id=whose,
        subjects=[*subjects, *(row.record_id for row in kept)],
        facts=facts,
    )


def list_of(hold_id: str, organization_id: str, *, is_secret: bool) -> tuple[str, list[str]]:
    """In whose list an entry on a hold stands, and its first subjects: of a secret one in the vendor's own, for in the organization's it
    would tell of the hold."""
    return ("", [hold_id, organization_id]) if is_secret else (organization_id, [hold_id])
