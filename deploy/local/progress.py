"""Shows that something is going on while it takes longer than a second, to a person or to a build's log."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console

_PATIENCE = 1.0


class Progress:
    """A line that says what is being done. A context manager; call it with each new step.

    On a terminal the line appears after a second, counts, and goes; elsewhere each step that takes longer
    than a second leaves one line.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("") if console.is_terminal else None
        self._lock = threading.Lock()
        self._step = ""
        self._began = time.monotonic()
        self._said = True
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __call__(self, step: str) -> None:
        with self._lock:
            self._step, self._began, self._said = step, time.monotonic(), False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if self._status is not None:
            self._status.stop()

    def tick(self) -> None:
        """Show the current step if it is time to."""
        with self._lock:
            step, took, said = self._step, time.monotonic() - self._began, self._said
            if not step or took < _PATIENCE:
                return
            self._said = True
        if self._status is not None:
            self._status.update(f"{step} ({took:.0f} s)")
            self._status.start()
        elif not said:
            self._console.print(f"  {step} …", highlight=False)

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            self.tick()
