"""`kept cases` and `kept safety`: what screening flagged, looked at by people."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kept.cli.arguments import CaseState, Finding, Limit, enum_value
from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from kept.safety_review.v1 import cases_pb2_grpc

_Case = Annotated[str, typer.Argument(metavar="CASE", help="Case id, case_….")]
_Etag = Annotated[
    str,
    typer.Option(
        "--etag", help="Only if nothing changed since `show` gave this etag. The current one without it."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Adds both groups."""
    cases = group(
        app,
        "cases",
        "Review what screening flagged. A case holds no content: read that with a grant for the case.",
    )
    verb(cases, "list")(list_)
    verb(cases, "show")(show)
    verb(cases, "claim")(claim)
    verb(cases, "decide")(decide)
    verb(cases, "confirm")(confirm)
    safety = group(app, "safety", "What screening looks for.")
    verb(safety, "rules")(rules)


def _stub(call: Invocation) -> "cases_pb2_grpc.CaseServiceStub":
    from kept.safety_review.v1 import cases_pb2_grpc

    return cases_pb2_grpc.CaseServiceStub(call.channel("safety_review"))


def _show(call: Invocation, response: Any) -> None:
    from kept.cli.output import sheet, table

    found = response.case
    call.show(
        response,
        lambda: [
            sheet(found, skip=("flags",)),
            "",
            table(found.flags, ["record_id", ("rules", "rule_ids"), "flagged_at"], "Nothing is flagged."),
        ],
    )


def list_(
    call: Invocation,
    state: Annotated[CaseState | None, typer.Option("--state", help="Only in this state.")] = None,
    limit: Limit = 100,
) -> None:
    """Cases, the most severe and oldest first."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.safety_review.v1 import cases_pb2

    wanted = cases_pb2.ListCasesRequest()
    if state is not None:
        wanted.state = enum_value(cases_pb2.CaseState, "CASE_STATE", state)
    response = pages(_stub(call).ListCases, wanted, limit)
    columns = ["case_id", "severity", "category", "state", "organization_id", "opened_at", "claimed_by"]
    call.show(response, lambda: table(response.cases, columns, "There is no case."))


def show(call: Invocation, case: _Case) -> None:
    """One case, and the records that were flagged. Read them with a grant: kept access request --case CASE --record UUID …"""
    from kept.safety_review.v1 import cases_pb2

    _show(call, _stub(call).GetCase(cases_pb2.GetCaseRequest(case_id=case)))


def claim(call: Invocation, case: _Case) -> None:
    """Take a case for eight hours."""
    from kept.safety_review.v1 import cases_pb2

    _show(call, _stub(call).ClaimCase(cases_pb2.ClaimCaseRequest(case_id=case)))


def decide(
    call: Invocation,
    case: _Case,
    finding: Annotated[Finding, typer.Argument(help="What you found.")],
    reason: Annotated[
        str, typer.Option("--reason", "-r", metavar="TEXT", help="Why, in one line, quoting no content.")
    ],
    etag: _Etag = "",
) -> None:
    """Decide a case that you have claimed. "no-violation" closes it at once; "violation" waits for a second person."""
    from kept.safety_review.v1 import cases_pb2

    _show(
        call,
        _stub(call).DecideCase(
            cases_pb2.DecideCaseRequest(
                case_id=case,
                decision=enum_value(cases_pb2.Decision, "DECISION", finding),
                reason=reason,
                etag=etag or _current(call, case),
            )
        ),
    )


def confirm(
    call: Invocation,
    case: _Case,
    send_back: Annotated[bool, typer.Option("--send-back", help="Do not confirm: open it again.")] = False,
    etag: _Etag = "",
) -> None:
    """Confirm a violation, or send the case back.

    Never by who decided it.
    """
    from kept.safety_review.v1 import cases_pb2

    _show(
        call,
        _stub(call).ConfirmDecision(
            cases_pb2.ConfirmDecisionRequest(
                case_id=case, confirm=not send_back, etag=etag or _current(call, case)
            )
        ),
    )


def _current(call: Invocation, case: str) -> str:
    from kept.safety_review.v1 import cases_pb2

    return str(_stub(call).GetCase(cases_pb2.GetCaseRequest(case_id=case)).case.etag)


def rules(call: Invocation) -> None:
    """The rules in force, and their version."""
    from kept.cli.output import table
    from kept.safety_review.v1 import detectors_pb2, detectors_pb2_grpc

    stub = detectors_pb2_grpc.DetectorServiceStub(call.channel("safety_review"))
    response = stub.ListRules(detectors_pb2.ListRulesRequest())
    call.show(
        response,
        lambda: [
            f"Version {response.rules_version}",
            table(response.rules, ["rule_id", "category", "severity"], "There is no rule."),
        ],
    )
