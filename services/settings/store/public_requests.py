"""How much the public wrote lately."""

from datetime import datetime
from typing import Final, NamedTuple

from services.settings.store.tallies import Tallies
from services.settings.store.trust_tables import public_requests


class Window(NamedTuple):
    """Requests since an instant."""

    requests: int
    began_at: datetime


_TALLIES: Final = Tallies(public_requests, public_requests.c.requests, public_requests.c.began_at, Window)
lock, put, remove_older = _TALLIES.lock, _TALLIES.put, _TALLIES.remove_older
