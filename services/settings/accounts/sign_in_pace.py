"""Guessing passwords, slowed down: for one account, and from one source.

A try counts as failed before the password is looked at, under a row lock, and is taken back when it was right: a thousand tries at once are
counted one after the other. Addresses that nobody has are counted like others, so that the pace tells nothing. An account is never locked
for longer than a minute, or whoever knows an address could lock its owner out; a source is, for it is whoever is guessing.

A minute is enough for somebody who tries again each time it is over, and always comes before the owner does. So a network from which an
account was signed in lately has a count of its own for that account (the idea of OWASP's device cookies, without a cookie): guesses from
elsewhere do not hold its owner up there, and are no more for it, for the count is bounded like the account's.
"""

import hashlib
import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from prometheus_client import Counter

from services.settings.store import Tx, sign_ins
from services.settings.store import sign_in_failures as store
from services.settings.store.members import email_key
from services.settings.store.sign_in_failures import Failures
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.jobs import Job

# Failures are forgotten when there was none for so long.
FORGOTTEN_AFTER: Final = timedelta(days=1)
# A network is known for so long after the last sign-in from it.
SOURCE_KNOWN_FOR: Final = timedelta(days=90)
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
        wait = self.wait(failures.failures)
        # A free one may be dated ahead by a replica whose clock is, and there is nothing to wait for.
        if not wait or failures.last_at > now + CLOCK_TOLERANCE:
            return timedelta(0)
        return failures.last_at + wait - now


ACCOUNT: Final = Pace(free=5, longest=timedelta(minutes=1))
SOURCE: Final = Pace(free=30, longest=timedelta(minutes=15))


@dataclass(frozen=True)
class Try:
    """A try that was let through. account, source: their keys; no source where it is not known. counted: the keys under
    which it was counted as failed. before: the failures that were there, by key."""

    at: datetime
    account: bytes
    source: bytes | None
    counted: Sequence[bytes]
    before: Mapping[bytes, Failures]


def counts_of(tx: Tx, keys: Collection[bytes], clock: Clock) -> tuple[dict[bytes, Failures], datetime]:
    """What was counted under each key, locked, none of it where that is too long ago; and the instant by which it is so. That is read once
    they are locked: others were counted while this one waited for its turn."""
    locked = store.lock(tx, keys, clock.now())
    now = clock.now()
    forgotten = Failures(0, now)
    return {
        key: forgotten if now - one.last_at >= FORGOTTEN_AFTER else one for key, one in locked.items()
    }, now


class SignInPace:
    """Lets tries through, or not."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.job = Job("sign_in_failures", timedelta(minutes=10), self._forget)

    def begin(self, email: str, source: str) -> Try:
        """Counts a try as failed. Raises SIGN_IN_FAILED with a delay where it comes too soon: such a try counts for nothing, right or
        wrong."""
        account, origin = account_key(email), source_key("source", source) if source else None
        with self._database.transaction() as tx:
            paces = self._paces(tx, account, origin, self._clock.now())
            before, now = counts_of(tx, paces, self._clock)
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
        return Try(now, account, origin, tuple(paces), before)

    def _paces(self, tx: Tx, account: bytes, origin: bytes | None, now: datetime) -> Mapping[bytes, Pace]:
        """What a try is counted under."""
        # Looked up whether there is an account or not, so that it takes as long.
        if origin is not None and sign_ins.is_known(tx, account, origin, now - SOURCE_KNOWN_FOR):
            return {hashlib.sha256(account + origin).digest(): ACCOUNT}
        return {account: ACCOUNT} | ({origin: SOURCE} if origin is not None else {})

    def succeeded(self, tx: Tx, tried: Try) -> None:
        """Takes the failure back, and forgives the account all earlier ones. The source's stay: one account of one's own must not pay for
        guesses at others'. The source is known for this account from now on."""
        known = store.lock(tx, tried.counted, tried.at)
        for key in tried.counted:
            if key != tried.source:
                store.put(tx, key, Failures(0, tried.at))
                continue
            current, before = known[key], tried.before[key]
            is_last = current == Failures(before.failures + 1, tried.at)
            store.put(
                tx,
                key,
                before if is_last else Failures(max(0, current.failures - 1), current.last_at),
            )
        if tried.source is not None:
            sign_ins.remember(tx, tried.account, tried.source, tried.at)

    def _forget(self) -> bool:
        with self._database.transaction() as tx:
            now = self._clock.now()
            failures = store.remove_older(tx, now - FORGOTTEN_AFTER, _BATCH)
            sources = sign_ins.forget_sources_older(tx, now - SOURCE_KNOWN_FOR, _BATCH)
        return _BATCH in (failures, sources)


def account_key(email: str) -> bytes:
    """What stands for an address in counts and known networks."""
    return _key("account", email_key(email))


def reset_key(email: str) -> bytes:
    """What stands for an address in counts of the password resets that are sent to it."""
    return _key("mail", email_key(email))


def change_key(email: str) -> bytes:
    """What stands for an address in counts of the changes of addresses that are sent to it: apart, for others' must not use up its
    owner's resets."""
    return _key("change mail", email_key(email))


def source_key(kind: str, source: str) -> bytes:
    """What stands for a source in counts of another kind."""
    return _key(kind, network_of(source))


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
