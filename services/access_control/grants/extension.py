"""More time under a grant: asked for by its holder while it is in force, approved like the grant itself, by whoever may approve it now."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from services.access_control.grants.grant import Extension, Grant, require_in_force
from services.access_control.grants.narrowing import Narrowing
from shared.errors import invalid, wrong_state

# No grant lasts longer, extensions included.
LONGEST: Final = timedelta(hours=24)


def asked(grant: Grant, duration: timedelta, reason: str, now: datetime) -> Grant:
    """The grant with an extension that waits. Raises what `require_in_force` raises, INVALID_ARGUMENT, and WRONG_STATE while another
    waits."""
    require_in_force(grant, now)
    if grant.broken_glass is not None:
        raise wrong_state(
            "Access that was taken without asking is not extended; request a grant.", "APPROVED"
        )
    if grant.extension is not None:
        if (grant.extension.duration, grant.extension.reason) == (duration, reason):
            return grant
        raise wrong_state("Another extension waits for a decision; cancel it first.", "APPROVED")
    assert grant.valid_from is not None
    assert grant.expires_at is not None
    if grant.expires_at + duration > grant.valid_from + LONGEST:
        raise invalid("duration", "is more than 24 hours from the grant's beginning")
    return replace(grant, extension=Extension(duration, reason, now))


def narrowed(grant: Grant, narrowing: Narrowing) -> Grant:
    """The grant with a shorter extension. Raises INVALID_ARGUMENT for anything else."""
    assert grant.extension is not None
    duration = narrowing.duration
    if duration is None or narrowing != Narrowing(duration=duration):
        raise invalid("narrowing", "can make an extension shorter, and nothing else")
    if duration > grant.extension.duration:
        raise invalid("narrowing.duration", "is more than was asked for")
    return replace(grant, extension=replace(grant.extension, duration=duration))


def approved(grant: Grant) -> Grant:
    """The grant once its extension has every approval: it lasts so much longer, and rests on who approved that."""
    assert grant.extension is not None
    assert grant.expires_at is not None
    return replace(
        grant.next_round,
        expires_at=grant.expires_at + grant.extension.duration,
        duration=grant.duration + grant.extension.duration,
        extension=None,
    )


def dropped(grant: Grant) -> Grant:
    """The grant once its extension is denied, or taken back: those who approved it would have to approve the next one anew."""
    return replace(
        grant, extension=None, votes=tuple(vote for vote in grant.votes if vote.round <= grant.round)
    )
