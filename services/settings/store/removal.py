"""What is over goes in bounded pieces, by a job of whoever has it."""

from sqlalchemy import ColumnElement, Connection, Table, delete, select, tuple_


def remove_some(tx: Connection, table: Table, is_over: ColumnElement[bool], limit: int) -> int:
    """Removes rows that a condition holds of, `limit` at most, and none that somebody else has locked. Returns how many."""
    key = tuple_(*table.primary_key.columns)
    old = select(*table.primary_key.columns).where(is_over).limit(limit).with_for_update(skip_locked=True)
    return tx.execute(delete(table).where(key.in_(old))).rowcount
