"""The tar of an export (POSIX.1-1988, ustar), in the one way of writing it that is taken back: a header that says a name, a size and one
time, the bytes, zeros up to the next 512. Any tar program unpacks it; read here, not a byte may be otherwise, and no name may lead out
of the directory that it is unpacked in.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from kept.evidence.verdicts import EvidenceError

_BLOCK: Final = 512
_END: Final = bytes(2 * _BLOCK)
_AT_ONCE: Final = 1024 * 1024
# What is verified is unpacked next: a document, a piece of a list, what to read first.
_NAME: Final = re.compile(r"[a-z][a-z-]*\.json|[a-z][a-z-]*/[0-9]{6,}\.jsonl|README\.txt")


def header(name: str, size: int, written_at: int) -> bytes:
    """512 bytes. name: `<part>.json`, `<part>/<number>.jsonl` or README.txt, at most 100 characters. size: of the content, in bytes, below
    8 GiB. written_at: seconds since 1970. Raises ValueError for another name."""
    if not _NAME.fullmatch(name):
        raise ValueError("no export has a file of this name")
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, written_at, 0o600
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def write_file(out: BinaryIO, name: str, content: bytes, written_at: int) -> None:
    """Appends a file."""
    out.write(header(name, len(content), written_at))
    out.write(content)
    out.write(bytes(-len(content) % _BLOCK))


def write_end(out: BinaryIO) -> None:
    """Ends the archive."""
    out.write(_END)


@dataclass(frozen=True)
class File:
    """A file in the archive. content: its bytes, a mebibyte at a time; to be read before the next file is."""

    name: str
    written_at: int
    content: Iterator[bytes]


def files(source: BinaryIO) -> Iterator[File]:
    """The files of an archive, in order. Raises EvidenceError where it is not what `write_file` and `write_end` write, to the last byte."""
    while True:
        block = source.read(_BLOCK)
        if block == _END[:_BLOCK]:
            if source.read(_BLOCK + 1) != _END[_BLOCK:]:
                raise EvidenceError("Something comes behind the archive's end.")
            return
        if len(block) < _BLOCK:
            raise EvidenceError("The archive breaks off.")
        yield from _file(source, _info(block))


def _info(block: bytes) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        if header(info.name, info.size, int(info.mtime)) == block:
            return info
    except (tarfile.HeaderError, ValueError):
        pass
    raise EvidenceError("The archive holds something that no export writes.")


def _file(source: BinaryIO, info: tarfile.TarInfo) -> Iterator[File]:
    left = info.size

    def content() -> Iterator[bytes]:
        nonlocal left
        while left:
            piece = source.read(min(left, _AT_ONCE))
            if not piece:
                raise EvidenceError(f"The archive breaks off in {info.name}.")
            left -= len(piece)
            yield piece

    unread = content()
    yield File(info.name, int(info.mtime), unread)
    for _ in unread:
        pass
    padding = -info.size % _BLOCK
    if source.read(padding) != bytes(padding):
        raise EvidenceError(f"Something that no export writes comes behind {info.name}.")
