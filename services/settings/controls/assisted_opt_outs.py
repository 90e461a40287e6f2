"""Training turned off for an organization whose admins cannot be reached: begun by one of the vendor's people, decided by another.

Off only, and training only: who keeps an organization's admins from being reached must not be able to turn anything on. It counts like an
admin's own change, from the instant of acceptance, and stands in the same history.
"""

from dataclasses import replace
from typing import Final

from kept.settings.v1 import data_controls_pb2 as contract
from services.settings.controls.data_controls import following, record
from services.settings.organizations.lifecycle import active
from services.settings.store import Tx, controls, members, organizations
from services.settings.store import assisted_opt_outs as store
from services.settings.store.assisted_opt_outs import AssistedOptOut
from services.settings.store.controls import ControlsChange
from services.settings.telling.notifications import Ids, Notifications
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.enums import short_name
from shared.errors import KeptError, Reason, not_found, wrong_state
from shared.identity import Caller
from shared.ids import new_id
from shared.outbox import Outbox
from shared.voices import Voice, Voices, lapsed_voice

_BEGINNING: Final = "/kept.settings.v1.DataControlsService/RequestAssistedOptOut"
_MOST_LISTED: Final = 1000
_MOST_ADMINS: Final = 1000
_REQUESTED = contract.ASSISTED_OPT_OUT_STATE_REQUESTED
_APPROVED = contract.ASSISTED_OPT_OUT_STATE_APPROVED
_DENIED = contract.ASSISTED_OPT_OUT_STATE_DENIED


class AssistedOptOuts:
    """The assisted opt-outs of all organizations."""

    def __init__(
        self, database: Database, clock: Clock, outbox: Outbox, notifications: Notifications, voices: Voices
    ) -> None:
        self._voices = voices
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._notifications = notifications

    def request(self, caller: Caller, organization_id: str, reason: str) -> AssistedOptOut:
        """Begins one. Raises WRONG_STATE where training is off already, ALREADY_EXISTS while another waits, CLOSED, NOT_FOUND."""
        with self._database.transaction() as tx:
            active(organizations.lock(tx, organization_id))
            if not _current(tx, organization_id).training_allowed:
                raise wrong_state("Training is off already.", "TRAINING_OFF")
            if store.find_open(tx, organization_id) is not None:
                raise KeptError(
                    Reason.REASON_ALREADY_EXISTS,
                    "An assisted opt-out of this organization waits for its decision.",
                    metadata={"kind": "assisted_opt_out"},
                )
            opt_out = AssistedOptOut(
                assisted_opt_out_id=new_id("optout"),
                organization_id=organization_id,
                state=_REQUESTED,
                reason=reason,
                requested_by=caller.actor,
                requested_at=self._clock.now(),
                admins=len(members.admin_names(tx, organization_id, _MOST_ADMINS)),
            )
            store.add(tx, opt_out)
            self._tell(tx, "assisted_opt_out.requested", caller, opt_out, admins=opt_out.admins)
            return opt_out

    def decide(
        self, caller: Caller, assisted_opt_out_id: str, approve: bool, reason: str
    ) -> tuple[AssistedOptOut, ControlsChange | None]:
        """Decides one; the change that it made, None where there was nothing to change. Raises NOT_FOUND; WRONG_STATE, also for an approval
        of what somebody began who could not any more, or 72 hours ago; SECOND_PERSON_REQUIRED, CLOSED."""
        with self._database.transaction() as tx:
            named = store.find(tx, assisted_opt_out_id)
        if named is None:
            raise not_found("assisted_opt_out")
        counts = not approve or bool(self._voices([named.requested_by], _BEGINNING))
        with self._database.transaction() as tx:
            active(organizations.lock(tx, named.organization_id))
            opt_out = store.find(tx, assisted_opt_out_id)  # again: as it is under the lock
            if opt_out is None:
                raise not_found("assisted_opt_out")
            if opt_out.state != _REQUESTED:
                raise wrong_state("It is decided already.", contract.AssistedOptOutState.Name(opt_out.state))
            if approve and caller.actor == opt_out.requested_by:
                raise KeptError(
                    Reason.REASON_SECOND_PERSON_REQUIRED,
                    "You began it; the decision is another person's.",
                )
            if not counts:
                raise lapsed_voice("Who began it could not begin it any more: deny it, and begin another.")
            now = self._clock.now()
            if approve and not Voice(opt_out.requested_by, opt_out.requested_at).counts(now):
                raise lapsed_voice("It was begun 72 hours ago or more: deny it, and begin another.")
            opt_out = replace(
                opt_out,
                state=_APPROVED if approve else _DENIED,
                decided_by=caller.actor,
                decided_at=now,
                decision_reason=reason,
            )
            store.decide(tx, opt_out)
            self._tell(tx, "assisted_opt_out.decided", caller, opt_out, approved=approve)
            current = _current(tx, opt_out.organization_id)
            if not approve or not current.training_allowed:
                return opt_out, None
            change = replace(
                following(replace(current, training_allowed=False), current, now, caller.actor),
                assisted_opt_out_id=assisted_opt_out_id,
            )
            record(tx, self._outbox, self._notifications, change)
            return opt_out, change

    def list_of(self, organization_id: str) -> list[AssistedOptOut]:
        """An organization's, newest first; with an empty id all that wait for a decision."""
        with self._database.transaction() as tx:
            return store.list_of(tx, organization_id, _MOST_LISTED)

    def _tell(
        self, tx: Tx, what: str, caller: Caller, opt_out: AssistedOptOut, **facts: str | int | bool
    ) -> None:
        self._outbox.audit(
            tx,
            audit.entry(
                what,
                actor=caller.actor,
                at=self._clock.now(),
                organization_id=opt_out.organization_id,
                subjects=[opt_out.assisted_opt_out_id],
                facts=facts,
            ),
        )
        self._notifications.emit(
            tx,
            what,
            Ids(
                organization_id=opt_out.organization_id,
                subject_id=opt_out.assisted_opt_out_id,
                actor=caller.actor,
                tell="CUSTOMER",
                state=short_name(contract.AssistedOptOutState, opt_out.state),
            ),
        )


def _current(tx: Tx, organization_id: str) -> ControlsChange:
    found = controls.newest(tx, organization_id)
    if found is None:
        raise not_found("organization")
    return found
