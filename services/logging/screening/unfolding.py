"""What waits to be screened together gets rows of its own before an act removes records.

An act does that once more under the organization's stripe, which writers wait for: here it is done ahead, piece by piece, so that what is
left for then are the batches of some milliseconds, also after minutes in which nothing could be screened.
"""

from datetime import datetime
from typing import Final

from services.logging.store import screening
from shared.database import Database

_AT_ONCE: Final = 20


def unfold_ahead(database: Database, organization_id: str | None, received_before: datetime) -> None:
    """Unfolds what waits of an organization, or of all."""
    has_more = True
    while has_more:
        with database.transaction() as tx:
            has_more = screening.unfold_some(tx, received_before, _AT_ONCE, organization_id)
