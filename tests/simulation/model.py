"""What should be true, as the actors know it: what was sent and acknowledged, chosen, granted, held, erased."""

from dataclasses import dataclass, field
from datetime import date, datetime

from kept.access_control.v1 import grants_pb2
from kept.retention.v1 import holds_pb2
from shared.clock import CLOCK_TOLERANCE
from tests.simulation.audit_witness import AuditWitness

# Content that the shipped rules flag.
FLAGGED_TEXT = "zebracanary"
# Pseudonyms of end users; each organization has its own.
END_USERS = ("u1", "u2", "u3")
# What customers' applications are called; the last ones have terms of their own now and then.
APPLICATIONS = ("simulation", "night shift")


@dataclass
class SentRecord:
    """A record that was sent, at least once. end_user: a pseudonym. stored: acknowledged as stored, with or without content. with_content:
    acknowledged as new, and with content. due_at: as the last receipt says. stored_at: when it was acknowledged as new; None where that
    answer was lost."""

    record_id: bytes
    organization_id: str
    created_at: datetime
    first_sent_at: datetime
    text: str
    end_user: str = ""
    stored: bool = False
    with_content: bool = False
    due_at: datetime | None = None
    application: str = APPLICATIONS[0]
    stored_at: datetime | None = None

    @property
    def made_at(self) -> datetime:
        """When its content came to be at the latest: an id may claim a time a little ahead of when it was sent."""
        return min(self.created_at, self.first_sent_at)

    @property
    def is_flagged(self) -> bool:
        """Whether misuse screening keeps it."""
        return self.text == FLAGGED_TEXT


@dataclass
class Organization:
    """One organization. zdr_from: content made from then on must not exist. leaving_at: when its admin confirmed the deletion of the
    account. training_allowed: as its admin was told last; None while that is open."""

    organization_id: str
    deployment: str
    admin_id: str
    zdr_from: datetime | None = None
    training_allowed: bool | None = True
    leaving_at: datetime | None = None
    claim: str = ""
    erased: bool = False


@dataclass
class Grant:
    """A grant of data, as its holder sees it. read: records that came under it. waits_for_review: it was taken, and nobody began to look at
    that."""

    grant: grants_pb2.Grant
    holder: str
    revoked_at: datetime | None = None
    read: set[bytes] = field(default_factory=set)
    waits_for_review: bool = False


@dataclass
class Hold:
    """A legal hold that two people agreed on. is_active: both services keep what it names. releasing: somebody began to let it go;
    released: that was acknowledged. scope: on what it is, where it names no records; placed_at: when that was agreed on. with_content:
    which of the records had content then."""

    hold_id: str
    organization_id: str
    record_ids: list[bytes]
    is_active: bool = False
    releasing: bool = False
    released: bool = False
    scope: holds_pb2.HoldScope | None = None
    placed_at: datetime | None = None
    with_content: frozenset[bytes] = frozenset()

    def is_on(self, sent: SentRecord) -> bool:
        """Whether its scope is on a record."""
        scope, day = self.scope, sent.created_at.date().isoformat()
        return (
            scope is not None
            and sent.organization_id == self.organization_id
            and scope.end_user in ("", sent.end_user)
            and (scope.first_day or "0") <= day <= (scope.last_day or "9")
        )


@dataclass
class Subject:
    """An end user whose erasure a customer passed on. passed_at: when settings acknowledged it; subject_request_id: its id there. begun_at:
    when retention was seen to have it, as erasure_id. fenced_at: from when on, as retention says; done: that it is certified; done_at: when
    that was seen first; kept: that holds keep something."""

    organization_id: str
    end_user: str
    request_id: str
    passed_at: datetime | None = None
    subject_request_id: str = ""
    begun_at: datetime | None = None
    erasure_id: str = ""
    fenced_at: datetime | None = None
    done: bool = False
    done_at: datetime | None = None
    kept: bool = False

    def covers(self, sent: SentRecord) -> bool:
        """Whether a record may be gone by it: for sure once it is done."""
        if (self.organization_id, self.end_user) != (sent.organization_id, sent.end_user):
            return False
        return self.fenced_at is None or sent.created_at < self.fenced_at + 2 * CLOCK_TOLERANCE


@dataclass
class Model:
    """All of it. certified: epochs whose destruction a certificate states. certified_through: by lot (shared.terms), the newest day of
    which a run certified that nothing is left. last_certificate: the number of the newest one that was looked at. lots: by record, as rows
    say."""

    organizations: dict[str, Organization] = field(default_factory=dict)
    records: dict[bytes, SentRecord] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    subjects: list[Subject] = field(default_factory=list)
    witness: AuditWitness = field(default_factory=AuditWitness)
    certified: set[str] = field(default_factory=set)
    certified_through: dict[str, date] = field(default_factory=dict)
    last_certificate: int = 0
    lots: dict[bytes, str] = field(default_factory=dict)

    def lot_of(self, sent: SentRecord) -> str:
        """Of which lot a record is (lots.py); its organization's, where no row of it was ever seen."""
        return self.lots.get(sent.record_id, sent.organization_id)

    def held(self) -> dict[bytes, Hold]:
        """Records that a legal hold protects."""
        return {
            record_id: hold
            for hold in self.holds.values()
            if hold.is_active and not hold.releasing
            for record_id in hold.record_ids
        }
