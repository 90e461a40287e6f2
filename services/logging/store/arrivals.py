"""Usage that was stored with its records and is not folded yet (usage/folding.py): one row a batch, organization, hour, application and
model, appended by who stores and removed by who folds.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, delete

from services.logging.store import figures
from services.logging.store.tables import usage_arrivals
from services.logging.usage.fields import FIGURES
from shared import ids
from shared.driver import Uuid, execute, listed, rows

# Organization, hour since 1970, application and model.
Place = tuple[str, int, str, str]
Cell = tuple[Place, Sequence[int]]

INSERT: Final = "INSERT INTO usage_arrivals (organization_id, arrival_id, hour, application, model, figures)"
# Of one cell, all but the organization; see `values_of`.
VALUES: Final = "%b::uuid, %b::int, %b::text, %b::text, %t::bigint[]"
_ADD_ONE: Final = f"{INSERT} VALUES (%b::text, {VALUES})"
_ADD: Final = f"""
    WITH given AS MATERIALIZED (SELECT %t::bigint[] AS f)
    {INSERT}
    SELECT organization_id, arrival_id, hour, application, model, f[(i - 1) * {len(FIGURES)} + 1 : i * {len(FIGURES)}]
    FROM given, unnest(%t::text[], %b::uuid[], %t::int[], %b::text[], %b::text[])
        WITH ORDINALITY AS rows (organization_id, arrival_id, hour, application, model, i)
"""  # noqa: S608 - constants
_WAITING: Final = "SELECT organization_id, arrival_id::text FROM usage_arrivals LIMIT %b"
_SUMS: Final = ", ".join(figures.summed(f"figures[{place}]") for place in range(1, len(FIGURES) + 1))
_TAKE: Final = f"""
    WITH gone AS (
        DELETE FROM usage_arrivals WHERE organization_id = ANY(%t::text[]) AND arrival_id = ANY(%t::uuid[])
        RETURNING organization_id, hour, application, model, figures
    )
    SELECT organization_id, hour, application, model, ARRAY[{_SUMS}] FROM gone GROUP BY 1, 2, 3, 4
"""  # noqa: S608 - constants


def values_of(cell: Cell) -> tuple[object, ...]:
    """What a statement with VALUES is given for a cell."""
    (_, hour, application, model), counted = cell
    return Uuid(ids.entropy(16)), hour, application, model, figures.numbers_of(counted)


def add(tx: Connection, cells: Sequence[Cell]) -> None:
    """Appends figures, in one statement."""
    if len(cells) == 1:
        execute(tx, _ADD_ONE, (cells[0][0][0], *values_of(cells[0])))
    elif cells:
        execute(
            tx,
            _ADD,
            (
                figures.array_of(one for _, one in cells),
                listed(place[0] for place, _ in cells),
                [Uuid(ids.entropy(16)) for _ in cells],
                figures.numbers_of(place[1] for place, _ in cells),
                [place[2] for place, _ in cells],
                [place[3] for place, _ in cells],
            ),
        )


def waiting(tx: Connection, limit: int) -> list[tuple[str, str]]:
    """Some of what waits, at most `limit`, in no order: organizations and ids."""
    return [(organization_id, one) for organization_id, one in rows(tx, _WAITING, (limit,))]


def take(
    tx: Connection, organization_ids: Sequence[str], arrival_ids: Sequence[str]
) -> dict[Place, list[int]]:
    """Takes rows out; their figures, summed up by place. What is gone already is nothing."""
    found = rows(tx, _TAKE, (listed(organization_ids), listed(arrival_ids)))
    return {
        (organization_id, hour, application, model): counted
        for organization_id, hour, application, model, counted in found
    }


def erase(tx: Connection, organization_id: str) -> int:
    """Removes what there is of an organization; how many rows."""
    return tx.execute(
        delete(usage_arrivals).where(usage_arrivals.c.organization_id == organization_id)
    ).rowcount
