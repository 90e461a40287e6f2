"""What is stored of a day and lot, as it is counted: each record once, from its receipt until its row is gone, be that in its partition or
kept beyond it; with content as long as one of the two has it. Writers count what they store; whoever takes single rows or contents away, or
brings some back, corrects it here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from services.logging.store.lots import writer_of
from services.logging.store.tables import stored_counts

# Who corrects: its numbers may be below zero, so that the sum is what is there.
WRITER: Final = "erasure"
# Who corrects where rows stay and their content went, or came back.
CONTENT_WRITER: Final = "content erasure"

# How many, by day and lot.
Numbers = Mapping[tuple[date, str], int]


class Single(NamedTuple):
    """A record by itself: its day, its lot ("" for all but those of applications with lots of their own), and whether with content."""

    day: date
    lot: str
    has_content: bool


def count_off(tx: Connection, organization_id: str, gone: Sequence[Single]) -> None:
    """Rows that were there are gone. The caller holds the organization's stripe."""
    _correct(tx, organization_id, WRITER, gone, rows=-1, contents=-1)


def count_in(tx: Connection, organization_id: str, back: Sequence[Single]) -> None:
    """Rows that were counted off are there again. The caller holds the organization's stripe."""
    _correct(tx, organization_id, WRITER, back, rows=1, contents=1)


def count_contents_off(tx: Connection, organization_id: str, lost: Sequence[Single]) -> None:
    """Rows that stay have lost their content, and no other place has it. The caller holds the organization's stripe."""
    _correct(tx, organization_id, CONTENT_WRITER, lost, rows=0, contents=-1)


def count_contents_in(tx: Connection, organization_id: str, back: Sequence[Single]) -> None:
    """Rows that had lost their content have it again. The caller holds the organization's stripe."""
    _correct(tx, organization_id, CONTENT_WRITER, back, rows=0, contents=1)


def _correct(
    tx: Connection, organization_id: str, writer: str, records: Sequence[Single], *, rows: int, contents: int
) -> None:
    """Of days and lots that are counted still: what went with its day, or its organization, is in their counts, and stays there."""
    if not records:
        return
    asked = select(stored_counts.c.day, stored_counts.c.application).where(
        stored_counts.c.organization_id == organization_id,
        stored_counts.c.day.in_({one.day for one in records}),
    )
    counted = {(row.day, row.application) for row in tx.execute(asked.distinct())}
    found: Counter[tuple[date, str]] = Counter()
    filled: Counter[tuple[date, str]] = Counter()
    for one in records:
        place = (one.day, one.lot)
        if place in counted:
            found[place] += rows
            filled[place] += contents * one.has_content
    add(tx, organization_id, writer, found, filled)


def add(tx: Connection, organization_id: str, writer: str, rows: Numbers, contents: Numbers) -> None:
    """Adds to what a writer counted: rows, and rows with content. In one order, for others add to the same."""
    for day, lot in sorted(rows.keys() | contents.keys()):
        more = insert(stored_counts).values(
            day=day,
            organization_id=organization_id,
            writer=writer_of(writer, lot),
            records=rows.get((day, lot), 0),
            records_with_content=contents.get((day, lot), 0),
            application=lot,
        )
        tx.execute(
            more.on_conflict_do_update(
                constraint="stored_counts_pkey",
                set_={
                    "records": stored_counts.c.records + more.excluded.records,
                    "records_with_content": stored_counts.c.records_with_content
                    + more.excluded.records_with_content,
                },
            )
        )
