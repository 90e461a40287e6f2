"""Files that are there once they are whole: what breaks off in the middle leaves nothing that looks complete."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kept.cli.invocation import Invocation
from kept.client.errors import KeptError
from kept.client.private_files import replaced


@contextmanager
def whole_file(file: Path) -> Iterator[BinaryIO]:
    """Where to write; "-" is stdout. The file is in its place when the block ends. Raises KeptError (UNREADABLE)."""
    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with replaced(file) as out:
            yield out
    except OSError as error:
        raise KeptError("UNREADABLE", f"{file} cannot be written: {error.strerror}.") from None


@contextmanager
def private_file(call: Invocation, file: Path) -> Iterator[BinaryIO]:
    """Where to write what nobody else may read: the file is its owner's alone, mode 0600. Raises KeptError (UNREADABLE), at the beginning
    for a file that cannot be written: ask a service for what goes into it within the block."""
    with whole_file(file) as out:
        yield out
    if str(file) != "-":
        call.note(f"Written to {file}, for you alone.")
