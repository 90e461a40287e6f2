"""The people of a customer: registered, given roles, removed. E-mail addresses are one account each, over all organizations.

What decides who is an admin is done under the lock of the organization's row: of two admins who remove each other, one is refused.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from kept.access_control.v1 import directory_pb2
from kept.options.v1 import roles_pb2
from services.settings.accounts.admins import lock_for_act
from services.settings.accounts.invitations import end_invitations
from services.settings.accounts.passwords import Passwords
from services.settings.accounts.sign_in_pace import account_key
from services.settings.accounts.strength import require_strong
from services.settings.accounts.tokens import Purpose, Tokens, fingerprint
from services.settings.organizations.lifecycle import active
from services.settings.store import Tx, organizations, sign_ins, traces
from services.settings.store import members as store
from services.settings.store.members import Member
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found, outdated
from shared.identity import Caller
from shared.ids import new_id
from shared.names import require_shown
from shared.outbox import Outbox
from shared.pages import Place, page_by_place
from shared.redaction import Secret

# The outbox's kind of message that tells access control of a member.
MEMBER: Final = "member"
_LIST: Final = "members"
# On a page, and where nobody says how many: whoever knows of no pages gets as many as ever.
_MOST_LISTED: Final = 1000


def etag(member: Member) -> str:
    """What a change has to show to prove that it is based on this state."""
    return f"member-{member.revision}"


def require_current(member: Member, shown_etag: str) -> None:
    """Raises CONFLICT with the current etag."""
    if shown_etag != etag(member):
        raise outdated("The account was changed since it was read; read it again.", etag(member))


def require_successor(tx: Tx, member: Member) -> None:
    """Raises LAST_ADMIN for the only admin of an organization, whose row has to be locked."""
    is_admin = member.role == roles_pb2.CUSTOMER_ROLE_ADMIN
    if is_admin and store.count_admins(tx, member.organization_id) == 1:
        raise KeptError(
            Reason.REASON_LAST_ADMIN,
            "An organization has an admin: make somebody else one first, or delete the organization.",
        )


def tell(tx: Tx, outbox: Outbox, member: Member) -> None:
    """Has access control know of a member as it is now."""
    outbox.put(tx, MEMBER, _as_synced(member))


def remove(tx: Tx, outbox: Outbox, member: Member) -> None:
    """Removes a locked member: name, address and password are gone, here and, in order, at access control."""
    store.remove(tx, member.member_id)
    sign_ins.forget_sources(tx, account_key(member.email))
    traces.forget(tx, member)
    outbox.put(
        tx,
        MEMBER,
        directory_pb2.SyncMemberRequest(
            member_id=member.member_id,
            organization_id=member.organization_id,
            revision=member.revision + 1,
        ),
    )


def known_of(tx: Tx, organization_id: str, *about: str) -> list[str]:
    """What others know of somebody of that organization, for `require_strong`."""
    organization = organizations.find(tx, organization_id)
    return [*about, *([] if organization is None else [organization.display_name])]


def _invitation_invalid() -> KeptError:
    return KeptError(
        Reason.REASON_INVITATION_INVALID, "The invitation is unknown, expired or used; ask for another one."
    )


class Members:
    """The members of all organizations."""

    def __init__(
        self, database: Database, clock: Clock, outbox: Outbox, passwords: Passwords, tokens: Tokens
    ) -> None:
        self._tokens = tokens
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._passwords = passwords

    def register(self, token: Secret, first_name: str, last_name: str, password: Secret) -> Member:
        """Turns an invitation into an account. Raises INVALID_ARGUMENT for a name that shows nothing; INVITATION_INVALID; WEAK_PASSWORD;
        ALREADY_EXISTS when the address has an account elsewhere; CLOSED."""
        require_shown(first_name=first_name, last_name=last_name)
        if self._tokens.open(Purpose.INVITATION, token, self._clock.now()) is None:
            raise _invitation_invalid()
        sha256 = fingerprint(token)
        with self._database.transaction() as tx:
            seen = store.find_invitation(tx, sha256)
            if seen is None or self._clock.now() >= seen.expires_at:
                raise _invitation_invalid()
            about = known_of(tx, seen.organization_id, first_name, last_name, seen.email)
        require_strong(password, about)
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
                password_changed_at=None,
                password_hash=password_hash,
            )
            if not store.add(tx, member):
                raise KeptError(
                    Reason.REASON_ALREADY_EXISTS,
                    "This address has an account already; an address has one account only.",
                    metadata={"kind": "member"},
                )
            tell(tx, self._outbox, member)
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

    def page(self, organization_id: str, page_size: int, page_token: str) -> tuple[Sequence[Member], str]:
        """A page of an organization's members, by registration, and the token of the next; "" on the last."""
        with self._database.transaction() as tx:
            read = partial(store.list_after, tx, organization_id)
            return page_by_place(_LIST, page_size or _MOST_LISTED, page_token, read, _place)

    def set_role(
        self, caller: Caller, member_id: str, role: "roles_pb2.CustomerRole.ValueType", shown_etag: str
    ) -> Member:
        """Gives a member of the caller's organization a role; the one it has already changes nothing. Raises NOT_FOUND, CONFLICT,
        LAST_ADMIN, ADMIN_REQUIRED, CLOSED."""
        with self._database.transaction() as tx:
            member = self._colleague(tx, caller, member_id)
            require_current(member, shown_etag)
            if role == member.role:
                return member
            require_successor(tx, member)
            changed = replace(member, role=role, revision=member.revision + 1)
            store.update_to(tx, changed)
            tell(tx, self._outbox, changed)
            self._audit(
                tx,
                "member.role_changed",
                caller,
                changed,
                role=roles_pb2.CustomerRole.Name(role),
                role_before=roles_pb2.CustomerRole.Name(member.role),
            )
            if member.role == roles_pb2.CUSTOMER_ROLE_ADMIN:
                self._end_invitations(tx, caller, member)
            return changed

    def remove(self, caller: Caller, member_id: str, shown_etag: str) -> None:
        """Removes a member of the caller's organization. Raises NOT_FOUND, CONFLICT, LAST_ADMIN, ADMIN_REQUIRED, CLOSED."""
        with self._database.transaction() as tx:
            member = self._colleague(tx, caller, member_id)
            require_current(member, shown_etag)
            require_successor(tx, member)
            remove(tx, self._outbox, member)
            self._audit(tx, "member.removed", caller, member, role=roles_pb2.CustomerRole.Name(member.role))
            self._end_invitations(tx, caller, member)

    def _colleague(self, tx: Tx, caller: Caller, member_id: str) -> Member:
        """A member of the caller's own organization, both locked."""
        lock_for_act(tx, caller, caller.organization_id)
        member = store.lock(tx, member_id)
        if member is None or member.organization_id != caller.organization_id:
            raise not_found("member")
        return member

    def _end_invitations(self, tx: Tx, caller: Caller, member: Member) -> None:
        end_invitations(tx, self._outbox, member, actor=caller.actor, now=self._clock.now())

    def _audit(self, tx: Tx, kind: str, caller: Caller, member: Member, **facts: str) -> None:
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=caller.actor,
                at=self._clock.now(),
                organization_id=member.organization_id,
                subjects=[member.member_id],
                facts=facts,
            ),
        )


def _place(member: Member) -> Place:
    return member.registered_at, member.member_id


def _as_synced(member: Member) -> directory_pb2.SyncMemberRequest:
    return directory_pb2.SyncMemberRequest(
        member_id=member.member_id,
        organization_id=member.organization_id,
        role=member.role,
        display_name=member.display_name,
        revision=member.revision,
    )
