"""kept.safety_review.v1.LogRuleService."""

import grpc

from kept.logging.v1 import interactions_pb2
from kept.safety_review.v1 import log_rules_pb2, log_rules_pb2_grpc
from services.safety_review.detection.rule_fields import Action
from services.safety_review.log_data.findings import LogFindings, Over
from services.safety_review.log_data.questions import LogQuestions, Question, Standing
from services.safety_review.log_data.rules import Group, KeyKind, Measure
from services.safety_review.reviewing.flags import RANKS
from services.safety_review.servicers.detectors import severity
from shared.fields import instant


class LogRuleServicer(log_rules_pb2_grpc.LogRuleServiceServicer):
    """Asks logging, takes its answers, and shows the rules."""

    def __init__(self, questions: LogQuestions, findings: LogFindings) -> None:
        self._questions = questions
        self._findings = findings

    def TakeLogQuestion(
        self, request: log_rules_pb2.TakeLogQuestionRequest, context: grpc.ServicerContext
    ) -> log_rules_pb2.TakeLogQuestionResponse:
        """See the contract."""
        taken = self._questions.take()
        if taken is None:
            return log_rules_pb2.TakeLogQuestionResponse()
        question, may_pass_until = taken
        message = _question(question)
        if may_pass_until > question.ends:
            message.may_pass_until.FromDatetime(may_pass_until)
        return log_rules_pb2.TakeLogQuestionResponse(question=message)

    def AnswerLogQuestion(
        self, request: log_rules_pb2.AnswerLogQuestionRequest, context: grpc.ServicerContext
    ) -> log_rules_pb2.AnswerLogQuestionResponse:
        """See the contract."""
        asked = request.question
        self._findings.answer(
            asked.rule_id,
            asked.rules_version,
            instant("question.from", getattr(asked, "from")),
            [
                Over(
                    one.organization_id,
                    one.member,
                    one.counted,
                    {record.record_id: record.has_content for record in one.records},
                )
                for one in request.over
            ],
            is_last=asked.last,
            done=request.done,
            nothing_until=instant("nothing_until", request.nothing_until)
            if request.HasField("nothing_until")
            else None,
        )
        return log_rules_pb2.AnswerLogQuestionResponse()

    def ListLogRules(
        self, request: log_rules_pb2.ListLogRulesRequest, context: grpc.ServicerContext
    ) -> log_rules_pb2.ListLogRulesResponse:
        """See the contract."""
        found, token = self._questions.page(request.page_size, request.page_token)
        return log_rules_pb2.ListLogRulesResponse(rules=map(_rule, found), next_page_token=token)


def _measure(measure: Measure) -> "log_rules_pb2.LogMeasure.ValueType":
    return log_rules_pb2.LogMeasure.Value(f"LOG_MEASURE_{measure.name}")


def _group(group: Group) -> "log_rules_pb2.LogGroup.ValueType":
    return log_rules_pb2.LogGroup.Value(f"LOG_GROUP_{group.name}")


def _kind(kind: KeyKind | None) -> "interactions_pb2.ApiKeyKind.ValueType":
    if kind is None:
        return interactions_pb2.API_KEY_KIND_UNSPECIFIED
    return interactions_pb2.ApiKeyKind.Value(f"API_KEY_KIND_{kind.name}")


def _question(one: Question) -> log_rules_pb2.LogQuestion:
    rule = one.rule
    message = log_rules_pb2.LogQuestion(
        rule_id=rule.id,
        rules_version=one.rules_version,
        last=one.is_last,
        measure=_measure(rule.measure),
        group=_group(rule.group),
        finish_reasons=rule.finish_reasons,
        api_key_kind=_kind(rule.key_kind),
        threshold=rule.threshold,
        countries=rule.countries,
    )
    getattr(message, "from").FromDatetime(one.begins)
    message.until.FromDatetime(one.ends)
    return message


def _rule(standing: Standing) -> log_rules_pb2.LogRule:
    rule = standing.rule
    message = log_rules_pb2.LogRule(
        rule_id=rule.id,
        category=rule.category.value,
        severity=severity(RANKS[rule.severity]),
        flags=rule.action is Action.FLAG,
        measure=_measure(rule.measure),
        group=_group(rule.group),
        threshold=rule.threshold,
        findings=standing.findings,
        finish_reasons=rule.finish_reasons,
        api_key_kind=_kind(rule.key_kind),
        countries=rule.countries,
    )
    message.window.FromTimedelta(rule.window)
    if standing.looked_until is not None:
        message.looked_until.FromDatetime(standing.looked_until)
    return message
