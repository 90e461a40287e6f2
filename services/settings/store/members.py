"""Members and invitations. Of a password only its argon2id hash is stored, of an invitation's token only its SHA-256."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from kept.options.v1 import roles_pb2
from services.settings.store.removal import remove_some
from services.settings.store.tables import email_changes, invitations, members, password_resets
from shared.database import behind
from shared.pages import Place


@dataclass(frozen=True)
class Member:
    """One person of a customer. revision: grows with every change, for whoever is told of it."""

    member_id: str
    organization_id: str
    first_name: str
    last_name: str
    email: str
    role: "roles_pb2.CustomerRole.ValueType"
    registered_at: datetime
    revision: int
    # None: at registration.
    password_changed_at: datetime | None
    password_hash: str = field(repr=False)

    @property
    def password_set_at(self) -> datetime:
        """When the password was set last."""
        return self.password_changed_at or self.registered_at

    @property
    def display_name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}"


@dataclass(frozen=True)
class Invitation:
    """One invitation that was not used. `expires_at` is the first instant at which it is worth nothing."""

    invitation_id: str
    organization_id: str
    email: str
    role: "roles_pb2.CustomerRole.ValueType"
    invited_by: str
    expires_at: datetime
    token_sha256: bytes = field(repr=False)


_MEMBER = [column for column in members.c if column.name != "email_key"]
_INVITATION = [column for column in invitations.c if column.name != "email_key"]


# Of a member whose address is lost with a backup (services.settings.replay.people); .invalid is nobody's (RFC 2606 §2).
LOST_ADDRESS: Final = "@changed.invalid"
_IS_REACHABLE_ADMIN: Final = and_(
    members.c.role == roles_pb2.CUSTOMER_ROLE_ADMIN,
    ~members.c.email_key.endswith(LOST_ADDRESS, autoescape=True),
)


def email_key(email: str) -> str:
    """An address as it is compared."""
    return email.lower()


def find(tx: Connection, member_id: str) -> Member | None:
    """One member."""
    row = tx.execute(select(*_MEMBER).where(members.c.member_id == member_id)).one_or_none()
    return None if row is None else Member(**row._mapping)


def find_by_email(tx: Connection, email: str) -> Member | None:
    """The member with this address, any letter case, in whatever organization."""
    row = tx.execute(select(*_MEMBER).where(members.c.email_key == email_key(email))).one_or_none()
    return None if row is None else Member(**row._mapping)


def lock(tx: Connection, member_id: str) -> Member | None:
    """One member, locked."""
    row = tx.execute(select(*_MEMBER).where(members.c.member_id == member_id).with_for_update()).one_or_none()
    return None if row is None else Member(**row._mapping)


def addresses(tx: Connection, organization_id: str, now: datetime) -> list[str]:
    """The addresses of an organization's members and of those whose invitation is open."""
    registered = select(members.c.email).where(members.c.organization_id == organization_id)
    invited = select(invitations.c.email).where(
        invitations.c.organization_id == organization_id, invitations.c.expires_at > now
    )
    return list(tx.scalars(registered.union(invited)))


def add(tx: Connection, member: Member) -> bool:
    """Adds a member; False when the address has an account."""
    added = tx.execute(
        insert(members)
        .values(
            member_id=member.member_id,
            organization_id=member.organization_id,
            first_name=member.first_name,
            last_name=member.last_name,
            email=member.email,
            email_key=email_key(member.email),
            role=member.role,
            password_hash=member.password_hash,
            registered_at=member.registered_at,
            revision=member.revision,
            password_changed_at=member.password_changed_at,
        )
        .on_conflict_do_nothing(index_elements=["email_key"])
        .returning(members.c.member_id)
    ).one_or_none()
    return added is not None


def update_to(tx: Connection, member: Member) -> None:
    """Writes a locked member's name, role and revision."""
    tx.execute(
        update(members)
        .where(members.c.member_id == member.member_id)
        .values(
            first_name=member.first_name,
            last_name=member.last_name,
            role=member.role,
            revision=member.revision,
        )
    )


def set_email(tx: Connection, member: Member) -> bool:
    """Writes a locked member's address and revision; False when the address has an account. Whatever reset was open goes: it was sent to
    the address before."""
    try:
        with tx.begin_nested():
            tx.execute(
                update(members)
                .where(members.c.member_id == member.member_id)
                .values(email=member.email, email_key=email_key(member.email), revision=member.revision)
            )
    except IntegrityError:
        return False
    tx.execute(delete(password_resets).where(password_resets.c.member_id == member.member_id))
    return True


def set_password(tx: Connection, member_id: str, password_hash: str, changed_at: datetime) -> None:
    """Another password; whatever reset, or change of the address, was open is not any more: who asked may be who had the one before."""
    tx.execute(
        update(members)
        .where(members.c.member_id == member_id)
        .values(password_hash=password_hash, password_changed_at=changed_at)
    )
    tx.execute(delete(password_resets).where(password_resets.c.member_id == member_id))
    # What is done stays until the old address is told.
    tx.execute(
        delete(email_changes).where(
            email_changes.c.member_id == member_id, email_changes.c.replaced.is_(None)
        )
    )


def renew_hash(tx: Connection, member_id: str, old_hash: str, new_hash: str) -> None:
    """The same password, hashed anew; nothing where it was changed meanwhile."""
    tx.execute(
        update(members)
        .where(members.c.member_id == member_id, members.c.password_hash == old_hash)
        .values(password_hash=new_hash)
    )


def remove(tx: Connection, member_id: str) -> None:
    """Removes a member; open resets go along."""
    tx.execute(delete(members).where(members.c.member_id == member_id))


def count_admins(tx: Connection, organization_id: str) -> int:
    """How many admins an organization has."""
    return tx.execute(
        select(func.count())
        .select_from(members)
        .where(members.c.organization_id == organization_id, members.c.role == roles_pb2.CUSTOMER_ROLE_ADMIN)
    ).scalar_one()


def count_members(tx: Connection, organization_id: str) -> int:
    """How many members an organization has."""
    return tx.execute(
        select(func.count()).select_from(members).where(members.c.organization_id == organization_id)
    ).scalar_one()


def count_invited(tx: Connection, organization_id: str, now: datetime, *, besides: str) -> int:
    """How many of an organization's invitations can still be used. besides: an address that is not counted."""
    return tx.execute(
        select(func.count())
        .select_from(invitations)
        .where(
            invitations.c.organization_id == organization_id,
            invitations.c.expires_at > now,
            invitations.c.email_key != email_key(besides),
        )
    ).scalar_one()


def has_admin(tx: Connection, organization_id: str) -> bool:
    """Whether an organization has an admin who can sign in, or has another password sent."""
    admins = select(members.c.member_id).where(
        members.c.organization_id == organization_id, _IS_REACHABLE_ADMIN
    )
    return tx.execute(admins.limit(1)).first() is not None


def list_after(tx: Connection, organization_id: str, after: Place | None, limit: int) -> list[Member]:
    """By registration, after the one of that place (instant of registration, id)."""
    rows = tx.execute(
        select(*_MEMBER)
        .where(
            members.c.organization_id == organization_id,
            behind(after, members.c.registered_at, members.c.member_id),
        )
        .order_by(members.c.registered_at, members.c.member_id)
        .limit(limit)
    )
    return [Member(**row._mapping) for row in rows]


def admin_names(tx: Connection, organization_id: str, limit: int) -> list[str]:
    """Full names of an organization's admins, by registration."""
    rows = tx.execute(
        select(members.c.first_name, members.c.last_name)
        .where(members.c.organization_id == organization_id, members.c.role == roles_pb2.CUSTOMER_ROLE_ADMIN)
        .order_by(members.c.registered_at, members.c.member_id)
        .limit(limit)
    )
    return [f"{row.first_name} {row.last_name}" for row in rows]


def admin_emails(tx: Connection, organization_id: str, limit: int) -> list[str]:
    """Addresses of an organization's admins, by registration, without those that were lost with a backup."""
    rows = tx.execute(
        select(members.c.email)
        .where(members.c.organization_id == organization_id, _IS_REACHABLE_ADMIN)
        .order_by(members.c.registered_at, members.c.member_id)
        .limit(limit)
    )
    return list(rows.scalars())


def put_invitation(tx: Connection, invitation: Invitation) -> str | None:
    """Adds an invitation in place of an earlier one for the same address and organization, whose row is locked. Returns the earlier one's
    id."""
    key = email_key(invitation.email)
    replaced: str | None = tx.execute(
        delete(invitations)
        .where(invitations.c.organization_id == invitation.organization_id, invitations.c.email_key == key)
        .returning(invitations.c.invitation_id)
    ).scalar_one_or_none()
    tx.execute(
        insert(invitations).values(
            invitation_id=invitation.invitation_id,
            organization_id=invitation.organization_id,
            email=invitation.email,
            email_key=key,
            role=invitation.role,
            token_sha256=invitation.token_sha256,
            invited_by=invitation.invited_by,
            expires_at=invitation.expires_at,
        )
    )
    return replaced


def open_invitations(
    tx: Connection, organization_id: str, now: datetime, after: Place | None, limit: int
) -> list[Invitation]:
    """Those that can still be used, the one that ends first in front, after the one of that place (end, id)."""
    rows = tx.execute(
        select(*_INVITATION)
        .where(
            invitations.c.organization_id == organization_id,
            invitations.c.expires_at > now,
            behind(after, invitations.c.expires_at, invitations.c.invitation_id),
        )
        .order_by(invitations.c.expires_at, invitations.c.invitation_id)
        .limit(limit)
    )
    return [Invitation(**row._mapping) for row in rows]


def remove_invitation(tx: Connection, organization_id: str, invitation_id: str) -> Invitation | None:
    """Takes an organization's invitation back, if it is there."""
    row = tx.execute(
        delete(invitations)
        .where(invitations.c.organization_id == organization_id, invitations.c.invitation_id == invitation_id)
        .returning(*_INVITATION)
    ).one_or_none()
    return None if row is None else Invitation(**row._mapping)


def remove_invitations_by(tx: Connection, member_id: str) -> list[Invitation]:
    """Takes back what a member invited, in the order of the ids."""
    rows = tx.execute(
        delete(invitations).where(invitations.c.invited_by == member_id).returning(*_INVITATION)
    )
    return sorted((Invitation(**row._mapping) for row in rows), key=lambda one: one.invitation_id)


def remove_invitations_to(
    tx: Connection, organization_id: str, role: "roles_pb2.CustomerRole.ValueType"
) -> list[Invitation]:
    """Takes back an organization's invitations to a role, in the order of the ids."""
    rows = tx.execute(
        delete(invitations)
        .where(invitations.c.organization_id == organization_id, invitations.c.role == role)
        .returning(*_INVITATION)
    )
    return sorted((Invitation(**row._mapping) for row in rows), key=lambda one: one.invitation_id)


def find_invitation(tx: Connection, token_sha256: bytes) -> Invitation | None:
    """The invitation of a token."""
    row = tx.execute(select(*_INVITATION).where(invitations.c.token_sha256 == token_sha256)).one_or_none()
    return None if row is None else Invitation(**row._mapping)


def take_invitation(tx: Connection, token_sha256: bytes) -> Invitation | None:
    """Uses an invitation up: of several transactions one gets it."""
    row = tx.execute(
        delete(invitations).where(invitations.c.token_sha256 == token_sha256).returning(*_INVITATION)
    ).one_or_none()
    return None if row is None else Invitation(**row._mapping)


def invitations_by(tx: Connection, member_id: str, now: datetime) -> list[Invitation]:
    """Invitations by a member that can still be used, the one that ends first in front."""
    rows = tx.execute(
        select(*_INVITATION)
        .where(invitations.c.invited_by == member_id, invitations.c.expires_at > now)
        .order_by(invitations.c.expires_at, invitations.c.invitation_id)
    )
    return [Invitation(**row._mapping) for row in rows]


def remove_expired_invitations(tx: Connection, now: datetime, limit: int) -> int:
    """Removes those that are worth nothing any more, `limit` at most. Returns how many."""
    return remove_some(tx, invitations, invitations.c.expires_at <= now, limit)


def erase(tx: Connection, organization_id: str) -> tuple[int, int]:
    """Removes an organization's members and invitations; how many of each. Members' resets go along."""
    gone = tx.execute(delete(members).where(members.c.organization_id == organization_id)).rowcount
    unused = tx.execute(delete(invitations).where(invitations.c.organization_id == organization_id)).rowcount
    return gone, unused
