"""`make clean` removes whatever state set-up and stack were left in, but not from under a stack that runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[3] / "Makefile"
ENDS = "#!/bin/sh\necho $* >> ended\nrm -f build/stack/running.json build/stack/postgres/postmaster.pid\n"
FAILS = "#!/bin/sh\nexit 1\n"


def project(folder: Path, interpreter: str, *files: str) -> Path:
    """A checkout with this in the place of its Python, and these files."""
    shutil.copy(MAKEFILE, folder)
    for name in (".venv/bin/python", "build/left", *files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(interpreter)
        (folder / name).chmod(0o755)
    return folder


def clean(folder: Path) -> subprocess.CompletedProcess[str]:
    """Without what a make that runs the tests tells others."""
    return subprocess.run(
        ["make", "clean"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )


def is_clean(folder: Path) -> bool:
    return not (folder / "build").exists() and not (folder / ".venv").exists()


@pytest.mark.parametrize(
    "left",
    [(), ("build/stack/logs/postgres.log",), ("build/stack/stack.json",), ("build/stack/.stack.json.x",)],
)
def test_where_nothing_can_run_all_is_removed_whatever_was_interrupted(
    tmp_path: Path, left: tuple[str, ...]
) -> None:
    done = clean(project(tmp_path, FAILS, *left))
    assert (done.returncode, done.stderr) == (0, "")
    assert is_clean(tmp_path)


@pytest.mark.parametrize("sign", ["build/stack/running.json", "build/stack/postgres/postmaster.pid"])
def test_what_runs_is_ended_first_and_nothing_removed_where_it_cannot_be(tmp_path: Path, sign: str) -> None:
    done = clean(project(tmp_path, FAILS, sign))
    assert done.returncode != 0
    assert "nothing is removed" in done.stderr
    assert "make stop, then make clean, or remove build/stack yourself if nothing runs" in done.stderr
    assert (tmp_path / "build" / "left").exists()
    done = clean(project(tmp_path, ENDS))
    assert done.returncode == 0
    assert (tmp_path / "ended").read_text() == "-m deploy.local stop\n"
    assert is_clean(tmp_path)
