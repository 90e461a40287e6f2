"""Detectors looked at with a set: each version of the rules screens every item as it would screen a record, in memory only.

The items are positives: what two people found to be a violation, by category. What a version flags as another category, and what it
flags of the control texts, are its false alarms. Recall over what detectors found themselves is better than it really is: what people
reported without a detector, and what only one of two versions finds, says more (docs/evaluation.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kept.access_control.v1 import evaluation_keys_pb2, evaluation_keys_pb2_grpc
from services.safety_review.detection.in_force import Rules, draft, version_of
from services.safety_review.detection.matching import Matcher
from services.safety_review.detection.rule_fields import Action
from services.safety_review.evaluation.figures import Counts, Share, mcnemar, wilson
from services.safety_review.evaluation.sealing import Item, open_item
from services.safety_review.store import evaluation as store
from services.safety_review.store.evaluation import EvaluationSet
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found
from shared.outbox import Outbox

ALL: Final = "all"
_LONGEST_PROBLEM: Final = 300


@dataclass(frozen=True)
class CategoryFigures:
    """One version in one category. upheld, decided: what people decided of what it flagged, in all cases."""

    category: str
    counts: Counts
    upheld: Share
    decided: int


@dataclass(frozen=True)
class VersionFigures:
    """One version, by category, then all together."""

    rules_version: str
    categories: Sequence[CategoryFigures]


@dataclass(frozen=True)
class Comparison:
    """Two versions in one category: items that both, only the first, only the second found."""

    category: str
    both: int
    only_current: int
    only_candidate: int

    @property
    def p_value(self) -> float:
        """Of the exact McNemar test."""
        return mcnemar(self.only_current, self.only_candidate)


@dataclass(frozen=True)
class Evaluation:
    """The figures. candidate, comparisons: of a second version, if there is one."""

    of: EvaluationSet
    controls: int
    current: VersionFigures
    candidate: VersionFigures | None = None
    comparisons: Sequence[Comparison] = field(default=())


class Evaluations:
    """Evaluates the rules in force and candidates."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        keys: evaluation_keys_pb2_grpc.EvaluationKeyServiceStub,
        rules: Rules,
    ) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._keys = keys
        self._rules = rules

    def evaluate(
        self, person_id: str, set_id: str, candidate_rules: bytes, controls: Sequence[str]
    ) -> Evaluation:
        """The figures of a set. Raises NOT_FOUND, SET_ENDED, RULES_REFUSED."""
        candidate = draft(candidate_rules, keeps_examples=False) if candidate_rules else None
        with self._database.transaction() as tx:
            found = store.find(tx, set_id)
            if found is None:
                raise not_found("evaluation set")
            sealed = store.sealed_items(tx, set_id)
        if found.ended_at is not None:
            raise KeptError(Reason.REASON_SET_ENDED, "The evaluation set has ended; its key is gone.")
        key = self._keys.OpenEvaluationKey(
            evaluation_keys_pb2.OpenEvaluationKeyRequest(set_id=set_id, person_id=person_id)
        ).key
        items = [open_item(key, set_id, place, one) for place, one in enumerate(sealed)]
        current_seen, current = self._figures(self._rules.matcher, items, controls)
        comparisons: tuple[Comparison, ...] = ()
        candidate_figures = None
        if candidate is not None:
            candidate_seen, candidate_figures = self._figures(candidate, items, controls)
            comparisons = tuple(compared(items, current_seen, candidate_seen))
        with self._database.transaction() as tx:
            self._outbox.audit(
                tx,
                audit.entry(
                    "evaluation_set.used",
                    actor=person_id,
                    at=self._clock.now(),
                    subjects=[set_id],
                    facts={
                        "rules_version": current.rules_version,
                        "candidate_version": candidate_figures.rules_version if candidate_figures else "",
                    },
                ),
            )
        return Evaluation(found, len(controls), current, candidate_figures, comparisons)

    def _figures(
        self, matcher: Matcher, items: Sequence[Item], controls: Sequence[str]
    ) -> tuple[list[frozenset[str]], VersionFigures]:
        seen = [flagged_as(matcher, item.texts) for item in items]
        alarms = [flagged_as(matcher, [text]) for text in controls]
        version = version_of(matcher.rules)
        with self._database.transaction() as tx:
            decided = store.decided(tx, version)
        return seen, VersionFigures(version, list(categories_of(items, seen, alarms, decided)))


def flagged_as(matcher: Matcher, texts: Sequence[str]) -> frozenset[str]:
    """The categories as which a version would flag a record with these texts; external detectors are not asked."""
    hits = {hit.rule_id for hit in matcher.screen(texts).hits}
    return frozenset(
        rule.category.value for rule in matcher.rules.rules if rule.action is Action.FLAG and rule.id in hits
    )


def categories_of(
    items: Sequence[Item],
    seen: Sequence[frozenset[str]],
    alarms: Sequence[frozenset[str]],
    decided: Mapping[str, tuple[int, int]],
) -> Iterable[CategoryFigures]:
    """Figures by category of the items, then of all together: there an item is found when it is flagged at all."""
    for category in sorted({item.category for item in items}):
        of_it = [
            category in flagged
            for item, flagged in zip(items, seen, strict=True)
            if item.category == category
        ]
        of_others = [
            category in flagged
            for item, flagged in zip(items, seen, strict=True)
            if item.category != category
        ]
        false = sum(of_others) + sum(category in flagged for flagged in alarms)
        yield _category(category, Counts(sum(of_it), false, len(of_it) - sum(of_it)), decided.get(category))
    found = sum(map(bool, seen))
    total = [sum(each) for each in zip(*decided.values(), strict=True)] if decided else [0, 0]
    yield _category(ALL, Counts(found, sum(map(bool, alarms)), len(items) - found), (total[0], total[1]))


def compared(
    items: Sequence[Item], current: Sequence[frozenset[str]], candidate: Sequence[frozenset[str]]
) -> Iterable[Comparison]:
    """Both versions over the same items, by category, then all together."""
    rows = [
        (item.category, item.category in one, item.category in other)
        for item, one, other in zip(items, current, candidate, strict=True)
    ]
    rows += [(ALL, bool(one), bool(other)) for one, other in zip(current, candidate, strict=True)]
    for category in (*sorted({item.category for item in items}), ALL):
        found = [(one, other) for name, one, other in rows if name == category]
        yield Comparison(
            category,
            both=found.count((True, True)),
            only_current=found.count((True, False)),
            only_candidate=found.count((False, True)),
        )


def _category(category: str, counts: Counts, decided: tuple[int, int] | None) -> CategoryFigures:
    upheld, dismissed = decided or (0, 0)
    return CategoryFigures(category, counts, wilson(upheld, upheld + dismissed), upheld + dismissed)
