"""podman, or docker where that is what there is: found, configured for the machine it is on, and run."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HARD_LIMIT: Final = 16_384


class EngineError(Exception):
    """The engine is missing or failed; the text says which command, and what it said last."""


@dataclass(frozen=True)
class Engine:
    """One container engine. name: "podman" or "docker"; environment: what it is started with."""

    name: str
    environment: Mapping[str, str]

    @classmethod
    def find(cls, home: Path) -> Engine | None:
        """The engine of this machine, or None. `home` takes the configuration that podman needs here, if it needs one."""
        for name in ("podman", "docker"):
            if shutil.which(name) is not None:
                return cls(name, dict(os.environ) | (_podman_settings(home) if name == "podman" else {}))
        return None

    def run(
        self, *arguments: str, patience: float = 600.0, given: bytes | None = None, errors: bool = False
    ) -> str:
        """Runs one command to its end and gives what it printed, on standard error too if `errors`. Raises EngineError."""
        try:
            done = subprocess.run(
                [self.name, *arguments],
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if errors else subprocess.PIPE,
                env=dict(self.environment),
                timeout=patience,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"{self.name} {arguments[0]} was not finished after {patience:.0f} s") from None
        if done.returncode != 0:
            said = (done.stderr or b"").decode(errors="replace").strip() or done.stdout.decode(
                errors="replace"
            )
            last = "\n".join(said.strip().splitlines()[-12:])
            raise EngineError(f"{self.name} {' '.join(arguments[:2])} ended with {done.returncode}:\n{last}")
        return done.stdout.decode()

    def inspected(self, image: str) -> dict[str, object]:
        """What the engine knows of an image. Raises EngineError when there is no such image."""
        (found,) = json.loads(self.run("image", "inspect", image))
        return dict(found)

    def has(self, image: str) -> bool:
        """Whether there is such an image here."""
        try:
            self.run("image", "inspect", image)
        except EngineError:
            return False
        return True


def _podman_settings(home: Path) -> dict[str, str]:
    """podman as it comes expects systemd, crun and the right to raise limits; where one is missing it is told so, in a file of ours."""
    if "CONTAINERS_CONF" in os.environ:
        return {}
    lines = {"engine": _engine_lines(), "containers": _limit_lines()}
    if not any(lines.values()):
        return {}
    home.mkdir(parents=True, exist_ok=True)
    file = home / "containers.conf"
    sections = [f"[{name}]\n" + "".join(f"{line}\n" for line in said) for name, said in lines.items() if said]
    file.write_text("\n".join(sections))
    return {"CONTAINERS_CONF": str(file)}


def _engine_lines() -> Sequence[str]:
    lines = []
    if not Path("/run/systemd/system").is_dir():
        lines.append('cgroup_manager = "cgroupfs"')
        lines.append('events_logger = "file"')
    if (shutil.which("crun") is None and shutil.which("runc") is not None) or not _unified_cgroups():
        lines.append('runtime = "runc"')
    return lines


def _unified_cgroups() -> bool:
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def _limit_lines() -> Sequence[str]:
    limits = []
    for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        _, hard = resource.getrlimit(number)
        if hard != resource.RLIM_INFINITY and hard < 1_048_576:
            limits.append(f'"{name}={min(hard, _HARD_LIMIT)}:{min(hard, _HARD_LIMIT)}"')
    return [f"default_ulimits = [{', '.join(limits)}]"] if limits else []
