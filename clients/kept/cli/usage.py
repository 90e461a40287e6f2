"""`kept usage`: how much the models are used, as aggregates by hour."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from kept.cli.arguments import Limit, OwnOrganization, stamp, when
from kept.cli.invocation import Invocation, group, verb
from kept.client.clock import system_now

if TYPE_CHECKING:
    from kept.logging.v1 import usage_pb2_grpc

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What a table has room for; --json shows durations and features too.
_FIGURES = [
    ("calls", "figures.calls"),
    ("prompt tokens", "figures.prompt_tokens"),
    ("generation tokens", "figures.generation_tokens"),
]
_From = Annotated[
    datetime | None,
    typer.Option(
        "--from", metavar="TIME", parser=when, help="From this hour on, UTC. A week ago without it."
    ),
]
_Until = Annotated[
    datetime | None,
    typer.Option("--until", metavar="TIME", parser=when, help="Until this hour, UTC. Until now without it."),
]
_Model = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Only of this model.")]


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    usage = group(app, "usage", "How much the models are used, as aggregates by hour.")
    verb(usage, "show")(show)
    verb(usage, "analytics")(analytics)


def _stub(call: Invocation) -> "usage_pb2_grpc.UsageServiceStub":
    from kept.logging.v1 import usage_pb2_grpc

    return usage_pb2_grpc.UsageServiceStub(call.channel("logging"))


def _span(begins: datetime | None, ends: datetime | None, step: timedelta) -> tuple[datetime, datetime]:
    """Whole hours, or days, that cover what was asked for."""
    try:
        until = ends or system_now()
        until += -(until - _EPOCH) % step
        since = begins or until - 7 * _DAY
        return since - (since - _EPOCH) % step, until
    except OverflowError:
        raise typer.BadParameter(
            "there are no whole hours or days there: give times between the years 2 and 9998."
        ) from None


def show(
    call: Invocation,
    organization: OwnOrganization = "",
    begins: _From = None,
    ends: _Until = None,
    days: Annotated[bool, typer.Option("--days", help="By UTC day, not by hour.")] = False,
    application: Annotated[
        str | None, typer.Option("--application", metavar="NAME", help="Only of this application.")
    ] = None,
    model: _Model = None,
    limit: Limit = 1000,
) -> None:
    """Billing counts of an organization, at most 92 days at a time.

    Admins see their own. With --json durations and features are shown too.
    """
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.logging.v1 import usage_pb2

    since, until = _span(begins, ends, _DAY if days else _HOUR)
    wanted = usage_pb2.QueryUsageRequest(
        organization_id=call.own_organization(organization),
        from_hour=stamp(since),
        until_hour=stamp(until),
        step=usage_pb2.USAGE_STEP_DAY if days else usage_pb2.USAGE_STEP_HOUR,
        application=application,
        model=model,
    )
    response = pages(_stub(call).QueryUsage, wanted, limit)
    columns = [("day" if days else "hour", "hour"), "application", "model", *_FIGURES]
    call.show(response, lambda: table(response.counts, columns, "Nothing was counted."))


def analytics(
    call: Invocation, begins: _From = None, ends: _Until = None, model: _Model = None, limit: Limit = 1000
) -> None:
    """Product analytics, at most 31 days at a time. Needs the operator's power.

    Hours and models of days that are over, two days later, where at least 10 organizations used a model in the hour.
    """
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.logging.v1 import usage_pb2

    since, until = _span(begins, ends, _HOUR)
    wanted = usage_pb2.QueryAnalyticsRequest(from_hour=stamp(since), until_hour=stamp(until), model=model)
    response = pages(_stub(call).QueryAnalytics, wanted, limit)
    columns = ["hour", "model", "organizations", *_FIGURES]
    call.show(response, lambda: table(response.cells, columns, "There is no group that is large enough."))
