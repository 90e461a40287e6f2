"""Makes the development environment: `.venv` from the locked list, and the compiled contracts.

    python3 deploy/setup_environment.py          what `make setup` runs; does nothing when nothing changed
    python3 deploy/setup_environment.py --buf    adds the contract linter, which only `make lint` needs

Runs on the standard library alone, with whatever Python the machine calls `python3`; this file must therefore
stay readable for old ones. Exit codes: 0 done, 1 with one sentence on standard error.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

OLDEST_PYTHON = (3, 11)

if sys.version_info < OLDEST_PYTHON:
    _newer = [name for name in ("python3.14", "python3.13", "python3.12", "python3.11") if shutil.which(name)]
    _advice = (
        f"this machine has a newer one, so run make with PYTHON={_newer[0]}"
        if _newer
        else "install a newer one and run make with PYTHON=/path/to/it"
    )
    sys.stderr.write(
        f"Kept needs Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer and {sys.executable} is "
        f"{sys.version_info[0]}.{sys.version_info[1]}: {_advice}.\n"
    )
    raise SystemExit(1)

from collections.abc import Iterator  # noqa: E402  (after the version check)

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements-dev.lock"
BUF_LOCK = ROOT / "requirements-buf.lock"
GENERATOR = ROOT / "protos" / "generate.py"

KEPT_COMMAND = """#!{python}
import sys

from kept.cli import main

if __name__ == "__main__":
    sys.exit(main())
"""


class SetupError(Exception):
    """Set-up cannot go on; the text is one sentence that says what to do."""


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Says what is being done, a dot for each second it takes, and how long it took."""
    started = time.monotonic()
    finished = threading.Event()
    sys.stderr.write(f"setup: {what} ")
    sys.stderr.flush()

    def tick() -> None:
        while not finished.wait(1.0):
            sys.stderr.write(".")
            sys.stderr.flush()

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        finished.set()
        ticker.join()
        sys.stderr.write(f" {time.monotonic() - started:.1f} s\n")


def run(command: list[str], *, failure: str) -> None:
    """Runs a command quietly; on failure its last lines are shown before the sentence `failure`."""
    # UV_SYSTEM_CERTS: uv then trusts what the machine trusts, as pip does.
    environment = {"UV_SYSTEM_CERTS": "true", **os.environ, "VIRTUAL_ENV": str(VENV)}
    environment.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except OSError as error:
        raise SetupError(f"{failure} ({error.strerror}: {command[0]})") from error
    if done.returncode != 0:
        tail = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-15:])
        sys.stderr.write(f"\n{tail}\n")
        raise SetupError(failure)


def site_packages() -> Path:
    return VENV / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def digest(*parts: bytes) -> str:
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big") + part)
    return state.hexdigest()


class Stamp:
    """A file that remembers what a step was made from, so that it is done again only when that changes."""

    def __init__(self, name: str, *made_from: bytes) -> None:
        self._path = VENV / f".{name}.stamp"
        self._digest = digest(*made_from)

    def current(self) -> bool:
        try:
            return self._path.read_text() == self._digest
        except OSError:
            return False

    def write(self) -> None:
        self._path.write_text(self._digest)


def make_venv() -> None:
    """A new environment where there is none, or where the one there is of another Python or folder."""
    stamp = Stamp("venv", sys.version.encode(), os.path.realpath(sys.executable).encode(), str(ROOT).encode())
    if (stamp.current() and PYTHON.exists()) or Path(sys.prefix) == VENV:
        return
    with step(f"making .venv with Python {sys.version_info[0]}.{sys.version_info[1]}"):
        shutil.rmtree(VENV, ignore_errors=True)
        run(
            [sys.executable, "-m", "venv", str(VENV)],
            failure="Python cannot make a virtual environment here: "
            "install its venv module (on Debian the package python3-venv) and see that the disk has room",
        )
    stamp.write()


def locked(lock: Path, package: str) -> str:
    """The lines of one package in a lock file: its version and hashes."""
    found = re.search(rf"^{re.escape(package)}==.*?(?=^\S|\Z)", lock.read_text(), re.MULTILINE | re.DOTALL)
    if found is None:
        raise SetupError(f"{lock.name} does not name {package}: run `make lock`")
    return found.group(0)


def install(lock: Path, *, exact: bool) -> None:
    """Installs a lock, every file checked against its hash: by uv, or by pip where uv cannot be had."""
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-input", "--require-hashes"]
    count = len(re.findall(r"^\S+==", lock.read_text(), re.MULTILINE))
    sentence = (
        f"The packages of {lock.name} could not be installed: "
        "see that the package index can be reached and the disk has room, then run make again"
    )
    with step(f"installing {count} locked {'package' if count == 1 else 'packages'}"):
        try:
            uv = installed_uv(pip)
            verb = ["sync", str(lock)] if exact else ["install", "-r", str(lock)]
            options = ["--quiet", "--require-hashes", "--python", str(PYTHON)]
            run([uv, "pip", *verb, *options], failure="uv failed")
        except SetupError:
            # A machine whose package index is configured for pip alone, or for which there is no uv.
            sys.stderr.write("setup: going on with pip ")
            run([*pip, "-r", str(lock)], failure=sentence)


def installed_uv(pip: list[str]) -> str:
    """The path of the locked uv, which installs a warm cache some twenty times faster than pip does."""
    uv = VENV / "bin" / "uv"
    if not uv.exists():
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as only_uv:
            only_uv.write(locked(LOCK, "uv"))
            only_uv.flush()
            run([*pip, "--no-deps", "-r", only_uv.name], failure="uv could not be installed")
    return str(uv)


def link_sources() -> None:
    """Puts the project on the environment's import path, and the `kept` command into its bin folder.

    `kept` is one package in two folders: hand-written in clients/kept, generated in build/generated/kept.
    Neither has an `__init__.py`, so Python merges them (PEP 420).
    """
    path_file = site_packages() / "kept.pth"
    paths = "".join(f"{folder}\n" for folder in (ROOT, ROOT / "clients", ROOT / "build" / "generated"))
    command = VENV / "bin" / "kept"
    script = KEPT_COMMAND.format(python=PYTHON)
    if not path_file.exists() or path_file.read_text() != paths:
        path_file.write_text(paths)
    if not command.exists() or command.read_text() != script:
        command.write_text(script)
        command.chmod(0o755)


def install_packages() -> None:
    stamp = Stamp("packages", LOCK.read_bytes())
    if not stamp.current():
        install(LOCK, exact=True)
        stamp.write()


def install_buf() -> None:
    stamp = Stamp("buf", BUF_LOCK.read_bytes(), LOCK.read_bytes())
    if not stamp.current():
        install(BUF_LOCK, exact=False)
        stamp.write()


def compile_contracts() -> None:
    """Runs protos/generate.py, which does nothing where nothing changed; it speaks for itself."""
    done = subprocess.run([str(PYTHON), str(GENERATOR)], cwd=ROOT, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SetupError("The contracts in protos/ do not compile: mend what is named above")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One set-up at a time in one checkout."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with (build / ".setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("waiting for another set-up of this folder"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    arguments = argparse.ArgumentParser(
        description="Makes .venv from the locked list and compiles the contracts."
    )
    arguments.add_argument("--buf", action="store_true", help="add the contract linter, and nothing else")
    wanted = arguments.parse_args()
    try:
        with alone():
            make_venv()
            install_packages()
            if wanted.buf:
                install_buf()
            link_sources()
            if not wanted.buf:
                compile_contracts()
    except SetupError as error:
        sys.stderr.write(f"setup: {error}.\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"setup: {error.strerror}: {error.filename}.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
