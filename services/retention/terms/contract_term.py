"""A contract term: how long an organization's data, or those of one of its applications, live by its contract, and what may happen to it.
Pure decisions; term_keeping carries them out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from shared.errors import KeptError, Reason, invalid, wrong_state
from shared.terms import Rule, Term, lot_of
from shared.voices import COUNTS_FOR

# What no second person has confirmed by then is not proposed any more.
CONFIRMATION_TIME: Final = COUNTS_FOR


class TermState(StrEnum):
    """Where a term is. ENDED and WITHDRAWN are final."""

    PROPOSED = "PROPOSED"
    CONFIRMED = "CONFIRMED"
    IN_FORCE = "IN_FORCE"
    ENDED = "ENDED"
    WITHDRAWN = "WITHDRAWN"


@dataclass(frozen=True)
class Effect:
    """What a change of terms does to what is stored. let_go: days, oldest first, that are due at once by it; records of them, and those
    that holds keep; kept_longer: days and records that are due later than before. days_before: of a term of one application, days on which
    it has records that were stored before, and which the term is not about."""

    before: Term
    after: Term
    counted_at: datetime
    let_go: tuple[date, ...] = ()
    records_let_go: int = 0
    records_held: int = 0
    days_kept_longer: int = 0
    records_kept_longer: int = 0
    days_before: int = 0


@dataclass(frozen=True)
class StoredDay:
    """What is stored of one UTC day. application: of whose own lot; "" for all others."""

    day: date
    records: int
    held: int
    application: str = ""


def effect_of(before: Rule, after: Rule, stored: Sequence[StoredDay], now: datetime) -> Effect:
    """What it does to these days to put one rule in the place of another now. What is due already, and not gone yet, counts as kept when it
    is due no more."""
    gone_before, gone_after = before.newest_due_day(now), after.newest_due_day(now)
    by_day: dict[date, StoredDay] = {}
    for each in stored:  # a day may have several lots
        known = by_day.get(each.day, StoredDay(each.day, 0, 0))
        by_day[each.day] = StoredDay(each.day, known.records + each.records, known.held + each.held)
    with_rows = [by_day[day] for day in sorted(by_day) if by_day[day].records]
    going = [each for each in with_rows if gone_before < each.day <= gone_after]
    is_longer = gone_after < gone_before
    staying = [each for each in with_rows if is_longer and each.day > gone_after]
    return Effect(
        before.term,
        after.term,
        now,
        tuple(each.day for each in going),
        sum(each.records for each in going),
        sum(each.held for each in going),
        len(staying),
        sum(each.records for each in staying),
    )


@dataclass(frozen=True)
class TermOrder:
    """A term that somebody asks for."""

    request_id: str
    organization_id: str
    term: Term
    reference: str
    from_day: date | None
    until_day: date | None
    application: str = ""

    @property
    def lot(self) -> str:
        """Whose records it is about (shared.terms)."""
        return lot_of(self.organization_id, self.application)

    def check(self, now: datetime) -> None:
        """Raises INVALID_ARGUMENT for dates that make no sense."""
        if self.until_day is not None and self.until_day < max(self.from_day or date.min, now.date()):
            raise invalid("until_day", "is over, or lies before the first day")

    def content_sha256(self) -> bytes:
        """What makes a repeated request the same request."""
        digest = hashlib.sha256()
        parts = (
            self.organization_id,
            self.term.kind,
            self.term.days,
            self.reference,
            self.from_day,
            self.until_day,
            *([self.application] if self.application else []),
        )
        for part in parts:
            text = str(part).encode()
            digest.update(len(text).to_bytes(4) + text)
        return digest.digest()


@dataclass(frozen=True)
class ContractTerm:
    """One term as stored. effective_at: from when on it counts everywhere; ended_at: from when on no more."""

    term_id: str
    request_id: str
    content_sha256: bytes
    organization_id: str
    term: Term
    reference: str
    from_day: date | None
    until_day: date | None
    state: TermState
    proposed_by: str
    proposed_at: datetime
    effect: Effect
    confirmed_by: str = ""
    effective_at: datetime | None = None
    end_proposed_by: str = ""
    end_proposed_at: datetime | None = None
    end_confirmed_by: str = ""
    end_reason: str = ""
    ended_at: datetime | None = None
    application: str = ""
    number: int = field(default=0, compare=False)

    @property
    def lot(self) -> str:
        """Whose records it is about (shared.terms)."""
        return lot_of(self.organization_id, self.application)

    @property
    def lapses_at(self) -> datetime:
        """When it is not proposed any more."""
        return self.proposed_at + CONFIRMATION_TIME

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in (TermState.ENDED, TermState.WITHDRAWN)

    @property
    def is_ending(self) -> bool:
        """Whether its end waits for a second person."""
        return bool(self.end_proposed_by) and not self.end_confirmed_by and not self.is_over


def propose(term_id: str, order: TermOrder, person_id: str, effect: Effect, now: datetime) -> ContractTerm:
    """A new term, PROPOSED. The order is checked before: what was proposed once is so, whatever the clock says."""
    return ContractTerm(
        term_id=term_id,
        request_id=order.request_id,
        content_sha256=order.content_sha256(),
        organization_id=order.organization_id,
        term=order.term,
        reference=order.reference,
        from_day=order.from_day,
        until_day=order.until_day,
        state=TermState.PROPOSED,
        proposed_by=person_id,
        proposed_at=now,
        effect=effect,
        application=order.application,
    )


def confirm(term: ContractTerm, person_id: str, now: datetime, *, of_end: bool = False) -> ContractTerm:
    """The term with the second person's word for it or, where that is said, for its end; the same word again changes nothing, and never
    counts for what was proposed since.

    Raises SECOND_PERSON_REQUIRED for whoever proposed it, WRONG_STATE where that does not wait for a word.
    """
    if person_id and person_id == (term.end_confirmed_by if of_end else term.confirmed_by):
        return term
    if not (term.is_ending if of_end else term.state is TermState.PROPOSED):
        ends = term.is_ending and not of_end
        text = "Only its end waits to be confirmed; say so." if ends else "Nothing waits to be confirmed."
        raise wrong_state(text, term.state)
    if _has_lapsed(term.end_proposed_at if of_end else term.proposed_at, now):
        raise wrong_state("The proposal has lapsed; propose it again.", term.state)
    _require_second(person_id, term.end_proposed_by if of_end else term.proposed_by)
    if of_end:
        return replace(term, end_confirmed_by=person_id)
    return replace(term, state=TermState.CONFIRMED, confirmed_by=person_id)


def _require_second(person_id: str, first: str) -> None:
    if not person_id or person_id == first:
        raise KeptError(
            Reason.REASON_SECOND_PERSON_REQUIRED, "Whoever proposed it cannot confirm it; ask a colleague."
        )


def _has_lapsed(proposed_at: datetime | None, now: datetime) -> bool:
    return proposed_at is not None and now >= proposed_at + CONFIRMATION_TIME


def propose_end(
    term: ContractTerm, person_id: str, reason: str, effect: Effect, now: datetime, *, stands: bool = True
) -> ContractTerm:
    """The term with its end proposed; one that nobody confirmed yet is withdrawn at once. The same proposal again changes nothing. stands:
    whether another's proposal of its end still counts; this one takes its place otherwise. Raises WRONG_STATE."""
    if term.state is TermState.PROPOSED:
        return replace(
            term, state=TermState.WITHDRAWN, end_proposed_by=person_id, end_reason=reason, ended_at=now
        )
    if term.is_over or term.end_confirmed_by:
        raise wrong_state("The term is over, or about to be.", term.state)
    if term.is_ending and term.end_proposed_by == person_id and not _has_lapsed(term.end_proposed_at, now):
        return term
    if term.is_ending and stands and not _has_lapsed(term.end_proposed_at, now):
        raise wrong_state("Its end is proposed already; confirm that.", term.state)
    return replace(term, end_proposed_by=person_id, end_proposed_at=now, end_reason=reason, effect=effect)


class Step(StrEnum):
    """What has to be done about a term."""

    NOTHING = "nothing"
    LAPSE = "lapse"
    BEGIN = "begin"
    END = "end"


def next_step(term: ContractTerm, now: datetime, is_erased: bool = False) -> Step:
    """What has to be done about a term now, by its dates and by what was confirmed; it ends with its organization."""
    is_over = term.until_day is not None and term.until_day < now.date()
    is_past = bool(term.end_confirmed_by) or is_over or is_erased
    if term.state is TermState.PROPOSED:
        return Step.LAPSE if is_past or _has_lapsed(term.proposed_at, now) else Step.NOTHING
    if term.state in (TermState.CONFIRMED, TermState.IN_FORCE) and is_past:
        return Step.END
    if term.state is TermState.CONFIRMED and (term.from_day is None or term.from_day <= now.date()):
        return Step.BEGIN
    return Step.NOTHING


def begin(term: ContractTerm, effective_at: datetime) -> ContractTerm:
    """A CONFIRMED term whose rule is in the feed."""
    return replace(term, state=TermState.IN_FORCE, effective_at=effective_at)


def end(term: ContractTerm, ended_at: datetime, reason: str = "") -> ContractTerm:
    """The term once it counts no more; one that never counted was withdrawn."""
    was = term.state is TermState.IN_FORCE
    return replace(
        term,
        state=TermState.ENDED if was else TermState.WITHDRAWN,
        ended_at=ended_at,
        end_reason=reason or term.end_reason,
    )
