"""Usage for billing, by organization: what was counted, and which reports were taken. Gone with the organization.

Product analytics are another store (store/analytics.py); no statement names tables of both, and they share no key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, func, literal, literal_column, select, tuple_
from sqlalchemy import types as sql
from sqlalchemy.dialects.postgresql import insert

from services.logging.store import figures
from services.logging.store.tables import billing_usage, usage_reports
from services.logging.usage.fields import FIGURES
from shared.driver import execute, listed

_HOUR: Final = 3600
_ADD: Final = f"""
    WITH given AS MATERIALIZED (SELECT %(figures)t::bigint[] AS f)
    INSERT INTO billing_usage AS had (organization_id, hour, application, model, writer, {figures.COLUMNS})
    SELECT organization_id, to_timestamp(hour * {_HOUR}), application, model, %(writer)s, {figures.SELECTED}
    FROM given, unnest(%(organizations)t::text[], %(hours)t::bigint[], %(applications)b::text[], %(models)b::text[])
        WITH ORDINALITY AS rows (organization_id, hour, application, model, i)
    ORDER BY i
    ON CONFLICT (organization_id, hour, application, model, writer) DO UPDATE SET {figures.ADDED}
"""  # noqa: S608 - constants

# Organization, hour since 1970, application and model.
Place = tuple[str, int, str, str]


@dataclass(frozen=True)
class Counted:
    """What is counted of a stretch of time, an application and a model. figures: as usage.fields.FIGURES."""

    begins: datetime
    application: str
    model: str
    figures: Sequence[int]


def add(tx: Connection, cells: Sequence[tuple[Place, Sequence[int]]], writer: str) -> None:
    """Adds to the counts, in one statement. cells: in order of their places, so that no two transactions wait for each other in a circle.
    writer: this process's name; each adds to rows of its own, so that none waits for another."""
    execute(
        tx,
        _ADD,
        {
            "figures": figures.array_of(one for _, one in cells),
            "writer": writer,
            "organizations": listed(place[0] for place, _ in cells),
            "hours": figures.numbers_of(place[1] for place, _ in cells),
            "applications": [place[2] for place, _ in cells],
            "models": [place[3] for place, _ in cells],
        },
    )


def take_report(
    tx: Connection, organization_id: str, request_id: str, content_sha256: bytes, now: datetime
) -> bytes | None:
    """Notes that a report is taken; None for a new one, else the hash of the content that came with this id before. Waits for another
    transaction that is about to take the same one."""
    table = usage_reports
    added = tx.execute(
        insert(table)
        .values(
            organization_id=organization_id,
            request_id=request_id,
            content_sha256=content_sha256,
            reported_at=now,
        )
        .on_conflict_do_nothing()
        .returning(table.c.request_id)
    ).one_or_none()
    if added is not None:
        return None
    asked = select(table.c.content_sha256).where(
        table.c.organization_id == organization_id, table.c.request_id == request_id
    )
    return bytes(tx.execute(asked).scalar_one())


def forget_reports(tx: Connection, before: datetime) -> None:
    """Forgets reports that are so old that a repetition is refused for its hours alone."""
    tx.execute(delete(usage_reports).where(usage_reports.c.reported_at < before))


def read(
    tx: Connection,
    organization_id: str,
    begins: datetime,
    ends: datetime,
    *,
    by_day: bool,
    application: str | None,
    model: str | None,
    after: tuple[int, str, str] | None,
    limit: int,
) -> list[Counted]:
    """An organization's counts of [begins, ends), by hour or UTC day, application and model, in that order. after: where the page before
    ended, as seconds since 1970, application and model."""
    table = billing_usage
    step = (func.date_trunc("day", table.c.hour, "UTC") if by_day else table.c.hour).label("step")
    rows = select(step, table.c.application, table.c.model, *_sums()).where(
        table.c.organization_id == organization_id, table.c.hour >= begins, table.c.hour < ends
    )
    if application is not None:
        rows = rows.where(table.c.application == application)
    if model is not None:
        rows = rows.where(table.c.model == model)
    if after is not None:
        past = tuple_(
            literal(datetime.fromtimestamp(after[0], UTC), sql.DateTime(timezone=True)),
            literal(after[1], sql.Text),
            literal(after[2], sql.Text),
        )
        rows = rows.where(tuple_(step.element, table.c.application, table.c.model) > past)
    grouped = (
        rows.group_by(step, table.c.application, table.c.model)
        .order_by(step, table.c.application, table.c.model)
        .limit(limit)
    )
    return [
        Counted(row.step, row.application, row.model, figures.figures_of(row)) for row in tx.execute(grouped)
    ]


def _sums() -> list[Any]:
    return [literal_column(figures.summed(name), sql.BigInteger).label(name) for name in FIGURES]


def erase(tx: Connection, organization_id: str) -> dict[str, int]:
    """Removes what there is of an organization; how many rows of each table."""
    return {
        table.name: tx.execute(delete(table).where(table.c.organization_id == organization_id)).rowcount
        for table in (billing_usage, usage_reports)
    }
