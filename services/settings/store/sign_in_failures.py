"""Failed sign-ins, counted."""

from datetime import datetime
from typing import Final, NamedTuple

from services.settings.store.tables import sign_in_failures
from services.settings.store.tallies import Tallies


class Failures(NamedTuple):
    """How many there were, and when the last one was."""

    failures: int
    last_at: datetime


_TALLIES: Final = Tallies(sign_in_failures, sign_in_failures.c.failures, sign_in_failures.c.last_at, Failures)
lock, put, remove_older = _TALLIES.lock, _TALLIES.put, _TALLIES.remove_older
