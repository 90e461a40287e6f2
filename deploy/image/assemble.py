"""Runs inside the base while the image is built: `python3 assemble.py CONTEXT ROOT` lays out the image's root.

From the base it takes what runs and nothing else: the interpreter, the part of its library that a service can need, the shared libraries
that it and the wheels are linked to (by the loader's own word), and the authorities' certificates. There is no shell, no package manager,
no set-user-id program. Names, contents and modes depend on the inputs alone; times are set to zero, so that the same inputs give the same
layer. Reads nothing but the standard library, of whatever Python 3.11 or newer the base has.
"""

import compileall
import os
import py_compile
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

USER = 65532
# What context.py chose the wheels for.
_PYTHON = "3.11"

# Parts of the standard library that serve development, desktops or databases that nobody here has.
_UNUSED = frozenset(
    [
        *(
            "test",
            "tests",
            "idlelib",
            "tkinter",
            "turtledemo",
            "turtle.py",
            "lib2to3",
            "ensurepip",
            "distutils",
            "pydoc_data",
        ),
        *("venv", "__pycache__", "dist-packages", "site-packages", "sqlite3", "curses", "dbm"),
    ]
)
_UNUSED_EXTENSIONS = (
    "_tkinter.",
    "_curses",
    "readline.",
    "_sqlite3.",
    "_dbm.",
    "_gdbm.",
    "_test",
    "_xxtest",
    "xx",
    "nis.",
    "_ctypes_test.",
)
# In wheels: what only compilers, type checkers and testers read.
_UNUSED_IN_WHEELS = frozenset(["tests", "test", "testing", "__pycache__", "include"])
_UNUSED_SUFFIXES = (".pyi", ".pxd", ".pyx", ".c", ".h", ".cpp", ".a", ".pyc")
# Loaded by name at run time and so not to be found by following links.
_BY_NAME = ("libgcc_s.so.1",)

_PASSWD = f"root:x:0:0:root:/:/nonexistent\nkept:x:{USER}:{USER}:Kept:/tmp:/nonexistent\n"
_GROUP = f"root:x:0:\nkept:x:{USER}:\n"
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


def main(context: Path, root: Path) -> None:
    """Lays out `root` from what `context` and the system around us hold."""
    for directory in (
        "usr/bin",
        "usr/lib",
        "etc/ssl/certs",
        "opt",
        "tmp",
        "var/lib/dpkg/status.d",
        "proc",
        "sys",
        "dev",
        "run",
    ):
        (root / directory).mkdir(parents=True)
    for name in ("lib", "lib64", "bin"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(os.readlink(Path("/", name)))
    taken = [*_interpreter(root), *_wheels(context, root)]
    shutil.copytree(context / "kept", root / "opt/kept")
    taken += _libraries(root, [path for path in root.rglob("*") if _is_elf(path)])
    taken.append(
        _copied(
            Path("/etc/ssl/certs/ca-certificates.crt").resolve(), root / "etc/ssl/certs/ca-certificates.crt"
        )
    )
    taken.append(_copied(Path("/etc/os-release").resolve(), root / "etc/os-release"))
    for name, text in (("passwd", _PASSWD), ("group", _GROUP), ("nsswitch.conf", _NSSWITCH)):
        (root / "etc" / name).write_text(text)
    _packages(root, taken)
    _compile(root)
    _normalize(root)


def _interpreter(root: Path) -> Iterator[Path]:
    """The program and its library. Exits with a sentence where the base's is not one that the wheels are for, or not Debian's own."""
    program = Path(sys.executable).resolve()
    version = ".".join(map(str, sys.version_info[:2]))
    if version != _PYTHON or program.parent != Path("/usr/bin"):
        sys.exit(
            f"BASE has Python {version} at {program}; it has to be Debian's own package, python3 {_PYTHON} in /usr/bin"
        )
    yield _copied(program, root / program.relative_to("/"))
    known = root / "usr/bin/python3"
    if not known.exists():
        known.symlink_to(program)
    library = Path(sysconfig.get_path("stdlib")).resolve()
    for path in _files(library, _UNUSED):
        if (
            path.name.startswith(_UNUSED_EXTENSIONS) and path.suffix == ".so"
        ) or "config-3" in path.parent.name:
            continue
        yield _copied(path, root / path.relative_to("/"))


def _wheels(context: Path, root: Path) -> Iterator[Path]:
    """What was installed from the lock. Yields nothing: no package of the base's owns it."""
    source = context / "site-packages"
    for path in _files(source, _UNUSED_IN_WHEELS):
        if path.suffix not in _UNUSED_SUFFIXES:
            _copied(path, root / "opt/site-packages" / path.relative_to(source))
    yield from ()


def _files(directory: Path, without: frozenset[str]) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if path.name in without:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path, without)
        elif path.is_file():
            yield path


def _copied(source: Path, target: Path) -> Path:
    """Copies a file's contents and whether it can be run; gives the source."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.stat().st_mode & stat.S_IXUSR else 0o644)
    return source


def _is_elf(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _libraries(root: Path, programs: Iterable[Path]) -> list[Path]:
    """The shared libraries that these are linked to and the base provides, and the loader itself."""
    loader = next(
        path for pattern in ("lib64/ld-linux*", "lib/ld-linux*") for path in sorted(Path("/").glob(pattern))
    )
    found = {loader}
    for program in programs:
        listed = subprocess.run(
            [str(loader), "--list", str(program)], capture_output=True, text=True, check=False
        )
        for line in listed.stdout.splitlines():
            path = Path(
                line.partition("=>")[2].partition("(0x")[0].strip() or line.partition("(0x")[0].strip()
            )
            if path.is_absolute() and path.exists() and root not in path.parents:
                found.add(path)
    directory = next(path.parent for path in found if path.name.startswith("libc.so"))
    found |= {directory / name for name in _BY_NAME if (directory / name).exists()}
    # By the name that programs ask for, in the directory it really lies in: /lib is /usr/lib nowadays.
    for path in sorted(found):
        _copied(path, root / (path.parent.resolve() / path.name).relative_to("/"))
    return sorted(found)


def _packages(root: Path, taken: Iterable[Path]) -> None:
    """One status file for each Debian package that something was taken from, where scanners look for them in images without dpkg, and
    the copyright that its licence wants to be shipped."""
    lists = Path("/var/lib/dpkg/info")
    if not lists.is_dir():
        return
    owners = {}
    for listing in sorted(lists.glob("*.list")):
        for line in listing.read_text().splitlines():
            owners[os.path.realpath(line)] = listing.name.removesuffix(".list").partition(":")[0]
    names = {owners[real] for real in map(os.path.realpath, taken) if real in owners} | {"ca-certificates"}
    for stanza in Path("/var/lib/dpkg/status").read_text().split("\n\n"):
        name = stanza.partition("\n")[0].removeprefix("Package: ")
        if name in names:
            (root / "var/lib/dpkg/status.d" / name).write_text(stanza.strip() + "\n")
            notice = Path("/usr/share/doc", name, "copyright")
            if notice.exists():
                _copied(notice, root / notice.relative_to("/"))


def _compile(root: Path) -> None:
    """Bytecode that says of itself that its source never changes: no time in it, and none is spent looking."""
    for directory in (root / "opt", *(root / "usr").glob("**/python3*/")):
        if directory.is_dir():
            compileall.compile_dir(
                directory,
                maxlevels=30,
                quiet=2,
                stripdir=str(root),
                prependdir="/",
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )


def _normalize(root: Path) -> None:
    """The same modes whatever umask and copying left, and no times."""
    for path in (*root.rglob("*"), root):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if runs else 0o644)
        os.utime(path, (0, 0), follow_symlinks=False)
    (root / "tmp").chmod(0o1777)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
