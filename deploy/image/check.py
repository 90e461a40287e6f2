"""What is demanded of the image, each demand tried on the image itself: `make image-check`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from deploy.image import bill_of_materials
from deploy.image.engine import Engine, EngineError
from deploy.local.layout import SERVICES

# As a cluster with restricted pod security starts it.
_CONFINED: Final = (
    "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges",
)  # fmt: skip
_PROBE: Final = """
import importlib.metadata, json, os, stat
def writes(path):
    try:
        open(path, "w").close()
    except OSError:
        return False
    return True
special, writable = [], []
for top in ("/usr", "/etc", "/opt", "/var", "/home", "/root", "/srv"):
    for folder, _, names in os.walk(top):
        if folder in ("/var/tmp", "/run"):  # podman lays memory over them
            continue
        for path in [folder, *(os.path.join(folder, name) for name in names)]:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                continue
            if mode & (stat.S_ISUID | stat.S_ISGID):
                special.append(path)
            if mode & (stat.S_IWGRP | stat.S_IWOTH):
                writable.append(path)
print(json.dumps({
    "uid": os.getuid(),
    "programs": sorted({name for folder in ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin")
                        if os.path.isdir(folder) for name in os.listdir(folder)}),
    "packages": sorted([f"{one.name}@{one.version}" for one in importlib.metadata.distributions()]
                       + os.listdir("/var/lib/dpkg/status.d")),
    "special": special, "writable": writable, "root is written": writes("/opt/kept/x") or writes("/x"),
}))
"""


def run(engine: Engine, tag: str, bill: Path, same_again: Callable[[], bool]) -> int:
    """Prints a line for each demand; 0 when all are met. bill: the file of its bill of materials. `same_again` builds once more and tells
    whether the digest is the same."""
    failed = 0
    for demand, met in _demands(engine, tag, bill, same_again):
        print(f"image: {'met   ' if met else 'NOT MET'} {demand}", flush=True)
        failed += not met
    print(f"image: {'all demands are met' if not failed else f'{failed} demands are not met'}")
    return 1 if failed else 0


def _demands(
    engine: Engine, tag: str, bill: Path, same_again: Callable[[], bool]
) -> Iterator[tuple[str, bool]]:
    yield "built again from the same inputs, it has the same digest", same_again()
    seen = json.loads(engine.run(*_CONFINED, "--entrypoint", "/usr/bin/python3", tag, "-c", _PROBE))
    yield "it runs as a user that is not root", seen["uid"] != 0
    yield "it runs on a root that cannot be written to", not seen["root is written"]
    yield (
        f"its programs are the interpreter alone ({', '.join(seen['programs'])})",
        all(name.startswith("python3") for name in seen["programs"]),
    )
    yield "no file of it changes who one is (set-user-id)", not seen["special"]
    yield "no file of it can be written to by others than its owner", not seen["writable"]
    listed = bill_of_materials.listed(bill.read_text())
    yield (
        f"its bill of materials names the {len(seen['packages'])} packages in it, and no other",
        listed == bill_of_materials.as_listed(seen["packages"]),
    )
    for service in SERVICES:
        yield f"it runs services.{service}", _runs(engine, tag, f"services.{service}", "--help")
    yield "it runs the bootstrap", _runs(engine, tag, "services.access_control", "bootstrap", "--help")
    yield "it runs the kept command", _runs(engine, tag, "kept.cli", "--help")


def _runs(engine: Engine, tag: str, *words: str) -> bool:
    try:
        engine.run(*_CONFINED, tag, *words)
    except EngineError:
        return False
    return True
