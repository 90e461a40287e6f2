"""Data controls as they change, for streams that people hold open."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

from services.settings.controls.data_controls import DataControls
from services.settings.store import members
from services.settings.store.controls import ControlsChange
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.identity import Caller

INTERVAL: Final = timedelta(milliseconds=250)


class ControlsWatch:
    """Follows one organization's controls."""

    def __init__(self, database: Database, data_controls: DataControls) -> None:
        self._database = database
        self._data_controls = data_controls

    def changes(
        self, caller: Caller, organization_id: str, after: int, is_active: Callable[[], bool]
    ) -> Iterator[ControlsChange]:
        """The newest change, and every one that follows, in order; after the change of that number, where it is not 0. The caller's
        account is looked at each time: a person who is removed sees nothing more. Raises UNAUTHENTICATED; NOT_FOUND once the organization
        is erased."""
        last = after
        while True:
            with self._database.transaction() as tx:
                member = members.find(tx, caller.member_id)
            if member is None or member.organization_id != organization_id:
                raise KeptError(
                    Reason.REASON_UNAUTHENTICATED, "There is no such account any more; sign in again."
                )
            for change in self._data_controls.since(organization_id, last):
                last = change.number
                yield change
            if is_active():
                threading.Event().wait(INTERVAL.total_seconds())
            if not is_active():
                return
