"""What a test sees of usage: through the service, and in the tables where nobody is to see it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from kept.logging.v1 import usage_pb2
from shared.identity import Caller
from tests.unit.logging.peers import NOON, OPERATOR, ORG
from tests.unit.logging.world import World

HOUR = timedelta(hours=1)
MIDNIGHT = NOON.replace(hour=0)


def question(
    organization_id: str = ORG,
    begins: datetime = MIDNIGHT - timedelta(days=7),
    ends: datetime = MIDNIGHT + timedelta(days=7),
    **wanted: Any,
) -> usage_pb2.QueryUsageRequest:
    """Two weeks around the day of the test, unless something else is asked for."""
    asked = usage_pb2.QueryUsageRequest(organization_id=organization_id, **wanted)
    asked.from_hour.FromDatetime(begins)
    asked.until_hour.FromDatetime(ends)
    return asked


def billed(
    world: World, organization_id: str = ORG, caller: Caller = OPERATOR, **wanted: Any
) -> list[usage_pb2.UsageCounts]:
    """An organization's counts, over all pages, once what was stored is counted."""
    fold(world)
    found: list[usage_pb2.UsageCounts] = []
    asked = question(organization_id, **wanted)
    while True:
        page = world.usage(caller).QueryUsage(asked)
        assert len(page.counts) <= (asked.page_size or 1000)
        found += page.counts
        asked.page_token = page.next_page_token
        if not asked.page_token:
            return found


def calls(counts: Iterable[usage_pb2.UsageCounts]) -> int:
    """All calls in them."""
    return sum(one.figures.calls for one in counts)


def cells(world: World, page_size: int = 0, **wanted: Any) -> list[usage_pb2.AnalyticsCell]:
    """Product analytics of two weeks, over all pages."""
    asked = usage_pb2.QueryAnalyticsRequest(page_size=page_size, **wanted)
    asked.from_hour.FromDatetime(MIDNIGHT - timedelta(days=7))
    asked.until_hour.FromDatetime(MIDNIGHT + timedelta(days=7))
    found: list[usage_pb2.AnalyticsCell] = []
    while True:
        page = world.usage().QueryAnalytics(asked)
        found += page.cells
        asked.page_token = page.next_page_token
        if not asked.page_token:
            return found


def rows(world: World, query: str) -> list[tuple[Any, ...]]:
    """What the database answers."""
    with world.database.transaction() as tx:
        return [tuple(row) for row in tx.execute(text(query))]


def fold(world: World) -> None:
    """The job that counts what was stored, until there is no more to do."""
    while world.jobs["usage"].step():
        pass


def close_days(world: World) -> None:
    """The job that ends days, until there is no more to do."""
    while world.jobs["usage_periods"].step():
        pass
