"""`kept retention terms`: how long an organization's data live by its contract, in place of the default."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kept.cli.arguments import AnyOrganization, Limit, Organization, Reason, RequestId, enum_value, when
from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from kept.retention.v1 import contracts_pb2, contracts_pb2_grpc

_Term = Annotated[str, typer.Argument(metavar="TERM", help="Term id, term_….")]


class Kind(StrEnum):
    """Which way a term binds."""

    AT_MOST = "at-most"
    AT_LEAST = "at-least"


def add_to(retention: typer.Typer) -> None:
    """Adds the group."""
    terms = group(retention, "terms", "Contract terms of single organizations. Changes need the power legal.")
    verb(terms, "set")(set_)
    verb(terms, "confirm")(confirm)
    verb(terms, "end")(end)
    verb(terms, "list")(list_)


def _stub(call: Invocation) -> "contracts_pb2_grpc.ContractServiceStub":
    from kept.retention.v1 import contracts_pb2_grpc

    return contracts_pb2_grpc.ContractServiceStub(call.channel("retention"))


def _show(call: Invocation, response: Any) -> None:
    from kept.cli.output import sheet

    call.show(response, lambda: [sheet(response.term), in_words(response.term.effect)])


def in_words(effect: "contracts_pb2.TermEffect") -> str:
    """What a change lets go or keeps, in a sentence or two."""
    before = (
        f" It is not about what was stored before: on {effect.days_before} days the application has records that live by its "
        "organization's rule."
        if effect.days_before
        else ""
    )
    return _of_what_it_is_about(effect) + before


def _of_what_it_is_about(effect: "contracts_pb2.TermEffect") -> str:
    if effect.days_let_go:
        span = f"{effect.first_day_let_go} to {effect.last_day_let_go}"
        held = f"; holds keep {effect.records_held} of them" if effect.records_held else ""
        return f"Lets go {effect.days_let_go} days of data at once ({span}, {effect.records_let_go} records{held})."
    if effect.days_kept_longer:
        return f"Keeps {effect.days_kept_longer} days of data longer ({effect.records_kept_longer} records)."
    return "Changes nothing about what is stored now."


def set_(
    call: Invocation,
    organization: Organization,
    kind: Annotated[Kind, typer.Argument(help="At most, or at least, so many days.")],
    days: Annotated[int, typer.Argument(min=3, max=36_500, help="Whole days, 3 to 36500.")],
    reference: Annotated[str, typer.Option("--reference", help="The contract, and where in it.")],
    from_day: Annotated[
        datetime | None,
        typer.Option("--from", metavar="DAY", parser=when, help="The first day on which it counts, UTC."),
    ] = None,
    until_day: Annotated[
        datetime | None,
        typer.Option("--until", metavar="DAY", parser=when, help="The last day on which it counts, UTC."),
    ] = None,
    application: Annotated[
        str,
        typer.Option(
            "--application",
            help="Only the records of this application, as they name it, that come from when the term takes effect.",
        ),
    ] = "",
    request_id: RequestId = "",
) -> None:
    """Propose a term; a second person confirms it within 72 hours. Says how many days of data it would let go or keep."""
    from kept.retention.v1 import contracts_pb2, rules_pb2

    request = contracts_pb2.SetTermRequest(
        request_id=call.request_id(request_id),
        organization_id=organization,
        kind=enum_value(rules_pb2.TermKind, "TERM_KIND", kind),
        days=days,
        reference=reference,
        from_day="" if from_day is None else from_day.date().isoformat(),
        until_day="" if until_day is None else until_day.date().isoformat(),
        application=application,
    )
    _show(call, _stub(call).SetTerm(request))


def confirm(
    call: Invocation,
    term: _Term,
    end: Annotated[
        bool, typer.Option("--end", help="Confirm that the term ends; without this, that it counts.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would let go or keep now, and confirm nothing.")
    ] = False,
) -> None:
    """Confirm a term that somebody else proposed, or its end. What it lets go is read no more from the stated instant on."""
    from kept.retention.v1 import contracts_pb2

    proposal = contracts_pb2.TERM_PROPOSAL_END if end else contracts_pb2.TERM_PROPOSAL_TERM
    request = contracts_pb2.ConfirmTermRequest(term_id=term, validate_only=dry_run, proposal=proposal)
    _show(call, _stub(call).ConfirmTerm(request))


def end(call: Invocation, term: _Term, reason: Reason) -> None:
    """Propose the end of a term; a second person confirms it. One that nobody confirmed yet is withdrawn at once."""
    from kept.retention.v1 import contracts_pb2

    _show(call, _stub(call).EndTerm(contracts_pb2.EndTermRequest(term_id=term, reason=reason)))


def list_(call: Invocation, organization: AnyOrganization = "", limit: Limit = 100) -> None:
    """Terms, newest first. Customers see those of their own organization."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.retention.v1 import contracts_pb2

    own = organization or str(call.session.claims().get("org", ""))
    response = pages(_stub(call).ListTerms, contracts_pb2.ListTermsRequest(organization_id=own), limit)
    columns = [
        "term_id",
        "state",
        "organization_id",
        "application",
        "term",
        "reference",
        "proposed_by",
        "confirmed_by",
        "effective_at",
        "ended_at",
    ]
    call.show(response, lambda: table(response.terms, columns, "There is no term."))
