"""Files that only their owner may read, replaced as a whole so that a crash never leaves half of one."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def directory(path: Path) -> None:
    """Makes a directory with mode 0700. One that is there stays as it is."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def write(path: Path, text: str) -> None:
    """Replaces the file's content; mode 0600 from the first byte on."""
    directory(path.parent)
    with replaced(path) as file:
        file.write(text.encode())


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A new content for a file, in its place as a whole, and on the disk, when the block ends. Of a block that fails nothing is left; of a
    process that dies, a hidden file whose name ends in ".partial". Raises OSError."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
