"""What goes wrong: processes that die between any two steps, calls and answers that are lost, calls that arrive twice."""

import random


class Crash(BaseException):
    """A process dies here. No `except Exception` survives it, as none would. incarnation: which of its lives ends."""

    def __init__(self, process: str, incarnation: int) -> None:
        super().__init__(process)
        self.process = process
        self.incarnation = incarnation


class Broken(Exception):
    """An invariant does not hold, or a service failed in a way that it has no name for."""


class Faults:
    """Decides, by the seed, where the next process dies and which calls are lost or doubled. While `off`, nothing goes wrong."""

    def __init__(self, seed: random.Random) -> None:
        self._seed = seed
        self.off = True
        self.crashes = 0
        self.losses = 0
        self.doubled = 0

    def is_fatal(self) -> bool:
        """Whether the process dies at this step."""
        return self._happens(0.005, "crashes")

    def is_lost(self) -> bool:
        """Whether the call, or the answer, that is on its way now gets lost."""
        return self._happens(0.01, "losses")

    def is_doubled(self) -> bool:
        """Whether the call that was just answered arrives once more."""
        return self._happens(0.03, "doubled")

    def one_of_two(self) -> bool:
        """Heads or tails."""
        return self._seed.random() < 0.5

    def _happens(self, likelihood: float, kind: str) -> bool:
        if self.off or self._seed.random() >= likelihood:
            return False
        setattr(self, kind, getattr(self, kind) + 1)
        return True
