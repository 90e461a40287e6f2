"""Why a row lies in `retained`."""

from typing import Final

from sqlalchemy import ColumnElement, exists, or_

from services.logging.store.tables import holds, retained

# Whether a hold keeps a row of `retained`. Each is there for a hold, unless a term keeps it; then there may be both.
IS_HELD: Final[ColumnElement[bool]] = or_(
    retained.c.by_term.is_(False),
    exists().where(
        holds.c.organization_id == retained.c.organization_id, holds.c.record_id == retained.c.record_id
    ),
)
