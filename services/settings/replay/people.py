"""Members and their invitations, as the audit log tells of them. Names, addresses and passwords are not in it: what was changed since the
backup is taken out of use, and its owner sets it anew."""

from dataclasses import replace
from typing import Final

from kept.access_control.v1 import audit_pb2, directory_pb2
from kept.options.v1 import roles_pb2
from services.settings.accounts.members import MEMBER, remove, tell
from services.settings.accounts.passwords import Passwords
from services.settings.accounts.sign_ins import password_changed_at
from services.settings.replay.organizations import at
from services.settings.store import Tx, members
from services.settings.store.members import Member
from shared.outbox import Outbox
from shared.outbox.replay import Apply

# Above every revision that an account reaches by being changed.
_FOR_GOOD: Final = 1_000_000_000


def applies(outbox: Outbox, passwords: Passwords) -> dict[str, Apply]:
    """By kind of entry."""
    made = _People(outbox, passwords)
    return {
        "member.invited": _invited,
        "member.registered": made.registered,
        "member.role_changed": made.role_changed,
        "member.updated": made.updated,
        "member.removed": made.removed,
        "member.left": made.removed,
        "member.invitation_revoked": _invitation_revoked,
        "password.changed": made.password_changed,
        "password.reset": made.password_changed,
        "email.changed": made.email_changed,
    }


def _member_of(entry: audit_pb2.AuditEntry) -> str:
    return entry.subjects[0]


class _People:
    def __init__(self, outbox: Outbox, passwords: Passwords) -> None:
        self._outbox = outbox
        self._passwords = passwords

    def registered(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        """An account that is not here is not anywhere else either: its name and password are lost, and whoever it was is invited again. The
        invitation was used, and opens nothing once more."""
        for invitation_id in entry.subjects[1:]:
            members.remove_invitation(tx, entry.organization_id, invitation_id)
        if members.find(tx, _member_of(entry)) is None:
            self._outbox.put(
                tx,
                MEMBER,
                directory_pb2.SyncMemberRequest(
                    member_id=_member_of(entry), organization_id=entry.organization_id, revision=_FOR_GOOD
                ),
            )

    def role_changed(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        role = roles_pb2.CustomerRole.Value(entry.facts["role"])
        self._follow(tx, entry, role)
        if role != roles_pb2.CUSTOMER_ROLE_ADMIN:
            members.remove_invitations_by(tx, _member_of(entry))

    def updated(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        """The own name, which the log does not hold; others have been told of a later revision than the restored one."""
        self._follow(tx, entry, None)

    def _follow(
        self, tx: Tx, entry: audit_pb2.AuditEntry, role: "roles_pb2.CustomerRole.ValueType | None"
    ) -> None:
        member = members.lock(tx, _member_of(entry))
        if member is not None:
            changed = replace(member, role=role or member.role, revision=member.revision + 1)
            members.update_to(tx, changed)
            tell(tx, self._outbox, changed)

    def removed(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        member = members.lock(tx, _member_of(entry))
        if member is not None:
            members.remove_invitations_by(tx, member.member_id)
            remove(tx, self._outbox, member)

    def email_changed(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        """The address before may be somebody else's by now: nothing is sent there, and nobody signs in with it. An admin invites the person
        again, or an operator does where there is no other admin."""
        member = members.lock(tx, _member_of(entry))
        if member is None:
            return
        changed = replace(member, email=member.member_id + members.LOST_ADDRESS, revision=member.revision + 1)
        members.set_email(tx, changed)
        self._no_password(tx, member, entry)
        tell(tx, self._outbox, changed)

    def password_changed(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        """The one before opens nothing any more; a reset sets another one."""
        member = members.lock(tx, _member_of(entry))
        if member is not None and member.password_set_at < at(entry):
            self._no_password(tx, member, entry)

    def _no_password(self, tx: Tx, member: Member, entry: audit_pb2.AuditEntry) -> None:
        changed_at = password_changed_at(tx, member, at(entry))
        members.set_password(tx, member.member_id, self._passwords.nobodys, changed_at)


def _invited(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    """Its token's hash is not in the log; the one whose place it took is over."""
    for replaced in entry.subjects[1:]:
        members.remove_invitation(tx, entry.organization_id, replaced)


def _invitation_revoked(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    members.remove_invitation(tx, entry.organization_id, entry.subjects[0])
