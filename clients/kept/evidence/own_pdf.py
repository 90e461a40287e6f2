"""The form in which we write a PDF, read back byte by byte: whole objects one after the other, a table of where they are, and nothing else.

What a PDF shows is not for one reader of PDFs to say. Programs differ in what they make of a file that is odd: they follow one of several
tables, look for objects themselves where a table is wrong, take the length of a stream from one place or another. So no reader is asked:
a file is good when it is the one that we write, and every byte of it is accounted for. Only how a stream is packed may differ, for
another build of zlib packs otherwise, and the identifier of the file, which follows from it (ISO 32000-1 §7.3.8, §7.5, §14.4).
"""

import re
import zlib
from dataclasses import dataclass, field
from typing import Final

from kept.evidence.verdicts import EvidenceError

# Bytes of all streams of a file, unpacked; the attached certificate of a thousand days has a few hundred thousand.
_MOST_UNPACKED: Final = 64 << 20
_HEAD: Final = re.compile(rb"%PDF-1\.[0-9]\n%[\x80-\xff]{4}\n")
_DICTIONARY: Final = re.compile(rb"([1-9][0-9]{0,5}) 0 obj\n<<\n(.*?)\n>>\n(stream\n)?", re.DOTALL)
_LENGTH: Final = re.compile(rb"^/Length ([1-9][0-9]{0,9})$", re.MULTILINE)
_STREAM_ENDS: Final = b"\nendstream\n"
_OBJECT_ENDS: Final = b"endobj\n"
_IDENTIFIER: Final = re.compile(rb"/ID \[<[0-9A-F]{32}><[0-9A-F]{32}>\]")
# What programs look for that find a file broken. In a stream that we packed it stands by chance, if ever.
_SOUGHT: Final = re.compile(rb"[\0\t\n\f\r 0-9]obj|endstream|xref|trailer|%%EOF")


@dataclass(frozen=True)
class OwnObject:
    """One object. dictionary: its text, without the figure of its stream's length. packed: the stream as it stands there, content:
    unpacked; both empty where there is none."""

    dictionary: bytes
    packed: bytes = field(repr=False)
    content: bytes = field(repr=False)

    def is_like(self, ours: "OwnObject") -> bool:
        """Whether it is what we write. A stream that is packed otherwise than here must not hold what looks like a piece of a PDF."""
        if (self.dictionary, self.content) != (ours.dictionary, ours.content):
            return False
        return self.packed == ours.packed or not _SOUGHT.search(self.packed)


@dataclass(frozen=True)
class OwnPdf:
    """A file of our form. head: before the first object. objects: numbered from 1. trailer: after the table, without the identifier."""

    head: bytes
    objects: tuple[OwnObject, ...]
    trailer: bytes

    def is_like(self, ours: "OwnPdf") -> bool:
        """Whether the two files are the same, however their streams are packed."""
        return (
            (self.head, self.trailer, len(self.objects)) == (ours.head, ours.trailer, len(ours.objects))
        ) and all(one.is_like(other) for one, other in zip(self.objects, ours.objects, strict=True))

    def attached(self) -> list[bytes]:
        """The files that are embedded in it."""
        return [one.content for one in self.objects if b"/Type /EmbeddedFile" in one.dictionary.split(b"\n")]


def read(content: bytes) -> OwnPdf:
    """The pieces of a file. Raises EvidenceError for one that has anything that we never write."""
    head = _HEAD.match(content)
    if head is None:
        raise _not_ours()
    at = head.end()
    objects: list[OwnObject] = []
    places: list[int] = []
    left = _MOST_UNPACKED
    while found := _DICTIONARY.match(content, at):
        places.append(at)
        if int(found[1]) != len(places):
            raise _not_ours()
        dictionary, packed, at = found[2], b"", found.end()
        if found[3]:
            length = _LENGTH.search(dictionary)
            if length is None:
                raise _not_ours()
            packed = content[at : at + int(length[1])]
            at = _after(content, at + int(length[1]), _STREAM_ENDS)
            dictionary = dictionary[: length.start(1) - 1] + dictionary[length.end() :]
        at = _after(content, at, _OBJECT_ENDS)
        unpacked = _unpacked(packed, left) if packed else b""
        left -= len(unpacked)
        objects.append(OwnObject(dictionary, packed, unpacked))
    trailer = content[_after(content, at, _table(places)) :]
    ends = b"startxref\n%d\n%%%%EOF\n" % at
    if not trailer.endswith(ends) or not _IDENTIFIER.search(trailer):
        raise _not_ours()
    return OwnPdf(head[0], tuple(objects), _IDENTIFIER.sub(b"", trailer.removesuffix(ends)))


def _table(places: list[int]) -> bytes:
    """Where the objects are (ISO 32000-1 §7.5.4)."""
    rows = b"".join(b"%010d 00000 n \n" % place for place in places)
    return b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1) + rows


def _after(content: bytes, at: int, expected: bytes) -> int:
    if not content.startswith(expected, at):
        raise _not_ours()
    return at + len(expected)


def _unpacked(packed: bytes, most: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(packed, most + 1)  # 0 would be no limit
    except zlib.error:
        raise _not_ours() from None
    if not inflate.eof or inflate.unused_data or len(content) > most:
        raise _not_ours()
    return content


def _not_ours() -> EvidenceError:
    return EvidenceError(
        "The file is not as `kept certificates pdf` writes it: it was changed, signed or saved again, or something else made it. "
        "Verify the JSON that is attached to it by itself, or lay it out anew."
    )
