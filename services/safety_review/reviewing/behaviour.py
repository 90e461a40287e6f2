"""Behaviour over time: a slow campaign is one case, and an urgent one.

Flags of an organization and a category join the case that is open, whatever time lies between them. What comes more often than a window
allows raises the case's severity once and brings its due time forward; each window counts once a case. Flags of dismissed cases are no
behaviour and are not counted; those of upheld ones are, so that who was stopped a week ago and begins again is seen at once.

Nothing is counted beside the flags themselves, so there is no table that could grow, and what is erased is forgotten: a window is read up
to its threshold and no further.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from services.safety_review.reviewing.cases import Case, Rate, due


@dataclass(frozen=True)
class Window:
    """So many flags within so long are a rate. one_end_user: of one pseudonym of the organization, else of all together."""

    lasts: timedelta
    flags: int
    one_end_user: bool


WINDOWS: Final = (
    Window(timedelta(days=1), 5, True),
    Window(timedelta(days=7), 10, True),
    Window(timedelta(days=30), 20, True),
    Window(timedelta(days=1), 20, False),
    Window(timedelta(days=7), 50, False),
    Window(timedelta(days=30), 100, False),
)


def end_user_hash(organization_id: str, end_user: str) -> bytes:
    """What tells flags of one pseudonym from those of others: 16 bytes of SHA-256, of the organization too, so that the same pseudonym at
    another customer is another one. Empty for none."""
    if not end_user:
        return b""
    return hashlib.sha256(f"{organization_id}\0{end_user}".encode()).digest()[:16]


def notice(
    case: Case, counted: Callable[[Window, datetime], int], now: datetime
) -> tuple[Case, tuple[Rate, ...]]:
    """The case as the rates make it, and the rates that are new. counted: flags of the case's organization and category in a window since
    then, as far as the threshold; of one end user, those of the busiest whose flags came just now."""
    known = {(rate.window_seconds, rate.one_end_user) for rate in case.rates}
    new = []
    for window in WINDOWS:
        seconds = int(window.lasts.total_seconds())
        if (seconds, window.one_end_user) in known:
            continue
        flags = counted(window, now - window.lasts)
        if flags >= window.flags:
            new.append(Rate(seconds, flags, window.one_end_user))
    if not new:
        return case, ()
    raised = case if case.rates else due(case, now, case.severity + 1)
    return replace(raised, rates=(*case.rates, *new)), tuple(new)
