"""The outbox: what a transaction wants to tell somebody else, written in that same transaction and delivered after it, at least once.

`Outbox` is for the other services: each kind in order, audit entries in batches. `ScheduledOutbox` is for receivers that are not ours: each
message by itself, ever more rarely. Both work on one table, and nothing in it is ever dropped.
"""

from sqlalchemy import Connection, Table

from shared.outbox.ordered import AUDIT, Outbox
from shared.outbox.scheduled import Schedule, ScheduledOutbox, Undelivered
from shared.outbox.table import outbox_table, position_table

__all__ = [
    "AUDIT",
    "Connection",
    "Outbox",
    "Schedule",
    "ScheduledOutbox",
    "Table",
    "Undelivered",
    "outbox_table",
    "position_table",
]
