"""An export, verified offline as it is read, with no more of it than a piece in memory (format: docs/export.md).

What is shown: the archive is whole, and every part in it is the one that the manifest names; the audit log has an entry that says that an
admin of that organization took along an archive with exactly this manifest; and that entry stands in the tree of a head that a pinned key
signed. The access log and the certificates in it are verified by themselves besides.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from kept.archive import tar
from kept.archive.writing import FORMAT, MANIFEST, MOST_BYTES, SIGNATURE, SIGNATURE_FORMAT, lines_of
from kept.evidence.audit import ListCheck, check_act, check_head, signed_at
from kept.evidence.certificates import verify_certificate
from kept.evidence.verdicts import Evidence, EvidenceError, PinnedKeys, Verdict, parse


@dataclass
class Seen:
    """What was found in an archive that verified.

    bytes: of all parts. access_log_as_of: RFC 3339, when the access log's end was signed; empty where there is none.
    entries_between_log_and_seal: of the organization; what the log in the archive does not tell of. entries_without_text: numbers of those
    in the log whose text is gone.
    """

    organization_id: str = ""
    exported_by: str = ""
    sealed_at: str = ""
    parts: int = 0
    bytes: int = 0
    access_log_entries: int = 0
    access_log_as_of: str = ""
    entries_between_log_and_seal: int = 0
    entries_without_text: list[int] = field(default_factory=list)
    certificates: int = 0


@dataclass
class _Read:
    """What was read so far: parts as the manifest has to name them."""

    log_keys: PinnedKeys
    certificate_keys: PinnedKeys
    parts: list[dict[str, Any]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    written_at: set[int] = field(default_factory=set)
    whole: dict[str, bytes] = field(default_factory=dict)
    log: ListCheck | None = None
    certificates: int = 0
    certificates_of: set[str] = field(default_factory=set)


def verify_archive(
    source: BinaryIO, log_keys: PinnedKeys, certificate_keys: PinnedKeys
) -> tuple[Verdict, Seen]:
    """Verifies an archive, read once from its beginning to its end. log_keys: of the audit log. certificate_keys: of who certifies."""
    read = _Read(log_keys, certificate_keys)
    try:
        for file in tar.files(source):
            _take(read, file)
        return Verdict(True), _check(read)
    except EvidenceError as error:
        return Verdict(False, str(error)), Seen()


def _take(read: _Read, file: tar.File) -> None:
    if file.name in read.names:
        raise EvidenceError(f"{file.name} is there twice.")
    if SIGNATURE in read.whole or (MANIFEST in read.whole and file.name != SIGNATURE):
        raise EvidenceError(f"{file.name} comes behind the manifest, which does not name it.")
    read.names.add(file.name)
    read.written_at.add(file.written_at)
    if file.name in (MANIFEST, SIGNATURE):
        read.whole[file.name] = _whole(file)
        return
    digest, size = hashlib.sha256(), 0

    def content() -> Any:
        nonlocal size
        for piece in file.content:
            digest.update(piece)
            size += len(piece)
            yield piece

    pieces = content()
    if file.name.startswith("access-log/"):
        for line in lines_of(pieces):
            _take_page(read, _parsed(line, file.name))
    elif file.name.startswith("certificates/"):
        for line in lines_of(pieces):
            _take_certificate(read, _parsed(line, file.name))
    for _ in pieces:
        pass
    read.parts.append({"name": file.name, "bytes": size, "sha256": digest.hexdigest()})


def _whole(file: tar.File) -> bytes:
    content = b""
    for piece in file.content:
        content += piece
        if len(content) > MOST_BYTES:
            raise EvidenceError(f"{file.name} is larger than any that an export writes.")
    return content


def _parsed(content: bytes, name: str) -> Any:
    try:
        return parse(content, name)
    except (ValueError, RecursionError):
        raise EvidenceError(f"{name} is no JSON.") from None


def _take_page(read: _Read, page: Any) -> None:
    if read.log is None:
        whose = Evidence(page, "the access log").nested("end").text("organization_id")
        read.log = ListCheck(whose, read.log_keys)
    read.log.add(page)


def _take_certificate(read: _Read, envelope: Any) -> None:
    result = verify_certificate(envelope, read.certificate_keys, read.log_keys)
    if not result.ok:
        raise EvidenceError(result.problem)
    read.certificates += 1
    read.certificates_of.add(Evidence(envelope, "the certificate").nested("body").text("organization_id"))


def _check(read: _Read) -> Seen:
    for name in (MANIFEST, SIGNATURE):
        if name not in read.whole:
            raise EvidenceError(f"The archive has no {name}: it is not whole.")
    manifest = Evidence(_parsed(read.whole[MANIFEST], MANIFEST), "the manifest")
    organization_id = manifest.text("organization_id")
    if manifest.text("format") != FORMAT:
        raise EvidenceError("The manifest is of another format.")
    if manifest.items("parts") != read.parts:
        raise EvidenceError(_first_difference(manifest.items("parts"), read.parts))
    if read.written_at != {manifest.number("written_at")}:
        raise EvidenceError("The archive's files are of another time than its manifest.")
    sealed_as, signed = _check_signature(read, organization_id)
    if read.log is not None:
        read.log.finish()
        if read.log.organization_id != organization_id:
            raise EvidenceError("The access log is of another organization than the manifest.")
    if not read.certificates_of <= {organization_id}:
        raise EvidenceError("A certificate is of another organization than the manifest.")
    seen = Seen(
        organization_id,
        signed.text("actor"),
        signed.text("occurred_at"),
        len(read.parts),
        sum(part["bytes"] for part in read.parts),
        certificates=read.certificates,
    )
    if read.log is not None and read.log.head is not None:
        seen.access_log_entries = read.log.reached.last_number
        seen.access_log_as_of = signed_at(read.log.head.timestamp_ms)
        seen.entries_without_text = read.log.without_text
    seen.entries_between_log_and_seal = sealed_as - 1 - seen.access_log_entries
    return seen


def _first_difference(named: list[Any], found: list[dict[str, Any]]) -> str:
    for one, other in zip(named, found, strict=False):
        if one != other:
            return f"{other['name']} is not the part that the manifest names in its place: it was changed, or another one is missing."
    return (
        "A part that the manifest names is missing."
        if len(named) > len(found)
        else "There are more parts than the manifest names."
    )


def _check_signature(read: _Read, organization_id: str) -> tuple[int, Evidence]:
    """The number of the audit log's entry of the manifest, and what it says."""
    content = read.whole[SIGNATURE]
    signature = Evidence(_parsed(content, SIGNATURE), "the signature")
    if signature.text("format") != SIGNATURE_FORMAT:
        raise EvidenceError("The signature is of another format.")
    # One way of writing it, so that not a byte of the archive may be otherwise.
    if (json.dumps(signature.raw, indent=1) + "\n").encode() != content:
        raise EvidenceError("The signature is written otherwise than any export writes it.")
    entry = signature.nested("entry")
    head = check_head(signature.nested("head"), read.log_keys)
    said = check_act(entry, head, "export.sealed", "access_control", "an export")
    if said.nested("facts").text("manifest_sha256") != hashlib.sha256(read.whole[MANIFEST]).hexdigest():
        raise EvidenceError("The manifest is not the one that was signed: it was changed.")
    if said.text("organization_id") != organization_id:
        raise EvidenceError("The signature is of another organization than the manifest.")
    if read.log is not None and entry.number("number") <= read.log.reached.last_number:
        raise EvidenceError("The access log reaches beyond the signature: it is not the one that was signed.")
    return entry.number("number"), said
