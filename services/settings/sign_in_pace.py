"""Guessing passwords, slowed down: for one account, and from one source.

A try counts as failed before the password is looked at, under a row lock, and is taken back when it was right: a thousand tries at once are
counted one after the other. Addresses that nobody has are counted like others, so that the pace tells nothing. An account is never locked
for longer than a minute, or whoever knows an address could lock its owner out; a source is, for it is whoever is guessing.
"""

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from prometheus_client import Counter

from services.settings.store import Tx
from services.settings.store import sign_in_failures as store
from services.settings.store.members import email_key
from services.settings.store.sign_in_failures import Failures
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.jobs import Job

# Failures are forgotten when there was none for so long.
FORGOTTEN_AFTER: Final = timedelta(days=1)
_BATCH: Final = 1_000
_SLOWED: Final = Counter(
    "kept_sign_ins_slowed_total", "Sign-ins that were refused before the password was looked at."
)


@dataclass(frozen=True)
class Pace:
    """free: failures that cost nothing. After the next one a second passes, after each further one twice the time, `longest` at most."""

    free: int
    longest: timedelta

    def wait(self, failures: int) -> timedelta:
        """How long after the last of so many failures the next try may be."""
        over = failures - self.free
        return timedelta(0) if over <= 0 else min(self.longest, timedelta(seconds=2 ** min(over - 1, 20)))

    def remaining(self, failures: Failures, now: datetime) -> timedelta:
        """How long it still is; a failure that is dated ahead of now was before the clock was set back, and holds up nobody."""
        if failures.last_at > now + CLOCK_TOLERANCE:
            return timedelta(0)
        return failures.last_at + self.wait(failures.failures) - now


ACCOUNT: Final = Pace(free=5, longest=timedelta(minutes=1))
SOURCE: Final = Pace(free=30, longest=timedelta(minutes=15))


@dataclass(frozen=True)
class Try:
    """A try that was let through. before: the failures that its account and source had, by key. source: its key; None where unknown."""

    at: datetime
    account: bytes
    source: bytes | None
    before: Mapping[bytes, Failures]


class SignInPace:
    """Lets tries through, or not."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.job = Job("sign_in_failures", timedelta(minutes=10), self._forget)

    def begin(self, email: str, source: str) -> Try:
        """Counts a try as failed. Raises SIGN_IN_FAILED with a delay where it comes too soon: such a try counts for nothing, right or
        wrong."""
        account = _key("account", email_key(email))
        origin = _key("source", network_of(source)) if source else None
        paces = {account: ACCOUNT} | ({origin: SOURCE} if origin is not None else {})
        with self._database.transaction() as tx:
            now = self._clock.now()
            before = {
                key: Failures(0, now) if now - known.last_at >= FORGOTTEN_AFTER else known
                for key, known in store.lock(tx, paces, now).items()
            }
            remaining = max(pace.remaining(before[key], now) for key, pace in paces.items())
            if remaining > timedelta(0):
                _SLOWED.inc()
                raise KeptError(
                    Reason.REASON_SIGN_IN_FAILED,
                    "There were too many failed sign-ins; wait a little before the next one.",
                    retry_after=remaining,
                )
            for key, known in before.items():
                store.put(tx, key, Failures(known.failures + 1, now))
        return Try(now, account, origin, before)

    def succeeded(self, tx: Tx, tried: Try) -> None:
        """Takes the failure back, and forgives the account all earlier ones. The source's stay: one account of one's own must not pay for
        guesses at others'."""
        keys = [tried.account, *([tried.source] if tried.source is not None else [])]
        known = store.lock(tx, keys, tried.at)
        store.put(tx, tried.account, Failures(0, tried.at))
        if tried.source is not None:
            current, before = known[tried.source], tried.before[tried.source]
            is_last = current == Failures(before.failures + 1, tried.at)
            store.put(
                tx,
                tried.source,
                before if is_last else Failures(max(0, current.failures - 1), current.last_at),
            )

    def _forget(self) -> bool:
        with self._database.transaction() as tx:
            return store.remove_older(tx, self._clock.now() - FORGOTTEN_AFTER, _BATCH) == _BATCH


def network_of(source: str) -> str:
    """An IPv6 address by its /64, which is one household's or one server's and has addresses without end."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))


def _key(kind: str, value: str) -> bytes:
    return hashlib.sha256(f"{kind}\0{value}".encode()).digest()
