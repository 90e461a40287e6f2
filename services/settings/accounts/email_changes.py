"""Another address for an account: counted once whoever asked has a token that was sent there.

Whoever asks does not learn whether the new address has an account; who confirms has shown to own it, and may.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from services.settings.accounts.members import tell
from services.settings.accounts.password_resets import ADDRESS
from services.settings.accounts.profiles import Profile, Profiles, existing, profile_of, unchanged
from services.settings.accounts.sign_in_pace import account_key, change_key, counts_of, source_key
from services.settings.accounts.tokens import Purpose, Tokens, new_handle
from services.settings.organizations.lifecycle import active
from services.settings.store import Tx, members, organizations, sign_in_failures, sign_ins, traces
from services.settings.store import email_changes as store
from services.settings.store.email_changes import EmailChange
from services.settings.store.members import Member
from services.settings.store.sign_in_failures import Failures
from services.settings.telling.mail import Mail
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, limit_reached
from shared.identity import Caller
from shared.jobs import Job
from shared.lookalikes import confusable
from shared.mail_addresses import alike, require_honest
from shared.outbox import Outbox
from shared.redaction import Secret

LIFETIME: Final = timedelta(hours=1)
# As long as a message that nobody takes is tried (shared.webhooks).
_OLD_ADDRESS_KEPT: Final = timedelta(days=4)
# Of one member: those that are open, and those whose old address is still known.
MOST: Final = 20
_BATCH: Final = 100


def _invalid() -> KeptError:
    return KeptError(
        Reason.REASON_EMAIL_CHANGE_INVALID,
        "The token is unknown, expired, used or another person's; ask for another one.",
    )


def _require_distinct(tx: Tx, member: Member, email: str, now: datetime) -> None:
    """Raises CONFUSABLE where a colleague's address looks the same."""
    others = members.addresses(tx, member.organization_id, now)
    if any(alike(email, other) for other in others if other != member.email):
        raise confusable("email")


class EmailChanges:
    """The changes of addresses of all organizations."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        profiles: Profiles,
        tokens: Tokens,
        mail: Mail,
    ) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._profiles = profiles
        self._tokens = tokens
        self._mail = mail
        self.job = Job("email_changes", timedelta(minutes=10), self._forget)

    def ask(self, caller: Caller, email: str, password: Secret, source: str) -> None:
        """Has a token sent to the new address, if it was not sent too many. Raises LIMIT_REACHED, DECEPTIVE_ADDRESS, CONFUSABLE;
        SIGN_IN_FAILED for a wrong password, paced; CLOSED."""
        require_honest(email, "email")
        member = self._profiles.prove(caller, password, source)
        with self._database.transaction() as tx:
            active(organizations.lock(tx, member.organization_id, shared=True))
            current = unchanged(members.lock(tx, member.member_id), member)
            if store.count(tx, member.member_id, self._clock.now()) >= MOST:
                raise limit_reached(
                    "There were as many changes of the address as an account may have at a time.",
                    "email_change",
                    MOST,
                )
            _require_distinct(tx, member, email, self._clock.now())
            key = change_key(email)
            counts, now = counts_of(tx, [key], self._clock)
            known = counts[key]
            if ADDRESS.remaining(known, now) > timedelta(0):
                return
            sign_in_failures.put(tx, key, Failures(known.failures + 1, now))
            change = EmailChange(
                member_id=member.member_id,
                email=email,
                replaced=None,
                # Whoever has the password of now asks after it was set, whichever clock is behind.
                requested_at=max(now, current.password_set_at),
                expires_at=now + LIFETIME,
                handle=new_handle(),
            )
            store.add(tx, change)
            self._mail.send_new_address(tx, change)
            self._audit_of(tx, "email_change.requested", caller)

    def confirm(self, caller: Caller, token: Secret, source: str) -> Profile:
        """Changes the caller's address. Raises EMAIL_CHANGE_INVALID, ALREADY_EXISTS, CLOSED; CONFUSABLE where a colleague has come since
        whose address looks like the new one."""
        opened = self._tokens.open(Purpose.EMAIL_CHANGE, token, self._clock.now())
        if opened is None:
            raise _invalid()
        with self._database.transaction() as tx:
            # Exclusively: of two colleagues at once the second sees what the first is called now.
            active(organizations.lock(tx, caller.organization_id))
            member = existing(members.lock(tx, caller.member_id))
            change = store.find(tx, opened.handle)
            now = self._clock.now()
            if change is None or change.member_id != member.member_id or now >= opened.expires_at:
                raise _invalid()
            if change.requested_at < member.password_set_at:  # by who had the password before
                raise _invalid()
            _require_distinct(tx, member, change.email, now)
            if not store.finish(tx, change.handle, member.email, now + _OLD_ADDRESS_KEPT):
                raise _invalid()
            changed = replace(member, email=change.email, revision=member.revision + 1)
            if not members.set_email(tx, changed):
                raise KeptError(
                    Reason.REASON_ALREADY_EXISTS,
                    "This address has an account already; an address has one account only.",
                    metadata={"kind": "member"},
                )
            traces.follow(tx, member, changed.email)
            sign_ins.forget_sources(tx, account_key(member.email))
            if source:
                sign_ins.remember(tx, account_key(changed.email), source_key("source", source), now)
            tell(tx, self._outbox, changed)
            self._mail.send_old_address(tx, change, now)
            self._audit_of(tx, "email.changed", caller)
            return profile_of(tx, changed)

    def _audit_of(self, tx: Tx, kind: str, caller: Caller) -> None:
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=caller.actor,
                at=self._clock.now(),
                organization_id=caller.organization_id,
                subjects=[caller.member_id],
            ),
        )

    def _forget(self) -> bool:
        with self._database.transaction() as tx:
            return store.remove_expired(tx, self._clock.now(), _BATCH) == _BATCH
