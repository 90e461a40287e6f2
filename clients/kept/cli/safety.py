"""`kept safety`: what screening looks for."""

from typing import TYPE_CHECKING

import typer

from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from kept.safety_review.v1 import detectors_pb2_grpc


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    safety = group(app, "safety", "What screening looks for, how good it is, and what came of it.")
    verb(safety, "rules")(rules)


def _detectors(call: Invocation) -> "detectors_pb2_grpc.DetectorServiceStub":
    from kept.safety_review.v1 import detectors_pb2_grpc

    return detectors_pb2_grpc.DetectorServiceStub(call.channel("safety_review"))


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
