"""`kept safety`: what screening looks for, how good it is, and what came of it."""

from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kept.cli.arguments import Limit
from kept.cli.invocation import Invocation, group, verb
from kept.cli.named_files import read_bytes, read_text
from kept.cli.whole_files import whole_file

if TYPE_CHECKING:
    from kept.safety_review.v1 import detectors_pb2_grpc, evaluation_pb2_grpc

_Set = Annotated[str, typer.Argument(metavar="SET", help="Evaluation set, evalset_….")]
_SetOption = Annotated[
    str, typer.Option("--set", metavar="SET", help="With the detectors' figures on this evaluation set.")
]
_Html = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Write a page with plots, to forward; - is the terminal, and nothing else is shown.",
    ),
]
_STDOUT: Final = Path("-")
# Grants in a message, as the contract has it.
_A_MESSAGE: Final = 100
# Seconds for thousands of texts, looked at by two versions.
_EVALUATION: Final = 300.0


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    safety = group(app, "safety", "What screening looks for, how good it is, and what came of it.")
    verb(safety, "rules")(rules)
    verb(safety, "report")(report)
    verb(safety, "evaluate")(evaluate)
    sets = group(safety, "sets", "Evaluation sets: texts of upheld cases that name no customer.")
    verb(sets, "build")(build)
    verb(sets, "list")(list_)
    verb(sets, "delete")(delete)


def _detectors(call: Invocation) -> "detectors_pb2_grpc.DetectorServiceStub":
    from kept.safety_review.v1 import detectors_pb2_grpc

    return detectors_pb2_grpc.DetectorServiceStub(call.channel("safety_review"))


def _evaluation(call: Invocation) -> "evaluation_pb2_grpc.EvaluationServiceStub":
    from kept.safety_review.v1 import evaluation_pb2_grpc

    return evaluation_pb2_grpc.EvaluationServiceStub(call.channel("safety_review"))


def rules(call: Invocation) -> None:
    """The rules in force, and their version."""
    from kept.cli.output import table
    from kept.safety_review.v1 import detectors_pb2

    response = _detectors(call).ListRules(detectors_pb2.ListRulesRequest())
    call.show(
        response,
        lambda: [
            f"Version {response.rules_version}",
            table(response.rules, ["rule_id", "category", "severity"], "There is no rule."),
        ],
    )


def report(
    call: Invocation,
    month: Annotated[str, typer.Argument(metavar="YYYY-MM", help="The month, UTC.")],
    html: _Html = None,
    set_: _SetOption = "",
) -> None:
    """A month of safety review in numbers: volumes, flags, decisions, appeals.

    It names no customer and no person.
    """
    from kept.cli.output import sheet, table
    from kept.reporting.safety import safety_page
    from kept.safety_review.v1 import evaluation_pb2, reports_pb2, reports_pb2_grpc

    if set_ and html is None:
        raise typer.BadParameter("figures on a set go into the page: say where with --html FILE.")
    stub = reports_pb2_grpc.ReportServiceStub(call.channel("safety_review"))
    with nullcontext() if html is None else whole_file(html, private=False) as page:
        response = stub.GetSafetyReport(reports_pb2.GetSafetyReportRequest(month=month))
        if page is not None:
            figures = (
                _evaluation(call).EvaluateDetectors(
                    evaluation_pb2.EvaluateDetectorsRequest(set_id=set_), timeout=_EVALUATION
                )
                if set_
                else None
            )
            page.write(safety_page(response, figures).encode())
    if html == _STDOUT:
        return
    call.show(
        response,
        lambda: [
            sheet(response, skip=("days", "categories", "versions")),
            "",
            table(
                response.categories,
                ["category", "flags", "cases", "upheld", "dismissed"],
                "Nothing was flagged.",
            ),
        ],
    )


def build(
    call: Invocation,
    grant: Annotated[
        list[str],
        typer.Option(
            "--grant",
            "-g",
            metavar="GRANT",
            help="Yours, for an upheld case, asked for with --evaluation; repeat it for each case.",
        ),
    ],
    days: Annotated[int, typer.Option("--days", min=1, max=365, help="How long the set is kept.")] = 90,
    request_id: Annotated[
        str, typer.Option("--request-id", help="To say the same again without doing it twice.")
    ] = "",
) -> None:
    """Build a set of upheld cases. Ask for a grant for each first: kept access request --evaluation.

    Logging reads the cases' records under them and masks them: counted, and in the audit log. Nothing of them comes here. A category with
    too few customers behind it is left out.
    """
    from kept.cli.output import sheet, table
    from kept.safety_review.v1 import evaluation_pb2

    first = evaluation_pb2.BuildSetRequest(
        set=evaluation_pb2.SetRequest(request_id=call.request_id(request_id))
    )
    first.set.term.FromTimedelta(timedelta(days=days))
    named = (
        evaluation_pb2.BuildSetRequest(grant_ids=grant[start : start + _A_MESSAGE])
        for start in range(0, len(grant), _A_MESSAGE)
    )
    response = _evaluation(call).BuildSet(iter((first, *named)), timeout=_EVALUATION)
    call.show(
        response,
        lambda: [
            sheet(response.manifest, skip=("categories",)),
            "",
            table(response.manifest.categories, ["category", "items", "withheld"], "Nothing is in it."),
        ],
    )


def list_(call: Invocation, limit: Limit = 100) -> None:
    """The sets there are and were, newest first."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.safety_review.v1 import evaluation_pb2

    response = pages(_evaluation(call).ListSets, evaluation_pb2.ListSetsRequest(), limit)
    columns = ["set_id", "built_at", "built_by", "ends_at", "ended_at"]
    call.show(response, lambda: table(response.sets, columns, "There is no set."))


def delete(call: Invocation, set_: _Set) -> None:
    """End a set before its term. Its key is destroyed; the manifest stays."""
    from kept.cli.output import sheet
    from kept.safety_review.v1 import evaluation_pb2

    response = _evaluation(call).DeleteSet(evaluation_pb2.DeleteSetRequest(set_id=set_))
    call.show(response, lambda: sheet(response.manifest, skip=("categories",)))


def evaluate(
    call: Invocation,
    set_: _Set,
    candidate: Annotated[
        Path | None,
        typer.Option(
            "--candidate",
            metavar="FILE",
            help="A rules file to compare with the rules in force.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    controls: Annotated[
        Path | None,
        typer.Option(
            "--controls",
            metavar="FILE",
            help="Texts that break nothing, one a line, to count false alarms on. Never a customer's.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    html: _Html = None,
) -> None:
    """Precision, recall and F1 of the rules in force on a set, with intervals; and of a candidate, compared."""
    from kept.cli.output import table
    from kept.reporting.evaluation import evaluation_page
    from kept.safety_review.v1 import evaluation_pb2

    request = evaluation_pb2.EvaluateDetectorsRequest(set_id=set_)
    if candidate is not None:
        request.candidate_rules = read_bytes(candidate)
    if controls is not None:
        request.controls.extend(filter(None, read_text(controls).splitlines()))
    with nullcontext() if html is None else whole_file(html, private=False) as page:
        response = _evaluation(call).EvaluateDetectors(request, timeout=_EVALUATION)
        if page is not None:
            page.write(evaluation_page(response).encode())
    if html == _STDOUT:
        return
    shares = [
        (f"{name}{bound}", f"{name}.{field}")
        for name in ("precision", "recall", "f1")
        for bound, field in (("", "value"), (" from", "low"), (" to", "high"))
    ]
    versions = [response.current, *([response.candidate] if response.HasField("candidate") else [])]
    call.show(
        response,
        lambda: [
            *(
                part
                for version in versions
                for part in (
                    f"Rules {version.rules_version}",
                    table(version.categories, ["category", *shares], "Nothing is in the set."),
                    "",
                )
            ),
            *(
                [
                    table(
                        response.comparisons,
                        ["category", "both", "only_current", "only_candidate", "p_value"],
                        "",
                    )
                ]
                if response.comparisons
                else []
            ),
        ],
    )
