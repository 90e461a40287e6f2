"""What goes wrong: processes that die between any two steps, calls and answers that are lost."""

import random


class Crash(BaseException):
    """A process dies here. No `except Exception` survives it, as none would."""

    def __init__(self, process: str) -> None:
        super().__init__(process)
        self.process = process


class Faults:
    """Decides, by the seed, where the next process dies and which calls are lost. While `off`, nothing goes wrong."""

    def __init__(self, seed: random.Random) -> None:
        self._seed = seed
        self.off = True
        self.crashes = 0
        self.losses = 0

    def step(self, process: str) -> None:
        """Called between any two steps of a process. Raises Crash."""
        if not self.off and self._seed.random() < 0.01:
            self.crashes += 1
            raise Crash(process)

    def is_lost(self) -> bool:
        """Whether the call, or the answer, that is on its way now gets lost."""
        if self.off or self._seed.random() >= 0.01:
            return False
        self.losses += 1
        return True
