"""Why a request was denied: which conditions of which policies did not hold, found by letting Cedar evaluate each by itself.

Nothing here guesses from the outcome. For a forbid that decided, the explanation names what would lift it; where nothing permits, what the
permit that comes nearest still asks for.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cedarpy

from kept.policies.conditions import Expression, Leaf, Negation, Policy, Tree
from kept.policies.words import WORDS

_ANYBODY: Final = {"op": "All"}
_VARIABLES: Final = ("principal", "resource", "context")


@dataclass(frozen=True)
class Explanation:
    """policies: the ids of the policies that stand in the way; none where no policy is about such a request at all. conditions: what
    did not hold, in Cedar's words. missing: the same in people's. advice: what the policies' authors say to it, if they do."""

    policies: tuple[str, ...]
    conditions: tuple[str, ...]
    missing: str
    advice: str = ""


@dataclass(frozen=True)
class _Need:
    """That a condition would have to hold, or (`holds` False) not to hold."""

    leaf: Leaf
    holds: bool

    @property
    def text(self) -> str:
        return self.leaf.text if self.holds else f"!({self.leaf.text})"


# Ways to what is asked for: each a list of needs that all have to be met.
_Ways = list[list[_Need]]


class Explanations:
    """Explains denials of one set of policies."""

    def __init__(self, policies: Mapping[str, Policy], leaves: Sequence[Leaf]) -> None:
        self._policies = dict(policies)
        probes = {f"condition{leaf.number}": _probe(body=leaf.expression) for leaf in leaves}
        probes |= {f"scope:{key}": _probe(scope=policy.scope) for key, policy in policies.items()}
        whole = {"staticPolicies": probes, "templates": {}, "templateLinks": []}
        self._probes = cedarpy.PolicySet.from_json_str(json.dumps(whole))

    def explain(
        self,
        request: dict[str, Any],
        entities: list[dict[str, Any]],
        decided: Sequence[str],
        errors: Sequence[str],
    ) -> Explanation:
        """decided: the forbids that decided, by id. errors: the policies that could not be evaluated."""
        if errors:
            names = tuple(errors)
            return Explanation(
                names,
                (),
                f"a policy that can be evaluated: {', '.join(names)} failed; tell whoever runs this service",
            )
        result = cedarpy.is_authorized(request, self._probes, json.dumps(entities))
        holding = frozenset(result.diagnostics.reasons)
        forbids = [policy for policy in self._policies.values() if policy.name in decided]
        if forbids:
            # Each of them has to be lifted; where there are several ways to do so that are as near, one of them.
            return _all_of([_lifting(policy, holding) for policy in forbids])
        permits = [
            (way, policy)
            for key, policy in self._policies.items()
            if policy.is_permit and f"scope:{key}" in holding
            for way in _ways(policy.applies, True, holding)
        ]
        if not permits:
            return Explanation((), (), "a policy that allows it")
        best = min(_rank(way) for way, _ in permits)
        return _one_of([_explanation(policy, way) for way, policy in permits if _rank(way) == best])


def _probe(*, body: Expression | None = None, scope: dict[str, Any] | None = None) -> dict[str, Any]:
    anybody = {"principal": _ANYBODY, "action": _ANYBODY, "resource": _ANYBODY}
    return {
        "effect": "permit",
        **(scope or anybody),
        "conditions": [{"kind": "when", "body": body}] if body is not None else [],
        "annotations": {},
    }


def _holds(tree: Tree, holding: frozenset[str]) -> bool:
    # A condition that fails to evaluate by itself, behind one that guards it, does not hold.
    if isinstance(tree, Leaf):
        return f"condition{tree.number}" in holding
    if isinstance(tree, Negation):
        return not _holds(tree.part, holding)
    parts = (_holds(part, holding) for part in tree.parts)
    return all(parts) if tree.is_all else any(parts)


def _ways(tree: Tree, wanted: bool, holding: frozenset[str]) -> _Ways:
    """How the tree could come to hold (or, `wanted` False, not to hold); [[]] where it does already, none where it cannot."""
    if _holds(tree, holding) == wanted:
        return [[]]
    if isinstance(tree, Leaf):
        return [[_Need(tree, wanted)]]
    if isinstance(tree, Negation):
        return _ways(tree.part, not wanted, holding)
    of_parts = [_ways(part, wanted, holding) for part in tree.parts]
    if tree.is_all == wanted:
        # All parts have to change: the nearest way of each.
        return [[need for ways in of_parts for need in _nearest(ways)]] if all(of_parts) else []
    return [way for ways in of_parts for way in ways]


def _nearest(ways: _Ways) -> list[_Need]:
    return min(ways, key=_rank)


def _rank(way: Sequence[_Need]) -> tuple[int, int, int]:
    """Nearer is less: first what is about the same thing, then what somebody can do something about, then what asks for less."""
    other = sum(1 for need in way if _names_what(need.leaf.expression))
    hopeless = sum(1 for need in way if not _words(need))
    return other, hopeless, len(way)


def _names_what(expression: Expression) -> bool:
    """Whether a condition only says what the request is about: an attribute of the resource compared with a literal."""
    return set(attributes(expression)) == {"resource.what"}


def attributes(expression: Any) -> Iterator[str]:
    """Attributes of principal, resource and context that an expression looks at."""
    if isinstance(expression, list):
        for part in expression:
            yield from attributes(part)
    elif isinstance(expression, dict):
        left = expression.get(".", {}).get("left") if isinstance(expression.get("."), dict) else None
        if isinstance(left, dict) and left.get("Var") in _VARIABLES:
            yield f"{left['Var']}.{expression['.']['attr']}"
            return
        for part in expression.values():
            yield from attributes(part)


def _literals(expression: Any) -> Iterator[str]:
    if isinstance(expression, list):
        for part in expression:
            yield from _literals(part)
    elif isinstance(expression, dict):
        if "Value" in expression:
            if isinstance(expression["Value"], str):
                yield expression["Value"]
            return
        for part in expression.values():
            yield from _literals(part)


def _is_empty(expression: Expression) -> bool:
    """Whether a condition says that there is none of something: attribute == ""."""
    equal = expression.get("==")
    return equal is not None and {"Value": ""} in (equal["left"], equal["right"])


def _words(need: _Need) -> str:
    literals = ", ".join(_literals(need.leaf.expression)).replace("_", " ")
    for attribute in attributes(need.leaf.expression):
        word = WORDS.get(attribute)
        if not need.holds or _is_empty(need.leaf.expression):
            word = WORDS.get(f"not {attribute}", f"not {word}" if word else word)
        if word is None:
            word = f"another {attribute.rpartition('.')[2].replace('_', ' ')}"
        if word:
            return word.format(literals)
    return ""


def _lifting(policy: Policy, holding: frozenset[str]) -> Explanation:
    """What would make a forbid not apply."""
    ways = _ways(policy.applies, False, holding)
    if not ways:  # it has no condition
        return _explanation(policy, [])
    best = min(map(_rank, ways))
    return _one_of([_explanation(policy, way) for way in ways if _rank(way) == best])


def _explanation(policy: Policy, needs: Sequence[_Need]) -> Explanation:
    words = [_words(need) or f"that {need.text} holds" for need in needs]
    return Explanation(
        (policy.name,),
        tuple(need.text for need in needs),
        "; ".join(dict.fromkeys(words)) or "a policy that allows it",
        policy.advice,
    )


def _one_of(explanations: Sequence[Explanation]) -> Explanation:
    return _joined(explanations, ", or ")


def _all_of(explanations: Sequence[Explanation]) -> Explanation:
    return _joined(explanations, "; ")


def _joined(explanations: Sequence[Explanation], by: str) -> Explanation:
    return Explanation(
        tuple(dict.fromkeys(name for one in explanations for name in one.policies)),
        tuple(dict.fromkeys(condition for one in explanations for condition in one.conditions)),
        by.join(dict.fromkeys(one.missing for one in explanations)),
        " ".join(dict.fromkeys(one.advice for one in explanations if one.advice)),
    )
