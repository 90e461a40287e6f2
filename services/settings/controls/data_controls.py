"""What an organization's admins decide about its data.

Training consent counts from the instant of acceptance and needs no other process; `require_customer_approval` rides the policy feed. Both
live in one history, to which rows are only ever added, under the lock of the organization's row.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from kept.options.v1 import roles_pb2
from services.settings.accounts.admins import admin_required, lock_for_act
from services.settings.controls.consent import ConsentEntry, ConsentInterval, acceptance_instant, intervals
from services.settings.policies import Policies
from services.settings.store import Tx
from services.settings.store import controls as store
from services.settings.store.controls import ControlsChange
from services.settings.telling.notifications import Ids, Notifications
from services.settings.zero_data_retention import content_note
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found, outdated
from shared.identity import Caller
from shared.outbox import Outbox
from shared.pages import page

_LIST = "controls"


def etag(change: ControlsChange) -> str:
    """What an update has to show to prove that it is based on these controls."""
    return f"controls-{change.number}"


def number_of(shown_etag: str) -> int:
    """The number of the change that gave the controls an etag of the form that `etag` makes."""
    return int(shown_etag.rpartition("-")[2])


# How often within 24 hours an organization turns the approval of each access on or off.
_MOST_A_DAY: Final = 100


class DataControls:
    """The data controls of all organizations. support: whom an organization without an admin is sent to."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        policies: Policies,
        outbox: Outbox,
        notifications: Notifications,
        *,
        support: str,
    ) -> None:
        self._notifications = notifications
        self._database = database
        self._clock = clock
        self._policies = policies
        self._outbox = outbox
        self._support = support

    def get(self, organization_id: str) -> ControlsChange:
        """The newest change. Raises NOT_FOUND, also once the organization is erased."""
        with self._database.transaction() as tx:
            return _newest(tx, organization_id)

    def page(
        self, organization_id: str, page_size: int, page_token: str
    ) -> tuple[Sequence[ControlsChange], str]:
        """A page of history, oldest first, and the token of the next; "" on the last. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            _newest(tx, organization_id)
            read = partial(store.history, tx, organization_id)
            return page(_LIST, page_size, page_token, read, lambda change: change.number)

    def since(self, organization_id: str, number: int) -> list[ControlsChange]:
        """Every change after the one with that number, in order; of 0 the newest alone. Raises NOT_FOUND, also once the organization is
        erased."""
        with self._database.transaction() as tx:
            newest = _newest(tx, organization_id)
            if not number:
                return [newest]
            return store.history(tx, organization_id, number) if newest.number > number else []

    def consent(self, organization_id: str) -> list[ConsentInterval]:
        """When training was allowed. Raises NOT_FOUND, also once the organization is erased."""
        with self._database.transaction() as tx:
            _newest(tx, organization_id)
            history = store.history(tx, organization_id)
        return intervals(ConsentEntry(change.training_allowed, change.accepted_at) for change in history)

    def update(
        self,
        caller: Caller,
        organization_id: str,
        shown_etag: str,
        training_allowed: bool | None,
        require_customer_approval: bool | None,
    ) -> ControlsChange:
        """Changes what is not None; where nothing would change, the newest change is the answer. Raises ADMIN_REQUIRED, CONFLICT,
        CLOSED, NOT_FOUND; ASKED_TOO_OFTEN after a hundred changes within 24 hours that every process had to be told of, but never where
        training is turned off."""
        with self._database.transaction() as tx:
            if caller.customer_role != roles_pb2.CUSTOMER_ROLE_ADMIN:
                raise admin_required(tx, organization_id, self._support)
            organization = lock_for_act(tx, caller, organization_id)
            current = _newest(tx, organization_id)
            if shown_etag != etag(current):
                raise outdated(
                    "The controls were changed since they were read; read them again.", etag(current)
                )
            wanted = replace(
                current,
                training_allowed=current.training_allowed if training_allowed is None else training_allowed,
                require_customer_approval=(
                    current.require_customer_approval
                    if require_customer_approval is None
                    else require_customer_approval
                ),
            )
            if wanted == current:
                return current
            wanted = following(wanted, current, self._clock.now(), caller.actor)
            # Who turns training off does not wait, whatever else the call carries; to turn it off again it must have been turned on.
            if wanted.training_allowed or not current.training_allowed:
                self._require_pace(tx, wanted)
            # Training needs no other process; the instant from which the rest counts is then what it was.
            if wanted.require_customer_approval != current.require_customer_approval:
                wanted = replace(
                    wanted,
                    effective_at=self._policies.publish_organization(
                        tx, organization, wanted.require_customer_approval
                    ),
                )
            record(tx, self._outbox, self._notifications, wanted)
            return wanted

    @staticmethod
    def _require_pace(tx: Tx, change: ControlsChange) -> None:
        """Policies stay in the feed for good, and whoever begins to follow it reads all of them."""
        first = store.approval_changed_at(tx, change.organization_id, _MOST_A_DAY)
        if first is None:
            return
        wait = first + timedelta(days=1) - change.accepted_at
        if wait > timedelta(0):
            raise KeptError(
                Reason.REASON_ASKED_TOO_OFTEN,
                "The approval of each access was turned on or off too often within 24 hours.",
                retry_after=wait,
            )

    def notes(self, organization_id: str) -> list[str]:
        """What has to be known to read the controls."""
        with self._database.transaction() as tx:
            note = content_note(tx, organization_id)
        return [note + " There is nothing of then to train on."] if note else []


def following(current: ControlsChange, last: ControlsChange, now: datetime, actor: str) -> ControlsChange:
    """The controls as the change that comes after the last one. now: read under the row's lock, so that whoever comes second is later."""
    return replace(
        current,
        number=last.number + 1,
        accepted_at=acceptance_instant(now, last.accepted_at),
        changed_by=actor,
        assisted_opt_out_id="",
    )


def record(tx: Tx, outbox: Outbox, notifications: Notifications, change: ControlsChange) -> None:
    """Stores a change and tells of it; the organization's row is locked."""
    store.add(tx, change)
    outbox.audit(
        tx,
        audit.entry(
            "data_controls.updated",
            actor=change.changed_by,
            at=change.accepted_at,
            organization_id=change.organization_id,
            subjects=[
                change.organization_id,
                *([change.assisted_opt_out_id] if change.assisted_opt_out_id else []),
            ],
            facts={
                "training_allowed": change.training_allowed,
                "require_customer_approval": change.require_customer_approval,
                "accepted_at": change.accepted_at.isoformat(),
                "effective_at": change.effective_at.isoformat(),
                "etag": etag(change),
            },
        ),
    )
    notifications.emit(
        tx,
        "data_controls.updated",
        Ids(
            organization_id=change.organization_id,
            subject_id=change.assisted_opt_out_id,
            actor=change.changed_by,
            tell="CUSTOMER",
            effective_at=change.effective_at,
        ),
    )


def _newest(tx: Tx, organization_id: str) -> ControlsChange:
    found = store.newest(tx, organization_id)
    if found is None:
        raise not_found("organization")
    return found
