"""Records that a statement names: as one array, whatever their number. A parameter for each would be the most of what the statement
costs, and of more than 65,535 none can be sent (PostgreSQL 18, §54.7, Bind)."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import Column, ColumnElement, any_, literal
from sqlalchemy.dialects.postgresql import ARRAY


def among(column: "Column[UUID]", record_ids: Iterable[UUID]) -> ColumnElement[bool]:
    """Whether a column's record is one of these."""
    return column == any_(literal(list(record_ids), ARRAY(column.type)))
