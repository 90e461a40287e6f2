"""Files that only their owner may read, replaced as a whole so that a crash never leaves half of one."""

import os
import secrets
from pathlib import Path


def directory(path: Path) -> None:
    """Makes a directory with mode 0700. One that is there stays as it is."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def write(path: Path, text: str) -> None:
    """Replaces the file's content; mode 0600 from the first byte on."""
    directory(path.parent)
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
