"""What people do with grants that somebody asked for: approve, deny, take back, extend, revoke. Each act is one transaction under the
grant's row lock, with its audit entry in it; who comes second finds the state that the first one made."""

from dataclasses import replace
from datetime import datetime, timedelta

from kept.access_control.v1 import grants_pb2
from services.access_control.authorization.policy import (
    Authorization,
    grant_entity,
    principal_entity,
)
from services.access_control.grants import break_glass, extension
from services.access_control.grants.acts import Facts, GrantActs, View, scope_facts
from services.access_control.grants.approval import POWER_APPROVERS, PURPOSE_APPROVERS, Approvals
from services.access_control.grants.grant import (
    APPROVED,
    CANCELLED,
    DENIED,
    REQUESTED,
    REVOKED,
    Grant,
    Vote,
    activated,
    require_state,
)
from services.access_control.grants.messages import etag
from services.access_control.grants.narrowing import Narrowing
from services.access_control.grants.scope import case_not_open
from services.access_control.people.person import Member, Person
from services.access_control.store import Connection, grant_changes
from services.access_control.store import cases as case_store
from services.access_control.store import grants as store
from shared.clock import Clock
from shared.database import Database
from shared.errors import outdated, wrong_state
from shared.identity import Caller


class Granting:
    """The acts."""

    def __init__(
        self, database: Database, clock: Clock, authorization: Authorization, acts: GrantActs
    ) -> None:
        self._database = database
        self._clock = clock
        self._authorization = authorization
        self._acts = acts

    def approve(
        self, caller: Caller, grant_id: str, narrowing: Narrowing | None = None, shown_etag: str = ""
    ) -> View:
        """Adds the caller's approval of the request, or of less than that, and activates the grant if none is missing any more. Of a grant
        that somebody asked to extend, it approves the extension. shown_etag: of what the approval is based on; empty for whatever waits.
        Raises SECOND_PERSON_REQUIRED, NOT_AUTHORIZED, NOT_FOUND, WRONG_STATE, CONFLICT, INVALID_ARGUMENT, BREAK_GLASS_UNREVIEWED."""
        with self._acts.deciding(caller, grant_id, "approve"), self._database.transaction() as tx:
            grant, decider = self._acts.decided_by(tx, caller, grant_id)
            now = self._clock.now()
            if self._is_extension(grant, now):
                return self._approve_extension(tx, grant, decider, caller, narrowing, shown_etag, now)
            if grant.state_at(now) == REQUESTED and _has_voted(grant, caller):
                if narrowing is not None:
                    raise wrong_state("You approved it already.", "APPROVED")
                # What was missing may be asked for no more: then this repeat makes it active.
                if not self._acts.suffices(tx, grant, now):
                    return self._acts.view(tx, grant)
            require_state(grant, REQUESTED, now)
            _require_shown(grant, shown_etag)
            break_glass.require_reviewed(tx, grant.requested_by, now)
            facts: dict[str, str | int | bool] = {}
            if narrowing is not None:
                grant = self._narrowed(tx, grant, narrowing)
                facts = {"narrowed": grant.asked is not None, **scope_facts(grant)}
            facts |= self._vote(tx, grant, decider, caller, now)
            grant = store.load(tx, grant_id) or grant
            if self._acts.suffices(tx, grant, now):
                grant = activated(grant, now)
                grant_changes.set_state(tx, grant)
            facts["activated"] = grant.state == APPROVED
            if grant.valid_from is not None and grant.expires_at is not None:
                facts["valid_from"] = grant.valid_from.isoformat()
                facts["expires_at"] = grant.expires_at.isoformat()
            self._acts.write(tx, "grant.approved", grant, caller.actor, facts)
            return self._acts.view(tx, grant)

    def _narrowed(self, tx: Connection, grant: Grant, narrowing: Narrowing) -> Grant:
        narrowed = narrowing.of(grant)
        data = narrowed.data
        if data is not None and data.case_id:
            records = case_store.records_of_case(tx, data.case_id)
            if not data.record_ids <= records:
                raise case_not_open()
        grant_changes.set_scope(tx, narrowed)
        return narrowed

    def _vote(
        self, tx: Connection, grant: Grant, decider: Person | Member, caller: Caller, now: datetime
    ) -> Facts:
        decision = self._authorization.require(
            principal_entity(decider, now),
            "ApproveGrant",
            grant_entity(grant, Approvals(0, False), now),
        )
        grant_changes.add_vote(tx, grant.grant_id, Vote(caller.actor, now, caller.is_customer, grant.round))
        return decision.facts

    def _approve_extension(
        self,
        tx: Connection,
        grant: Grant,
        decider: Person | Member,
        caller: Caller,
        narrowing: Narrowing | None,
        shown_etag: str,
        now: datetime,
    ) -> View:
        if _has_voted(grant.next_round, caller) and not self._acts.suffices(tx, grant.next_round, now):
            return self._acts.view(tx, grant)
        _require_shown(grant, shown_etag)
        break_glass.require_reviewed(tx, grant.requested_by, now)
        if narrowing is not None:
            grant = extension.narrowed(grant, narrowing)
            grant_changes.set_extension(tx, grant)
        facts: dict[str, str | int | bool] = {
            "extension_seconds": int(grant.extension.duration.total_seconds()) if grant.extension else 0,
            **self._vote(tx, grant.next_round, decider, caller, now),
        }
        grant = store.load(tx, grant.grant_id) or grant
        is_last = self._acts.suffices(tx, grant.next_round, now)
        if is_last:
            grant = extension.approved(grant)
            grant_changes.set_extension(tx, grant)
            grant_changes.set_state(tx, grant)
        if grant.expires_at is not None:
            facts["expires_at"] = grant.expires_at.isoformat()
        kind = "grant.extended" if is_last else "grant.extension_approved"
        self._acts.write(tx, kind, grant, caller.actor, facts)
        return self._acts.view(tx, grant)

    def extend(self, caller: Caller, grant_id: str, duration: timedelta, reason: str) -> View:
        """Asks for more time under one's own grant. Raises NOT_FOUND, INVALID_ARGUMENT, WRONG_STATE, and what a grant that is not in force
        is refused for."""
        with self._acts.deciding(caller, grant_id, "extend"), self._database.transaction() as tx:
            grant = self._acts.own(tx, caller, grant_id)
            now = self._clock.now()
            asked = extension.asked(grant, duration, reason, now)
            if asked != grant:
                break_glass.require_reviewed(tx, grant.requested_by, now)
                grant_changes.set_extension(tx, asked)
                self._acts.write(
                    tx,
                    "grant.extension_requested",
                    asked,
                    caller.actor,
                    {"extension_seconds": int(duration.total_seconds()), "reason": reason},
                )
            return self._acts.view(tx, asked)

    def deny(self, caller: Caller, grant_id: str, reason: str) -> View:
        """Ends a request, or drops an extension. Raises SECOND_PERSON_REQUIRED, NOT_AUTHORIZED, NOT_FOUND, WRONG_STATE."""
        with self._acts.deciding(caller, grant_id, "deny"), self._database.transaction() as tx:
            grant, _ = self._acts.decided_by(tx, caller, grant_id)
            if self._is_extension(grant, self._clock.now()):
                return self._drop_extension(tx, grant, caller, "grant.extension_denied", {"why": reason})
            return self._end(tx, grant, caller, REQUESTED, DENIED, "grant.denied", {"why": reason})

    def cancel(self, caller: Caller, grant_id: str) -> View:
        """Takes one's own request back, or the one for an extension. Raises NOT_FOUND, WRONG_STATE."""
        with self._acts.deciding(caller, grant_id, "cancel"), self._database.transaction() as tx:
            grant = self._acts.own(tx, caller, grant_id)
            if self._is_extension(grant, self._clock.now()):
                return self._drop_extension(tx, grant, caller, "grant.extension_cancelled", {})
            return self._end(tx, grant, caller, REQUESTED, CANCELLED, "grant.cancelled", {})

    def revoke(self, caller: Caller, grant_id: str, reason: str) -> View:
        """Ends an approved grant: one's own, or one that the caller could decide. Raises NOT_FOUND, WRONG_STATE."""
        with self._acts.deciding(caller, grant_id, "revoke"), self._database.transaction() as tx:
            grant = self._acts.seen_by(tx, caller, grant_id, lock=True)
            return self._end(tx, grant, caller, APPROVED, REVOKED, "grant.revoked", {"why": reason})

    @staticmethod
    def _is_extension(grant: Grant, now: datetime) -> bool:
        return grant.state_at(now) == APPROVED and grant.extension is not None

    def _drop_extension(self, tx: Connection, grant: Grant, caller: Caller, kind: str, facts: Facts) -> View:
        grant = extension.dropped(grant)
        grant_changes.set_extension(tx, grant)
        self._acts.write(tx, kind, grant, caller.actor, facts)
        return self._acts.view(tx, grant)

    def _end(
        self,
        tx: Connection,
        grant: Grant,
        caller: Caller,
        wanted: "grants_pb2.GrantState.ValueType",
        state: "grants_pb2.GrantState.ValueType",
        kind: str,
        facts: Facts,
    ) -> View:
        now = self._clock.now()
        require_state(grant, wanted, now)
        grant = replace(grant, state=state, ended_at=now)
        grant_changes.set_state(tx, grant)
        self._acts.write(tx, kind, grant, caller.actor, facts)
        return self._acts.view(tx, grant)

    def get(self, caller: Caller, grant_id: str) -> View:
        """One grant that the caller may see. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            return self._acts.view(tx, self._acts.seen_by(tx, caller, grant_id))

    def list(
        self, caller: Caller, *, state: int, organization_id: str, before: int | None, limit: int
    ) -> list[tuple[int, View]]:
        """What `get` would show, newest first, each with its number, before that number."""
        with self._database.transaction() as tx:
            now = self._clock.now()
            viewer = self._acts.viewer(tx, caller)
            if isinstance(viewer, Member):
                visible = store.Visible(organization_id=viewer.organization_id if viewer.is_admin else "")
            else:
                # As `may_see` has it.
                roles = viewer.roles_at(now) if viewer.is_listed(now) else frozenset()
                visible = store.Visible(
                    person_id=viewer.person_id,
                    purposes=frozenset(p for p, approvers in PURPOSE_APPROVERS.items() if approvers & roles),
                    powers=frozenset(p for p, approvers in POWER_APPROVERS.items() if approvers & roles),
                    no_cases_of=viewer.affiliations,
                )
            found = store.list_visible(
                tx, visible, now, state=state, organization_id=organization_id, before=before, limit=limit
            )
            return [(number, self._acts.view(tx, grant)) for number, grant in found]


def _require_shown(grant: Grant, shown_etag: str) -> None:
    if shown_etag and shown_etag != etag(grant):
        raise outdated("What there is to approve has changed since it was read; read it again.", etag(grant))


def _has_voted(grant: Grant, caller: Caller) -> bool:
    return any(vote.approved_by == caller.actor for vote in grant.votes_in_force)
