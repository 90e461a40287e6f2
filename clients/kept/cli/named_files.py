"""Files that the command line names, to be read: what cannot be read is told as that."""

import sys
from pathlib import Path

from kept.client.errors import KeptError


def read_bytes(file: Path) -> bytes:
    """What is in it. Raises KeptError (UNREADABLE)."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise KeptError("UNREADABLE", f"{file} cannot be read: {error.strerror}.") from None


def read_text(file: Path) -> str:
    """A text in UTF-8, with \\n at the ends of its lines; "-" is stdin. Raises KeptError (UNREADABLE)."""
    content = sys.stdin.buffer.read() if str(file) == "-" else read_bytes(file)
    try:
        return content.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise KeptError("UNREADABLE", f"{file} is no text in UTF-8.") from None
