"""Nobody raises themselves: what makes somebody count is done by others, and takes two of them.

People are compared, never identities: whatever somebody signs in with, it is the same person here.
"""

from collections.abc import Callable
from typing import Final

from services.access_control.grants.approval import not_authorized, second_person
from services.access_control.people.person import Person
from services.access_control.store import Connection
from shared.voices import lapsed_voice

_DIRECTORY: Final = "/kept.access_control.v1.DirectoryService"
# Whether somebody could call a method of this service now.
Voice = Callable[[Connection, str, str], bool]


def require_other(actor: str, person_id: str) -> None:
    """Raises SECOND_PERSON_REQUIRED where somebody acts on their own standing."""
    if actor == person_id:
        raise second_person("Nobody does this for themselves.")


def require_second(actor: str, proposed_by: str, person_id: str) -> None:
    """Raises SECOND_PERSON_REQUIRED unless who confirms is neither who proposed nor whom it is about."""
    if actor in (proposed_by, person_id):
        raise second_person("Neither who proposed this nor whom it is about confirms it.")


def require_outside(actor: Person | None, provider_id: str) -> None:
    """Raises SECOND_PERSON_REQUIRED where one of a provider's own people acts on the provider's standing."""
    if actor is not None and actor.provider is not None and actor.provider.provider_id == provider_id:
        raise second_person("Nobody does this for the provider that they come from.")


def require_voices(
    voice: Voice, tx: Connection, proposed_by: str, proposing: str, actor: str, confirming: str
) -> None:
    """Both must be locked. Raises WRONG_STATE unless who proposed something by a method of the directory could still do so, and
    NOT_AUTHORIZED unless who confirms it by another, and was allowed to before the lock, still can."""
    if not voice(tx, proposed_by, f"{_DIRECTORY}/{proposing}"):
        raise lapsed_voice("Who proposed this could not propose it any more: end it, and propose it anew.")
    if not voice(tx, actor, f"{_DIRECTORY}/{confirming}"):
        raise not_authorized("what allowed this until a moment ago")
