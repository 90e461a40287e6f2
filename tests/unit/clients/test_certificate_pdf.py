"""A certificate on one page: it says what the signed JSON says, whatever its size, and is refused when either was changed."""

import hashlib
import json
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from pypdf import PdfReader, PdfWriter
from pypdf.generic import RectangleObject

from kept.cli import main
from kept.evidence.certificate_page import ATTACHED, EDITION
from kept.evidence.certificate_pdf import read_pdf, write_pdf
from kept.evidence.verdicts import EvidenceError
from tests.unit.clients.conftest import ORG
from tests.unit.clients.test_evidence_commands import Log

# SHA-256 of what the first edition says of `body()`, without the spaces.
FIRST_EDITION = "f7d6f0129fd516e901f2077016142e81942cefd4cf7b39b0e012dd48050ba5b2"
INSTANT = "2026-03-31T22:00:07.250000Z"


def body(days: int = 2, holds: int = 1, statement: str = "Files on a disk.") -> dict[str, Any]:
    """As retention signs it: a run over so many days, with so many holds."""
    first = date(2026, 3, 1)
    return {
        "format": 1,
        "certificate_id": "certificate_" + "1" * 26,
        "organization_id": ORG,
        "act_id": "run_" + "2" * 26,
        "further": False,
        "completes": None,
        "signed_at": INSTANT,
        "started_at": INSTANT,
        "rule": {
            "kind": "AT_MOST",
            "days": 30,
            "run_window_seconds": 7200,
            "version": 4,
            "effective_at": INSTANT,
        },
        "through_day": "2026-03-02",
        "days": [
            {
                "day": (first + timedelta(days=at)).isoformat(),
                "epoch_key_ids": [f"epoch_{at:026}"],
                "destruction_ids": ["run_" + "2" * 26],
                "records_removed": 1000 + at,
                "records_held": at,
            }
            for at in range(days)
        ],
        "destructions": [
            {
                "destruction_id": "run_" + "2" * 26,
                "marked_at": INSTANT,
                "destroyed_at": INSTANT,
                "root_key_id": "root_" + "3" * 26,
                "key_store_statement": statement,
            }
        ],
        "removed_at": INSTANT,
        "records_removed": 12_345,
        "records_held": holds,
        "late_seconds": 17,
        "holds": [{"hold_id": f"hold_{at:026}", "kind": "LEGAL", "records": 1} for at in range(holds)],
        "holds_not_named": 3,
        "receipts": [
            {"service": "logging", "erased_at": INSTANT, "removed": {"interactions": 12}, "kept": 1}
        ],
        "kept": ["1 record is kept by a legal hold: Überprüfung."],
    }


def subject() -> dict[str, Any]:
    return {
        "commitment": "c29tZSBjb21taXRtZW50IG9mIDMyIGJ5dGVzIGxlbmc=",
        "fenced_at": INSTANT,
        "sealed_copies": [{"day": "2026-03-05", "records": 7, "unreadable_by": INSTANT}],
        "sealed_copies_unreadable_by": INSTANT,
        "copies": ["Backups hold sealed copies."],
    }


def scalars(value: Any) -> list[str]:
    """Every single value that is in a document, as text."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in scalars(each)]
    if isinstance(value, list):
        return [text for each in value for text in scalars(each)]
    return [] if value is None or isinstance(value, bool) else [str(value)]


def page_of(pdf: bytes) -> str:
    """What the one page says, without the spaces."""
    [page] = PdfReader(BytesIO(pdf)).pages
    return "".join(page.extract_text().split())


@pytest.fixture
def log(profile_file: Path) -> Log:
    made = Log()
    made.pin(profile_file.parent / "signing-keys.json")
    return made


def applications() -> dict[str, Any]:
    """What a certificate says besides where an application has a term of its own."""
    said = body()
    rule = said["rule"] | {"days": 10, "version": 77}
    own = {"application": "night shift", "rule": rule, "through_day": "2026-03-21"}
    return {
        "days": [*said["days"], said["days"][0] | {"application": "night shift", "records_removed": 4711}],
        "applications": [own],
    }


MORE: list[dict[str, Any]] = [
    {},
    {"subject": subject()},
    applications(),
    {"reservation": "What a law forbids to speak of is counted as removed."},
    {
        "content": {
            "before": INSTANT,
            "fenced_at": "2026-04-01T00:00:00.000000Z",
            "contents_removed": 987_654,
            "stays": ["Log data."],
        }
    },
    {"of_a_later_version": {"first_word": ["that", "no page", 31_415]}, "another": "word"},
]


@pytest.mark.parametrize("more", MORE)
def test_the_page_says_every_fact_of_the_signed_body(log: Log, more: dict[str, Any]) -> None:
    envelope = log.certificate(body() | more)
    page = page_of(write_pdf(envelope))
    for value in [*scalars(envelope["body"]), envelope["signature"], envelope["head"]["root_hash"]]:
        assert "".join(value.split()) in page, value


@pytest.mark.parametrize("more", MORE)
def test_a_page_that_an_earlier_version_made_is_good_for_ever(log: Log, more: dict[str, Any]) -> None:
    envelope = log.certificate(body() | more)
    for edition in range(1, EDITION + 1):
        assert read_pdf(write_pdf(envelope, edition)) == envelope


def test_the_first_edition_says_what_it_said(log: Log) -> None:
    """Its pages are in other people's hands."""
    page = page_of(write_pdf(log.certificate(body() | MORE[3] | MORE[4]), 1))
    assert hashlib.sha256(page.partition("Proof")[0].encode()).hexdigest() == FIRST_EDITION


@pytest.mark.parametrize(("days", "holds", "sentences"), [(1000, 1000, 1), (3, 0, 500)])
def test_what_is_too_long_fits_one_page_and_says_what_it_leaves_out(
    log: Log, days: int, holds: int, sentences: int
) -> None:
    envelope = log.certificate(body(days, holds, "A long sentence. " * sentences))
    page = page_of(write_pdf(envelope))
    assert "12345" in page
    assert f"allintheattached{ATTACHED}" in page
    if holds:
        for items in (envelope["body"]["days"], envelope["body"]["holds"]):
            assert "moreof1000" in page
            assert hashlib.sha256(rfc8785.dumps(items)).hexdigest() in page
    assert read_pdf(write_pdf(envelope)) == envelope


def test_letters_that_the_fonts_do_not_have_are_written_as_code_points(log: Log) -> None:
    said = body() | {"kept": ["保持 \u202e {nb} \x1b[31m"]}
    page = page_of(write_pdf(log.certificate(said)))
    assert r"\u4fdd\u6301\u202e{nb}\u001b[31m" in page


def test_names_that_the_fonts_do_not_have_are_written_as_code_points(log: Log) -> None:
    envelope = log.certificate(body() | {"保持\n": "a word"})
    made = write_pdf(envelope)
    assert r"\u4fdd\u6301\u000a" in page_of(made)
    assert read_pdf(made) == envelope


def nested(depth: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


# What JSON can say of a certificate, and no page.
ODD: dict[str, dict[str, Any]] = {
    "nested": {"days": nested(400)},
    "nested elsewhere": {"of_a_later_version": nested(900)},
    "year 1": {"signed_at": "0001-01-01"},
    "a day": {"signed_at": "2026-01-01"},
    "no zone": {"signed_at": "2026-03-31T22:00:07"},
    "no instant": {"signed_at": "some day"},
}


@pytest.mark.parametrize("more", ODD.values(), ids=ODD)
def test_what_no_page_can_show_is_not_laid_out(more: dict[str, Any], log: Log, tmp_path: Path) -> None:
    file, pdf = tmp_path / "certificate.json", tmp_path / "certificate.pdf"
    file.write_text(json.dumps(log.certificate(body()) | {"body": body() | more}))
    assert main(["certificates", "pdf", str(file), "--output", str(pdf)]) == 2
    assert not pdf.exists()


def test_what_has_too_many_lines_is_not_laid_out(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    envelope = log.certificate(body() | {f"name_{at}": at for at in range(1000)})
    monkeypatch.setattr("kept.evidence.certificate_pdf.FPDF", None)
    with pytest.raises(EvidenceError, match="does not fit one page"):
        write_pdf(envelope)


def test_a_pdf_verifies_by_what_is_attached_to_it(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, pdf = tmp_path / "certificate.json", tmp_path / "certificate.pdf"
    file.write_text(json.dumps(log.certificate(body())))
    assert main(["certificates", "pdf", str(file), "--output", str(pdf)]) == 0
    assert main(["certificates", "verify", str(pdf)]) == 0
    assert "verified" in capsys.readouterr().out
    # The same certificate, the same bytes.
    assert pdf.read_bytes() == write_pdf(json.loads(file.read_text()))


def test_one_byte_changed_in_what_is_attached_is_refused(log: Log, tmp_path: Path) -> None:
    envelope = log.certificate(body())
    pdf = tmp_path / "certificate.pdf"
    for name, value in (("records_removed", 12_346), ("through_day", "2026-03-03"), ("late_seconds", 0)):
        pdf.write_bytes(write_pdf(envelope | {"body": envelope["body"] | {name: value}}))
        assert main(["certificates", "verify", str(pdf)]) == 4


def test_a_page_that_says_something_else_than_its_attachment_is_refused(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    true = log.certificate(body())
    false = write_pdf(true | {"body": true["body"] | {"records_removed": 99_999}})
    forged = PdfWriter()
    for page in PdfReader(BytesIO(false)).pages:
        forged.add_page(page)
    forged.add_attachment(ATTACHED, rfc8785.dumps(true))
    twice = PdfWriter(clone_from=BytesIO(write_pdf(true)))
    twice.add_blank_page()
    noted = PdfWriter(clone_from=BytesIO(write_pdf(true)))
    noted.add_uri(0, "https://example.test", RectangleObject((0, 0, 50, 50)))
    for made in (forged, twice, noted):
        pdf = tmp_path / "forged.pdf"
        made.write(pdf)
        assert main(["certificates", "verify", str(pdf)]) == 4
        assert "not as `kept certificates pdf` writes it" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", [b"%PDF-", b"%PDF-1.7\nnothing", b"%PDF-1.4\n" + bytes(2000)], ids=["empty", "text", "zeros"]
)
def test_a_pdf_that_is_none_is_refused(content: bytes, log: Log, tmp_path: Path) -> None:
    pdf = tmp_path / "broken.pdf"
    pdf.write_bytes(content)
    assert main(["certificates", "verify", str(pdf)]) == 4
    bare = PdfWriter()
    bare.add_blank_page(100, 100)
    bare.write(pdf)
    assert main(["certificates", "verify", str(pdf)]) == 4
    with pytest.raises(EvidenceError, match="no JSON object"):
        write_pdf([])
