"""Whose voice still counts, where an act takes two of the vendor's people: the first may have been disabled, or have lost the role, since.

Access control's grants are decided anew at each use; what other services decide is decided once, when the second person acts. So it is then
that the first is looked at again.
"""

from collections.abc import Callable, Collection

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc
from shared.errors import KeptError, wrong_state

# Who of these people can do by this method now what they did before. Raises PEER_UNAVAILABLE where that cannot be asked.
Voices = Callable[[Collection[str], str], frozenset[str]]


def voices_by(authz: authz_pb2_grpc.AuthzServiceStub) -> Voices:
    """The question, as access control answers it. Idempotent; no transaction is to be open while it is asked."""

    def counting(person_ids: Collection[str], method: str) -> frozenset[str]:
        if not person_ids:
            return frozenset()
        request = authz_pb2.CheckVoicesRequest(person_ids=sorted(set(person_ids)), method=method)
        return frozenset(authz.CheckVoices(request).person_ids)

    return counting


def lapsed_voice(text: str) -> KeptError:
    """The first of two people could not do any more what they did. text: what to do instead."""
    return wrong_state(text, "VOICE_LAPSED")
