"""A hold: what is kept beyond its day, and what may happen to it. Pure decisions; hold_keeping carries them out."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from services.retention.certificates.destructions import Destruction
from services.retention.holds import secrecy
from services.retention.holds.secrecy import Secrecy
from shared.clock import CLOCK_TOLERANCE
from shared.errors import KeptError, Reason, invalid, wrong_state
from shared.ids import BEHIND_ALL_RECORDS, is_record_id, lowest_record_id
from shared.voices import COUNTS_FOR

# A legal hold that no second person has confirmed by then is over.
CONFIRMATION_TIME: Final = COUNTS_FOR
# Records may come a day late, and a process may have them in hand for a moment more (services/logging/lifecycle/subjects.py).
_COMES_LATE: Final = timedelta(hours=26)
_SWEPT_EVERY: Final = timedelta(hours=1)
LONGEST_REVIEW: Final = timedelta(days=3653)  # ten years, leap days included


class HoldKind(StrEnum):
    """Why something is held."""

    LEGAL = "LEGAL"
    FLAGGED = "FLAGGED"


class HoldState(StrEnum):
    """Where a hold is. RELEASED and FAILED are final."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    RELEASING = "RELEASING"
    RELEASED = "RELEASED"
    FAILED = "FAILED"


class Ending(StrEnum):
    """Why a hold ends without anybody's word."""

    LAPSED = "lapsed"
    REVIEW_REACHED = "review_reached"


@dataclass(frozen=True)
class HoldScope:
    """All records of an organization that match. first_day, last_day: UTC days, both included; None: from the beginning, whatever comes.
    end_user: the customer's pseudonym of one; "" for everybody, or once it is forgotten."""

    first_day: date | None = None
    last_day: date | None = None
    end_user: str = field(default="", repr=False)


@dataclass(frozen=True)
class Sweep:
    """How far a hold's looks through the records are. swept_at: when the last complete look began. began_at: when the one began that goes
    on; after: the id that it came to. gone_through: the newest day of which rows were gone at the first look."""

    swept_at: datetime | None = None
    began_at: datetime | None = None
    after: bytes | None = None
    gone_through: date | None = None

    def looked_at(self, now: datetime) -> datetime | None:
        """When the last complete look began. None also where that lies ahead, by a clock that was wrong: what came by the right one was
        older than it looked for."""
        is_ahead = self.swept_at is not None and self.swept_at > now + CLOCK_TOLERANCE
        return None if is_ahead else self.swept_at

    def begin(self, now: datetime) -> "Sweep":
        """The look that goes on, or the next one: from where the last left nothing behind."""
        if self.began_at is not None:
            return self
        looked_at = self.looked_at(now)
        after = None if looked_at is None else lowest_record_id(looked_at - _COMES_LATE)
        return replace(self, began_at=now, after=after)

    def goes_on(self, after: bytes, gone_through: date | None) -> "Sweep":
        """After a piece of a look; an empty id: it is complete."""
        gone = gone_through if self.swept_at is None else self.gone_through
        if after:
            return replace(self, after=after, gone_through=gone)
        return Sweep(swept_at=self.began_at, gone_through=gone)


@dataclass(frozen=True)
class HoldOrder:
    """A hold that somebody asks for. record_ids: 16 bytes each, UUIDv7; none where it has a scope."""

    request_id: str
    kind: HoldKind
    organization_id: str
    record_ids: tuple[bytes, ...]
    reference: str
    review_at: datetime
    scope: HoldScope | None = None
    secrecy: Secrecy | None = None

    def check(self, now: datetime) -> None:
        """Raises INVALID_ARGUMENT for what the contract's own rules cannot say."""
        if bool(self.record_ids) is (self.scope is not None):
            raise invalid("record_ids", "name records, or a scope, and not both")
        if self.scope is not None:
            self._check_scope(self.scope)
        for index, record_id in enumerate(self.record_ids):
            if not is_record_id(record_id) or record_id >= BEHIND_ALL_RECORDS:
                raise invalid(f"record_ids[{index}]", "is no UUIDv7 of a day of the calendar")
        if not now < self.review_at <= now + LONGEST_REVIEW:
            raise invalid("review_at", "must be in the future and at most ten years ahead")
        if self.secrecy is not None:
            if self.kind is not HoldKind.LEGAL:
                raise invalid("secrecy", "is for legal holds")
            self.secrecy.check(now)

    def _check_scope(self, scope: HoldScope) -> None:
        if self.kind is not HoldKind.LEGAL:
            raise invalid("scope", "is for legal holds; a flagged one names its records")
        if scope.first_day is not None and scope.last_day is not None and scope.last_day < scope.first_day:
            raise invalid("scope.last_day", "lies before the first day")
        if date.max in (scope.first_day, scope.last_day):
            raise invalid(
                "scope", "names the last day of the calendar; without a last day it holds whatever comes"
            )

    def content_sha256(self) -> bytes:
        """What makes a repeated request the same request; the order of records is no part of it."""
        digest = hashlib.sha256()
        parts: list[str] = [self.kind, self.organization_id, self.reference, self.review_at.isoformat()]
        if self.scope is not None:
            parts += ["scope", str(self.scope.first_day), str(self.scope.last_day), self.scope.end_user]
        if self.secrecy is not None:
            parts += ["secrecy", self.secrecy.legal_basis, self.secrecy.review_at.isoformat()]
        for part in parts:
            digest.update(len(part.encode()).to_bytes(4) + part.encode())
        for record_id in sorted(self.record_ids):
            digest.update(record_id)
        return digest.digest()


@dataclass(frozen=True)
class Hold:
    """One hold as stored. lost: records that were gone when it was placed. removed: rows that went when it ended. destruction: of the
    keys that it kept."""

    hold_id: str
    request_id: str
    content_sha256: bytes
    kind: HoldKind
    organization_id: str
    record_ids: tuple[bytes, ...]
    reference: str
    state: HoldState
    placed_by: str
    placed_at: datetime
    review_at: datetime
    lapses_at: datetime | None = None
    activated_at: datetime | None = None
    confirmed_by: str = ""
    ended_at: datetime | None = None
    lost: frozenset[bytes] = frozenset()
    removed: int = 0
    destruction: Destruction = field(default_factory=lambda: Destruction(""))
    number: int = 0
    scope: HoldScope | None = None
    sweep: Sweep = Sweep()
    records_kept: int = 0
    records_lost: int = 0
    secrecy: Secrecy | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in (HoldState.RELEASED, HoldState.FAILED)

    @property
    def is_secret(self) -> bool:
        """Whether the customer must not know of it."""
        return secrecy.is_secret(self.secrecy)

    def is_counted(self, told_at: datetime) -> bool:
        """Whether what it keeps, or kept, is counted beside what an erasure removed: see `secrecy.is_counted`."""
        return secrecy.is_counted(self.secrecy, told_at, self.ended_at)

    @property
    def kept(self) -> tuple[bytes, ...]:
        """The records that it keeps, or kept."""
        return tuple(record_id for record_id in self.record_ids if record_id not in self.lost)

    @property
    def kept_count(self) -> int:
        """How many records it keeps, or kept."""
        return len(self.kept) if self.scope is None else self.records_kept

    @property
    def is_kept_known(self) -> bool:
        """Whether that is all: of one on all that matches, once it was looked through. One that is over a restored database does not look
        through again."""
        return self.scope is None or self.activated_at is None or self.sweep.swept_at is not None


def place(hold_id: str, order: HoldOrder, placed_by: str, now: datetime) -> Hold:
    """A new hold, PENDING. The order is checked before: what was placed once is so, whatever the clock says."""
    return Hold(
        hold_id=hold_id,
        request_id=order.request_id,
        content_sha256=order.content_sha256(),
        kind=order.kind,
        organization_id=order.organization_id,
        record_ids=order.record_ids,
        reference=order.reference,
        state=HoldState.PENDING,
        placed_by=placed_by,
        placed_at=now,
        review_at=order.review_at,
        lapses_at=now + CONFIRMATION_TIME if order.kind is HoldKind.LEGAL else None,
        scope=order.scope,
        secrecy=order.secrecy,
    )


def settle(hold: Hold, protected: Iterable[bytes], now: datetime) -> Hold:
    """A PENDING hold once both services have answered: ACTIVE with what both protect, FAILED where that is nothing. What is not
    known to be protected counts as lost."""
    lost = frozenset(hold.record_ids) - frozenset(protected)
    if lost == frozenset(hold.record_ids):
        return replace(hold, state=HoldState.FAILED, lost=lost, ended_at=now)
    return replace(hold, state=HoldState.ACTIVE, lost=lost, activated_at=now)


def settle_scope(hold: Hold, now: datetime) -> Hold:
    """A PENDING hold on all that matches, once it was looked for the first time: it protects, also what comes later."""
    return replace(hold, state=HoldState.ACTIVE, activated_at=now)


def needs_sweep(hold: Hold, since: datetime | None, now: datetime) -> bool:
    """Whether records have to be looked through for a hold: for the first time, because that goes on, because a run or an erasure that
    began then waits for it, and now and then for what came late."""
    if hold.scope is None or hold.state not in (HoldState.PENDING, HoldState.ACTIVE):
        return False
    looked_at = hold.sweep.looked_at(now)
    if looked_at is None or hold.sweep.began_at is not None:
        return True
    is_behind = since is not None and looked_at < since
    return is_behind or not looked_at <= now < looked_at + _SWEPT_EVERY


def extend(hold: Hold, review_at: datetime, now: datetime) -> Hold:
    """The hold with a later review or end; the same again changes nothing. Raises INVALID_ARGUMENT for one that is not later, WRONG_STATE
    for a hold that is over or that waits for its second person."""
    if review_at == hold.review_at:
        return hold
    if not max(now, hold.review_at) < review_at <= now + LONGEST_REVIEW:
        raise invalid("review_at", "must be later than it is now, and at most ten years ahead")
    if hold.state not in (HoldState.PENDING, HoldState.ACTIVE) or ending(hold, now) is not None:
        raise wrong_state("The hold is over, or about to be.", hold.state)
    if hold.kind is HoldKind.LEGAL and not hold.confirmed_by:
        raise wrong_state("A second person has to confirm the hold first.", hold.state)
    return replace(hold, review_at=review_at)


def confirm(hold: Hold, person_id: str, now: datetime) -> Hold:
    """A legal hold with its second person's word; the same word again changes nothing.

    Raises SECOND_PERSON_REQUIRED for whoever placed it, WRONG_STATE for a hold that needs no word, is over, or has lapsed.
    """
    if hold.kind is not HoldKind.LEGAL:
        raise wrong_state("Only a legal hold takes a second person's word.", hold.state)
    if not person_id or person_id == hold.placed_by:
        raise KeptError(
            Reason.REASON_SECOND_PERSON_REQUIRED, "Whoever placed a hold cannot confirm it; ask a colleague."
        )
    if hold.state not in (HoldState.PENDING, HoldState.ACTIVE):
        raise wrong_state("The hold is over, or was never in force.", hold.state)
    if hold.confirmed_by == person_id:
        return hold
    if hold.confirmed_by:
        raise wrong_state("The hold is confirmed already.", hold.state)
    if ending(hold, now) is not None:
        raise wrong_state("The hold has lapsed; place it again.", hold.state)
    return replace(hold, confirmed_by=person_id)


def release(hold: Hold) -> Hold:
    """The hold on its way out. A hold that is over, or on its way, stays as it is."""
    if hold.is_over or hold.state is HoldState.RELEASING:
        return hold
    return replace(hold, state=HoldState.RELEASING)


def ending(hold: Hold, now: datetime) -> Ending | None:
    """Why the hold ends at this instant by itself, if it does."""
    if hold.state not in (HoldState.PENDING, HoldState.ACTIVE):
        return None
    if hold.kind is HoldKind.LEGAL:
        is_lapsed = not hold.confirmed_by and hold.lapses_at is not None and now >= hold.lapses_at
        return Ending.LAPSED if is_lapsed else None
    return Ending.REVIEW_REACHED if now >= hold.review_at else None


def end(hold: Hold, destruction: Destruction, removed: int, now: datetime) -> Hold:
    """A RELEASING hold once its keys are destroyed and its rows are gone."""
    ended_at = hold.ended_at or now  # in a database that was restored the audit log has said when
    return replace(
        hold, state=HoldState.RELEASED, destruction=destruction, removed=removed, ended_at=ended_at
    )


_WHY: Final = {
    HoldKind.LEGAL: ("a legal hold", "legal holds"),
    HoldKind.FLAGGED: ("a hold on flagged use", "holds on flagged use"),
}
# A sentence names so many holds; a certificate lists them all beside it.
_NAMED: Final = 3


def kept_sentences(holds: Sequence[Hold]) -> list[str]:
    """What holds that are not over keep: a sentence for each reason, and one more for those that are being released."""
    return [_kept_sentence(group) for group in by_reason(holds)]


def by_reason(holds: Sequence[Hold]) -> list[list[Hold]]:
    """Holds that are not over, by kind, and those that are being released apart."""
    standing = [hold for hold in holds if not hold.is_over]
    groups = [
        [hold for hold in standing if hold.kind is kind and (hold.state is HoldState.RELEASING) is releasing]
        for kind in HoldKind
        for releasing in (False, True)
    ]
    return [group for group in groups if group]


def _kept_sentence(holds: Sequence[Hold]) -> str:
    """holds: of one kind, and all or none of them being released."""
    count = len({record_id for hold in holds for record_id in hold.kept})
    # Of holds on all that matches it is not known here which; one record may be kept by several.
    count += sum(hold.records_kept for hold in holds if hold.scope is not None)
    records = "1 record is" if count == 1 else f"{count} records are"
    return f"{records} kept by {kept_by(holds)}."


def kept_by(holds: Sequence[Hold]) -> str:
    """Holds of one kind, all or none of them being released, as a sentence ends with them."""
    one, many = _WHY[holds[0].kind]
    named = f" ({', '.join(hold.hold_id for hold in holds)})" if len(holds) <= _NAMED else ""
    why = f"{one}{named}" if len(holds) == 1 else f"{len(holds)} {many}{named}"
    return f"{why}, {_until(holds)}"


def _until(holds: Sequence[Hold]) -> str:
    days = sorted(hold.review_at for hold in holds)
    if holds[0].state is HoldState.RELEASING:
        return "which is being released" if len(holds) == 1 else "which are being released"
    if holds[0].kind is HoldKind.FLAGGED:
        which = "which" if len(holds) == 1 else "the last of which"
        return f"{which} ends on {days[-1]:%Y-%m-%d} at the latest"
    which = "which" if len(holds) == 1 else "the first of which"
    return f"{which} is reviewed on {days[0]:%Y-%m-%d}"
