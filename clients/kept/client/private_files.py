"""Files that only their owner may read unless it is said otherwise, replaced as a whole so that a crash never leaves half of one."""

import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl


def directory(path: Path) -> None:
    """Makes a directory with mode 0700. One that is there stays as it is."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def write(path: Path, text: str) -> None:
    """Replaces the file's content; mode 0600 from the first byte on."""
    directory(path.parent)
    with replaced(path) as file:
        file.write(text.encode())


@contextmanager
def alone_in(path: Path) -> Iterator[None]:
    """Waits until nobody else is in this block for the directory, of any process or thread. Where there are no such locks, it does not."""
    directory(path)
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system that has none
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def replaced(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A new content for a file, in its place as a whole, and on the disk, when the block ends. Of a block that fails nothing is left; of a
    process that dies, a hidden file whose name ends in ".partial". Of a symbolic link the file that it leads to is replaced. Raises
    OSError, for what is no file before the block begins. mode: of the file, less what the umask takes."""
    _check_is_a_file(path)
    path = Path(os.path.realpath(path))
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _check_is_a_file(path: Path) -> None:
    """Whether a file is there, or nothing. Nothing else can be replaced as a whole, and a directory would refuse only at the end."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
