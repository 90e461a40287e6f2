"""A deletion certificate as a PDF of one page with the signed JSON attached (ISO 32000-1 §7.11.4), and such a PDF read back.

Written by fpdf2. The same certificate gives the same file wherever it is made, so a file is held against the one made anew (`own_pdf`).
"""

import json
from datetime import datetime
from typing import Any, Final

from fpdf import FPDF
from fpdf.enums import WrapMode
from fpdf.errors import FPDFException

from kept.evidence import own_pdf
from kept.evidence.certificate_page import ATTACHED, EDITION, Room, Section, sections
from kept.evidence.verdicts import Evidence, EvidenceError, canonical, parse

# From a page that shows all to one that shows the figures alone; the first that fits is it.
_ROOMS: Final = (
    Room(40, 2000),
    Room(20, 1000),
    Room(10, 600),
    Room(5, 400),
    Room(2, 250),
    Room(1, 150),
    Room(0, 80),
)
# More than any page has; what has more is not laid out to see that.
_MOST_LINES: Final = 200
# Millimetres on A4, and points.
_LABEL: Final = 38.0
_LINE: Final = 3.6
_FONT: Final = 7.5


def write_pdf(envelope: Any, edition: int = EDITION) -> bytes:
    """The PDF of a certificate, in the newest edition of the page or an earlier one. Raises EvidenceError for what is no certificate.
    Verifies nothing: what it shows is what it got."""
    try:
        envelope = json.loads(canonical(envelope, "the certificate"))  # whatever order its fields came in
        for room in _ROOMS:
            shown = sections(envelope, room, edition)
            if sum(len(section.lines) for section in shown) > _MOST_LINES:
                continue
            pdf = _page(envelope, shown)
            if pdf.page == 1:
                return bytes(pdf.output())
    except (
        RecursionError,
        ValueError,
        FPDFException,
    ):  # what is attached to a stranger's file may be any JSON
        raise EvidenceError("The certificate says something that no page can show.") from None
    raise EvidenceError(
        "The certificate does not fit one page: a single fact of it is longer than any we sign."
    )


def read_pdf(content: bytes) -> Any:
    """The certificate that is attached to a PDF, still to be verified.

    Raises EvidenceError for a file that is no such PDF, or is any other than the one that we write for what is attached, in one of its
    editions: a true certificate under a page of somebody else's would be believed.
    """
    shown = own_pdf.read(content)
    attached = shown.attached()
    if len(attached) != 1:
        raise EvidenceError(
            f"No certificate is attached to the PDF: {ATTACHED} is missing, or there several times."
        )
    try:
        envelope = parse(attached[0], ATTACHED)
    except (ValueError, RecursionError):
        raise EvidenceError(f"{ATTACHED} in the PDF is no JSON.") from None
    if not any(
        shown.is_like(own_pdf.read(write_pdf(envelope, edition))) for edition in range(EDITION, 0, -1)
    ):
        raise EvidenceError(
            "The page says something else than the certificate that is attached to it, or something was added to the file; "
            f"trust {ATTACHED} alone."
        )
    return envelope


def _page(envelope: Any, shown: list[Section]) -> FPDF:
    body = Evidence(envelope, "the certificate").nested("body")
    pdf = FPDF(format="A4")
    pdf.str_alias_nb_pages = ""  # nothing in a text stands for a number of pages
    pdf.set_margin(14)
    pdf.set_auto_page_break(True, 12)
    pdf.set_title(f"Certificate of deletion {_latin(body.text('certificate_id'))}")
    pdf.set_creation_date(_signed_at(body))
    pdf.add_page()
    pdf.set_font("Helvetica", "B", 14)
    pdf.cell(0, 8, "Certificate of deletion", new_x="LMARGIN", new_y="NEXT")
    for section in shown:
        pdf.set_font("Helvetica", "B", 9)
        pdf.cell(0, 6, section.title, new_x="LMARGIN", new_y="NEXT")
        for label, text in section.lines:
            pdf.set_font("Helvetica", "", _FONT)
            pdf.cell(_LABEL, _LINE, _latin(label))
            pdf.multi_cell(
                0, _LINE, _latin(text), align="L", new_x="LMARGIN", new_y="NEXT", wrapmode=WrapMode.CHAR
            )
    pdf.embed_file(
        bytes=canonical(envelope, "the certificate"),
        basename=ATTACHED,
        desc="The signed certificate with its proof",
        creation_date=_signed_at(body),
        modification_date=_signed_at(body),
        mime_type="application/json",
        associated_file_relationship="Source",
        compress=True,
    )
    return pdf


def _signed_at(body: Evidence) -> datetime:
    try:
        instant = datetime.fromisoformat(body.text("signed_at"))
    except ValueError:
        raise EvidenceError("signed_at of the certificate is no instant.") from None
    if instant.tzinfo is None:
        raise EvidenceError("signed_at of the certificate has no zone.")
    return instant


def _latin(text: str) -> str:
    """The built-in fonts of PDF have the letters of Latin-1; any other is written as its code point, as is what does not print."""
    printable = "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)
    return printable.encode("latin-1", "backslashreplace").decode("latin-1")
