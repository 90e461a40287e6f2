"""kept.safety_review.v1.DetectorService."""

from typing import Final

import grpc

from kept.safety_review.v1 import cases_pb2, detectors_pb2, detectors_pb2_grpc, screening_pb2
from services.safety_review.detection.detectors import Detector, Detectors
from services.safety_review.detection.in_force import version_of
from services.safety_review.detection.matching import Verdict
from services.safety_review.detection.rescreening import Rescreenings
from services.safety_review.detection.rule_fields import Action
from services.safety_review.detection.screening import RULES
from services.safety_review.reviewing.flags import RANKS
from services.safety_review.store.rescreenings import Rescreening
from shared.fields import instant
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

    def __init__(self, detectors: Detectors, rescreenings: Rescreenings) -> None:
        self._detectors = detectors
        self._rescreenings = rescreenings

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

    def StartRescreening(
        self, request: detectors_pb2.StartRescreeningRequest, context: grpc.ServicerContext
    ) -> detectors_pb2.StartRescreeningResponse:
        """See the contract."""
        there = self._rescreenings.start(
            caller_of(context),
            request.grant_id,
            request.organization_id,
            instant("from", getattr(request, "from")),
            instant("until", request.until),
        )
        return detectors_pb2.StartRescreeningResponse(rescreening=_rescreening(there))

    def ListRescreenings(
        self, request: detectors_pb2.ListRescreeningsRequest, context: grpc.ServicerContext
    ) -> detectors_pb2.ListRescreeningsResponse:
        """See the contract."""
        found, token = self._rescreenings.page(request.page_size, request.page_token)
        return detectors_pb2.ListRescreeningsResponse(
            rescreenings=[_rescreening(one) for one in found], next_page_token=token
        )


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


def _rescreening(one: Rescreening) -> detectors_pb2.Rescreening:
    message = detectors_pb2.Rescreening(
        grant_id=one.grant_id,
        organization_id=one.organization_id,
        rules_version=one.rules_version,
        state=one.state,
        screened=one.screened,
        left_out=one.left_out,
        problem=one.problem,
        started_by=one.started_by,
    )
    getattr(message, "from").FromDatetime(one.created_from)
    message.until.FromDatetime(one.created_until)
    message.started_at.FromDatetime(one.started_at)
    return message
