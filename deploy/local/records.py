"""What of a stack runs: written down as each process starts, so that any later command finds and ends it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from deploy.local import private_files
from deploy.local.processes import Process


@dataclass(frozen=True)
class Part:
    """One process of the stack."""

    name: str
    pid: int
    start_mark: str
    seconds: float | None = None
    """From its start until it was healthy; None as long as it never was."""

    @property
    def process(self) -> Process:
        return Process(self.pid, self.start_mark)


@dataclass(frozen=True)
class Copy:
    """A second database server, started from a base backup."""

    data: str
    port: int


class Records:
    """The file `running.json`; a missing or torn one, or another one of that name, means that nothing is known to run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def parts(self) -> dict[str, Part]:
        """Every process written down, whether it still lives or not."""
        return {part.name: part for part in self._read()[0]}

    def copies(self) -> list[Copy]:
        return self._read()[1]

    def started(self, name: str, process: Process) -> None:
        self._put(Part(name, process.pid, process.start_mark))

    def healthy(self, name: str, seconds: float) -> None:
        self._put(replace(self.parts()[name], seconds=round(seconds, 2)))

    def copied(self, copy: Copy) -> None:
        parts, copies = self._read()
        self._write(parts, [*copies, copy])

    def clear(self) -> None:
        """Nothing runs any more."""
        self._path.unlink(missing_ok=True)

    def _put(self, part: Part) -> None:
        parts, copies = self._read()
        self._write([*(one for one in parts if one.name != part.name), part], copies)

    def _read(self) -> tuple[list[Part], list[Copy]]:
        try:
            content = json.loads(self._path.read_text())
            parts = [Part(**entry) for entry in content["parts"]]
            return parts, [Copy(**entry) for entry in content["copies"]]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return [], []

    def _write(self, parts: list[Part], copies: list[Copy]) -> None:
        content = {"parts": [asdict(one) for one in parts], "copies": [asdict(one) for one in copies]}
        private_files.write(self._path, json.dumps(content, indent=2) + "\n")
