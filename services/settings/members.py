"""The people of a customer: invited, registered, signed in. E-mail addresses are one account each, over all organizations."""

from datetime import datetime, timedelta
from typing import Final

from kept.access_control.v1 import directory_pb2
from kept.options.v1 import roles_pb2
from services.settings.lifecycle import active
from services.settings.passwords import Passwords
from services.settings.sign_in_pace import SignInPace
from services.settings.store import Tx, organizations
from services.settings.store import members as store
from services.settings.store.members import Invitation, Member
from services.settings.tokens import fingerprint, new_token
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.identity import Caller
from shared.ids import new_id
from shared.outbox import Outbox
from shared.redaction import Secret

INVITATION_LIFETIME: Final = timedelta(days=7)
# The outbox's kind of message that tells access control of a member.
MEMBER: Final = "member"
_MOST_LISTED: Final = 1000
# What fits into one metadata value of an error.
_LONGEST_NAMES: Final = 200


def invite(
    tx: Tx,
    organization_id: str,
    email: str,
    role: "roles_pb2.CustomerRole.ValueType",
    *,
    invited_by: str,
    now: datetime,
) -> tuple[Invitation, Secret]:
    """Stores an invitation in place of an earlier one to the same address; the token is in nobody's hands but the caller's."""
    token = new_token()
    invitation = Invitation(
        invitation_id=new_id("invitation"),
        organization_id=organization_id,
        email=email,
        role=role,
        invited_by=invited_by,
        expires_at=now + INVITATION_LIFETIME,
        token_sha256=fingerprint(token),
    )
    store.put_invitation(tx, invitation)
    return invitation, token


def admin_required(tx: Tx, organization_id: str, support: str) -> KeptError:
    """The refusal that names who may: the organization's admins, or whom to ask where there is none."""
    names: list[str] = []
    for name in store.admin_names(tx, organization_id, limit=50):
        if len(", ".join([*names, name])) > _LONGEST_NAMES:
            break
        names.append(name)
    return KeptError(
        Reason.REASON_ADMIN_REQUIRED,
        "Only an admin of your organization may do this.",
        metadata={"admins": ", ".join(names)} if names else {"support": support},
    )


def _invitation_invalid() -> KeptError:
    return KeptError(
        Reason.REASON_INVITATION_INVALID, "The invitation is unknown, expired or used; ask for another one."
    )


class Members:
    """The members of all organizations."""

    def __init__(
        self, database: Database, clock: Clock, outbox: Outbox, passwords: Passwords, pace: SignInPace
    ) -> None:
        self._pace = pace
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._passwords = passwords

    def invite(
        self, caller: Caller, organization_id: str, email: str, role: "roles_pb2.CustomerRole.ValueType"
    ) -> tuple[Invitation, Secret]:
        """Invites somebody. Raises ALREADY_EXISTS for a member of this organization, and says nothing about others: no customer
        learns here who is another's. Raises CLOSED, NOT_FOUND."""
        with self._database.transaction() as tx:
            active(organizations.lock(tx, organization_id, shared=True))
            known = store.find_by_email(tx, email)
            if known is not None and known.organization_id == organization_id:
                raise KeptError(
                    Reason.REASON_ALREADY_EXISTS,
                    "This address belongs to a member of the organization already.",
                    metadata={"kind": "member"},
                )
            now = self._clock.now()
            invitation, token = invite(tx, organization_id, email, role, invited_by=caller.actor, now=now)
            self._outbox.audit(
                tx,
                audit.entry(
                    "member.invited",
                    actor=caller.actor,
                    at=now,
                    organization_id=organization_id,
                    subjects=[invitation.invitation_id],
                    facts={"role": roles_pb2.CustomerRole.Name(role)},
                ),
            )
            return invitation, token

    def register(self, token: Secret, first_name: str, last_name: str, password: Secret) -> Member:
        """Turns an invitation into an account. Raises INVITATION_INVALID; ALREADY_EXISTS when the address has an account elsewhere;
        CLOSED."""
        sha256 = fingerprint(token)
        with self._database.transaction() as tx:
            seen = store.find_invitation(tx, sha256)
        if seen is None or self._clock.now() >= seen.expires_at:
            raise _invitation_invalid()
        # Hashing is slow on purpose: outside the transaction, and only for who holds a token.
        password_hash = self._passwords.hash(password)
        with self._database.transaction() as tx:
            active(organizations.lock(tx, seen.organization_id, shared=True))
            invitation = store.take_invitation(tx, sha256)
            now = self._clock.now()
            if invitation is None or now >= invitation.expires_at:
                raise _invitation_invalid()
            member = Member(
                member_id=new_id("member"),
                organization_id=invitation.organization_id,
                first_name=first_name,
                last_name=last_name,
                email=invitation.email,
                role=invitation.role,
                registered_at=now,
                revision=1,
                password_hash=password_hash,
            )
            if not store.add(tx, member):
                raise KeptError(
                    Reason.REASON_ALREADY_EXISTS,
                    "This address has an account already; an address has one account only.",
                    metadata={"kind": "member"},
                )
            self._outbox.put(tx, MEMBER, _as_synced(member))
            self._outbox.audit(
                tx,
                audit.entry(
                    "member.registered",
                    actor=member.member_id,
                    at=now,
                    organization_id=member.organization_id,
                    subjects=[member.member_id, invitation.invitation_id],
                    facts={"role": roles_pb2.CustomerRole.Name(member.role)},
                ),
            )
            return member

    def list_of(self, organization_id: str) -> list[Member]:
        """The members of an organization, by registration."""
        with self._database.transaction() as tx:
            return store.list_of(tx, organization_id, _MOST_LISTED)

    def authenticate(self, email: str, password: Secret, source: str) -> Member:
        """The member with this e-mail and password. Raises SIGN_IN_FAILED, after equal work and with the same words whether the
        address or the password is wrong; with a delay, before any work, where it comes too soon after failures."""
        failed = KeptError(Reason.REASON_SIGN_IN_FAILED, "E-mail and password do not go together.")
        tried = self._pace.begin(email, source)
        with self._database.transaction() as tx:
            member = store.find_by_email(tx, email) if email.isascii() else None
        if not self._passwords.matches(password, None if member is None else member.password_hash):
            raise failed
        assert member is not None  # `matches` is never true for nobody
        with self._database.transaction() as tx:
            current = store.find(tx, member.member_id)
            if current is None or current.password_hash != member.password_hash:  # gone or changed meanwhile
                raise failed
            self._pace.succeeded(tx, tried)
            self._outbox.audit(
                tx,
                audit.entry(
                    "member.signed_in",
                    actor=member.member_id,
                    at=self._clock.now(),
                    organization_id=member.organization_id,
                    subjects=[member.member_id],
                ),
            )
        return current


def _as_synced(member: Member) -> directory_pb2.SyncMemberRequest:
    return directory_pb2.SyncMemberRequest(
        member_id=member.member_id,
        organization_id=member.organization_id,
        role=member.role,
        display_name=member.display_name,
        revision=member.revision,
    )
