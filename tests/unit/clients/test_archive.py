"""An export: written as it comes, verified as it is read; whatever is otherwise in it, by a byte, does not verify."""

import hashlib
import io
import json
import os
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from kept.archive import tar
from kept.archive.access_log import page_document
from kept.archive.contents import MEANINGS, PARTS, Contents
from kept.archive.verification import Seen, verify_archive
from kept.archive.writing import MANIFEST, MOST_BYTES, SIGNATURE, Writer, lines_of
from kept.cli import main
from kept.cli.export import patiently
from kept.client.documents import to_document
from kept.client.errors import KeptError
from kept.client.private_files import replaced
from kept.evidence import Revoked
from kept.evidence.verdicts import EvidenceError
from kept.options.v1 import roles_pb2
from kept.settings.v1 import trust_pb2
from tests.support.contracts import methods
from tests.unit.clients.conftest import ORG, Services
from tests.unit.clients.test_evidence_commands import FIRST, Log

OTHER = "org_" + "b" * 26
AT = 1_780_000_000


class Made:
    """An archive of ORG, by pieces: the parts, and what its manifest and its signature say."""

    def __init__(self) -> None:
        self.log = Log()
        self.organization_id = ORG
        self.said: dict[str, Any] = {
            "facts": {},
            "kind": "export.sealed",
            "organization_id": ORG,
            "reported_by": "access_control",
        }
        self.between: list[bytes] = []
        self.pages = [page_document(self.log.page([FIRST]))]
        self.certificates = [self.log.certificate()]

    def keys(self) -> tuple[Any, Any]:
        return (
            dict([self.log.public(self.log.log_key)]),
            dict([self.log.public(self.log.certificate_key)]),
        )

    def sign(self, digest: bytes) -> dict[str, Any]:
        """The audit log's entry, as `GetInclusionProof` gives it."""
        facts = {"manifest_sha256": digest.hex(), **self.said["facts"]}
        body = {"actor": "member_1", "occurred_at": "2026-06-01T00:00:00Z", **self.said, "facts": facts}
        page = self.log.page([FIRST, *self.between, rfc8785.dumps(body)])
        document = to_document(page)
        return {"entry": document["entries"][-1], "head": document["head"]}

    def write(self) -> bytes:
        out = io.BytesIO()
        writer = Writer(out, AT)
        writer.add_document("organization", {"name": "Ünïcode"})
        writer.add_lines("members", [{"member_id": f"member_{n}"} for n in range(5)], piece_bytes=60)
        writer.add_lines("invitations", [])
        writer.add_lines("certificates", self.certificates)
        writer.add_lines("access-log", self.pages)
        writer.finish({"organization_id": self.organization_id, "written_at": AT}, self.sign)
        return out.getvalue()


@pytest.fixture(scope="module")
def made() -> Made:
    return Made()


@pytest.fixture(scope="module")
def archive(made: Made) -> bytes:
    return made.write()


def problem(made: Made, content: bytes, keys: tuple[Any, Any] | None = None) -> str:
    """Why it does not verify; empty where it does."""
    result, _ = verify_archive(io.BytesIO(content), *(keys or made.keys()))
    assert result.ok is (result.problem == "")
    return result.problem


def taken_apart(content: bytes) -> list[tuple[str, bytes]]:
    return [(file.name, b"".join(file.content)) for file in tar.files(io.BytesIO(content))]


def put_together(files: list[tuple[str, bytes]], at: int = AT) -> bytes:
    out = io.BytesIO()
    for name, content in files:
        tar.write_file(out, name, content, at)
    tar.write_end(out)
    return out.getvalue()


def test_what_was_written_verifies_and_any_tar_unpacks_it(made: Made, archive: bytes) -> None:
    result, seen = verify_archive(io.BytesIO(archive), *made.keys())
    assert (result.ok, result.problem) == (True, "")
    parts = json.loads(dict(taken_apart(archive))[MANIFEST])["parts"]
    total = sum(part["bytes"] for part in parts)
    assert seen == Seen(
        organization_id=ORG,
        exported_by="member_1",
        sealed_at="2026-06-01T00:00:00Z",
        parts=len(parts),
        bytes=total,
        access_log_entries=1,
        access_log_as_of="1970-01-01T00:00:00Z",
        entries_between_log_and_seal=0,
        entries_without_text=[],
        certificates=1,
    )
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert opened.getnames() == [*(part["name"] for part in parts), MANIFEST, SIGNATURE]
        pieces = [opened.extractfile(f"members/{n:06}.jsonl") for n in (1, 2, 3)]
        text = b"".join(piece.read() for piece in pieces if piece is not None)
    assert [json.loads(line)["member_id"] for line in text.splitlines()] == [f"member_{n}" for n in range(5)]
    assert ("invitations/000001.jsonl", b"") in taken_apart(archive)


def test_not_a_byte_may_be_otherwise(made: Made, archive: bytes) -> None:
    keys = made.keys()
    # One in eleven of all, what other readers skip, such as padding, too; and the ends of base64, which some read in several ways.
    ends = [
        place
        for place in range(archive.rindex(SIGNATURE.encode()), len(archive))
        if archive[place:][:1] == b"="
    ]
    for place in (*range(0, len(archive), 11), *(end - 1 for end in ends)):
        changed = bytearray(archive)
        changed[place] ^= (1, 0x20)[place % 2]
        assert problem(made, bytes(changed), keys), f"byte {place} of {len(archive)}"


def test_what_breaks_off_is_no_archive(made: Made, archive: bytes) -> None:
    for length in (*range(0, len(archive), 509), len(archive) - 1, len(archive) - 512):
        assert problem(made, archive[:length]), length
    assert problem(made, archive + b"\0") == "Something comes behind the archive's end."


def rearranged(change: Callable[[list[tuple[str, bytes]]], object]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        files = taken_apart(content)
        change(files)
        return put_together(files)

    return changed


def swap(files: list[tuple[str, bytes]]) -> None:
    files[0], files[1] = files[1], files[0]


def forged(files: list[tuple[str, bytes]]) -> None:
    """A part and the manifest changed together."""
    content = b'{"name":"forged"}\n'
    files[0] = (files[0][0], content)
    manifest = json.loads(dict(files)[MANIFEST])
    manifest["parts"][0] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    files[-2] = (MANIFEST, json.dumps(manifest).encode())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (rearranged(lambda files: files.pop(0)), "is not the part that the manifest names"),
        (rearranged(lambda files: files.pop(-3)), "is missing"),
        (rearranged(lambda files: files.pop(-2)), "has no manifest.json"),
        (rearranged(lambda files: files.pop(-1)), "has no signature.json"),
        (rearranged(lambda files: files.append(("extra.json", b""))), "behind the manifest"),
        (
            rearranged(lambda files: files.insert(0, ("extra.json", b""))),
            "is not the part that the manifest names",
        ),
        (rearranged(lambda files: files.insert(-2, ("extra.json", b""))), "more parts"),
        (rearranged(lambda files: files.insert(0, files[0])), "is there twice"),
        (rearranged(swap), "is not the part that the manifest names"),
        (rearranged(forged), "is not the one that was signed"),
        (lambda content: put_together(taken_apart(content), AT + 1), "of another time"),
        (lambda content: content.replace(b"\0" * 1024, b"", 1), "breaks off"),
    ],
)
def test_what_was_taken_apart_and_put_together_otherwise(
    made: Made, archive: bytes, change: Callable[[bytes], bytes], said: str
) -> None:
    assert said in problem(made, change(archive))
    assert put_together(taken_apart(archive)) == archive


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"facts": {"manifest_sha256": "00" * 32}}, "is not the one that was signed"),
        ({"kind": "records.opened"}, "not that of an export"),
        ({"reported_by": "logging"}, "not that of an export"),
        ({"reported_by": ""}, "not that of an export"),
        ({"organization_id": OTHER}, "another organization"),
    ],
)
def test_the_audit_log_must_say_it(change: dict[str, Any], said: str) -> None:
    other = Made()
    other.said |= change
    assert said in problem(other, other.write())


def test_all_of_it_is_of_one_organization() -> None:
    other = Made()
    other.organization_id = OTHER
    assert "another organization" in problem(other, other.write())


def test_the_log_and_the_certificates_in_it_are_verified_too() -> None:
    other = Made()
    other.pages[0]["end"]["last_number"] = "2"
    assert "end of the list" in problem(other, other.write())
    other = Made()
    other.certificates[0]["body"]["removed"] = 4
    assert problem(other, other.write())


Change = Callable[[str, bytes], tuple[str, bytes]]


def written_by_another_program(made: Made, change: Change) -> bytes:
    """An archive whose parts and manifest are changed before they are named and signed."""
    files = dict(taken_apart(made.write()))
    manifest = json.loads(files.pop(MANIFEST))
    del files[SIGNATURE]
    files = dict(change(name, content) for name, content in files.items())
    manifest["parts"] = [
        {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    ]
    files[MANIFEST] = change(MANIFEST, json.dumps(manifest).encode())[1]
    signature = made.sign(hashlib.sha256(files[MANIFEST]).digest())
    files[SIGNATURE] = (
        json.dumps({"format": "kept-export-signature/1", **signature}, indent=1).encode() + b"\n"
    )
    return put_together(list(files.items()))


@pytest.mark.parametrize("part", ["access-log/000001.jsonl", "certificates/000001.jsonl", MANIFEST])
def test_what_is_verified_in_it_says_nothing_twice(made: Made, part: str) -> None:
    """Also where whoever wrote the archive wrote it so, and had it signed."""
    assert problem(made, written_by_another_program(made, lambda *file: file)) == ""

    def change(name: str, content: bytes) -> tuple[str, bytes]:
        return name, content.replace(b"{", b'{"said":1,"said":2,', 1) if name == part else content

    assert f"{part} says something twice" in problem(made, written_by_another_program(made, change))


NAMES = [
    "../../home/victim/.ssh/authorized_keys",
    "/etc/cron.d/job",
    "members/../../up.jsonl",
    "members/",
    ".json",
    "README.TXT",
]
NAMES += ["members/000001.jsonl\n", "-x.json", "run.sh", "a/b/000001.jsonl", "members/١٢٣٤٥٦.jsonl"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_could_land_elsewhere_does_not_verify(
    made: Made, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is verified to be unpacked: also where whoever wrote it wrote it so, and had it signed."""

    def header(name: str, size: int, written_at: int) -> bytes:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, written_at, 0o600
        return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")

    with pytest.raises(ValueError, match="no export has"):
        tar.header(name, 0, AT)
    with monkeypatch.context() as patched:
        patched.setattr(tar, "header", header)
        archive = written_by_another_program(
            made, lambda *file: (name, file[1]) if file[0] == "organization.json" else file
        )
    assert "no export writes" in problem(made, archive)


def test_what_is_left_out_of_a_log_that_verifies_is_said() -> None:
    """A log that ends long before the seal is a genuine one, and texts may be taken out of any."""
    older = Made()
    older.between = [FIRST] * 2
    older.pages[0]["entries"][0].update(body="", salt="", entry=None)
    result, seen = verify_archive(io.BytesIO(older.write()), *older.keys())
    assert result.ok, result.problem
    assert (seen.entries_between_log_and_seal, seen.entries_without_text) == (2, [1])
    older.pages = []
    _, seen = verify_archive(io.BytesIO(older.write()), *older.keys())
    assert (seen.access_log_entries, seen.access_log_as_of, seen.entries_between_log_and_seal) == (0, "", 3)


def test_only_keys_that_are_pinned_and_stand_are_trusted(made: Made, archive: bytes) -> None:
    log_keys, certificate_keys = made.keys()
    assert "not pinned" in problem(made, archive, ({}, certificate_keys))
    assert "not pinned" in problem(made, archive, (log_keys, {}))
    revoked = {name: Revoked("2026-01-02") for name in log_keys}
    assert "revoked on 2026-01-02" in problem(made, archive, (revoked, certificate_keys))


def test_neither_writing_nor_reading_has_more_than_a_piece_in_memory(made: Made, tmp_path: Path) -> None:
    piece, lines = 256 * 1024, 24_000
    file = tmp_path / "large.tar"
    tracemalloc.start()
    with file.open("wb") as out:
        writer = Writer(out, AT)
        assert writer.add_lines("records", ({"text": "x" * 500} for _ in range(lines)), piece) == lines
        writer.finish({"organization_id": ORG, "written_at": AT}, made.sign)
    with file.open("rb") as source:
        result, seen = verify_archive(source, *made.keys())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.ok, result.problem
    assert seen.bytes == lines * len('{"text":""}\n') + lines * 500
    assert peak < 4 * 1024 * 1024


def test_lines_are_the_same_however_they_come() -> None:
    text = b"one\ntwo\n\nthree"
    for size in range(1, len(text) + 1):
        pieces = [text[place : place + size] for place in range(0, len(text), size)]
        assert list(lines_of(pieces)) == [b"one", b"two", b"", b"three"]


def test_a_line_is_no_longer_than_any_that_is_written() -> None:
    """What a stranger hands in must not fill the memory of whoever verifies it."""
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(1 << 20)

    with pytest.raises(EvidenceError, match="longer than any"):
        next(lines_of(pieces()))
    assert taken == (MOST_BYTES >> 20) + 1


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    file.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), replaced(file) as out:
        out.write(b"half of ")
        raise KeyboardInterrupt
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.tar", b"before")]
    with replaced(file) as out:
        out.write(b"after")
        (beside,) = [each for each in tmp_path.iterdir() if each != file]
        assert (beside.suffix, beside.name[0], file.read_bytes()) == (".partial", ".", b"before")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"after", 0o600)


def test_what_is_no_file_is_not_replaced_and_refuses_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "link").symlink_to(fifo)
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    for path in ("fifo", "link", "loop", "", ".", "..", "/", str(tmp_path), "fifo/below", "nowhere/below"):
        with pytest.raises(OSError), replaced(Path(path)):
            raise AssertionError(f"{path} was begun to be written")
    assert sorted(tmp_path.iterdir()) == before
    assert fifo.is_fifo()


@pytest.mark.parametrize("content", [b"before", None], ids=["a file", "nothing yet"])
def test_through_a_symbolic_link_the_file_behind_it_is_replaced(
    tmp_path: Path, content: bytes | None
) -> None:
    target = tmp_path / "elsewhere" / "a.tar"
    target.parent.mkdir()
    if content is not None:
        target.write_bytes(content)
    link = tmp_path / "link.tar"
    link.symlink_to(Path("elsewhere", "a.tar"))
    with replaced(link) as out:
        out.write(b"after")
    assert link.is_symlink()
    assert [each.read_bytes() for each in target.parent.iterdir()] == [b"after"]


def test_the_proof_is_waited_for_and_nothing_else_is() -> None:
    waits: list[float] = []
    answers: Iterator[Any] = iter([KeptError("NOT_YET_INTEGRATED", "", status="UNAVAILABLE"), "proof"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, KeptError):
            raise answer
        return str(answer)

    assert patiently(ask, waits.append) == "proof"
    assert len(waits) == 1
    answers = iter([KeptError("ADMIN_REQUIRED", "", status="PERMISSION_DENIED")])
    with pytest.raises(KeptError):
        patiently(ask, waits.append)
    answers = iter(KeptError("NOT_YET_INTEGRATED", "", status="UNAVAILABLE") for _ in range(100))
    with pytest.raises(KeptError):
        patiently(ask, waits.append)


def test_a_file_that_is_no_archive_is_told(made: Made, tmp_path: Path, profile_file: Path) -> None:
    made.log.pin(profile_file.parent / "signing-keys.json")
    file = tmp_path / "no.tar"
    file.write_bytes(b"no archive")
    assert main(["export", "verify", str(file)]) == 4
    assert main(["export", "verify", str(tmp_path / "nowhere.tar")]) == 2
    file.write_bytes(made.write())
    assert main(["export", "verify", str(file)]) == 0
    with pytest.raises(EvidenceError):
        list(tar.files(io.BytesIO(b"x" * 512)))


# What an admin may look at and no part holds by itself.
_NOT_TAKEN = {
    "GetGrant": "grants has them all",
    "WatchGrant": "grants",
    "GetSubjectRequest": "subject-requests has all that is known of each",
    "ListCertificates": "certificates",
    "GetCertificate": "certificates",
    "ListSubjectRequests": "subject-requests",
    "ExportSubjectRequest": "subject-requests",
    "ListSubprocessorObjections": "subprocessor-objections",
    "QueryUsage": "usage",
    "ListEntries": "access-log",
    "GetInclusionProof": "signature.json, and each entry of access-log",
    "ListInteractions": "records",
    "ReadInteractions": "records",
    "WatchDataControls": "data-controls-history",
    "GetProfile": "a person's own: kept account export",
    "ExportProfile": "a person's own: kept account export",
    "ListSignIns": "a person's own: kept account export",
    "GetMe": "who asks: manifest.json",
}


def test_whatever_an_admin_may_look_at_is_taken_along() -> None:
    """A new list that admins may see is a part of the export, or says here why it is none."""
    looks = ("Get", "List", "Query", "Export", "Read", "Watch")
    admins = {
        method.descriptor.name: method
        for method in methods()
        if method.callers is not None
        and roles_pb2.CUSTOMER_ROLE_ADMIN in method.callers.customers
        and method.descriptor.name.startswith(looks)
    }
    taken = {part.method: part for part in PARTS}
    assert admins.keys() - _NOT_TAKEN.keys() == taken.keys()
    assert admins.keys() >= _NOT_TAKEN.keys()
    for name, part in taken.items():
        fields = admins[name].descriptor.output_type.fields_by_name
        lists = {field.name for field in fields.values() if field.is_repeated}
        assert not part.field or part.field in lists, name
        assert MEANINGS[part.name]


@pytest.mark.parametrize(
    ("lists", "asked"),
    [
        (trust_pb2.ListSubprocessorsResponse(), []),
        (trust_pb2.ListSubprocessorsResponse(newest_version=3), [1, 2, 3]),
        (  # of a settings that does not say it yet
            trust_pb2.ListSubprocessorsResponse(
                current=trust_pb2.SubprocessorList(version=1),
                upcoming=[trust_pb2.SubprocessorList(version=2)],
            ),
            [1, 2],
        ),
    ],
)
def test_objections_are_asked_for_to_every_list_there_was(
    services: Services, lists: trust_pb2.ListSubprocessorsResponse, asked: list[int]
) -> None:
    services.answers["ListSubprocessors"] = lists
    assert list(Contents(services.channel, ORG).subprocessor_objections()) == []
    assert [request.version for _, request in services.asked[1:]] == asked
