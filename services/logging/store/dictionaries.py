"""From when on a dictionary for contents may be used: processes of a version that does not know it must be gone by then."""

from datetime import datetime

from sqlalchemy import Connection, select

from services.logging.store.tables import content_dictionaries


def usable_from(tx: Connection, number: int) -> datetime | None:
    """The instant; None for one that is not to be used."""
    asked = select(content_dictionaries.c.usable_from).where(content_dictionaries.c.number == number)
    return tx.execute(asked).scalar_one_or_none()
