"""Files that are there once they are whole: what breaks off in the middle leaves nothing that looks complete."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kept.cli.invocation import Invocation
from kept.client.errors import KeptError
from kept.client.private_files import replaced


@contextmanager
def whole_file(file: Path, *, private: bool = True) -> Iterator[BinaryIO]:
    """Where to write; "-" is stdout. The file is in its place when the block ends. private: it is its owner's alone, mode 0600. Raises
    KeptError (UNREADABLE), at the beginning for a file that cannot be written: ask a service for what goes into it within the block."""
    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with replaced(file, mode=0o600 if private else 0o666) as out:
            yield out
    except OSError as error:
        folders = {file.parent, Path(os.path.realpath(file)).parent}
        if error.filename is not None and Path(error.filename).parent not in folders:
            raise  # of another file that the block used, such as one beside the profile
        raise KeptError("UNREADABLE", f"{file} cannot be written: {error.strerror}.") from None


@contextmanager
def private_file(call: Invocation, file: Path) -> Iterator[BinaryIO]:
    """The same for what nobody else may read, said when it is written."""
    with whole_file(file) as out:
        yield out
    if str(file) != "-":
        call.note(f"Written to {file}, for you alone.")
