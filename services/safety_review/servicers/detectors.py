"""kept.safety_review.v1.DetectorService."""

import grpc

from kept.safety_review.v1 import cases_pb2, detectors_pb2, detectors_pb2_grpc
from services.safety_review.flags import RANKS
from services.safety_review.rules import RuleSet
from services.safety_review.screening import version_of


def severity(rank: int) -> "cases_pb2.Severity.ValueType":
    """A severity of the rules, 1 to 4, as the contract says it: "critical" is HIGH too, and only comes first."""
    return (cases_pb2.SEVERITY_LOW, cases_pb2.SEVERITY_MEDIUM, cases_pb2.SEVERITY_HIGH)[min(rank, 3) - 1]


class DetectorServicer(detectors_pb2_grpc.DetectorServiceServicer):
    """Shows the rules in force."""

    def __init__(self, rules: RuleSet) -> None:
        self._answer = detectors_pb2.ListRulesResponse(
            rules_version=version_of(rules),
            rules=[
                detectors_pb2.Rule(
                    rule_id=rule.id, category=rule.category.value, severity=severity(RANKS[rule.severity])
                )
                for rule in rules.rules
            ],
        )

    def ListRules(
        self, request: detectors_pb2.ListRulesRequest, context: grpc.ServicerContext
    ) -> detectors_pb2.ListRulesResponse:
        """See the contract."""
        return self._answer
