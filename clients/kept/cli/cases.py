"""`kept cases`: what was flagged or reported, looked at by people; and what a customer is told of it."""

import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kept.cli.arguments import CaseState, Finding, Limit, Severity, enum_value, raw_ids, record_id
from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from kept.safety_review.v1 import cases_pb2, cases_pb2_grpc

_Case = Annotated[str, typer.Argument(metavar="CASE", help="Case id, case_….")]
_Why = Annotated[
    str, typer.Option("--reason", "-r", metavar="TEXT", help="Why, in one line, quoting no content.")
]
_Etag = Annotated[
    str,
    typer.Option(
        "--etag", help="Only if nothing changed since `show` gave this etag. The current one without it."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
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
    verb(cases, "next")(next_)
    verb(cases, "open")(open_)
    verb(cases, "escalate")(escalate)
    verb(cases, "refer")(refer)
    verb(cases, "reopen")(reopen)
    verb(cases, "own")(own)
    verb(cases, "appeal")(appeal)


def _stub(call: Invocation) -> "cases_pb2_grpc.CaseServiceStub":
    from kept.safety_review.v1 import cases_pb2_grpc

    return cases_pb2_grpc.CaseServiceStub(call.channel("safety_review"))


_LOG_FINDING = ["rule_id", "from", "until", "counted", "threshold", "records"]


def _show(call: Invocation, response: Any) -> None:
    from kept.cli.output import sheet, table

    found = response.case
    call.show(
        response,
        lambda: [
            sheet(found, skip=("flags", "rates", "log_findings")),
            *(("", table(found.rates, ["window", "flags", "one_end_user"], "")) if found.rates else ()),
            *(("", table(found.log_findings, _LOG_FINDING, "")) if found.log_findings else ()),
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
    columns = [
        "case_id",
        "severity",
        "category",
        "state",
        "organization_id",
        "due_at",
        "round",
        "desk",
        "claimed_by",
    ]
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
    reason: _Why,
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


def next_(call: Invocation) -> None:
    """Take the most urgent case that you may handle.

    What is overdue comes first, then what is worst.
    """
    from kept.safety_review.v1 import cases_pb2

    _show(call, _stub(call).ClaimNextCase(cases_pb2.ClaimNextCaseRequest()))


def open_(
    call: Invocation,
    organization: Annotated[str, typer.Argument(metavar="ORG", help="Organization id, org_….")],
    category: Annotated[
        str, typer.Argument(help="Category of the usage policy, as `kept safety rules` shows it.")
    ],
    record: Annotated[
        list[uuid.UUID],
        typer.Option(
            "--record", metavar="UUID", parser=record_id, help="What you saw; repeat it for several."
        ),
    ],
    reason: _Why,
    severity: Annotated[Severity, typer.Option("--severity", help="How bad it would be.")] = Severity.MEDIUM,
    request_id: Annotated[
        str, typer.Option("--request-id", help="To say the same again without doing it twice.")
    ] = "",
) -> None:
    """Open a case that no detector found, and hold its records.

    Where a case of this kind is open, they join it.
    """
    from kept.safety_review.v1 import cases_pb2

    request = cases_pb2.OpenCaseRequest(
        request_id=call.request_id(request_id),
        organization_id=organization,
        category=category,
        severity=enum_value(cases_pb2.Severity, "SEVERITY", severity),
        record_ids=raw_ids(record),
        reason=reason,
    )
    _show(call, _stub(call).OpenCase(request))


def escalate(call: Invocation, case: _Case, reason: _Why, etag: _Etag = "") -> None:
    """Hand a case that you have claimed to a colleague, one severity up."""
    from kept.safety_review.v1 import cases_pb2

    _hand_on(call, case, cases_pb2.DESK_SAFETY, reason, etag)


def refer(call: Invocation, case: _Case, reason: _Why, etag: _Etag = "") -> None:
    """Hand a case that you have claimed to legal staff."""
    from kept.safety_review.v1 import cases_pb2

    _hand_on(call, case, cases_pb2.DESK_LEGAL, reason, etag)


def _hand_on(call: Invocation, case: str, desk: "cases_pb2.Desk.ValueType", reason: str, etag: str) -> None:
    from kept.safety_review.v1 import cases_pb2

    request = cases_pb2.EscalateCaseRequest(
        case_id=case, desk=desk, reason=reason, etag=etag or _current(call, case)
    )
    _show(call, _stub(call).EscalateCase(request))


def reopen(call: Invocation, case: _Case, reason: _Why, etag: _Etag = "") -> None:
    """Open a closed case again, for others to decide."""
    from kept.safety_review.v1 import cases_pb2

    request = cases_pb2.ReopenCaseRequest(case_id=case, reason=reason, etag=etag or _current(call, case))
    _show(call, _stub(call).ReopenCase(request))


def own(call: Invocation, limit: Limit = 100) -> None:
    """What your organization is told of its cases.

    Those that two people upheld, from then on.
    """
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.safety_review.v1 import cases_pb2

    response = pages(_stub(call).ListOwnCases, cases_pb2.ListOwnCasesRequest(), limit)
    columns = ["case_id", "category", "state", "records", "decided_at", "appeal_until", "appealed_at"]
    call.show(response, lambda: table(response.cases, columns, "You were told of no case."))


def appeal(
    call: Invocation,
    case: _Case,
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            "-r",
            metavar="TEXT",
            help="Why the decision is wrong, in one line; reviewers read it.",
        ),
    ],
) -> None:
    """Ask for another look at a case of your organization.

    Once, within 30 days of the decision. Somebody who had no part in it decides.
    """
    from kept.cli.output import sheet
    from kept.safety_review.v1 import cases_pb2

    response = _stub(call).AppealCase(cases_pb2.AppealCaseRequest(case_id=case, reason=reason))
    call.show(response, lambda: sheet(response.case))
