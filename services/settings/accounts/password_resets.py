"""Forgotten passwords: a token that works once is sent to the account's address.

Whoever asks learns nothing: the call writes the address down and answers; whether there is an account is looked up afterwards, by a job.
So the answer to an unknown address is that to a known one, and takes as long, by construction. How often is bounded for each address,
without a word, and for each source; nobody is locked out by it, for what others ask for is sent to the owner too.
"""

from datetime import timedelta
from typing import Final

from kept.settings.v1 import organizations_pb2
from services.settings.accounts.members import known_of
from services.settings.accounts.passwords import Passwords
from services.settings.accounts.sign_in_pace import Pace, account_key, counts_of, reset_key, source_key
from services.settings.accounts.sign_ins import password_changed_at
from services.settings.accounts.strength import require_strong
from services.settings.accounts.tokens import Purpose, Tokens, new_handle
from services.settings.organizations.lifecycle import active
from services.settings.store import Tx, members, organizations, sign_in_failures, sign_ins
from services.settings.store import password_resets as store
from services.settings.store.members import Member, email_key
from services.settings.store.password_resets import PasswordReset, ResetRequest
from services.settings.store.sign_in_failures import Failures
from services.settings.telling.mail import Mail
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.jobs import Job
from shared.outbox import Outbox
from shared.redaction import Secret

LIFETIME: Final = timedelta(hours=1)
ADDRESS: Final = Pace(free=5, longest=timedelta(hours=1))
SOURCE: Final = Pace(free=20, longest=timedelta(minutes=1))
_MOST_WAITING: Final = 10_000
_BATCH: Final = 100


def _invalid() -> KeptError:
    return KeptError(
        Reason.REASON_PASSWORD_RESET_INVALID, "The token is unknown, expired or used; ask for another one."
    )


class PasswordResets:
    """The password resets of all organizations."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        passwords: Passwords,
        tokens: Tokens,
        mail: Mail,
    ) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._passwords = passwords
        self._tokens = tokens
        self._mail = mail
        self.job = Job("password_resets", timedelta(seconds=2), self._look)

    def ask(self, email: str, source: str) -> None:
        """Writes an address down, if it was not asked for too often. source: where the call comes from; empty where that is not known.
        Raises ASKED_TOO_OFTEN, with a delay, for a source that asks too often; OVERLOADED where too much waits."""
        address = reset_key(email)
        origin = source_key("reset source", source) if source else None
        with self._database.transaction() as tx:
            keys = [address, *([origin] if origin else [])]
            known, now = counts_of(tx, keys, self._clock)
            if origin is not None:
                remaining = SOURCE.remaining(known[origin], now)
                if remaining > timedelta(0):
                    raise KeptError(
                        Reason.REASON_ASKED_TOO_OFTEN,
                        "There were too many requests lately; ask again later.",
                        retry_after=remaining,
                    )
                sign_in_failures.put(tx, origin, Failures(known[origin].failures + 1, now))
            if ADDRESS.remaining(known[address], now) > timedelta(0):
                return
            if store.count_asked(tx) >= _MOST_WAITING:
                raise KeptError(
                    Reason.REASON_OVERLOADED,
                    "More passwords are asked for than can be looked at; try again in a moment.",
                    retry_after=timedelta(seconds=10),
                )
            sign_in_failures.put(tx, address, Failures(known[address].failures + 1, now))
            store.ask(tx, email_key(email), now)

    def set_password(self, token: Secret, password: Secret, source: str) -> None:
        """Sets the password of the account that the token is for. Raises PASSWORD_RESET_INVALID, WEAK_PASSWORD, CLOSED."""
        opened = self._tokens.open(Purpose.PASSWORD_RESET, token, self._clock.now())
        if opened is None:
            raise _invalid()
        with self._database.transaction() as tx:
            seen = store.find(tx, opened.handle)
            member = None if seen is None else members.find(tx, seen.member_id)
            if member is None:
                raise _invalid()
            about = known_of(tx, member.organization_id, member.first_name, member.last_name, member.email)
        require_strong(password, about)
        # Hashing is slow on purpose: outside the transaction, and only for who holds a token.
        password_hash = self._passwords.hash(password)
        with self._database.transaction() as tx:
            active(organizations.lock(tx, member.organization_id, shared=True))
            locked = members.lock(tx, member.member_id)
            now = self._clock.now()
            if locked is None or store.take(tx, opened.handle) is None or now >= opened.expires_at:
                raise _invalid()
            members.set_password(tx, member.member_id, password_hash, password_changed_at(tx, locked, now))
            if source:
                # Whoever guesses at this account must not keep its owner from signing in here.
                sign_ins.remember(tx, account_key(member.email), source_key("source", source), now)
            self._mail.send_changed(tx, member.member_id, now)
            self._audit(tx, "password.reset", member.member_id, member)

    def _look(self) -> bool:
        """Sends what was asked for and belongs to somebody; removes what is over. True when there may be more."""
        with self._database.transaction() as tx:
            asked = store.take_asked(tx, _BATCH)
            for one in asked:
                self._issue(tx, one)
            over = store.remove_expired(tx, self._clock.now(), _BATCH)
        return _BATCH in (len(asked), over)

    def _issue(self, tx: Tx, asked: ResetRequest) -> None:
        member = members.find_by_email(tx, asked.email_key)
        organization = None if member is None else organizations.find(tx, member.organization_id)
        if member is None or organization is None:
            return
        if organization.state != organizations_pb2.ORGANIZATION_STATE_ACTIVE:
            return
        reset = PasswordReset(
            member_id=member.member_id,
            requested_at=asked.requested_at,
            expires_at=self._clock.now() + LIFETIME,
            handle=new_handle(),
        )
        store.add(tx, reset)
        self._mail.send_reset(tx, reset)
        self._audit(tx, "password_reset.issued", "service:settings", member)

    def _audit(self, tx: Tx, kind: str, actor: str, member: Member) -> None:
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=actor,
                at=self._clock.now(),
                organization_id=member.organization_id,
                subjects=[member.member_id],
            ),
        )
