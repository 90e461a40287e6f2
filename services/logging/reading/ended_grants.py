"""Which grants ended before their time, as access control tells it: so that reads in progress end within a second.

Access control sends a heartbeat every 250 ms. After a second of silence nobody here knows whether a grant still stands, and every read in
progress ends: it fails closed.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc
from shared.clock import Clock
from shared.errors import KeptError, Reason, peer_unavailable
from shared.jobs import Job

_SILENCE_SECONDS: Final = 1.0
# A batch that its reader has not taken for so long is waited for no longer than its grant stands.
_UNREAD_SECONDS: Final = 0.5
# Grants are remembered longer than any stream survives: the first heartbeat of a watch repeats the last hour's.
_REMEMBERED_SECONDS: Final = 7200.0


@dataclass(frozen=True)
class _Unread:
    """A batch that stands before its reader. since: boottime."""

    grant_id: str
    expires_at: datetime
    cancel: Callable[[], object]
    since: float


class EndedGrants:
    """Listens to access control and answers whether a grant still stands. The job listens: a step is one heartbeat. `unread_job` ends reads
    that cannot ask, for they wait for their reader."""

    def __init__(self, stub: authz_pb2_grpc.AuthzServiceStub, clock: Clock) -> None:
        self._stub = stub
        self._clock = clock
        self._changed = threading.Condition()
        self._ended: dict[str, float] = {}
        self._heard_at = float("-inf")
        self._watch: Iterator[authz_pb2.WatchEndedGrantsResponse] | None = None
        self._unread: dict[object, _Unread] = {}
        self.job = Job("ended_grants", timedelta(milliseconds=100), self.listen)
        self.unread_job = Job("unread_batches", timedelta(milliseconds=250), self.end_unread)

    def listen(self) -> bool:
        """Takes one heartbeat; True when it came, so that the next is waited for at once. Raises what the call raises; the next step
        begins a new watch, which repeats what ended within the last hour."""
        if self._watch is None:
            answers = self._stub.WatchEndedGrants(authz_pb2.WatchEndedGrantsRequest())
            self._watch = cast("Iterator[authz_pb2.WatchEndedGrantsResponse]", answers)
        try:
            heartbeat = next(self._watch)
        except StopIteration:  # the connection's age, or a restart: watch again at once
            self._watch = None
            return False
        except KeptError:
            self._watch = None
            raise
        now = self._clock.boottime()
        with self._changed:
            # In this order: `require` looks without the lock, and must not find us well informed before we are.
            self._ended.update(dict.fromkeys(heartbeat.grant_ids, now))
            self._heard_at = now
            if heartbeat.grant_ids:
                for grant_id in [one for one, at in self._ended.items() if now - at > _REMEMBERED_SECONDS]:
                    del self._ended[grant_id]
                self._changed.notify_all()
        return True

    def require(self, grant_id: str, expires_at: datetime) -> None:
        """Raises GRANT_REVOKED, GRANT_EXPIRED, or PEER_UNAVAILABLE when nobody here knows."""
        if grant_id in self._ended:
            raise KeptError(Reason.REASON_GRANT_REVOKED, "The grant was revoked.")
        if self._clock.now() >= expires_at:
            raise KeptError(Reason.REASON_GRANT_EXPIRED, "The grant's time is over; request a new one.")
        if self._clock.boottime() - self._heard_at > _SILENCE_SECONDS:
            raise peer_unavailable("access_control")

    @contextmanager
    def sending(self, grant_id: str, expires_at: datetime, cancel: Callable[[], object]) -> Iterator[None]:
        """The block gives a batch to its reader, who may never take it. cancel: ends the call, should the grant end first."""
        place = object()
        self._unread[place] = _Unread(grant_id, expires_at, cancel, self._clock.boottime())
        try:
            yield
        finally:
            self._unread.pop(place, None)

    def end_unread(self) -> bool:
        """Ends reads whose grant does not stand any more and whose reader does not take what came. What is sent of a batch after that was
        on its way before. A job's step: there is never more to do at once."""
        overdue = self._clock.boottime() - _UNREAD_SECONDS
        for place, unread in list(self._unread.items()):
            if unread.since > overdue:
                continue  # one who reads is told the reason
            try:
                self.require(unread.grant_id, unread.expires_at)
            except KeptError:
                if self._unread.pop(place, None) is not None:
                    unread.cancel()
        return False

    def wait(self, seconds: float) -> None:
        """Waits so long, or until some grant ended."""
        with self._changed:
            self._changed.wait(seconds)
