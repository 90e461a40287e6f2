"""May somebody call a method, by policy? To the same question the same set gives the same answer, so an answer that allows is kept: the
question is all there is to it, and it does not speak of time."""

from dataclasses import dataclass
from typing import Final

from kept.options.v1 import callers_pb2
from kept.policies import Entity, PolicySet
from services.access_control.authorization.policy import Authorization, Decision, method_entity
from shared.remembered import Remembered

_REMEMBERED: Final = 20_000


@dataclass(frozen=True)
class _Answer:
    principal: Entity
    policies: PolicySet
    decision: Decision


class CallPolicy:
    """The policies' word on calls."""

    def __init__(self, authorization: Authorization) -> None:
        self._authorization = authorization
        self._answers: Remembered[tuple[str, str], _Answer] = Remembered(_REMEMBERED)

    def require(self, principal: Entity, method: str, callers: callers_pb2.Callers) -> Decision:
        """The decision. Raises NOT_AUTHORIZED where it is denied."""
        key, policies = (principal["uid"]["id"], method), self._authorization.policies
        known = self._answers.get(key)
        if known is not None and known.policies is policies and known.principal == principal:
            return known.decision
        decision = self._authorization.require(principal, "CallMethod", method_entity(method, callers))
        if decision.policy_set == policies.sha256:  # another set may have come into use in between
            self._answers.put(key, _Answer(principal, policies, decision))
        return decision
