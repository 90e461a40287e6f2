"""kept.safety_review.v1.DetectorService."""

from typing import Final

import grpc

from kept.safety_review.v1 import cases_pb2, detectors_pb2, detectors_pb2_grpc, screening_pb2
from services.safety_review.detectors import Detector, Detectors
from services.safety_review.flags import RANKS
from services.safety_review.in_force import version_of
from services.safety_review.matching import Verdict
from services.safety_review.rules import Action
from services.safety_review.screening import RULES
from shared.pipeline import caller_of

_MOST_MATCHES: Final = 1_000
_VERDICTS: Final = {
    Verdict.CLEAN: screening_pb2.VERDICT_CLEAN,
    Verdict.FLAGGED: screening_pb2.VERDICT_FLAGGED,
    Verdict.INCOMPLETE: screening_pb2.VERDICT_INCOMPLETE,
}


def severity(rank: int) -> "cases_pb2.Severity.ValueType":
    """A severity of the rules, 1 to 4, as the contract says it: "critical" is HIGH too, and only comes first."""
    return (cases_pb2.SEVERITY_LOW, cases_pb2.SEVERITY_MEDIUM, cases_pb2.SEVERITY_HIGH)[min(rank, 3) - 1]


class DetectorServicer(detectors_pb2_grpc.DetectorServiceServicer):
    """Shows, tries and reloads what screening looks for."""

    def __init__(self, detectors: Detectors) -> None:
        self._detectors = detectors

    def ListRules(
        self, request: detectors_pb2.ListRulesRequest, context: grpc.ServicerContext
    ) -> detectors_pb2.ListRulesResponse:
        """See the contract."""
        rules = self._detectors.rules
        return detectors_pb2.ListRulesResponse(
            rules_version=version_of(rules),
            rules=[
                detectors_pb2.Rule(
                    rule_id=rule.id, category=rule.category.value, severity=severity(RANKS[rule.severity])
                )
                for rule in rules.rules
            ],
        )

    def ListDetectors(
        self, request: detectors_pb2.ListDetectorsRequest, context: grpc.ServicerContext
    ) -> detectors_pb2.ListDetectorsResponse:
        """See the contract."""
        found, token = self._detectors.page(request.page_size, request.page_token)
        return detectors_pb2.ListDetectorsResponse(
            detectors=[_detector(one) for one in found], next_page_token=token
        )

    def TestDetector(
        self, request: detectors_pb2.TestDetectorRequest, context: grpc.ServicerContext
    ) -> detectors_pb2.TestDetectorResponse:
        """See the contract."""
        matcher, screening = self._detectors.test(request.text, request.draft)
        return detectors_pb2.TestDetectorResponse(
            rules_version=version_of(matcher.rules),
            verdict=_VERDICTS[screening.verdict],
            matches=[
                detectors_pb2.RuleMatch(
                    rule_id=hit.rule_id,
                    start=hit.start.offset,
                    end=hit.end.offset,
                    flags=matcher.rule(hit.rule_id).action is Action.FLAG,
                )
                for hit in screening.hits[:_MOST_MATCHES]
            ],
        )

    def ReloadRules(
        self, request: detectors_pb2.ReloadRulesRequest, context: grpc.ServicerContext
    ) -> detectors_pb2.ReloadRulesResponse:
        """See the contract."""
        before, after = self._detectors.reload(caller_of(context), request.sha256)
        return detectors_pb2.ReloadRulesResponse(rules_version=after, previous_version=before)


def _detector(one: Detector) -> detectors_pb2.Detector:
    is_rules = one.name == RULES
    message = detectors_pb2.Detector(
        name=one.name,
        kind=detectors_pb2.DETECTOR_KIND_RULES if is_rules else detectors_pb2.DETECTOR_KIND_EXTERNAL,
        version=one.version,
        asked=one.is_asked,
        not_screened=sum(one.reasons.values()),
        reasons=one.reasons,
    )
    if one.since is not None:
        message.in_force_since.FromDatetime(one.since)
    return message
