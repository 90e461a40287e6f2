"""How much the public may write: by source, by address, and altogether, in an hour.

Unlike sign-in there is nothing to guess here; what is bounded is what strangers can make us store and read through. The counts are rows
that are locked: a thousand at once are counted one after the other. What is refused, or fails, is not counted: it stored nothing.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from prometheus_client import Counter

from services.settings.store import Tx
from services.settings.store import public_requests as store
from services.settings.store.public_requests import Window
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.jobs import Job

WINDOW: Final = timedelta(hours=1)
_BATCH: Final = 1_000
_REFUSED: Final = Counter("kept_public_requests_refused_total", "What the public wrote too often.")


@dataclass(frozen=True)
class PublicLimits:
    """Requests in an hour. by_source: from one network, which may be a company's; by_address: for one e-mail address."""

    by_source: int = 20
    by_address: int = 5
    altogether: int = 1_000


class PublicPace:
    """Lets requests through, or not."""

    def __init__(self, database: Database, clock: Clock, limits: PublicLimits) -> None:
        self._database = database
        self._clock = clock
        self._limits = limits
        self.job = Job("public_requests", timedelta(minutes=10), self._forget)

    def count(self, tx: Tx, source: str, email: str) -> None:
        """Counts a request in its own transaction. Raises ASKED_TOO_OFTEN with a delay where there were too many."""
        now = self._clock.now()
        limits = {
            _key("address", email.lower()): self._limits.by_address,
            _key("all", ""): self._limits.altogether,
        }
        if source:
            limits[_key("source", source)] = self._limits.by_source
        for key, known in store.lock(tx, limits, now).items():
            # One that began ahead of now began before the clock was set back, and holds up nobody.
            is_over = now - known.began_at >= WINDOW or known.began_at > now + CLOCK_TOLERANCE
            window = Window(0, now) if is_over else known
            if window.requests >= limits[key]:
                _REFUSED.inc()
                raise KeptError(
                    Reason.REASON_ASKED_TOO_OFTEN,
                    "There were too many requests lately; ask again later.",
                    retry_after=window.began_at + WINDOW - now,
                )
            store.put(tx, key, Window(window.requests + 1, window.began_at))

    def _forget(self) -> bool:
        with self._database.transaction() as tx:
            return store.remove_older(tx, self._clock.now() - WINDOW, _BATCH) == _BATCH


def _key(kind: str, value: str) -> bytes:
    return hashlib.sha256(f"public\0{kind}\0{value}".encode()).digest()
