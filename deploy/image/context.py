"""What the image is built from, laid out for the engine: wheels of the lock, the code, the compiled contracts."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from deploy.image.engine import EngineError

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = Path(__file__).resolve().parent
LOCK: Final = ROOT / "requirements.lock"
# The Python that wheels are chosen for, which the base must have.
PYTHON: Final = "3.11"

# Import packages by where they lie; `kept` is in two folders here and in one there.
_CODE: Final = (
    ("services", "services"), ("shared", "shared"), ("clients/kept", "kept"), ("build/generated/kept", "kept"),
    ("build/generated/buf", "buf"),
)  # fmt: skip


def prepare(context: Path) -> None:
    """Makes the folder `context` anew. Raises EngineError when a wheel is not to be had or is not the one that was locked."""
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    install_wheels(context / "site-packages")
    for source, target in _CODE:
        shutil.copytree(ROOT / source, context / "kept" / target, dirs_exist_ok=True, ignore=_not_shipped)
    for name in ("Containerfile", "assemble.py"):
        shutil.copyfile(HERE / name, context / name)


def install_wheels(target: Path) -> None:
    """Installs the lock's wheels into a folder: every file checked against its hash, nothing built from source."""
    command = [
        str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--target", str(target),
        "--require-hashes", "--only-binary", ":all:", "--no-deps", "--link-mode", "copy",
        "--python-version", PYTHON, "--python-platform", f"{platform.machine()}-manylinux_2_28", "-r", str(LOCK),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EngineError("The locked wheels cannot be installed:\n" + done.stderr.strip())
    # Programs, and what an installer notes for itself: they name the machine that installed.
    shutil.rmtree(target / "bin", ignore_errors=True)
    for pattern in (
        ".lock",
        "*.dist-info/RECORD",
        "*.dist-info/INSTALLER",
        "*.dist-info/REQUESTED",
        "*.dist-info/uv_*",
    ):
        for file in target.glob(pattern):
            file.unlink()


def _not_shipped(_directory: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__" or name.endswith((".pyc", ".pyi"))}
