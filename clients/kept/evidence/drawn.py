"""What a PDF shows, in a form that two files can be compared by: all that its catalogue leads to, with the streams unpacked.

Text that can be taken out of a page is not what a reader sees: a white rectangle, letters drawn as outlines, a font whose glyphs are
others, a layer, a form or an action say something else and leave the text as it is. So nothing is picked out: whatever two files do not
have alike makes them differ. What draws nothing is left out: the numbers of objects, how a stream is packed (whole, by Flate or not at
all), from where a page has what it inherits, and the information dictionary. A program that saves a file again without changing it keeps
the rest (ISO 32000-1 §7).
"""

import re
import zlib
from io import BytesIO
from typing import Final

from pypdf import PdfReader
from pypdf.generic import (
    ArrayObject,
    BooleanObject,
    ByteStringObject,
    DictionaryObject,
    FloatObject,
    IndirectObject,
    NameObject,
    NullObject,
    NumberObject,
    PdfObject,
    StreamObject,
    TextStringObject,
)

from kept.evidence.verdicts import EvidenceError

# One piece after the other: (what it is, its value).
Drawn = list[tuple[str, object]]

# Bytes of one stream, unpacked; the attached certificate of a thousand days has a few hundred thousand.
_LARGEST_STREAM: Final = 64 << 20
_INHERITED: Final = ("/Resources", "/MediaBox", "/CropBox", "/Rotate")
# What begins an object. A program that finds a file broken looks for these, and may show what the others never see.
_OBJECT: Final = re.compile(rb"(?<![A-Za-z])obj")
# By these a file is several things at once, and programs differ in which of them they show.
_SEVERAL: Final = ("/Prev", "/XRefStm", "/Encrypt")


def drawn(content: bytes) -> Drawn:
    """What a PDF shows. Equal for two files only if every reader shows both alike.

    Raises EvidenceError for one that has earlier versions of itself in it, or objects that nothing leads to, is encrypted, or has a stream
    that is packed otherwise; pypdf's errors, ValueError, TypeError, KeyError, AttributeError and NotImplementedError for what is no PDF.
    """
    reader = PdfReader(BytesIO(content), strict=True)
    if content.count(b"startxref") != 1 or any(name in reader.trailer for name in _SEVERAL):
        raise EvidenceError("The PDF was changed after it was made, or is encrypted.")
    _hand_down(reader.root_object["/Pages"])
    walk = _Walk()
    shown = walk.pieces(reader.trailer.raw_get("/Root"))
    walk.pieces(reader.trailer.raw_get("/Info") if "/Info" in reader.trailer else NullObject())
    if len(_OBJECT.findall(content)) != len(walk.places) + walk.packed:
        raise EvidenceError("The PDF has objects in it that belong to no page.")
    return shown


def _hand_down(tree: PdfObject) -> None:
    """What pages inherit stands in each of them, as programs write it that save a file again. Of a tree with branches, only the first:
    it is none that we made, and differs anyway."""
    if not isinstance(tree, DictionaryObject) or not isinstance(pages := tree["/Kids"], ArrayObject):
        raise EvidenceError("The PDF has no pages.")
    for name in _INHERITED:
        inherited = tree.pop(NameObject(name), None)
        for page in pages:
            if inherited is not None:
                page.get_object().setdefault(NameObject(name), inherited)


class _Walk:
    """Through objects and all that they lead to, in the order of names. places: of those with a number, in the order they came. packed: how
    often what begins an object stands by chance in a stream."""

    def __init__(self) -> None:
        self.places: dict[tuple[int, int], int] = {}
        self.packed = 0

    def pieces(self, root: PdfObject) -> Drawn:
        """An object; what comes again stands there as its place."""
        pieces: Drawn = []
        left: list[PdfObject] = [root]
        while left:
            value = left.pop()
            if isinstance(value, IndirectObject):
                number = (value.idnum, value.generation)
                if number in self.places:
                    pieces.append(("again", self.places[number]))
                    continue
                self.places[number] = len(self.places)
                found = value.get_object()
                value = NullObject() if found is None else found
            if isinstance(value, DictionaryObject):
                left += reversed(self._of_dictionary(value, pieces))
            elif isinstance(value, ArrayObject):
                pieces.append(("array", len(value)))
                left += reversed(value)
            else:
                pieces.append(_single(value))
        return pieces

    def _of_dictionary(self, value: DictionaryObject, pieces: Drawn) -> list[PdfObject]:
        """Adds the names of a dictionary, and the content of a stream; gives the values still to be added."""
        names = sorted(value)
        if isinstance(value, StreamObject):
            names = [name for name in names if name not in ("/Length", "/Filter")]
            pieces.append(("stream", _unpacked(value)))
            self.packed += len(_OBJECT.findall(value._data))
        pieces.append(("dictionary", tuple(names)))
        return [value.raw_get(name) for name in names]


def _unpacked(stream: StreamObject) -> bytes:
    """pypdf makes the best of a stream that is broken; programs differ in what that is, so here it has to be whole."""
    packed = stream._data
    match stream.get("/Filter"):
        case None:
            return packed
        case "/FlateDecode" | ["/FlateDecode"]:
            pass
        case _:
            raise EvidenceError("The PDF has a stream that is packed in a way of which we make none.")
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(packed, _LARGEST_STREAM)
    except zlib.error:
        raise EvidenceError("The PDF has a broken stream.") from None
    if not inflate.eof or inflate.unused_data.strip():
        raise EvidenceError("The PDF has a stream that does not end where it should, or is too long.")
    return content


def _single(value: PdfObject) -> tuple[str, object]:
    match value:
        case NameObject():
            return "name", str(value)
        case TextStringObject() | ByteStringObject():
            return "text", value.original_bytes
        case NumberObject() | FloatObject():
            return "number", float(value)
        case BooleanObject():
            return "boolean", value.value
        case NullObject():
            return "null", None
        case _:
            raise EvidenceError("The PDF has an object of no known kind.")
