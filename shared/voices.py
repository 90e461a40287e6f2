"""Whose voice still counts, where an act takes two of the vendor's people: the first may have been disabled, or have lost the role, since.

Access control's grants are decided anew at each use; what other services decide is decided once, when the second person acts. So it is then
that the first is looked at again. And a voice that waits too long for the second one counts no more: nobody acts on what was meant long
ago.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc
from shared.errors import KeptError, wrong_state

# How long a voice waits for the second one.
COUNTS_FOR: Final = timedelta(hours=72)

# Who of these people can do by this method now what they did before. Raises PEER_UNAVAILABLE where that cannot be asked.
Voices = Callable[[Collection[str], str], frozenset[str]]


@dataclass(frozen=True)
class Voice:
    """What one person said. given_at: None where that was not written down; it counts for nothing then."""

    person_id: str
    given_at: datetime | None

    def counts(self, now: datetime) -> bool:
        """Whether it still waits for a second one."""
        return self.given_at is not None and now < self.given_at + COUNTS_FOR


def counting(voices: Iterable[Voice], now: datetime) -> tuple[Voice, ...]:
    """Those that still wait for a second one. Whoever's counts no more may speak again."""
    return tuple(voice for voice in voices if voice.counts(now))


def people(voices: Iterable[Voice]) -> tuple[str, ...]:
    """Whose they are, each once, in the order of the first."""
    return tuple(dict.fromkeys(voice.person_id for voice in voices))


def voices_by(authz: authz_pb2_grpc.AuthzServiceStub) -> Voices:
    """The question, as access control answers it. Idempotent; no transaction is to be open while it is asked."""

    def able(person_ids: Collection[str], method: str) -> frozenset[str]:
        if not person_ids:
            return frozenset()
        request = authz_pb2.CheckVoicesRequest(person_ids=sorted(set(person_ids)), method=method)
        return frozenset(authz.CheckVoices(request).person_ids)

    return able


def lapsed_voice(text: str) -> KeptError:
    """The voice of the first of two people counts no more. text: why, and what to do instead."""
    return wrong_state(text, "VOICE_LAPSED")
