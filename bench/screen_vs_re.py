"""Screening against a loop over the same rules with Python's `re`, on the same texts, in turns, in one process."""

import json
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bench.figures import Figure, median_ratio
from bench.safety_review import RULES, rules_text
from services.safety_review.detection.matching import Matcher
from services.safety_review.detection.rules import parse_rules

_ROOT: Final = Path(__file__).parents[1]
_SAMPLES: Final = _ROOT / "deploy" / "local" / "samples" / "interactions.jsonl"
# An interaction as it is screened: what was asked and what was answered. Each call to a model carries the conversation so far.
_CHARACTERS: Final = 12_000


def texts(times: int = 1) -> list[tuple[str, str]]:
    """The sample's interactions in which nothing is found, as in nearly all there are, in twelve scripts, some kilobytes each."""
    matcher = Matcher(parse_rules(rules_text().encode(), name="bench"))
    prompts: list[str] = []
    generations: list[str] = []
    made: list[tuple[str, str]] = []
    interactions = map(json.loads, _SAMPLES.read_text(encoding="utf-8").splitlines())
    for one in sorted(interactions, key=lambda one: max(one["prompt"])):  # a conversation has one script
        if matcher.screen((one["prompt"], one["generation"])).hits:
            continue
        prompts.append(one["prompt"])
        generations.append(one["generation"])
        if sum(map(len, prompts + generations)) >= _CHARACTERS:
            made.append(("\n".join(prompts), "\n".join(generations)))
            prompts, generations = [], []
    return made * times


def size(of: Sequence[tuple[str, str]]) -> int:
    """Bytes of UTF-8."""
    return sum(len(text.encode("utf-8")) for parts in of for text in parts)


def measure(small: bool) -> Iterator[Figure]:
    """`screen_vs_re`, and the MB/s that it is made of."""
    rules = parse_rules(rules_text().encode(), name="bench")
    matcher = Matcher(rules)
    # What `re` spells otherwise than RE2 does.
    expressions = [one.replace(r"\z", r"\Z") for rule in rules.rules for one in rule.expressions]
    loop = [re.compile(expression, re.IGNORECASE) for expression in expressions]
    all_of_it = texts()
    few, many = all_of_it[:: 5 if small else 2], all_of_it * (20 if small else 100)
    screened, looped = [], []
    for number in range(4 if small else 8):
        here = _cpu(lambda: [matcher.screen(parts) for parts in many]) / size(many)
        there = _cpu(lambda: [one.search(text) for parts in few for text in parts for one in loop]) / size(
            few
        )
        if number:  # the first is not counted
            screened.append(here)
            looped.append(there)
    detail = f"{RULES} rules, {len(expressions)} expressions; texts of some {_CHARACTERS} characters in twelve scripts; CPU time"
    yield Figure(
        "screen_vs_re",
        median_ratio(looped, screened),
        "ratio",
        True,
        f"folded and screened ÷ `re` in a loop; {detail}",
    )
    yield Figure("screen_mb_per_s", 1e-6 / statistics.median(screened), "MB/s", True, "folded and screened")


def _cpu(work: Callable[[], object]) -> float:
    """Seconds that one call of `work` keeps the processor busy: it waits for nothing, and others share the machine."""
    started = time.process_time()
    work()
    return time.process_time() - started
