"""A certificate's file is the one that we write, byte for byte: what a reader of PDFs might show otherwise is refused, wherever it is."""

import hashlib
import json
import re
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from pypdf import PdfReader, PdfWriter

from kept.cli import main
from kept.evidence import own_pdf
from kept.evidence.certificate_page import ATTACHED, EDITION
from kept.evidence.certificate_pdf import read_pdf, write_pdf
from kept.evidence.verdicts import EvidenceError
from tests.unit.clients.test_certificate_pdf import MORE, ODD, body, subject

# A certificate is not verified here: only its page is.
ENVELOPE: Final[dict[str, Any]] = {
    "body": body() | {"subject": subject()} | MORE[3] | MORE[4] | MORE[5],
    "key_id": "key_1",
    "signature": "c2lnbmF0dXJl",
    "audit_entry": {"organization_id": "org_1", "number": "7", "leaf_index": "12"},
    "head": {"tree_size": "20", "root_hash": "cm9vdA==", "key_id": "key_2"},
}
# SHA-256 of the file of ENVELOPE with its streams unpacked, by edition. Such files are in other people's hands: a change of the library
# that writes them is an edition of its own, and what was written before has to be written still.
WRITTEN: Final = {
    1: "c599bd51b6285d744f227015a2d81810ce88cd8256e01f229d486acda1d518ff",
    2: "0149087bb0e773c220507a0598c604250c01f9c96b2a20b29f3184acd69c59d2",
}
# A white rectangle over a figure, and a 9 drawn as lines.
_PAINTED: Final = (
    b"q 1 g 140 600 200 20 re f 0 g 150 605 m 158 605 l 158 618 l 150 618 l 150 612 l 158 612 l S Q"
)
# A page that nothing leads to but the search of a program that finds the file broken.
_HIDDEN: Final = b"901 0 obj\n<</Length %d>>\nstream\n%s\nendstream\nendobj\n" % (len(_PAINTED), _PAINTED)

# An object by its number: the text of its dictionary, and its stream, packed; None where it has none.
_Objects = dict[int, tuple[bytes, bytes | None]]
_PAGES, _CATALOGUE, _PAGE, _DRAWS, _FILE, _BOLD = 1, 2, 3, 4, 5, 7


def _objects(pdf: bytes) -> _Objects:
    return {
        number: (one.dictionary, one.packed or None)
        for number, one in enumerate(own_pdf.read(pdf).objects, start=1)
    }


def _file(
    objects: _Objects, *, trailer: bytes = b"", info: int = 0, extra: bytes = b"", wrong: int = 0
) -> bytes:
    """A file in our form, whose lengths and table are true. trailer: besides. info: which object it is. extra: before the table. wrong: of
    which object the table says another place."""
    out = bytearray(write_pdf(ENVELOPE)[:15])
    places: dict[int, int] = {}
    for number, (dictionary, packed) in objects.items():
        places[number] = len(out)
        out += b"%d 0 obj\n<<\n" % number
        if packed is None:
            out += dictionary + b"\n>>\nendobj\n"
        else:
            said = re.sub(rb"/Length$", b"/Length %d" % len(packed), dictionary, flags=re.MULTILINE)
            out += said + b"\n>>\nstream\n" + packed + b"\nendstream\nendobj\n"
    out += extra
    at = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(
        b"%010d 00000 n \n" % (9_999 if number == wrong else place) for number, place in places.items()
    )
    out += (
        b"trailer\n<<\n/Size %d\n/Root 2 0 R\n/Info %d 0 R\n/ID [<%s><%s>]%s\n>>\nstartxref\n%d\n%%%%EOF\n"
        % (
            len(objects) + 1,
            info or len(objects),
            b"0" * 32,
            b"0" * 32,
            trailer,
            at,
        )
    )
    return bytes(out)


def _drawn(content: bytes) -> Callable[[_Objects], None]:
    def change(objects: _Objects) -> None:
        dictionary, packed = objects[_DRAWS]
        assert packed is not None
        objects[_DRAWS] = dictionary, zlib.compress(content.replace(b"*", zlib.decompress(packed)))

    return change


def _said(number: int, text: bytes, instead: bytes = b"") -> Callable[[_Objects], None]:
    """A line more in an object, or another text in the place of one."""

    def change(objects: _Objects) -> None:
        dictionary, packed = objects[number]
        assert instead in dictionary
        changed = dictionary.replace(instead, text) if instead else text + b"\n" + dictionary
        objects[number] = changed, packed

    return change


def _another(dictionary: bytes, packed: bytes | None = None) -> Callable[[_Objects], None]:
    def change(objects: _Objects) -> None:
        last = len(objects)
        objects[last + 1] = objects[last]  # the information dictionary stays the last
        objects[last] = dictionary, packed

    return change


def _information_with_a_stream(objects: _Objects) -> None:
    dictionary, _ = objects[len(objects)]
    objects[len(objects)] = dictionary + b"\n/Length", zlib.compress(_HIDDEN, 0)


_SCRIPT: Final = b"<</S /JavaScript /JS (app.alert\\('kept'\\))>>"
CHANGES: Final[dict[str, Callable[[_Objects], None]]] = {
    "paths": _drawn(b"*\n" + _PAINTED),
    "invisible text": _drawn(b"3 Tr\n*"),
    "nothing": _drawn(b""),
    "another font": _said(_BOLD, b"/Symbol", b"/Helvetica-Bold"),
    "a font of one's own": _said(_BOLD, b"/FontDescriptor <</FontFile 4 0 R>>"),
    "other letters": _said(_BOLD, b"<</Differences [49 /nine]>>", b"/WinAnsiEncoding"),
    "another part of the page": _said(_PAGE, b"/CropBox [0 400 595.28 841.89]"),
    "a smaller sheet": _said(_PAGES, b"[0 400 595.28 841.89]", b"[0 0 595.28 841.89]"),
    "another page": _said(_PAGES, b"[3 0 R 3 0 R]", b"[3 0 R]"),
    "turned": _said(_PAGE, b"/Rotate 180"),
    "another unit": _said(_PAGE, b"/UserUnit 4"),
    "a note": _said(_PAGE, b"/Annots [<</Type /Annot /Subtype /FreeText /Rect [0 0 9 9]>>]"),
    "an action of the page": _said(_PAGE, b"/AA <</O " + _SCRIPT + b">>"),
    "layers": _said(_CATALOGUE, b"/OCProperties <</OCGs []>>"),
    "a form to fill in": _said(_CATALOGUE, b"/AcroForm <</Fields []>>"),
    "what opens with it": _said(_CATALOGUE, _SCRIPT, b"[3 0 R /FitH null]"),
    "drawn from another file": _said(_DRAWS, b"/F (elsewhere.bin)"),
    "a length that stands elsewhere": _said(_DRAWS, b"/Length 7 0 R"),
    "another packing": _said(_DRAWS, b"/FlateDecade", b"/FlateDecode"),
    "an object that belongs to no page": _another(b"/Type /Font"),
    "objects in an object": _another(
        b"/Type /ObjStm\n/N 1\n/First 6\n/Filter /FlateDecode\n/Length",
        zlib.compress(b"901 0 <</Type /Pages>>"),
    ),
    "information with a stream": _information_with_a_stream,
    "attached twice": _another(b"/Type /EmbeddedFile\n/Filter /FlateDecode\n/Length", zlib.compress(b"{}")),
}


def test_the_form_is_written_here_as_it_is_there() -> None:
    """What the forgeries below are made with makes a good file where it changes nothing."""
    for edition in range(1, EDITION + 1):
        made = _file(_objects(write_pdf(ENVELOPE, edition)))
        assert read_pdf(made) == ENVELOPE
        assert PdfReader(BytesIO(made), strict=True).pages[0].extract_text()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("edition", range(1, EDITION + 1))
def test_what_a_reader_sees_and_no_text_says_is_refused(
    change: Callable[[_Objects], None], edition: int
) -> None:
    objects = _objects(write_pdf(ENVELOPE, edition))
    change(objects)
    with pytest.raises(EvidenceError):
        read_pdf(_file(objects))


@pytest.mark.parametrize(
    "extra", [_HIDDEN, b"% a note\n", b"4 0 % a note\nobj\n", b"\n", b"startxref\n15\n%%EOF\n"]
)
def test_bytes_between_the_objects_and_the_table_are_refused(extra: bytes) -> None:
    made = _file(_objects(write_pdf(ENVELOPE)), extra=extra)
    assert PdfReader(BytesIO(made)).pages[0].extract_text()
    with pytest.raises(EvidenceError, match="not as `kept certificates pdf` writes it"):
        read_pdf(made)


def test_a_table_that_is_wrong_is_refused() -> None:
    """Programs that find one search the file for objects: of one that nothing leads to it is enough."""
    objects = _objects(write_pdf(ENVELOPE))
    for number in objects:
        with pytest.raises(EvidenceError, match="not as `kept certificates pdf` writes it"):
            read_pdf(_file(objects, wrong=number))


@pytest.mark.parametrize("more", [b"\n/Prev 15", b"\n/XRefStm 15", b"\n/Encrypt 7 0 R", b"\n/ID [<00><00>]"])
def test_a_trailer_that_leads_elsewhere_is_refused(more: bytes) -> None:
    with pytest.raises(EvidenceError, match="says something else"):
        read_pdf(_file(_objects(write_pdf(ENVELOPE)), trailer=more))
    with pytest.raises(EvidenceError, match="says something else"):
        read_pdf(_file(_objects(write_pdf(ENVELOPE)), info=_PAGE))


def test_what_another_program_saved_is_refused() -> None:
    """It may have kept all, or have written a second file behind the first: one program shows the last, and one that searches another."""
    true = write_pdf(ENVELOPE)
    locked = PdfWriter(clone_from=BytesIO(true))
    locked.encrypt("", algorithm="RC4-128")
    for pdf in (PdfWriter(clone_from=BytesIO(true)), PdfWriter(BytesIO(true), incremental=True), locked):
        saved = BytesIO()
        pdf.write(saved)
        with pytest.raises(EvidenceError, match="not as `kept certificates pdf` writes it"):
            read_pdf(saved.getvalue())


def test_no_byte_may_be_otherwise_more_or_missing() -> None:
    """But for those of the identifier, and those of a stream that unpacks to the same: they say nothing."""
    true = write_pdf(ENVELOPE)
    free = re.compile(rb"(?<=\nstream\n).*?(?=\nendstream\n)|(?<=/ID \[)[^]]*", re.DOTALL)
    silent = {place for found in free.finditer(true) for place in range(*found.span())}
    for place in range(0, len(true), 17):
        byte = true[place : place + 1]
        for instead in (bytes([byte[0] ^ 1]), b"", byte + byte, byte + b"\n"):
            if place in silent and len(instead) == 1:
                continue
            with pytest.raises(EvidenceError):
                read_pdf(true[:place] + instead + true[place + 1 :])
    for more in (b"\n", b"%%EOF\n", true):
        with pytest.raises(EvidenceError):
            read_pdf(true + more)
        with pytest.raises(EvidenceError):
            read_pdf(more + true)


@pytest.mark.parametrize("edition", range(1, EDITION + 1))
@pytest.mark.parametrize("level", [0, 1, 9])
def test_how_a_stream_is_packed_may_differ(edition: int, level: int) -> None:
    """Another build of zlib packs otherwise."""
    objects = {
        number: (text, None if packed is None else zlib.compress(zlib.decompress(packed), level))
        for number, (text, packed) in _objects(write_pdf(ENVELOPE, edition)).items()
    }
    assert read_pdf(_file(objects)) == ENVELOPE


@pytest.mark.parametrize("sought", ["901 0 obj", "endstream", "trailer", "xref", "%%EOF"])
def test_a_stream_that_is_packed_so_that_a_search_finds_something_in_it_is_refused(sought: str) -> None:
    envelope = ENVELOPE | {"body": ENVELOPE["body"] | {"kept": [sought]}}
    true = write_pdf(envelope)
    assert read_pdf(true) == envelope
    objects = _objects(true)
    text, packed = objects[_FILE]
    assert packed is not None
    objects[_FILE] = text, zlib.compress(zlib.decompress(packed), 0)
    with pytest.raises(EvidenceError, match="says something else"):
        read_pdf(_file(objects))


@pytest.mark.parametrize(
    ("before", "after"), [(b"", b" "), (b"\0", b""), (b"", bytes(4))], ids=["more", "another start", "zeros"]
)
def test_a_broken_stream_is_refused(before: bytes, after: bytes) -> None:
    """Programs differ in what they make of one."""
    objects = _objects(write_pdf(ENVELOPE))
    text, packed = objects[_DRAWS]
    assert packed is not None
    for broken in (before + packed + after, packed[:-1]):
        objects[_DRAWS] = text, broken
        with pytest.raises(EvidenceError, match="not as `kept certificates pdf` writes it"):
            read_pdf(_file(objects))


def test_all_streams_of_a_file_have_one_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a few bytes unpack to must not fill the memory of whoever verifies them."""
    objects = _objects(write_pdf(ENVELOPE))
    unpacked = sum(len(zlib.decompress(packed)) for _, packed in objects.values() if packed)
    monkeypatch.setattr(own_pdf, "_MOST_UNPACKED", unpacked)
    assert read_pdf(_file(objects)) == ENVELOPE
    largest = max(len(zlib.decompress(packed)) for _, packed in objects.values() if packed)
    for most in (unpacked - 1, largest, 0):
        monkeypatch.setattr(own_pdf, "_MOST_UNPACKED", most)
        with pytest.raises(EvidenceError, match="not as `kept certificates pdf` writes it"):
            own_pdf.read(_file(objects))


@pytest.mark.parametrize("more", ODD.values(), ids=ODD)
def test_what_no_page_can_show_does_not_verify(
    more: dict[str, Any], profile_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = _objects(write_pdf(ENVELOPE))
    text, _ = objects[_FILE]
    odd = ENVELOPE | {"body": ENVELOPE["body"] | more}
    objects[_FILE] = text, zlib.compress(json.dumps(odd).encode())
    file = tmp_path / "odd.pdf"
    file.write_bytes(_file(objects))
    assert main(["certificates", "verify", str(file)]) == 4
    assert "NOT VERIFIED" in capsys.readouterr().out


@pytest.mark.parametrize("edition", range(1, EDITION + 1))
def test_each_edition_is_written_as_it_was(edition: int) -> None:
    written = own_pdf.read(write_pdf(ENVELOPE, edition))
    unpacked = [(one.dictionary, one.content) for one in written.objects]
    said = repr((written.head, unpacked, written.trailer))
    assert hashlib.sha256(said.encode()).hexdigest() == WRITTEN[edition]


@pytest.mark.parametrize(
    ("begins", "said"),
    [(b'{"body": {"records_removed": 0}, ', "says something twice"), (b"{ ", "says something else")],
)
def test_what_is_attached_is_compared_too(begins: bytes, said: str) -> None:
    """Two spellings of one certificate are two things to whoever reads JSON in another way."""
    objects = _objects(write_pdf(ENVELOPE))
    text, packed = objects[_FILE]
    assert packed is not None
    objects[_FILE] = text, zlib.compress(begins + zlib.decompress(packed)[1:])
    forged = _file(objects)
    assert PdfReader(BytesIO(forged)).attachments[ATTACHED][0].startswith(begins)
    with pytest.raises(EvidenceError, match=said):
        read_pdf(forged)
