"""Every state that a model can reach, nearest first; so what is found broken is told by as few steps as there are."""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


class Model(Protocol[S]):
    """What can happen. States that mean the same should be equal: each is looked at once."""

    def beginning(self) -> S:
        """The first state."""

    def steps(self, state: S) -> Iterable[tuple[str, S]]:
        """Everything that can happen next, each with a sentence about it."""

    def broken(self, state: S) -> str:
        """What is not as promised in this state; empty where all is."""

    def told(self, state: S) -> str:
        """The state, for a person."""


class TooMany(Exception):
    """More states than the search was to look at: it showed nothing."""


@dataclass(frozen=True)
class Counterexample(Generic[S]):
    """How a promise is broken. steps: what happened, and the state it led to."""

    broken: str
    steps: tuple[tuple[str, S], ...]
    trace: str


@dataclass(frozen=True)
class Outcome(Generic[S]):
    """What a search found. states: how many it looked at; all that there are where nothing is broken."""

    states: int
    counterexample: Counterexample[S] | None


def search(model: Model[S], most: int) -> Outcome[S]:
    """Looks at all states, or at those up to the first that is broken. Raises TooMany beyond `most`."""
    first = model.beginning()
    came_from: dict[S, S | None] = {first: None}
    edge = [first]
    while edge:
        further = []
        for state in edge:
            broken = model.broken(state)
            if broken:
                return Outcome(len(came_from), _counterexample(model, broken, _way(came_from, state)))
            for _, after in model.steps(state):
                if after not in came_from:
                    came_from[after] = state
                    further.append(after)
        if len(came_from) > most:
            raise TooMany(f"more than {most:,} states")
        edge = further
    return Outcome(len(came_from), None)


def _way(came_from: dict[S, S | None], state: S) -> list[S]:
    way = [state]
    while (before := came_from[way[-1]]) is not None:
        way.append(before)
    return way[::-1]


def _counterexample(model: Model[S], broken: str, way: list[S]) -> Counterexample[S]:
    steps = tuple(_named(model, way))
    width = max((len(sentence) for sentence, _ in steps), default=0)
    lines = [
        f"{number:3}. {sentence:{width}}  {model.told(after)}"
        for number, (sentence, after) in enumerate(steps, 1)
    ]
    return Counterexample(broken, steps, "\n".join([*lines, f"     {broken}"]))


def _named(model: Model[S], way: list[S]) -> Iterator[tuple[str, S]]:
    for before, after in pairwise(way):
        yield next((sentence, state) for sentence, state in model.steps(before) if state == after)
