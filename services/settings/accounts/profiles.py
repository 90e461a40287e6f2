"""A person's own account: seen, changed, taken along, ended."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from services.settings.accounts.invitations import end_invitations
from services.settings.accounts.members import known_of, remove, require_current, require_successor, tell
from services.settings.accounts.passwords import Passwords
from services.settings.accounts.sign_in_pace import account_key
from services.settings.accounts.sign_ins import SignIns, password_changed_at
from services.settings.accounts.strength import require_strong
from services.settings.organizations.account_deletion import require_repeated
from services.settings.organizations.lifecycle import active
from services.settings.store import Tx, email_changes, organizations, password_resets, sign_ins, traces
from services.settings.store import members as store
from services.settings.store.email_changes import EmailChange
from services.settings.store.members import Invitation, Member
from services.settings.store.password_resets import PasswordReset
from services.settings.store.sign_ins import SignIn
from services.settings.store.traces import Act, Asked
from services.settings.telling.mail import Mail
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, invalid
from shared.identity import Caller
from shared.names import require_shown
from shared.outbox import Outbox
from shared.redaction import Secret

# What has to be typed to delete one's own account.
CONFIRMATION: Final = "delete my account"
_MOST: Final = 10_000
# Each of these may be larger.
_MOST_ASKED: Final = 1_000


@dataclass(frozen=True)
class Profile:
    """A person's own account. last_signed_in_at, failed_since: within the term of sign-ins."""

    member: Member
    organization_name: str
    last_signed_in_at: datetime | None
    failed_since: int


@dataclass(frozen=True)
class Exported:
    """Everything that settings has of a person."""

    profile: Profile
    sign_ins: list[SignIn]
    invitations: list[Invitation]
    password_resets: list[PasswordReset]
    known_networks: list[datetime]
    acts: list[Act]
    email_changes: list[EmailChange]
    document_requests: list[Asked]
    exported_at: datetime


class Profiles:
    """Everybody's own accounts."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        passwords: Passwords,
        sign_ins_: SignIns,
        mail: Mail,
    ) -> None:
        self._mail = mail
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._passwords = passwords
        self._sign_ins = sign_ins_

    def get(self, caller: Caller) -> Profile:
        """The caller's account. Raises UNAUTHENTICATED where it is gone."""
        with self._database.transaction() as tx:
            return profile_of(tx, existing(store.find(tx, caller.member_id)))

    def update(self, caller: Caller, shown_etag: str, first_name: str, last_name: str) -> Profile:
        """Changes the caller's name. Raises INVALID_ARGUMENT for one that shows nothing; CONFLICT, CLOSED."""
        require_shown(first_name=first_name, last_name=last_name)
        with self._database.transaction() as tx:
            active(organizations.lock(tx, caller.organization_id, shared=True))
            member = existing(store.lock(tx, caller.member_id))
            require_current(member, shown_etag)
            changed = replace(member, first_name=first_name, last_name=last_name)
            if changed != member:
                changed = replace(changed, revision=member.revision + 1)
                store.update_to(tx, changed)
                tell(tx, self._outbox, changed)
                self._audit(tx, "member.updated", caller, changed)
            return profile_of(tx, changed)

    def change_password(self, caller: Caller, current: Secret, wanted: Secret, source: str) -> datetime:
        """Changes the caller's password; returns when. Raises SIGN_IN_FAILED for a wrong current one, paced; WEAK_PASSWORD;
        INVALID_ARGUMENT for one that is the current one; CLOSED."""
        member = self.prove(caller, current, source)
        if self._passwords.matches(wanted, member.password_hash):
            raise invalid("new_password", "is the current one")
        with self._database.transaction() as tx:
            about = known_of(tx, member.organization_id, member.first_name, member.last_name, member.email)
        require_strong(wanted, about)
        password_hash = self._passwords.hash(wanted)
        with self._database.transaction() as tx:
            active(organizations.lock(tx, caller.organization_id, shared=True))
            locked = unchanged(store.lock(tx, member.member_id), member)
            now = self._clock.now()
            changed_at = password_changed_at(tx, locked, now)
            store.set_password(tx, member.member_id, password_hash, changed_at)
            self._mail.send_changed(tx, member.member_id, now)
            self._audit(tx, "password.changed", caller, member)
        return changed_at

    def export(self, caller: Caller) -> Exported:
        """Everything that settings has of the caller."""
        with self._database.transaction() as tx:
            member = existing(store.find(tx, caller.member_id))
            now = self._clock.now()
            exported = Exported(
                profile=profile_of(tx, member),
                sign_ins=sign_ins.newest(tx, member.member_id, 0, _MOST),
                invitations=store.invitations_by(tx, member.member_id, now),
                password_resets=password_resets.open_of(tx, member.member_id, now),
                known_networks=sign_ins.sources_of(tx, account_key(member.email)),
                acts=traces.acts_of(tx, member, _MOST),
                email_changes=email_changes.of_member(tx, member.member_id),
                document_requests=traces.asked_by(tx, member, _MOST_ASKED),
                exported_at=now,
            )
            self._audit(tx, "profile.exported", caller, member)
            return exported

    def delete(self, caller: Caller, typed: str, password: Secret, source: str) -> None:
        """Deletes the caller's account. Raises CONFIRMATION_MISMATCH; SIGN_IN_FAILED for a wrong password, paced; LAST_ADMIN; CLOSED."""
        require_repeated(CONFIRMATION, typed)
        member = self.prove(caller, password, source)
        with self._database.transaction() as tx:
            active(organizations.lock(tx, caller.organization_id))
            locked = unchanged(store.lock(tx, member.member_id), member)
            require_successor(tx, locked)
            remove(tx, self._outbox, locked)
            self._audit(tx, "member.left", caller, locked)
            end_invitations(tx, self._outbox, locked, actor=caller.actor, now=self._clock.now())

    def prove(self, caller: Caller, password: Secret, source: str) -> Member:
        """The caller's account, if this is its password. Raises SIGN_IN_FAILED, paced."""
        with self._database.transaction() as tx:
            member = existing(store.find(tx, caller.member_id))
        self._sign_ins.require_password(member, password, source)
        return member

    def _audit(self, tx: Tx, kind: str, caller: Caller, member: Member) -> None:
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=caller.actor,
                at=self._clock.now(),
                organization_id=member.organization_id,
                subjects=[member.member_id],
            ),
        )


def profile_of(tx: Tx, member: Member) -> Profile:
    """A member's own account."""
    organization = organizations.find(tx, member.organization_id)
    last, failed = sign_ins.last(tx, member.member_id)
    return Profile(member, "" if organization is None else organization.display_name, last, failed)


def existing(member: Member | None) -> Member:
    """The member. Raises UNAUTHENTICATED where there is none any more."""
    if member is None:  # removed since it was decided that the caller may
        raise KeptError(Reason.REASON_UNAUTHENTICATED, "There is no such account any more; sign in again.")
    return member


def unchanged(now: Member | None, proven: Member) -> Member:
    """The locked member, if its password is still the one that was proven. Raises SIGN_IN_FAILED, UNAUTHENTICATED."""
    member = existing(now)
    if member.password_hash != proven.password_hash:
        raise KeptError(Reason.REASON_SIGN_IN_FAILED, "The password was changed meanwhile; sign in again.")
    return member
