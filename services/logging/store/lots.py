"""Which rows are of which lot (shared.terms): those that are sealed to an application's own keys, and live by its term, and all others.

A row says so itself (`by_application`), for ever: whoever opens it has to name that lot's key, and no other opens it.
"""

from typing import Final, LiteralString

from sqlalchemy import ColumnElement, Table, and_, case

# The application of a row's lot, "" for none; as the driver has it.
APPLICATION: Final[LiteralString] = "CASE WHEN by_application THEN application ELSE '' END"


def application_of(table: Table) -> ColumnElement[str]:
    """The application of a row's lot; "" for none."""
    return case((table.c.by_application, table.c.application), else_="")


def is_of(table: Table, application: str) -> ColumnElement[bool]:
    """Whether a row of an organization is of this application's lot; with "" of none."""
    if not application:
        return table.c.by_application.is_not(True)
    return and_(table.c.by_application, table.c.application == application)


def writer_of(writer: str, application: str) -> str:
    """Under which name a writer counts the rows of a lot in `stored_counts`: a row there is of one lot."""
    return f"{writer}/{application}" if application else writer
