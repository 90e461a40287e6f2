"""What of a stack runs: written down as each process starts, so that any later command finds and ends it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

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
    """The file `running.json`; a missing or torn one means that nothing is known to run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def parts(self) -> dict[str, Part]:
        """Every process written down, whether it still lives or not."""
        return {entry["name"]: Part(**entry) for entry in self._read()["parts"]}

    def copies(self) -> list[Copy]:
        return [Copy(**entry) for entry in self._read()["copies"]]

    def started(self, name: str, process: Process) -> None:
        self._put(Part(name, process.pid, process.start_mark))

    def healthy(self, name: str, seconds: float) -> None:
        self._put(replace(self.parts()[name], seconds=round(seconds, 2)))

    def copied(self, copy: Copy) -> None:
        content = self._read()
        self._write(content["parts"], [*content["copies"], asdict(copy)])

    def clear(self) -> None:
        """Nothing runs any more."""
        self._path.unlink(missing_ok=True)

    def _put(self, part: Part) -> None:
        parts = self.parts() | {part.name: part}
        self._write([asdict(each) for each in parts.values()], self._read()["copies"])

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        try:
            return json.loads(self._path.read_text())  # type: ignore[no-any-return]
        except (FileNotFoundError, ValueError):
            return {"parts": [], "copies": []}

    def _write(self, parts: list[dict[str, Any]], copies: list[dict[str, Any]]) -> None:
        private_files.write(self._path, json.dumps({"parts": parts, "copies": copies}, indent=2) + "\n")
