"""Who counts, and until when: agreements, providers and reviews, as plain data and the rules on it.

A person counts while the agreements that everybody needs are in force; whoever comes from a provider (a sub-processor) only while the
provider is confirmed and its own are in force too. Roles, agreements and providers are reviewed: what nobody confirmed in time lapses at an
instant that is written down with each confirmation. From that instant on it counts for nothing, whether anybody noticed yet or not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kept.access_control.v1 import directory_pb2
from kept.options.v1 import roles_pb2

AgreementKind = directory_pb2.AgreementKind
Kinds = frozenset["directory_pb2.AgreementKind.ValueType"]
ReviewState = directory_pb2.ReviewState

CONFIDENTIALITY: Final = directory_pb2.AGREEMENT_KIND_CONFIDENTIALITY
SECURITY_CONTROLS: Final = directory_pb2.AGREEMENT_KIND_SECURITY_CONTROLS
# What must be signed and in force, by persons and by providers alike.
AGREEMENTS_NEEDED: Final[Kinds] = frozenset({CONFIDENTIALITY, SECURITY_CONTROLS})

# A signed agreement is good for a year and a month, so that it is renewed in time.
LONGEST_AGREEMENT: Final = timedelta(days=400)


@dataclass(frozen=True)
class Review:
    """The last confirmation of a role, an agreement or a provider: due to be confirmed again from `due_at` on, lapsed at `lapses_at`."""

    reviewed_by: str
    reviewed_at: datetime
    due_at: datetime
    lapses_at: datetime

    def state_at(self, now: datetime) -> "directory_pb2.ReviewState.ValueType":
        """Confirmed, due or lapsed. At `lapses_at` it has lapsed."""
        if now >= self.lapses_at:
            return directory_pb2.REVIEW_STATE_LAPSED
        if now >= self.due_at:
            return directory_pb2.REVIEW_STATE_DUE
        return directory_pb2.REVIEW_STATE_CONFIRMED


@dataclass(frozen=True)
class ReviewTerms:
    """How long a confirmation is good: due again after `review_after`, lapsed `lapses_after` later."""

    review_after: timedelta = timedelta(days=90)
    lapses_after: timedelta = timedelta(days=30)

    def confirmed(self, by: str, at: datetime) -> Review:
        """A confirmation now."""
        due_at = at + self.review_after
        return Review(by, at, due_at, due_at + self.lapses_after)


@dataclass(frozen=True)
class RoleAssignment:
    """A role of a person that has not ended. confirmed_by: empty while it is only proposed, and then it counts for nothing. review: not set
    where it is not from the directory, and nothing lapses."""

    role_assignment_id: str
    person_id: str
    role: "roles_pb2.StaffRole.ValueType"
    assigned_by: str
    assigned_at: datetime
    confirmed_by: str = ""
    review: Review | None = None

    def counts(self, now: datetime) -> bool:
        """Whether a second person confirmed it and it has not lapsed."""
        return bool(self.confirmed_by) and not self.has_lapsed(now)

    def has_lapsed(self, now: datetime) -> bool:
        """Whether nobody confirmed it in time."""
        return self.review is not None and now >= self.review.lapses_at


@dataclass(frozen=True)
class Agreement:
    """A signed agreement of a person or of a provider that was not ended. One document may be of both kinds."""

    agreement_id: str
    signer_id: str
    kinds: Kinds
    document_sha256: bytes
    signed_at: datetime
    expires_at: datetime
    recorded_by: str
    recorded_at: datetime
    review: Review

    @property
    def until(self) -> datetime:
        """In force before this instant: of its end and its lapse the earlier."""
        return min(self.expires_at, self.review.lapses_at)


def agreed_until(agreements: Iterable[Agreement]) -> datetime | None:
    """Until when each agreement that is needed is in force. None where one was never signed."""
    ends = []
    signed = tuple(agreements)
    for kind in AGREEMENTS_NEEDED:
        of_kind = [agreement.until for agreement in signed if kind in agreement.kinds]
        if not of_kind:
            return None
        ends.append(max(of_kind))
    return min(ends)


@dataclass(frozen=True)
class Provider:
    """A sub-processor whose people work here. confirmed_by: empty while it is only proposed, and then it counts for nothing.
    listed_until: until when it is known to be on the published list (listed_providers); None where it is not."""

    provider_id: str
    name: str
    created_by: str
    created_at: datetime
    review: Review
    confirmed_by: str = ""
    ended_at: datetime | None = None
    agreements: tuple[Agreement, ...] = ()
    listed_until: datetime | None = None

    def is_listed(self, now: datetime) -> bool:
        """Whether it is known to be on the published list of sub-processors."""
        return self.listed_until is not None and now < self.listed_until

    @property
    def until(self) -> datetime | None:
        """Its people may count before this instant; None where they may not at all."""
        agreed = agreed_until(self.agreements)
        if not self.confirmed_by or self.ended_at is not None or agreed is None:
            return None
        return min(agreed, self.review.lapses_at)
