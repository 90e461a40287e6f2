"""Sign-ins: an e-mail and a password that go together, and how long what rests on them lasts.

Sign-ins are log data: an organization, a person by id, a date, how it ended. They have the term of log data and go with it; the audit log,
which nothing leaves, does not get them. Neither the address that was tried nor where it came from is kept.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from kept.settings.v1 import members_pb2
from services.settings.accounts.passwords import Passwords
from services.settings.accounts.sign_in_pace import SignInPace
from services.settings.store import Tx, members
from services.settings.store import sign_ins as store
from services.settings.store.members import Member
from services.settings.store.sign_ins import SignIn
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.jobs import Job
from shared.pages import page
from shared.redaction import Secret

_LIST: Final = "sign_ins"
_BATCH: Final = 1_000
# Of the database's instants.
_RESOLUTION: Final = timedelta(microseconds=1)
_SUCCEEDED = members_pb2.SIGN_IN_OUTCOME_SUCCEEDED
_FAILED = members_pb2.SIGN_IN_OUTCOME_FAILED


def _failed() -> KeptError:
    return KeptError(Reason.REASON_SIGN_IN_FAILED, "E-mail and password do not go together.")


class SignIns:
    """The sign-ins of all organizations. kept_days: the term of log data."""

    def __init__(
        self, database: Database, clock: Clock, passwords: Passwords, pace: SignInPace, *, kept_days: int
    ) -> None:
        self._database = database
        self._clock = clock
        self._passwords = passwords
        self._pace = pace
        self.kept_days = kept_days
        self.job = Job("sign_ins", timedelta(minutes=10), self._forget)

    def authenticate(self, email: str, password: Secret, source: str) -> tuple[Member, datetime]:
        """The member with this e-mail and password, and when this was. Raises SIGN_IN_FAILED, after equal work and with the same words
        whether the address or the password is wrong; with a delay, before any work, where it comes too soon after failures."""
        tried = self._pace.begin(email, source)
        with self._database.transaction() as tx:
            member = members.find_by_email(tx, email) if email.isascii() else None
        if not self._passwords.matches(password, None if member is None else member.password_hash):
            with self._database.transaction() as tx:
                store.add(tx, member, _FAILED, self._clock.now())
            raise _failed()
        assert member is not None  # `matches` is never true for nobody
        # Whoever has the password is the only one who can have it hashed as configuration wants it now.
        renewed = (
            self._passwords.hash(password) if self._passwords.is_outdated(member.password_hash) else None
        )
        with self._database.transaction() as tx:
            current = members.lock(tx, member.member_id)
            if current is None or current.password_hash != member.password_hash:  # gone or changed meanwhile
                raise _failed()
            self._pace.succeeded(tx, tried)
            # Whoever has the password of now signs in after it was set, whichever clock is behind.
            at = max(self._clock.now(), current.password_set_at)
            store.add(tx, current, _SUCCEEDED, at)
            if renewed is not None:
                members.renew_hash(tx, current.member_id, current.password_hash, renewed)
        return current, at

    def require_password(self, member: Member, password: Secret, source: str) -> None:
        """That whoever is signed in as this member has the password too. Raises SIGN_IN_FAILED, paced and written down like a sign-in: a
        session that was stolen guesses no faster."""
        tried = self._pace.begin(member.email, source)
        if not self._passwords.matches(password, member.password_hash):
            with self._database.transaction() as tx:
                store.add(tx, member, _FAILED, self._clock.now())
            raise KeptError(Reason.REASON_SIGN_IN_FAILED, "The current password is another one.")
        with self._database.transaction() as tx:
            self._pace.succeeded(tx, tried)

    def renew(self, member_id: str, signed_in_at: datetime) -> Member:
        """The member, if a session of that sign-in may go on. Raises SIGN_IN_FAILED."""
        with self._database.transaction() as tx:
            member = members.find(tx, member_id)
        if member is None or signed_in_at < member.password_set_at:
            raise KeptError(Reason.REASON_SIGN_IN_FAILED, "The session has ended; sign in again.")
        return member

    def page(self, member_id: str, page_size: int, page_token: str) -> tuple[Sequence[SignIn], str]:
        """A page of a member's sign-ins, newest first, and the token of the next; "" on the last."""
        with self._database.transaction() as tx:
            read = partial(store.newest, tx, member_id)
            return page(_LIST, page_size, page_token, read, lambda one: one.number)

    def _forget(self) -> bool:
        with self._database.transaction() as tx:
            before = self._clock.now() - timedelta(days=self.kept_days)
            return store.remove_older(tx, before, _BATCH) == _BATCH


def password_changed_at(tx: Tx, member: Member, now: datetime) -> datetime:
    """When a password that is set now counts from: after every sign-in with the one before, also one that a process whose clock is ahead
    wrote down. member: locked, so that none is added meanwhile."""
    latest = store.latest(tx, member.member_id)
    return now if latest is None else max(now, latest + _RESOLUTION)


def of_member(tx: Tx, member: Member, limit: int) -> list[SignIn]:
    """A member's sign-ins within their term, newest first."""
    return store.newest(tx, member.member_id, 0, limit)
