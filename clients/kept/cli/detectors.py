"""`kept detectors`: what screening looks for, for the staff who look after it."""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kept.cli.arguments import Limit, Organization, when
from kept.cli.invocation import Invocation, group, verb
from kept.cli.named_files import read_bytes, read_text

_From = Annotated[
    datetime, typer.Option("--from", metavar="TIME", parser=when, help="Created from this time on, UTC.")
]
_Until = Annotated[
    datetime, typer.Option("--until", metavar="TIME", parser=when, help="Created before this time, UTC.")
]

if TYPE_CHECKING:
    from kept.safety_review.v1 import detectors_pb2_grpc


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    detectors = group(app, "detectors", "Look after what screening looks for.")
    verb(detectors, "list")(list_)
    verb(detectors, "log-rules")(log_rules)
    verb(detectors, "test")(try_)
    verb(detectors, "reload")(reload)
    verb(detectors, "rescreen")(rescreen)
    verb(detectors, "rescreenings")(rescreenings)


def _stub(call: Invocation) -> "detectors_pb2_grpc.DetectorServiceStub":
    from kept.safety_review.v1 import detectors_pb2_grpc

    return detectors_pb2_grpc.DetectorServiceStub(call.channel("safety_review"))


def list_(call: Invocation, limit: Limit = 100) -> None:
    """The rules and each external detector, and what each of them did not screen."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.safety_review.v1 import detectors_pb2

    response = pages(_stub(call).ListDetectors, detectors_pb2.ListDetectorsRequest(), limit)
    columns = ["name", "kind", "version", "asked", "not_screened", "reasons", "in_force_since"]
    call.show(response, lambda: table(response.detectors, columns, "There is none."))


def log_rules(call: Invocation, limit: Limit = 100) -> None:
    """The rules over log data: how much of what, within which time, is too much; how far each is, and what it found."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.safety_review.v1 import log_rules_pb2, log_rules_pb2_grpc

    stub = log_rules_pb2_grpc.LogRuleServiceStub(call.channel("safety_review"))
    response = pages(stub.ListLogRules, log_rules_pb2.ListLogRulesRequest(), limit)
    columns = [
        "rule_id",
        "flags",
        "measure",
        "group",
        "threshold",
        "window",
        "finish_reasons",
        ("key", "api_key_kind"),
        "countries",
        "looked_until",
        "findings",
    ]
    call.show(response, lambda: table(response.rules, columns, "There is none."))


def try_(
    call: Invocation,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The text to try; - is the standard input.", allow_dash=True),
    ],
    draft: Annotated[
        Path | None,
        typer.Option(
            "--draft",
            metavar="RULES",
            help="A rules file to try instead of the rules in force; nothing changes.",
        ),
    ] = None,
) -> None:
    """Try rules on a text. Nothing of it is stored or logged. Places count characters from 0."""
    from kept.cli.output import enum_words, table
    from kept.safety_review.v1 import detectors_pb2, screening_pb2

    asked = detectors_pb2.TestDetectorRequest(
        text=read_text(file), draft=b"" if draft is None else read_bytes(draft)
    )
    response = _stub(call).TestDetector(asked)
    call.show(
        response,
        lambda: [
            f"{enum_words(screening_pb2.Verdict.DESCRIPTOR, response.verdict)} by version {response.rules_version}",
            table(response.matches, ["rule_id", "start", "end", "flags"], "No rule matches."),
        ],
    )


def reload(
    call: Invocation,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="RULES", help="The rules file that the service should have: only its hash is sent."
        ),
    ],
) -> None:
    """Put the service's rules file into force, if it is this one. It is tried on its own examples before; the change is audited."""
    from kept.safety_review.v1 import detectors_pb2

    digest = hashlib.sha256(read_bytes(file)).hexdigest()
    response = _stub(call).ReloadRules(detectors_pb2.ReloadRulesRequest(sha256=digest))
    changed = response.rules_version != response.previous_version
    call.show(
        response,
        lambda: [
            f"In force: {response.rules_version}"
            + (f" (before: {response.previous_version})" if changed else " (as before)")
        ],
    )


_COLUMNS = [
    "grant_id",
    "organization_id",
    "state",
    "screened",
    "left_out",
    "problem",
    "rules_version",
    "started_at",
]


def rescreen(
    call: Invocation,
    grant: Annotated[str, typer.Argument(metavar="GRANT", help="A grant for screening, approved: grant_….")],
    organization: Organization,
    since: _From,
    until: _Until,
) -> None:
    """Have what is stored screened by the rules in force. Ask for the grant first: kept access request --screening."""
    from kept.cli.output import sheet
    from kept.safety_review.v1 import detectors_pb2

    request = detectors_pb2.StartRescreeningRequest(grant_id=grant, organization_id=organization)
    getattr(request, "from").FromDatetime(since)
    request.until.FromDatetime(until)
    response = _stub(call).StartRescreening(request)
    call.show(response, lambda: [sheet(response.rescreening)])


def rescreenings(call: Invocation, limit: Limit = 100) -> None:
    """Re-screenings, the newest first, and how far they are."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.safety_review.v1 import detectors_pb2

    response = pages(_stub(call).ListRescreenings, detectors_pb2.ListRescreeningsRequest(), limit)
    call.show(response, lambda: table(response.rescreenings, _COLUMNS, "There is none."))
