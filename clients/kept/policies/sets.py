"""A set of policies and its decisions.

Cedar skips a policy that fails to evaluate, a `forbid` too: any error in its diagnostics is a denial here.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import cedarpy

from kept.policies.conditions import Leaf, parse, read_policies
from kept.policies.explanations import Explanation, Explanations

# Cedar's JSON form: {"uid": {"type", "id"}, "attrs": {…}, "parents": []}.
Entity = dict[str, Any]

_IN_ERROR: Final = re.compile(r"policy `?(policy\d+)`?")


class PolicyError(Exception):
    """A set that cannot be used. problems: each in one sentence that names the policy or file."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Verdict:
    """What a set says. policies: ids of the policies that decided: the permits of what is allowed, the forbids of what is denied; none
    where nothing permits it. errors: ids of policies that could not be evaluated, which alone is a denial."""

    allowed: bool
    policies: tuple[str, ...]
    errors: tuple[str, ...] = ()
    # The first error in Cedar's words, which may quote what was asked; never for a log.
    problem: str = field(default="", repr=False)


class PolicySet:
    """Policies that fit their schema, each with an id of its own. Immutable.

    sha256: of the text, in hex: `cat *.cedar | sha256sum` for the files of a folder.
    """

    def __init__(self, text: str, schema: str) -> None:
        """Raises PolicyError with all that is wrong."""
        try:
            parsed = parse(text)
            self._policies, self._leaves = read_policies(parsed)
            self._cedar = cedarpy.PolicySet.from_str(text)
            self._schema = cedarpy.Schema.from_str(schema)
        except ValueError as error:
            raise PolicyError([f"it is no Cedar: {error}"]) from error
        problems = list(_unnamed(parsed))
        checked = cedarpy.validate_policies(text, schema)
        problems += [
            f"{self._named(error.policy_id)} does not fit the schema: {error.error}"
            for error in checked.errors
        ]
        if problems or not checked.validation_passed:
            raise PolicyError(problems or ["it does not fit the schema"])
        self.text, self.schema_text = text, schema
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of all policies, in their order."""
        return tuple(policy.name for policy in self._policies.values())

    @property
    def conditions(self) -> tuple[Leaf, ...]:
        """All conditions, in their order."""
        return tuple(self._leaves)

    def changed(self, parsed: dict[str, Any]) -> "PolicySet":
        """Another set, given in Cedar's JSON form, with the ids that policies have here; whether it fits the schema is not looked at. For
        tests of what a change would do, not for decisions."""
        other = copy(self)
        other._cedar = cedarpy.PolicySet.from_json_str(json.dumps(parsed))
        return other

    def decide(
        self,
        principal: Entity,
        action: str,
        resource: Entity,
        context: Mapping[str, object] | None = None,
        *,
        checked: bool = False,
    ) -> Verdict:
        """The decision. checked: whether request and entities are compared with the schema first, which takes longer; what does not fit it
        is an error, and so a denial."""
        asked = request(principal, action, resource, context)
        return self.decide_on(asked, json.dumps([principal, resource]), checked=checked)

    def decide_on(
        self, asked: dict[str, Any], entities: str | cedarpy.Entities, *, checked: bool = False
    ) -> Verdict:
        """The same for a request and entities in Cedar's form."""
        result = cedarpy.is_authorized(asked, self._cedar, entities, schema=self._schema if checked else None)
        found = result.diagnostics
        decided = tuple(sorted(self._named(reason) for reason in found.reasons))
        if found.errors:
            failed = {self._named(key) for error in found.errors for key in _IN_ERROR.findall(error)}
            errors = tuple(sorted(failed)) or ("the request",)
            return Verdict(False, decided if not result.allowed else (), errors, found.errors[0])
        return Verdict(result.allowed, decided)

    def explain(
        self,
        principal: Entity,
        action: str,
        resource: Entity,
        context: Mapping[str, object] | None = None,
    ) -> Explanation:
        """Why it is denied, found by evaluating each condition by itself. Only of use for a denial."""
        verdict = self.decide(principal, action, resource, context)
        asked = request(principal, action, resource, context)
        return self._explanations.explain(asked, [principal, resource], verdict.policies, verdict.errors)

    @cached_property
    def _explanations(self) -> Explanations:
        return Explanations(self._policies, self._leaves)

    def _named(self, key: str) -> str:
        policy = self._policies.get(key)
        return policy.name if policy is not None else key or "the set"


def request(
    principal: Entity, action: str, resource: Entity, context: Mapping[str, object] | None
) -> dict[str, Any]:
    """A request in Cedar's form."""
    return {
        "principal": principal["uid"],
        "action": {"type": "Action", "id": action},
        "resource": resource["uid"],
        "context": dict(context or {}),
    }


def _unnamed(parsed: dict[str, Any]) -> list[str]:
    """What keeps a decision from naming its policies."""
    problems = []
    if parsed["templates"] or parsed["templateLinks"]:
        problems.append("it holds a template; write out each policy")
    if not parsed["staticPolicies"]:
        problems.append("it holds no policy")
    seen = set()
    for key, policy in parsed["staticPolicies"].items():
        name = policy.get("annotations", {}).get("id")
        if not name:
            problems.append(f'{key} (counted from 0) has no @id("…")')
        elif name in seen:
            problems.append(f"{name} is the id of two policies")
        seen.add(name)
    return problems
