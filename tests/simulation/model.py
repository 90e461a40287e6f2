"""What should be true, as the actors know it: what was sent and acknowledged, chosen, granted, held, erased."""

from dataclasses import dataclass, field
from datetime import datetime

from kept.access_control.v1 import grants_pb2


@dataclass
class SentRecord:
    """A record that was sent, at least once. stored: acknowledged as stored, with or without content."""

    record_id: bytes
    organization_id: str
    created_at: datetime
    text: str
    stored: bool = False
    with_content: bool = False
    due_at: datetime | None = None


@dataclass
class Organization:
    """One organization. zdr_from: content created from then on must not exist."""

    organization_id: str
    deployment: str
    admin_id: str
    effective_at: datetime
    zdr_from: datetime | None = None
    closed_at: datetime | None = None
    erased: bool = False
    claim: str = ""


@dataclass
class Grant:
    """A grant of data, as its holder sees it."""

    grant: grants_pb2.Grant
    holder: str
    revoked_at: datetime | None = None


@dataclass
class Hold:
    """A hold. active_at: since when it protects. released: somebody began to let it go."""

    hold_id: str
    organization_id: str
    record_ids: list[bytes]
    active: bool = False
    released: bool = False


@dataclass
class Model:
    """All of it."""

    organizations: dict[str, Organization] = field(default_factory=dict)
    records: dict[bytes, SentRecord] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    heads: list[tuple[int, bytes]] = field(default_factory=list)

    def held(self) -> dict[bytes, Hold]:
        """Records that a hold protects."""
        return {
            record_id: hold
            for hold in self.holds.values()
            if hold.active and not hold.released
            for record_id in hold.record_ids
        }
