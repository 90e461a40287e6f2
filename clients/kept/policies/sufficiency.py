"""Whether a table of cases suffices: for each condition of each policy there is a case that fails without it.

Takes out one policy, one condition, one part of a scope, or one element of a list at a time, in Cedar's JSON form.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import cedarpy

from kept.policies.cases import Case, Table
from kept.policies.conditions import ANYBODY, Expression, expression_text, operation, parse
from kept.policies.sets import PolicySet


def needed_by(policies: PolicySet, table: Table) -> Iterator[tuple[str, Case | str]]:
    """For each condition that a set could lack, the first case that fails without it: (what is missing, case). In the place of a case,
    "the schema" where the rest would not fit it, and "" where nothing notices."""
    for missing, parsed in without_one_condition(policies.text, policies.schema_text):
        failure = next(table.failures(policies.changed(parsed), decisions_only=True), None)
        if failure is not None:
            yield missing, failure.case
        else:
            text = cedarpy.policies_from_json_str(json.dumps(parsed))
            yield missing, "" if _valid(text, policies.schema_text) else "the schema"


def without_one_condition(text: str, schema: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every set that lacks one condition, as (what is missing, the set in Cedar's JSON form). A part of a scope that the schema says anyway
    is no condition: nothing else could ask for that action."""
    whole = parse(text)
    declared = {kind: _declared(schema, kind) for kind in ("entity", "action")}

    def changed(key: str, put: Any | None) -> dict[str, Any]:
        policies = {**whole["staticPolicies"], key: put}
        if put is None:
            del policies[key]
        return {**whole, "staticPolicies": policies}

    for key, policy in whole["staticPolicies"].items():
        name = policy.get("annotations", {}).get("id") or key
        yield f"{name}: the whole policy", changed(key, None)
        for part in ("principal", "action", "resource"):
            for label, scope in _wider(policy, part, schema, declared):
                yield f"{name}: {label}", changed(key, {**policy, part: scope})
        for place, condition in enumerate(policy["conditions"]):
            bodies = list(_without_one(condition["body"]))
            bodies.append(("the whole clause", {"Value": condition["kind"] == "when"}))
            for label, body in bodies:
                conditions = [*policy["conditions"]]
                conditions[place] = {**condition, "body": body}
                yield (
                    f"{name}: {condition['kind']} {label}",
                    changed(key, {**policy, "conditions": conditions}),
                )


def _declared(schema: str, kind: str) -> list[str]:
    """Names of entity types, or of actions, that the schema declares."""
    return re.findall(rf"^{kind} (\w+)", schema, re.MULTILINE)


def _wider(
    policy: dict[str, Any], part: str, schema: str, declared: dict[str, list[str]]
) -> Iterator[tuple[str, Any]]:
    """The part of the scope, wider by what it says, where that says anything."""
    scope = policy[part]
    if scope["op"] == "All":
        return
    if part == "action":
        others = [
            {"op": "==", "entity": {"type": "Action", "id": name}}
            for name in declared["action"]
            if scope.get("entity", {}).get("id") != name
        ]
        label, wider = "which action", ANYBODY
    elif scope["op"] == "==":
        yield f"which {part}", {"op": "is", "entity_type": scope["entity"]["type"]}
        return
    else:
        others = [
            {"op": "is", "entity_type": name}
            for name in declared["entity"]
            if name != scope.get("entity_type")
        ]
        label, wider = f"what kind of {part}", ANYBODY
    if any(_possible({**policy, part: other}, schema) for other in others):
        yield label, wider


def _possible(policy: dict[str, Any], schema: str) -> bool:
    """Whether by the schema anybody could ask what a policy of this scope is about."""
    scope = {part: policy[part] for part in ("principal", "action", "resource")}
    probe = {"effect": "permit", **scope, "conditions": [], "annotations": {}}
    whole = {"staticPolicies": {"policy0": probe}, "templates": {}, "templateLinks": []}
    return _valid(cedarpy.policies_from_json_str(json.dumps(whole)), schema)


@lru_cache(maxsize=1000)
def _valid(text: str, schema: str) -> bool:
    return cedarpy.validate_policies(text, schema).validation_passed


def _without_one(expression: Expression) -> Iterator[tuple[str, Expression]]:
    """The expression with one condition taken out: an operand of && or ||, an element of a list, the whole of it."""
    operator, operands = operation(expression)
    if operator in ("&&", "||"):
        for side in ("left", "right"):
            neutral = {"Value": operator == "&&"}
            yield from _operand_out(expression, operator, side, neutral)
    elif operator == "!":
        for label, changed in _without_one(operands["arg"]):
            yield label, {"!": {"arg": changed}}
    else:
        yield from _element_out(expression)


def _operand_out(
    expression: Expression, operator: str, side: str, neutral: Expression
) -> Iterator[tuple[str, Expression]]:
    operands = expression[operator]
    inner = operands[side]
    if operation(inner)[0] in ("&&", "||"):
        changes = list(_without_one(inner))
        # A group in a group of the other kind is a condition itself; in one of its own kind its parts are.
        if operation(inner)[0] != operator:
            changes.append((expression_text(inner), neutral))
    else:
        changes = [*_without_one(inner), (expression_text(inner), neutral)]
    for label, changed in changes:
        yield label, {operator: {**operands, side: changed}}


def _element_out(expression: Expression) -> Iterator[tuple[str, Expression]]:
    """A list of two or more literals anywhere in a comparison, without one of them."""
    operator, operands = operation(expression)
    if not isinstance(operands, dict):
        return
    for side, operand in operands.items():
        elements = operand.get("Set") if isinstance(operand, dict) else None
        if isinstance(elements, list) and len(elements) > 1:
            for place in range(len(elements)):
                fewer = {"Set": elements[:place] + elements[place + 1 :]}
                label = f"{expression_text(elements[place])} in {expression_text(expression)}"
                yield label, {operator: {**operands, side: fewer}}
