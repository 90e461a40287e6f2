"""The public halves of epoch keys, which access control hands out: fetched when first needed, tomorrow's ahead of time.

They live in memory only. Nothing about them is secret, but whoever could write them into our database could have content sealed to a key of
his own.
"""

import threading
from datetime import date, timedelta
from typing import Final

from kept.access_control.v1 import keys_pb2, keys_pb2_grpc
from services.logging.recording.admission import LATE_WINDOW
from services.logging.sealing import parse_public_key
from shared.clock import Clock
from shared.errors import KeptError, Reason, peer_unavailable
from shared.jobs import Job

# After a failure nobody asks for so long, in seconds: a batch of many organizations must not wait for each one.
_PAUSE_SECONDS: Final = 0.5
_AHEAD_A_STEP: Final = 100


class EpochKeys:
    """Epoch public keys by organization, day and, of an application's own, that."""

    def __init__(self, stub: keys_pb2_grpc.KeyServiceStub, clock: Clock) -> None:
        self._stub = stub
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, date, str], bytes] = {}
        self._down_until = float("-inf")
        self.job = Job("epoch_keys", timedelta(seconds=30), self.fetch_ahead)

    def public_key(self, organization_id: str, day: date, application: str = "") -> bytes:
        """The public key, 1,216 bytes. Raises KEY_DESTROYED for a closed epoch, PEER_UNAVAILABLE when it is not known here and cannot be
        had."""
        found = self._known.get((organization_id, day, application))
        if found is not None:
            return found
        if self._clock.boottime() < self._down_until:
            raise peer_unavailable("access_control")
        try:
            answer = self._stub.GetEpochKey(
                keys_pb2.GetEpochKeyRequest(
                    organization_id=organization_id, day=day.isoformat(), application=application
                )
            )
        except KeptError as error:
            if error.reason == Reason.REASON_PEER_UNAVAILABLE:
                self._down_until = self._clock.boottime() + _PAUSE_SECONDS
            raise
        try:
            parse_public_key(answer.public_key)
        except ValueError:  # another service's fault costs no record for good
            raise peer_unavailable("access_control") from None
        with self._lock:
            self._known[organization_id, day, application] = answer.public_key
        return answer.public_key

    def fetch_ahead(self) -> bool:
        """Fetches tomorrow's keys for whoever writes today, and forgets those of days past the late window. A job's step:
        True when there is more to fetch."""
        now = self._clock.now()
        today, oldest = now.date(), (now - LATE_WINDOW).date()
        tomorrow = today + timedelta(days=1)
        with self._lock:
            for place in [place for place in self._known if place[1] < oldest]:
                del self._known[place]
            writing = [(one, application) for one, day, application in self._known if day == today]
            wanted = [(one, own) for one, own in sorted(writing) if (one, tomorrow, own) not in self._known]
        fetched = 0
        for organization_id, application in wanted:
            if fetched == _AHEAD_A_STEP:
                return True
            try:
                self.public_key(organization_id, tomorrow, application)
            except KeptError as error:
                if error.reason == Reason.REASON_PEER_UNAVAILABLE:
                    raise
                continue  # a closed organization has no tomorrow
            fetched += 1
        return False
