"""May this record be stored, and with its content? A decision from ids, policies and times; nothing here sees a database or content.

A policy must allow the record throughout [id time - tolerance, received_at + tolerance]; where several were in force, the strictest counts.
Both clocks may be off by the tolerance, so that nothing created at or after a change's `effective_at` is stored against it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from kept.errors.v1 import reasons_pb2
from shared.clock import CLOCK_TOLERANCE
from shared.errors import Reason
from shared.ids import is_record_id, lowest_record_id, record_time

# How late a record may come; shorter than the shortest term, so that no late record belongs to a day that is dropped.
LATE_WINDOW: Final = timedelta(hours=24)


class Decision(Enum):
    """What becomes of a record."""

    STORE = "store"
    STORE_WITHOUT_CONTENT = "store without content"
    REFUSE = "refuse"


@dataclass(frozen=True)
class OrganizationPolicy:
    """What applies to an organization's data. records_here: a deployment that sends content and log data to the vendor at all.
    usage_agreed: one that does not may send usage counts (usage/reports.py). content_erased_before: content from before this instant is to
    be erased (content_erasures.py); None where none is."""

    records_here: bool
    zero_data_retention: bool
    closed: bool
    usage_agreed: bool = False
    content_erased_before: datetime | None = None


@dataclass(frozen=True)
class GatewayPolicy:
    """Whom a gateway may record for."""

    all_organizations: bool
    organization_ids: frozenset[str]

    def covers(self, organization_id: str) -> bool:
        """Whether it may record for this organization."""
        return self.all_organizations or organization_id in self.organization_ids

    @property
    def is_registered(self) -> bool:
        """Whether it may record for anybody."""
        return self.all_organizations or bool(self.organization_ids)


@dataclass(frozen=True)
class Admission:
    """A decision. reason: set where it is REFUSE."""

    decision: Decision
    reason: "reasons_pb2.Reason.ValueType | None" = None


STORE: Final = Admission(Decision.STORE)
STORE_WITHOUT_CONTENT: Final = Admission(Decision.STORE_WITHOUT_CONTENT)


def refuse(reason: "reasons_pb2.Reason.ValueType") -> Admission:
    """A refusal."""
    return Admission(Decision.REFUSE, reason)


def span_of(created_at: datetime, received_at: datetime) -> tuple[datetime, datetime]:
    """The instants, both included, at which a policy must allow the record. Reaches back no further than the late window: what is
    older is refused for that alone."""
    begins = max(created_at, received_at - LATE_WINDOW) - CLOCK_TOLERANCE
    return begins, received_at + CLOCK_TOLERANCE


def admit(
    organization_id: str,
    created_at: datetime,
    received_at: datetime,
    organization: Sequence[OrganizationPolicy | None],
    gateway: Sequence[GatewayPolicy | None],
) -> Admission:
    """Decides on one record. organization: every policy in force at some instant of `span_of`, None for "none known". gateway: every
    registration of the caller from the record's receipt on; it says who may speak now, not what was promised about the data then.

    RECORD_TOO_LATE comes last among the refusals: the caller first looks whether the record is there already.
    """
    if not gateway or not all(policy is not None and policy.covers(organization_id) for policy in gateway):
        return refuse(Reason.REASON_GATEWAY_NOT_REGISTERED)
    known = [policy for policy in organization if policy is not None]
    if any(not policy.records_here for policy in known):
        return refuse(Reason.REASON_DEPLOYMENT_SENDS_NO_CONTENT)
    if created_at > received_at + CLOCK_TOLERANCE:
        return refuse(Reason.REASON_RECORD_FROM_FUTURE)
    if not known or len(known) < len(organization):
        return refuse(Reason.REASON_UNKNOWN_ORGANIZATION)
    if any(policy.closed for policy in known):
        return refuse(Reason.REASON_CLOSED)
    if created_at < received_at - LATE_WINDOW:
        return refuse(Reason.REASON_RECORD_TOO_LATE)
    if any(policy.zero_data_retention for policy in known):
        return STORE_WITHOUT_CONTENT
    return STORE


# Every policy of an organization in force at some instant of a span: (organization, begin, creation, end). See Policies.
PoliciesThroughout = Callable[[str, datetime, datetime, datetime], Sequence[OrganizationPolicy | None]]


class BatchAdmission:
    """Decides on the records of one batch, which were all received at once, from one gateway."""

    def __init__(
        self,
        received_at: datetime,
        gateway: Sequence[GatewayPolicy | None],
        throughout: PoliciesThroughout,
    ) -> None:
        self._received_at = received_at
        self._gateway = gateway
        self._throughout = throughout
        # Ids that are neither too late nor too far ahead, however close to either end.
        self._window = (
            lowest_record_id(received_at - LATE_WINDOW + timedelta(milliseconds=1)),
            lowest_record_id(received_at + CLOCK_TOLERANCE),
        )
        self._oldest = received_at - LATE_WINDOW
        self._span = span_of(self._oldest, received_at)
        self._steady: dict[str, Admission | None] = {}
        # What was decided on last of a steady policy: where the gateway may record for all, the same policy gets the same again.
        self._last: tuple[OrganizationPolicy | None, Admission] | None = None
        self._covers_all = bool(gateway) and all(
            policy is not None and policy.all_organizations for policy in gateway
        )

    def decide(self, organization_id: str, record_id: bytes) -> Admission:
        """What becomes of this record; INVALID_RECORD_ID for what is none."""
        if not is_record_id(record_id):
            return refuse(Reason.REASON_INVALID_RECORD_ID)
        if self._window[0] <= record_id < self._window[1]:
            if organization_id not in self._steady:
                self._steady[organization_id] = self._decide_steady(organization_id)
            steady = self._steady[organization_id]
            if steady is not None:
                return steady
        try:
            created_at = record_time(record_id)
        except OverflowError:
            return refuse(Reason.REASON_INVALID_RECORD_ID)
        return self._admit(organization_id, created_at, self._policies(organization_id, created_at))

    def _decide_steady(self, organization_id: str) -> Admission | None:
        """The one decision on all records created within the late window, where one policy was in force all along; None where it
        changed: then each record has a span of its own."""
        policies = self._throughout(organization_id, self._span[0], self._oldest, self._span[1])
        if len(policies) != 1:
            return None
        if not self._covers_all:
            return self._admit(organization_id, self._received_at, policies)
        if self._last is None or self._last[0] is not policies[0]:
            self._last = policies[0], self._admit(organization_id, self._received_at, policies)
        return self._last[1]

    def _policies(self, organization_id: str, created_at: datetime) -> Sequence[OrganizationPolicy | None]:
        begins, ends = span_of(created_at, self._received_at)
        return self._throughout(organization_id, begins, created_at, ends)

    def _admit(
        self, organization_id: str, created_at: datetime, policies: Sequence[OrganizationPolicy | None]
    ) -> Admission:
        return admit(organization_id, created_at, self._received_at, policies, self._gateway)
