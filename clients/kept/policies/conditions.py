"""What policies are made of: the conditions of each, as a tree.

Works on Cedar's JSON form of policies (https://docs.cedarpolicy.com/policies/json-format.html), never on text.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

import cedarpy

# Cedar's JSON: an expression is an object with one key, its operator.
Expression = dict[str, Any]

ANYBODY: Final = {"op": "All"}


@dataclass(frozen=True)
class Leaf:
    """One condition that is not made of others. number: its place among all of the set's."""

    number: int
    expression: Expression

    @property
    def text(self) -> str:
        """In Cedar's words."""
        return expression_text(self.expression)


@dataclass(frozen=True)
class Junction:
    """Conditions of which all (`is_all`) or at least one must hold."""

    is_all: bool
    parts: tuple["Tree", ...]


@dataclass(frozen=True)
class Negation:
    """What must not hold."""

    part: "Tree"


Tree = Leaf | Junction | Negation


@dataclass(frozen=True)
class Policy:
    """One policy. applies: what has to hold besides its scope for it to count. scope: principal, action and resource in Cedar's JSON.
    advice: what its author says to those whom it stops, by the annotation `@advice("…")`."""

    name: str
    is_permit: bool
    scope: dict[str, Any]
    applies: Tree
    advice: str


class _Leaves:
    """Numbers conditions as they are met."""

    def __init__(self) -> None:
        self.found: list[Leaf] = []

    def tree(self, expression: Expression) -> Tree:
        operator, operands = operation(expression)
        if operator in ("&&", "||"):
            sides = (self.tree(operands["left"]), self.tree(operands["right"]))
            return _joined(operator == "&&", sides)
        if operator == "!":
            return Negation(self.tree(operands["arg"]))
        if operator == "!=":
            return Negation(self.tree({"==": operands}))
        leaf = Leaf(len(self.found), expression)
        self.found.append(leaf)
        return leaf


def _joined(is_all: bool, sides: tuple[Tree, ...]) -> Tree:
    """As one list: a && (b && c) is a, b, c."""
    parts: list[Tree] = []
    for side in sides:
        parts += side.parts if isinstance(side, Junction) and side.is_all == is_all else (side,)
    return parts[0] if len(parts) == 1 else Junction(is_all, tuple(parts))


def operation(expression: Expression) -> tuple[str, Any]:
    """The operator, and what it works on."""
    ((operator, operands),) = expression.items()
    return operator, operands


def parse(text: str) -> dict[str, Any]:
    """Cedar's JSON form of a whole set. Raises ValueError for what is no Cedar."""
    parsed: dict[str, Any] = json.loads(cedarpy.policies_to_json_str(text))
    return parsed


def read_policies(parsed: dict[str, Any]) -> tuple[dict[str, Policy], list[Leaf]]:
    """The policies by Cedar's own id ("policy0", …), and all their conditions in order."""
    leaves = _Leaves()
    policies = {}
    for key, policy in parsed["staticPolicies"].items():
        clauses: list[Tree] = []
        for condition in policy["conditions"]:
            tree = leaves.tree(condition["body"])
            clauses.append(Negation(tree) if condition["kind"] == "unless" else tree)
        annotations = policy.get("annotations", {})
        policies[key] = Policy(
            annotations.get("id") or key,
            policy["effect"] == "permit",
            {part: policy[part] for part in ("principal", "action", "resource")},
            _joined(True, tuple(clauses)) if clauses else Junction(True, ()),
            annotations.get("advice") or "",
        )
    return policies, leaves.found


def expression_text(expression: Expression) -> str:
    """An expression as Cedar writes it, on one line."""
    policy = {
        "effect": "permit",
        "principal": ANYBODY,
        "action": ANYBODY,
        "resource": ANYBODY,
        "conditions": [{"kind": "when", "body": expression}],
        "annotations": {},
    }
    whole = {"staticPolicies": {"policy0": policy}, "templates": {}, "templateLinks": []}
    text = " ".join(cedarpy.policies_from_json_str(json.dumps(whole)).split())
    return text[text.index("{") + 1 : text.rindex("}")].strip()
