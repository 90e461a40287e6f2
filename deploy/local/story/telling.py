"""How the story is told: chapters, sentences, and expectations that hold or do not."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from deploy.local.progress import Progress
from kept.client.errors import KeptError


class Broken(Exception):
    """An expectation failed that everything after it stands on."""


class Narrator:
    """Tells what happens, counts what held, remembers what did not."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._held = 0
        self._failed: list[str] = []
        self._begun = time.monotonic()

    @contextmanager
    def chapter(self, number: int, title: str) -> Iterator[None]:
        """One chapter. A failure inside it that nobody expected breaks the story off, saying where."""
        self._console.print(Text(f"\n{number}. {title}", style="bold"))
        try:
            yield
        except Broken:
            raise
        except KeptError as error:
            self._fail(f"chapter {number}: {error.text} [{error.reason} {error.correlation_id}]")
            raise Broken from error

    def say(self, text: str) -> None:
        """A sentence of the story."""
        self._console.print(Text("   " + text))

    def warn(self, text: str) -> None:
        """Something about the input that a person should know."""
        self._console.print(Text("   ! " + text, style="yellow"))

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Shows progress while something takes a while."""
        with Progress(self._console) as progress:
            progress(what)
            yield

    def expect(self, what: str, held: bool, detail: str = "") -> None:
        """An expectation. `detail` is shown when it did not hold; it never quotes content."""
        if held:
            self._held += 1
            self._console.print(Text("   ✓ ", style="green").append(Text(what, style="default")))
        else:
            self._fail(f"{what}{f' ({detail})' if detail else ''}")

    def require(self, what: str, held: bool, detail: str = "") -> None:
        """An expectation that everything after it stands on."""
        self.expect(what, held, detail)
        if not held:
            raise Broken

    def refused(self, what: str, call: Callable[[], Any], *reasons: str) -> KeptError | None:
        """Expects that the call fails for one of these reasons, and says which."""
        try:
            call()
        except KeptError as error:
            self.expect(
                f"{what}: {error.reason}", error.reason in reasons, f"expected {' or '.join(reasons)}"
            )
            return error
        self._fail(f"{what}: it was not refused")
        return None

    def until(self, what: str, ready: Callable[[], Any], patience: float = 30.0) -> Any:
        """Waits until `ready` answers with something true, showing progress, and gives that. Asks again with growing pauses;
        raises Broken when patience ends."""
        ends, pause = time.monotonic() + patience, 0.05
        with self.working(what):
            while True:
                found = ready()
                if found:
                    return found
                if time.monotonic() > ends:
                    self._fail(f"{what}: not within {patience:g} s")
                    raise Broken
                time.sleep(pause)
                pause = min(pause * 1.5, 0.5)

    def conclude(self) -> bool:
        """The end: True if everything held."""
        seconds = time.monotonic() - self._begun
        if self._failed:
            self._console.print(
                Text(
                    f"\n{len(self._failed)} of {self._held + len(self._failed)} did not hold:",
                    style="bold red",
                )
            )
            for failure in self._failed:
                self._console.print(Text(f"   ✗ {failure}", style="red"))
        else:
            self._console.print(
                Text(f"\nAll {self._held} expectations held, in {seconds:.0f} s.", style="bold green")
            )
        return not self._failed

    def _fail(self, what: str) -> None:
        self._failed.append(what)
        self._console.print(Text(f"   ✗ {what}", style="red"))
