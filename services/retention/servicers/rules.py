"""kept.retention.v1.RuleService."""

from typing import Final

import grpc

from kept.retention.v1 import rules_pb2, rules_pb2_grpc
from services.retention.rules import RuleBook

_DEFAULT_PAGE: Final = 1000


class RuleServicer(rules_pb2_grpc.RuleServiceServicer):
    """Serves the leased replica of rules."""

    def __init__(self, rules: RuleBook) -> None:
        self._rules = rules

    def ListRuleChanges(
        self, request: rules_pb2.ListRuleChangesRequest, context: grpc.ServicerContext
    ) -> rules_pb2.ListRuleChangesResponse:
        return self._rules.poll(request.since_version, request.page_size or _DEFAULT_PAGE)
