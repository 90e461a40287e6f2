"""Directories for one process, that later ones recognise as abandoned when it was killed before it could clean up."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.local import private_files
from deploy.local.processes import Process, start_mark

_OWNER = "owner.json"


def make(prefix: str, place: Path | None = None) -> Path:
    """A new private directory in the system's place for temporary files, or another; it is this process's to remove."""
    home = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    private_files.write(home / _OWNER, json.dumps([os.getpid(), start_mark(os.getpid())]))
    return home


def abandoned(prefix: str, place: Path | None = None) -> Iterator[Path]:
    """Directories of processes that are no more. Another user's, or one that is being made, is not among them."""
    for home in (place or Path(tempfile.gettempdir())).glob(prefix + "*"):
        try:
            if home.stat().st_uid != os.geteuid():
                continue  # anybody may put a directory of this name there
            pid, mark = json.loads(home.joinpath(_OWNER).read_text())
        except (OSError, ValueError):
            continue
        if not Process(pid, mark).is_running():
            yield home
