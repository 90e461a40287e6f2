"""Invitations: by an admin, or, where there is none, by an operator; to one address, worth something once and for seven days.

Whoever invites has the token. So who is an admin no more does not come back by what she did as one: her open invitations end with her role,
under the lock of the organization's row, under which others are made.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from kept.access_control.v1 import audit_pb2
from kept.options.v1 import roles_pb2
from services.settings.accounts.admins import lock_for_act
from services.settings.accounts.tokens import Purpose, Tokens, fingerprint, new_handle
from services.settings.store import Tx
from services.settings.store import members as store
from services.settings.store.members import Invitation, Member
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, limit_reached, not_found, wrong_state
from shared.identity import Caller
from shared.ids import new_id
from shared.jobs import Job
from shared.lookalikes import confusable
from shared.mail_addresses import alike, require_honest
from shared.outbox import Outbox
from shared.pages import Place, page_by_place
from shared.redaction import Secret

LIFETIME: Final = timedelta(days=7)
# Of one organization: each address is compared with all of these, under the lock of the organization's row.
MOST_OPEN: Final = 1_000
MOST_MEMBERS: Final = 10_000
_LIST: Final = "invitations"
# On a page, and where nobody says how many: whoever knows of no pages gets as many as ever.
_MOST_LISTED: Final = 1000
_BATCH: Final = 100


def invite(
    tx: Tx,
    organization_id: str,
    email: str,
    role: "roles_pb2.CustomerRole.ValueType",
    *,
    tokens: Tokens,
    field: str,
    invited_by: str,
    now: datetime,
) -> tuple[Invitation, Secret, list[str]]:
    """Stores an invitation in place of an earlier one to the same address; the organization's row is locked. field: what the request calls
    the address. Returns the invitation, its token, which is in nobody's hands but the caller's, and what an entry is about: its id and that
    of the one replaced. Raises DECEPTIVE_ADDRESS, and CONFUSABLE where a colleague's looks the same."""
    require_honest(email, field)
    if any(alike(email, other) for other in store.addresses(tx, organization_id, now)):
        raise confusable(field)
    token = tokens.issue(Purpose.INVITATION, new_handle(), now + LIFETIME)
    invitation = Invitation(
        invitation_id=new_id("invitation"),
        organization_id=organization_id,
        email=email,
        role=role,
        invited_by=invited_by,
        expires_at=now + LIFETIME,
        token_sha256=fingerprint(token),
    )
    replaced = store.put_invitation(tx, invitation)
    return invitation, token, [invitation.invitation_id, *([] if replaced is None else [replaced])]


def end_invitations(tx: Tx, outbox: Outbox, member: Member, *, actor: str, now: datetime) -> None:
    """Takes back what a member invited and nobody used; the organization's row is locked. actor: who ends the member's authority."""
    _audit_ended(tx, outbox, store.remove_invitations_by(tx, member.member_id), actor, now)


def _audit_ended(tx: Tx, outbox: Outbox, ended: Iterable[Invitation], actor: str, now: datetime) -> None:
    """Writes down those that could still be used."""
    for invitation in ended:
        if now < invitation.expires_at:
            outbox.audit(tx, _revoked(invitation, actor, now))


def _require_room(tx: Tx, organization_id: str, email: str, now: datetime) -> None:
    """One that replaces another needs none. An operator's invitation of a first admin does not ask: it replaces all others to that role."""
    invited = store.count_invited(tx, organization_id, now, besides=email)
    for kind, count, most in (
        ("invitation", invited, MOST_OPEN),
        ("member", store.count_members(tx, organization_id), MOST_MEMBERS),
    ):
        if count >= most:
            raise limit_reached(f"There are as many {kind}s as an organization may have.", kind, most)


def _place(invitation: Invitation) -> Place:
    return invitation.expires_at, invitation.invitation_id


def _revoked(invitation: Invitation, actor: str, now: datetime) -> audit_pb2.AuditEntry:
    return audit.entry(
        "member.invitation_revoked",
        actor=actor,
        at=now,
        organization_id=invitation.organization_id,
        subjects=[invitation.invitation_id],
    )


class Invitations:
    """The invitations of all organizations."""

    def __init__(self, database: Database, clock: Clock, outbox: Outbox, tokens: Tokens) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._tokens = tokens
        self.job = Job("invitations", timedelta(minutes=10), self._forget)

    def invite(
        self, caller: Caller, organization_id: str, email: str, role: "roles_pb2.CustomerRole.ValueType"
    ) -> tuple[Invitation, Secret]:
        """Invites somebody. Raises ALREADY_EXISTS for a member of this organization, and says nothing about others: no customer
        learns here who is another's. Raises LIMIT_REACHED, DECEPTIVE_ADDRESS, CONFUSABLE, ADMIN_REQUIRED, CLOSED, NOT_FOUND."""
        with self._database.transaction() as tx:
            lock_for_act(tx, caller, organization_id)
            known = store.find_by_email(tx, email)
            if known is not None and known.organization_id == organization_id:
                raise KeptError(
                    Reason.REASON_ALREADY_EXISTS,
                    "This address belongs to a member of the organization already.",
                    metadata={"kind": "member"},
                )
            _require_room(tx, organization_id, email, self._clock.now())
            return self._invite(tx, caller, organization_id, email, role, "email")

    def invite_first_admin(
        self, caller: Caller, organization_id: str, email: str
    ) -> tuple[Invitation, Secret]:
        """Invites an admin into an organization that has none who can get in, in place of whoever was invited as one before. Raises
        WRONG_STATE where there is one; ALREADY_EXISTS when the address has an account; DECEPTIVE_ADDRESS, CONFUSABLE, CLOSED, NOT_FOUND."""
        with self._database.transaction() as tx:
            lock_for_act(tx, caller, organization_id)
            if store.has_admin(tx, organization_id):
                raise wrong_state("The organization has an admin, who invites others.", "HAS_ADMIN")
            if store.find_by_email(tx, email) is not None:
                raise KeptError(
                    Reason.REASON_ALREADY_EXISTS,
                    "The admin's e-mail address has an account already; an address has one account only.",
                    metadata={"kind": "member"},
                )
            ended = store.remove_invitations_to(tx, organization_id, roles_pb2.CUSTOMER_ROLE_ADMIN)
            _audit_ended(tx, self._outbox, ended, caller.actor, self._clock.now())
            return self._invite(
                tx, caller, organization_id, email, roles_pb2.CUSTOMER_ROLE_ADMIN, "admin_email"
            )

    def _invite(
        self,
        tx: Tx,
        caller: Caller,
        organization_id: str,
        email: str,
        role: "roles_pb2.CustomerRole.ValueType",
        field: str,
    ) -> tuple[Invitation, Secret]:
        """See `invite`; written down."""
        now = self._clock.now()
        invitation, token, subjects = invite(
            tx,
            organization_id,
            email,
            role,
            tokens=self._tokens,
            field=field,
            invited_by=caller.actor,
            now=now,
        )
        self._outbox.audit(
            tx,
            audit.entry(
                "member.invited",
                actor=caller.actor,
                at=now,
                organization_id=organization_id,
                subjects=subjects,
                facts={"role": roles_pb2.CustomerRole.Name(role)},
            ),
        )
        return invitation, token

    def page(self, organization_id: str, page_size: int, page_token: str) -> tuple[Sequence[Invitation], str]:
        """A page of those that can still be used, the one that ends first in front, and the token of the next; "" on the last."""
        with self._database.transaction() as tx:
            read = partial(store.open_invitations, tx, organization_id, self._clock.now())
            return page_by_place(_LIST, page_size or _MOST_LISTED, page_token, read, _place)

    def revoke(self, caller: Caller, invitation_id: str) -> None:
        """Takes an invitation of the caller's organization back. Raises NOT_FOUND, ADMIN_REQUIRED, CLOSED."""
        with self._database.transaction() as tx:
            lock_for_act(tx, caller, caller.organization_id, shared=True)
            now = self._clock.now()
            invitation = store.remove_invitation(tx, caller.organization_id, invitation_id)
            if invitation is None or now >= invitation.expires_at:
                raise not_found("invitation")
            self._outbox.audit(tx, _revoked(invitation, caller.actor, now))

    def _forget(self) -> bool:
        with self._database.transaction() as tx:
            return store.remove_expired_invitations(tx, self._clock.now(), _BATCH) == _BATCH
