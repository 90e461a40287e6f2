"""A hold of which the law forbids telling the customer: why, until when, and how that ends. Pure; disclosing carries it out."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from shared.clock import CLOCK_TOLERANCE
from shared.errors import invalid, wrong_state

# Orders not to tell are themselves for a time: whoever wants it longer looks at it again.
LONGEST_SECRECY_REVIEW: Final = timedelta(days=366)
# How far one machine's clock may be ahead of another's.
APART: Final = 2 * CLOCK_TOLERANCE


class SecrecyState(StrEnum):
    """SECRET: nothing that the customer sees says that the hold is there. ENDING: it may be told, and the services are told so. ENDED: it
    is a hold like any other, for ever."""

    SECRET = "SECRET"  # noqa: S105 - a state
    ENDING = "ENDING"
    ENDED = "ENDED"


@dataclass(frozen=True)
class Secrecy:
    """Why the customer must not know. legal_basis: the order or paragraph. review_at: when somebody looks at that again. is_counted: of
    what was told of, whether it was before it ended, and before logging erased the organization; None where only the instants say so."""

    legal_basis: str
    review_at: datetime
    state: SecrecyState = SecrecyState.SECRET
    disclosed_at: datetime | None = None
    is_counted: bool | None = None

    def check(self, now: datetime) -> None:
        """Raises INVALID_ARGUMENT for a review that is not ahead, or more than a year."""
        _check_review(self.review_at, now, "secrecy.review_at")


def _check_review(review_at: datetime, now: datetime, name: str) -> None:
    if not now < review_at <= now + LONGEST_SECRECY_REVIEW:
        raise invalid(name, "must be in the future and at most a year ahead")


def is_secret(secrecy: Secrecy | None) -> bool:
    """Whether the customer must not see anything of the hold. Also while the secrecy ends: until all services know, some would still hide
    what others show."""
    return secrecy is not None and secrecy.state is not SecrecyState.ENDED


def is_counted(secrecy: Secrecy | None, told_at: datetime, ended_at: datetime | None) -> bool:
    """Whether what a hold keeps, or kept, is counted beside what an erasure removed. What it kept in secret was counted as removed already:
    by logging, when that told at `told_at`, by its own clock, or before the hold ended."""
    if secrecy is None:
        return True
    if secrecy.disclosed_at is None or secrecy.is_counted is False:
        return False
    if secrecy.is_counted:
        # A restored database did not know, as it told, that logging had erased already.
        return secrecy.disclosed_at <= told_at + APART
    return secrecy.disclosed_at <= told_at and (ended_at is None or secrecy.disclosed_at <= ended_at)


def keep(secrecy: Secrecy | None, review_at: datetime, now: datetime) -> Secrecy:
    """It stays secret; somebody looks again later. Raises INVALID_ARGUMENT, and WRONG_STATE where there is no secrecy, or it has ended."""
    current = _standing(secrecy)
    if current.state is not SecrecyState.SECRET:
        raise wrong_state("The secrecy of the hold is ending.", current.state)
    _check_review(review_at, now, "review_at")
    return replace(current, review_at=review_at)


def end(secrecy: Secrecy | None) -> Secrecy:
    """It may be told from now on; said again it changes nothing. Raises WRONG_STATE for a hold that never was secret."""
    if secrecy is not None and secrecy.state is SecrecyState.ENDED:
        return secrecy
    return replace(_standing(secrecy), state=SecrecyState.ENDING)


def ended(secrecy: Secrecy, now: datetime, is_counted: bool | None) -> Secrecy:
    """All services know."""
    return replace(secrecy, state=SecrecyState.ENDED, disclosed_at=now, is_counted=is_counted)


def _standing(secrecy: Secrecy | None) -> Secrecy:
    if secrecy is None or secrecy.state is SecrecyState.ENDED:
        raise wrong_state("The hold is no secret.", "disclosed" if secrecy else "not_confidential")
    return secrecy
