"""A certificate's page under which the text is the true one, and over which a reader sees another: refused, whatever it is painted with."""

import hashlib
from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    FloatObject,
    NameObject,
    NumberObject,
    PdfObject,
    StreamObject,
    TextStringObject,
)

from kept.evidence.certificate_page import ATTACHED, EDITION
from kept.evidence.certificate_pdf import read_pdf, write_pdf
from kept.evidence.drawn import drawn
from kept.evidence.verdicts import EvidenceError
from tests.unit.clients.test_certificate_pdf import MORE, body, subject

# A certificate is not verified here: only its page is.
ENVELOPE: Final[dict[str, Any]] = {
    "body": body() | {"subject": subject()} | MORE[3] | MORE[4] | MORE[5],
    "key_id": "key_1",
    "signature": "c2lnbmF0dXJl",
    "audit_entry": {"organization_id": "org_1", "number": "7", "leaf_index": "12"},
    "head": {"tree_size": "20", "root_hash": "cm9vdA==", "key_id": "key_2"},
}
# SHA-256 of what the page of ENVELOPE draws, by edition. Such pages are in other people's hands: a change of the library that draws them is
# an edition of its own, and what was drawn before has to be drawn still.
DRAWN: Final = {
    1: "2204cb292a80f07798c4fe3e2492f933951a59ca3b9705e7567128392dbbb402",
    2: "5820495c8c88c981237ef5c47b25a611a4cad3e51f4ee12ec348530e0e49521b",
}
# A white rectangle over a figure, and a 9 drawn as lines.
_PAINTED: Final = (
    b"q 1 g 140 600 200 20 re f 0 g 150 605 m 158 605 l 158 618 l 150 618 l 150 612 l 158 612 l S Q"
)


def _name(text: str) -> NameObject:
    return NameObject(text)


def _dictionary(**values: PdfObject) -> DictionaryObject:
    return DictionaryObject({_name(f"/{name}"): value for name, value in values.items()})


def _stream(content: bytes, **values: PdfObject) -> StreamObject:
    stream = DecodedStreamObject()
    stream.set_data(content)
    stream.update(_dictionary(**values))
    return stream


def _numbers(*values: float) -> ArrayObject:
    return ArrayObject(FloatObject(value) for value in values)


def _appended(pdf: PdfWriter, content: bytes) -> None:
    page = pdf.pages[0]
    added = pdf._add_object(_stream(content))
    page[_name("/Contents")] = ArrayObject([page.raw_get("/Contents"), added])


def _resource(pdf: PdfWriter, kind: str, value: PdfObject) -> None:
    resources = pdf.pages[0]["/Resources"]
    assert isinstance(resources, DictionaryObject)
    resources[_name(kind)] = _dictionary(X1=pdf._add_object(value))


def _paths(pdf: PdfWriter) -> None:
    _appended(pdf, _PAINTED)


def _paths_in_the_same_stream(pdf: PdfWriter) -> None:
    stream = pdf.pages[0]["/Contents"].get_object()
    assert isinstance(stream, StreamObject)
    stream.set_data(stream.get_data() + _PAINTED)


def _shading(pdf: PdfWriter) -> None:
    white = _dictionary(FunctionType=NumberObject(2), Domain=_numbers(0, 1), C0=_numbers(1), C1=_numbers(1))
    white[_name("/N")] = NumberObject(1)
    shading = _dictionary(ShadingType=NumberObject(2), ColorSpace=_name("/DeviceGray"), Function=white)
    shading[_name("/Coords")] = _numbers(0, 0, 595, 0)
    _resource(pdf, "/Shading", shading)
    _appended(pdf, b"/X1 sh")


def _form(pdf: PdfWriter) -> None:
    form = _stream(_PAINTED, Type=_name("/XObject"), Subtype=_name("/Form"), BBox=_numbers(0, 0, 595, 842))
    _resource(pdf, "/XObject", form)
    _appended(pdf, b"/X1 Do")


def _invisible(pdf: PdfWriter) -> None:
    stream = pdf.pages[0]["/Contents"].get_object()
    assert isinstance(stream, StreamObject)
    stream.set_data(b"3 Tr\n" + stream.get_data())


def _font(pdf: PdfWriter) -> DictionaryObject:
    font: PdfObject = pdf.pages[0]
    for name in ("/Resources", "/Font", "/F2"):
        assert isinstance(font, DictionaryObject)
        font = font[name]
    assert isinstance(font, DictionaryObject)
    return font


def _another_font(pdf: PdfWriter) -> None:
    _font(pdf)[_name("/BaseFont")] = _name("/Symbol")


def _font_of_ones_own(pdf: PdfWriter) -> None:
    """Of a program in the file, whose 1 may look as a 9."""
    program = pdf._add_object(_stream(b"%!PS-AdobeFont", Length1=NumberObject(14)))
    descriptor = _dictionary(Type=_name("/FontDescriptor"), FontName=_name("/Helvetica"), FontFile=program)
    _font(pdf)[_name("/FontDescriptor")] = pdf._add_object(descriptor)


def _other_letters(pdf: PdfWriter) -> None:
    differences = ArrayObject([NumberObject(ord("1")), _name("/nine")])
    _font(pdf)[_name("/Encoding")] = _dictionary(
        Type=_name("/Encoding"), BaseEncoding=_name("/WinAnsiEncoding"), Differences=differences
    )


def _of_the_page(name: str, value: PdfObject) -> Callable[[PdfWriter], None]:
    def change(pdf: PdfWriter) -> None:
        pdf.pages[0][_name(name)] = value

    return change


def _of_the_catalogue(name: str, value: PdfObject) -> Callable[[PdfWriter], None]:
    def change(pdf: PdfWriter) -> None:
        pdf.root_object[_name(name)] = value

    return change


_SCRIPT: Final = _dictionary(S=_name("/JavaScript"), JS=TextStringObject("app.alert('kept')"))

CHANGES: Final = {
    "paths": _paths,
    "paths in the same stream": _paths_in_the_same_stream,
    "a shading": _shading,
    "a form of paths": _form,
    "invisible text": _invisible,
    "another font": _another_font,
    "a font of one's own": _font_of_ones_own,
    "other letters": _other_letters,
    "another part of the page": _of_the_page("/CropBox", _numbers(0, 400, 595.28, 841.89)),
    "a smaller sheet": _of_the_page("/MediaBox", _numbers(0, 400, 595.28, 841.89)),
    "turned": _of_the_page("/Rotate", NumberObject(180)),
    "another unit": _of_the_page("/UserUnit", NumberObject(4)),
    "an action of the page": _of_the_page("/AA", _dictionary(O=_SCRIPT)),
    "layers": _of_the_catalogue("/OCProperties", _dictionary(OCGs=ArrayObject())),
    "a form to fill in": _of_the_catalogue("/AcroForm", _dictionary(Fields=ArrayObject())),
    "what opens with it": _of_the_catalogue("/OpenAction", _SCRIPT),
    "an action of the file": _of_the_catalogue("/AA", _dictionary(WC=_SCRIPT)),
}


def _saved(pdf: PdfWriter) -> bytes:
    file = BytesIO()
    pdf.write(file)
    return file.getvalue()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("edition", range(1, EDITION + 1))
def test_what_a_reader_sees_and_no_text_says_is_refused(
    change: Callable[[PdfWriter], None], edition: int
) -> None:
    true = write_pdf(ENVELOPE, edition)
    pdf = PdfWriter(clone_from=BytesIO(true))
    change(pdf)
    forged = _saved(pdf)
    with pytest.raises(EvidenceError, match="says something else"):
        read_pdf(forged)


def test_a_file_that_is_two_is_refused() -> None:
    """One program shows the last of them, and another that looks for objects the first."""
    pdf = PdfWriter(BytesIO(write_pdf(ENVELOPE)), incremental=True)
    _paths(pdf)
    forged = _saved(pdf)
    assert forged.startswith(write_pdf(ENVELOPE)[:1000])
    with pytest.raises(EvidenceError, match="changed after it was made"):
        read_pdf(forged)
    locked = PdfWriter(clone_from=BytesIO(write_pdf(ENVELOPE)))
    locked.encrypt("", algorithm="RC4-128")
    with pytest.raises(EvidenceError, match="encrypted"):
        read_pdf(_saved(locked))


@pytest.mark.parametrize("begins", [b"4 0 obj", b"4 0 % a note\nobj", b"4\0000\000obj"])
def test_a_page_beside_the_page_is_refused(begins: bytes) -> None:
    """Nothing leads to it but the search of a program that finds the file broken."""
    true = write_pdf(ENVELOPE)
    hidden = begins + b"\n<</Length %d>>\nstream\n%s\nendstream\nendobj\n" % (len(_PAINTED), _PAINTED)
    head, _, table = true.rpartition(b"\nxref\n")
    at = len(head) + 1
    forged = head + b"\n" + hidden + b"xref\n" + table.replace(b"%d" % at, b"%d" % (at + len(hidden)))
    assert PdfReader(BytesIO(forged), strict=True).pages[0].extract_text()
    with pytest.raises(EvidenceError, match="belong to no page"):
        read_pdf(forged)


def test_a_stream_that_is_packed_in_a_way_of_no_program_is_refused() -> None:
    with pytest.raises(EvidenceError, match="packed"):
        read_pdf(write_pdf(ENVELOPE).replace(b"/FlateDecode", b"/FlateDecade"))


@pytest.mark.parametrize(
    "extra", [{"F": TextStringObject("elsewhere.bin")}, {"FFilter": _name("/FlateDecode")}]
)
def test_a_page_that_is_drawn_from_another_file_is_refused(extra: dict[str, PdfObject]) -> None:
    pdf = PdfWriter(clone_from=BytesIO(write_pdf(ENVELOPE)))
    stream = pdf.pages[0]["/Contents"].get_object()
    assert isinstance(stream, StreamObject)
    stream.update(_dictionary(**extra))
    with pytest.raises(EvidenceError, match="says something else"):
        read_pdf(_saved(pdf))


@pytest.mark.parametrize(
    ("before", "after"), [(b"", b" q"), (b"\0", b""), (b"", bytes(4))], ids=["more", "another start", "zeros"]
)
def test_a_broken_stream_is_refused(before: bytes, after: bytes) -> None:
    """Programs differ in what they make of one."""
    pdf = PdfWriter(clone_from=BytesIO(write_pdf(ENVELOPE)))
    stream = pdf.pages[0]["/Contents"].get_object()
    assert isinstance(stream, StreamObject)
    stream._data = before + stream._data + after
    with pytest.raises(EvidenceError, match="stream"):
        read_pdf(_saved(pdf))


@pytest.mark.parametrize("edition", range(1, EDITION + 1))
def test_a_file_that_was_saved_again_unchanged_stays_good(edition: int) -> None:
    """Also with its streams packed otherwise, and by a program that names itself."""
    true = write_pdf(ENVELOPE, edition)
    assert read_pdf(true) == ENVELOPE
    again = PdfWriter(clone_from=BytesIO(true))
    assert read_pdf(_saved(again)) == ENVELOPE
    stream = again.pages[0]["/Contents"].get_object()
    assert isinstance(stream, StreamObject)
    stream._data = stream.get_data()
    del stream[_name("/Filter")]
    again.add_metadata({"/Producer": "another program"})
    assert read_pdf(_saved(again)) == ENVELOPE


@pytest.mark.parametrize("edition", range(1, EDITION + 1))
def test_each_edition_draws_what_it_drew(edition: int) -> None:
    assert hashlib.sha256(repr(drawn(write_pdf(ENVELOPE, edition))).encode()).hexdigest() == DRAWN[edition]


@pytest.mark.parametrize(
    ("begins", "said"),
    [(b'{"body": {"records_removed": 0}, ', "says something twice"), (b"{ ", "says something else")],
)
def test_what_is_attached_is_compared_too(begins: bytes, said: str) -> None:
    """Two spellings of one certificate are two things to whoever reads JSON in another way."""
    pdf = PdfWriter(clone_from=BytesIO(write_pdf(ENVELOPE)))
    [attached] = [
        each
        for each in pdf._objects
        if isinstance(each, StreamObject) and each.get("/Type") == "/EmbeddedFile"
    ]
    attached.set_data(begins + attached.get_data()[1:])
    forged = _saved(pdf)
    assert PdfReader(BytesIO(forged)).attachments[ATTACHED][0].startswith(begins)
    with pytest.raises(EvidenceError, match=said):
        read_pdf(forged)
