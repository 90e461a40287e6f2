"""Exports and certificates verify offline by pinned keys; keys are pinned at first sign-in and changed on purpose only."""

import base64
import hashlib
import hmac
import json
import stat
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kept.access_control.v1 import audit_pb2
from kept.cli import main
from kept.client import signing_keys
from kept.client.documents import to_document
from kept.client.errors import KeptError
from kept.client.signing_keys import SigningKey, key_id_of
from kept.evidence.audit import check_entry, check_head
from kept.evidence.certificates import verify_subject
from kept.evidence.verdicts import Evidence, EvidenceError
from kept.retention.v1 import certificates_pb2
from tests.unit.clients.conftest import ORG, Services


def _halves(leaves: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return leaves[:split], leaves[split:]


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 9162 §2.1.1."""
    if len(leaves) == 1:
        return leaves[0]
    left, right = _halves(leaves)
    return hashlib.sha256(b"\x01" + root_of(left) + root_of(right)).digest()


def path_of(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 9162 §2.1.3.1."""
    if len(leaves) == 1:
        return []
    left, right = _halves(leaves)
    if index < len(left):
        return [*path_of(index, left), root_of(right)]
    return [*path_of(index - len(left), right), root_of(left)]


class Log:
    """An audit log of some entries of ORG, and who certifies, each with a key."""

    def __init__(self) -> None:
        self.log_key, self.certificate_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()

    def public(self, key: Ed25519PrivateKey) -> tuple[str, bytes]:
        raw = key.public_key().public_bytes_raw()
        return key_id_of(raw), raw

    def pin(self, file: Path) -> None:
        made = datetime(2026, 1, 1, tzinfo=UTC)
        keys = [
            SigningKey("audit_log", *self.public(self.log_key), made),
            SigningKey("certificates", *self.public(self.certificate_key), made),
        ]
        signing_keys.save(file, keys)

    def sign(self, key: Ed25519PrivateKey, label: bytes, fields: dict[str, Any]) -> bytes:
        return key.sign(label + rfc8785.dumps(fields))

    def head(self, leaves: list[bytes]) -> audit_pb2.TreeHead:
        root = root_of(leaves)
        key_id = self.public(self.log_key)[0]
        fields = {"tree_size": len(leaves), "root_hash": root.hex(), "timestamp_ms": 1, "key_id": key_id}
        return audit_pb2.TreeHead(
            tree_size=len(leaves),
            root_hash=root,
            timestamp_ms=1,
            key_id=key_id,
            signature=self.sign(self.log_key, b"kept/tree-head/v1\0", fields),
        )

    def page(self, bodies: list[bytes]) -> audit_pb2.ListEntriesResponse:
        entries: list[audit_pb2.LoggedEntry] = []
        leaves: list[bytes] = []
        for number, body in enumerate(bodies, start=1):
            salt = bytes([number]) * 32
            previous = leaves[-1] if leaves else bytes(32)
            digest = hmac.digest(salt, body, "sha256")
            data = b"kept/leaf/v1\0" + len(ORG).to_bytes(2, "big") + ORG.encode() + number.to_bytes(8, "big")
            leaves.append(hashlib.sha256(b"\0" + data + previous + digest).digest())
            entries.append(
                audit_pb2.LoggedEntry(
                    body=body,
                    salt=salt,
                    commitment=digest,
                    organization_id=ORG,
                    number=number,
                    previous_leaf_hash=previous,
                    leaf_index=number - 1,
                )
            )
        for index, entry in enumerate(entries):
            entry.inclusion_proof.extend(path_of(index, leaves))
        key_id = self.public(self.log_key)[0]
        fields = {
            "organization_id": ORG,
            "last_number": len(leaves),
            "last_leaf_hash": leaves[-1].hex(),
            "tree_size": len(leaves),
            "key_id": key_id,
        }
        end = audit_pb2.EndOfList(
            organization_id=ORG,
            last_number=len(leaves),
            last_leaf_hash=leaves[-1],
            tree_size=len(leaves),
            key_id=key_id,
            signature=self.sign(self.log_key, b"kept/end-of-list/v1\0", fields),
        )
        return audit_pb2.ListEntriesResponse(entries=entries, head=self.head(leaves), end=end, complete=True)

    def certificate(
        self, body: dict[str, Any] | None = None, said: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, Any]:
        """said: what the log's entry says otherwise than one of a certificate does."""
        body = body or {"certificate_id": "certificate_1", "organization_id": ORG, "removed": 3}
        digest = hashlib.sha256(rfc8785.dumps(body)).hexdigest()
        logged: dict[str, Any] = {
            "organization_id": ORG,
            "kind": "certificate.signed",
            "reported_by": "retention",
            "facts": {"certificate_sha256": digest},
            **said,
        }
        page = to_document(self.page([rfc8785.dumps(logged)]))
        signature = self.sign(self.certificate_key, b"kept/certificate/v1\0", body)
        return {
            "body": body,
            "signature": base64.b64encode(signature).decode(),
            "key_id": self.public(self.certificate_key)[0],
            "audit_entry": page["entries"][0],
            "head": page["head"],
        }


@pytest.fixture
def log(services: Services, profile_file: Path) -> Log:
    made = Log()
    made.pin(profile_file.parent / "signing-keys.json")
    return made


FIRST = b'{"kind":"grant.requested","actor":"person_1","subjects":["a","b","c","d"],"facts":{"k":"v"},"reported_by":"safety_review"}'
SECOND = b'{"kind":"grant.approved","actor":"person_2"}'


def exported(services: Services, log: Log, tmp_path: Path) -> Path:
    """A file that `kept audit export` wrote, of two entries."""
    services.answers["ListEntries"] = log.page([FIRST, SECOND])
    file = tmp_path / "export.json"
    assert main(["audit", "export", "--output", str(file)]) == 0
    return file


def test_an_export_verifies_and_a_changed_one_does_not(services: Services, log: Log, tmp_path: Path) -> None:
    file = exported(services, log, tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600, "what an organization did, and the salts of it"
    asked = len(services.asked)
    assert main(["audit", "verify", str(file)]) == 0
    file.write_text(file.read_text().replace('"number": "2"', '"number": "3"'))
    assert main(["audit", "verify", str(file)]) == 4
    assert len(services.asked) == asked  # offline


def test_a_later_export_has_to_continue_an_earlier_one(
    services: Services, log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {}
    for name, bodies in (
        ("first", [FIRST]),
        ("second", [FIRST, SECOND]),
        ("other", [SECOND, FIRST]),
        ("rewritten", [SECOND]),
    ):
        services.answers["ListEntries"] = log.page(bodies)
        files[name] = str(tmp_path / name)
        assert main(["audit", "export", "--output", files[name]]) == 0
    for later, earlier, code in (
        ("second", "first", 0),
        ("first", "first", 0),
        ("first", "second", 4),  # shorter
        ("other", "first", 4),  # its first entry is another
        ("rewritten", "first", 4),
    ):
        assert main(["audit", "verify", files[earlier], files[later]]) == code, (later, earlier)
    capsys.readouterr()
    assert main(["audit", "verify", files["first"], files["other"]]) == 4
    said = capsys.readouterr().out
    assert (
        f"{files['other']}: Held against {files['first']}: Entries of the earlier export were changed" in said
    )


def test_heads_are_held_against_exports(
    services: Services, log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {}
    for name, bodies in (("export", [FIRST, SECOND]), ("other", [SECOND, FIRST])):
        services.answers["ListEntries"] = log.page(bodies)
        files[name] = str(tmp_path / name)
        assert main(["audit", "export", "--output", files[name]]) == 0
        head = tmp_path / f"{name} head"
        head.write_text(json.dumps({"head": to_document(log.page(bodies).head)}))
        files[f"{name} head"] = str(head)
    assert main(["audit", "verify", files["export head"], files["export"]]) == 0
    capsys.readouterr()
    assert main(["audit", "verify", files["export"], files["other head"]]) == 4
    assert "two faces" in capsys.readouterr().out


@pytest.mark.parametrize("added", ["head", "tree_size"])
def test_an_export_is_not_taken_for_a_head_by_what_is_added_to_it(
    services: Services, log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str], added: str
) -> None:
    file = exported(services, log, tmp_path)
    genuine = json.loads(file.read_text())
    head = genuine["pages"][0]["head"]
    for forge in (lambda export: None, lambda export: export["pages"][0]["entries"].pop(0)):
        export = json.loads(file.read_text())
        forge(export)
        both = tmp_path / "both.json"
        both.write_text(json.dumps({**export, **({"head": head} if added == "head" else head)}))
        capsys.readouterr()
        assert main(["audit", "verify", str(both)]) == 4
        assert "more than one" in capsys.readouterr().out
        assert main(["audit", "verify", str(file), str(both)]) == 4


def test_what_verified_says_as_of_when_and_which_texts_are_gone(
    services: Services, log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An old export is as good as it was, and texts may be taken out of any: neither shows by itself, so both are said."""
    file, head = exported(services, log, tmp_path), tmp_path / "head.json"
    export = json.loads(file.read_text())
    head.write_text(json.dumps(export["pages"][0]["head"]))
    said = {"verified": True, "failure": None, "tree_size": 2, "as_of": "1970-01-01T00:00:00Z"}
    of_list = {"organization_id": ORG, "last_number": 2, "entries_without_text": []}
    capsys.readouterr()
    for files, facts in (([head], {}), ([file], of_list), ([file, head], of_list), ([head, file], of_list)):
        assert main(["audit", "verify", *map(str, files), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == said | facts
    for entry in export["pages"][0]["entries"]:
        entry.update(body="", salt="", entry=None)
    file.write_text(json.dumps(export))
    assert main(["audit", "verify", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == said | of_list | {"entries_without_text": [1, 2]}
    assert main(["audit", "verify", str(file)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "entries without text 2 (1, 2)" in shown
    assert "as of 1970-01-01T00:00:00Z" in shown


def test_the_head_that_is_shown_verifies_as_a_file(
    services: Services, log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    services.answers["GetTreeHead"] = audit_pb2.GetTreeHeadResponse(head=log.page([FIRST]).head)
    capsys.readouterr()
    assert main(["audit", "head", "--json"]) == 0
    file = tmp_path / "head.json"
    file.write_text(capsys.readouterr().out)
    assert main(["audit", "verify", str(file)]) == 0
    file.write_text(file.read_text().replace('"tree_size": "1"', '"tree_size": "2"'))
    assert main(["audit", "verify", str(file)]) == 4
    for other in ("{}", "[]", json.dumps({"head": {}, "tree_size": 1})):
        file.write_text(other)
        assert main(["audit", "verify", str(file)]) == 4


def test_what_an_export_says_in_words_is_what_was_committed_to(
    services: Services, log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = exported(services, log, tmp_path)
    export = json.loads(file.read_text())
    assert export["pages"][0]["entries"][1]["entry"] == json.loads(SECOND)
    export["pages"][0]["entries"][1]["entry"]["actor"] = "person_3"
    file.write_text(json.dumps(export))
    assert main(["audit", "verify", str(file)]) == 4
    assert "Entry 2 reads otherwise" in capsys.readouterr().out


def test_an_entry_is_written_in_one_way(log: Log) -> None:
    """HMAC takes a key with zeros behind it for the same key, and Python takes true for 1."""
    page = to_document(log.page([b'{"a":1}']))
    head = check_head(Evidence(page["head"], "the head"), dict([log.public(log.log_key)]))
    entry = page["entries"][0]
    assert check_entry(Evidence(entry | {"entry": {"a": 1}}, "the entry"), head)
    with pytest.raises(EvidenceError, match="reads otherwise"):
        check_entry(Evidence(entry | {"entry": {"a": True}}, "the entry"), head)
    longer = base64.b64encode(base64.b64decode(entry["salt"]) + bytes(5)).decode()
    with pytest.raises(EvidenceError, match="not the one that was committed to"):
        check_entry(Evidence(entry | {"salt": longer}, "the entry"), head)


def test_a_salt_of_an_end_user_is_written_in_one_way() -> None:
    salt, message = bytes(range(32)), b"kept/subject/v1\0" + ORG.encode() + b"\0user"
    committed = base64.b64encode(hmac.digest(salt, message, "sha256")).decode()
    envelope = {"body": {"organization_id": ORG, "subject": {"commitment": committed}}}
    assert verify_subject(envelope, salt, "user").ok
    assert not verify_subject(envelope, salt + bytes(1), "user").ok


def test_what_a_revoked_key_signed_does_not_verify(
    services: Services, log: Log, profile_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    services.answers["ListEntries"] = log.page([FIRST])
    file = tmp_path / "export.json"
    assert main(["audit", "export", "--output", str(file)]) == 0
    assert main(["audit", "verify", str(file)]) == 0
    pinned = profile_file.parent / "signing-keys.json"
    signing_keys.save(
        pinned,
        [replace(key, revoked_at=datetime(2026, 2, 3, tzinfo=UTC)) for key in signing_keys.load(pinned)],
    )
    assert main(["audit", "verify", str(file)]) == 4
    assert "revoked on 2026-02-03" in capsys.readouterr().out


def test_audit_list_shows_what_happened(
    services: Services, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    page = log.page([FIRST, SECOND])
    page.entries[1].ClearField("body")  # erased
    services.answers["ListEntries"] = page
    assert main(["audit", "list"]) == 0
    shown = capsys.readouterr().out
    assert "grant.requested" in shown
    assert "a b +2" in shown
    assert "(erased)" in shown
    assert "safety_review" in shown, "whose word it is"
    assert main(["audit", "list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["entries"]
    assert [entry.get("kind") for entry in entries] == ["grant.requested", None]


def twice(text: str, name: str) -> str:
    """JSON in which the first object with such a name has it twice: other readers take the first of the two, which says something else."""
    assert f'"{name}":' in text
    return text.replace(f'"{name}":', f'"{name}": "forged", "{name}":', 1)


@pytest.mark.parametrize("name", ["organization_id", "entry", "kind", "tree_size"])
def test_an_export_says_nothing_twice(
    services: Services, log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file = exported(services, log, tmp_path)
    file.write_text(twice(file.read_text(), name))
    assert main(["audit", "verify", str(file)]) == 4
    assert "twice" in capsys.readouterr().err


def test_what_was_committed_to_says_nothing_twice(
    services: Services, log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever writes the log itself may not have a text that two readers read in two ways."""
    services.answers["ListEntries"] = log.page([twice(FIRST.decode(), "actor").encode()])
    file = tmp_path / "export.json"
    assert main(["audit", "export", "--output", str(file)]) == 0
    assert main(["audit", "verify", str(file)]) == 4
    assert "twice" in capsys.readouterr().out


def test_a_certificate_says_nothing_twice(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, envelope = tmp_path / "certificate.json", log.certificate()
    for name in ("body", "removed", "certificate_id", "head"):
        file.write_text(twice(json.dumps(envelope), name))
        assert main(["certificates", "verify", str(file)]) == 4
        assert "twice" in capsys.readouterr().err
    logged = twice(base64.b64decode(envelope["audit_entry"]["body"]).decode(), "certificate_sha256")
    page = to_document(log.page([logged.encode()]))
    file.write_text(json.dumps(envelope | {"audit_entry": page["entries"][0], "head": page["head"]}))
    assert main(["certificates", "verify", str(file)]) == 4
    assert "twice" in capsys.readouterr().out


@pytest.mark.parametrize(
    "said", [{"kind": "grant.denied"}, {"reported_by": "logging"}, {"kind": "Certificate.signed"}]
)
def test_a_certificate_is_one_that_retention_reported_as_one(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str], said: dict[str, str]
) -> None:
    """Whoever may write any other entry cannot have the log vouch for a certificate by it."""
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(log.certificate(said=said)))
    assert main(["certificates", "verify", str(file)]) == 4
    assert "not that of a certificate" in capsys.readouterr().out


def test_a_file_of_keys_says_nothing_twice(log: Log, tmp_path: Path) -> None:
    file, keys = tmp_path / "certificate.json", tmp_path / "keys.json"
    file.write_text(json.dumps(log.certificate()))
    log.pin(keys)
    keys.write_text(keys.read_text().replace('"audit_log":', '"audit_log": [], "audit_log":', 1))
    assert main(["certificates", "verify", str(file), "--keys", str(keys)]) == 2


@pytest.mark.parametrize("forger", ["somebody", "the audit log", "another label"])
def test_a_certificate_that_the_log_vouches_for_still_needs_its_signature(
    log: Log, tmp_path: Path, forger: str
) -> None:
    """The entry, its proof and the head are right; only who signed is not."""
    file, envelope = tmp_path / "certificate.json", log.certificate()
    key = {"somebody": Ed25519PrivateKey.generate(), "the audit log": log.log_key}.get(
        forger, log.certificate_key
    )
    label = b"kept/tree-head/v1\0" if forger == "another label" else b"kept/certificate/v1\0"
    envelope["signature"] = base64.b64encode(log.sign(key, label, envelope["body"])).decode()
    for key_id in (envelope["key_id"], log.public(key)[0]):
        envelope["key_id"] = key_id
        file.write_text(json.dumps(envelope))
        assert main(["certificates", "verify", str(file)]) == 4


def test_certificate_verifies_with_pinned_keys_alone(
    services: Services, log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, keys = tmp_path / "certificate.json", tmp_path / "keys.json"
    envelope = log.certificate()
    file.write_text(json.dumps(envelope))
    assert main(["certificates", "verify", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["certificate_id"] == "certificate_1"

    Log().pin(keys)  # somebody else's
    assert main(["certificates", "verify", str(file), "--keys", str(keys)]) == 4
    assert main(["certificates", "verify", str(file), "--keys", str(tmp_path / "none")]) == 2

    envelope["body"]["removed"] = 4
    file.write_text(json.dumps(envelope))
    assert main(["certificates", "verify", str(file)]) == 4
    for wrong in ("[]", "{}"):
        file.write_text(wrong)
        assert main(["certificates", "verify", str(file)]) == 4
    file.write_text("{")
    assert main(["certificates", "verify", str(file)]) == 2


def test_head_is_remembered_and_has_to_be_continued(services: Services, log: Log) -> None:
    one, two = (log.page(bodies) for bodies in ([FIRST], [FIRST, SECOND]))
    services.answers["GetTreeHead"] = audit_pb2.GetTreeHeadResponse(head=one.head)
    assert main(["audit", "head"]) == 0
    services.answers["GetTreeHead"] = audit_pb2.GetTreeHeadResponse(head=two.head)
    assert main(["audit", "head"]) == 4  # no proof
    leaf = two.entries[0].inclusion_proof[0]
    services.answers["GetConsistencyProof"] = audit_pb2.GetConsistencyProofResponse(proof=[leaf])
    assert main(["audit", "head"]) == 0
    services.answers["GetTreeHead"] = audit_pb2.GetTreeHeadResponse(head=one.head)
    assert main(["audit", "head"]) == 4  # it has shrunk


def published(log: Log) -> dict[str, Any]:
    """Both services answer to a method of the same name: the log's keys, which serve for both here."""
    key_id, raw = log.public(log.log_key)
    return {
        "ListSigningKeys": audit_pb2.ListSigningKeysResponse(
            keys=[audit_pb2.SigningKey(key_id=key_id, public_key=raw)]
        )
    }


def test_trust_pins_once_and_changes_on_purpose_only(
    services: Services, profile_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = profile_file.parent / "signing-keys.json"
    services.answers.update(published(Log()))
    assert main(["trust"]) == 0
    first = signing_keys.load(file)
    assert [key.purpose for key in first] == ["audit_log", "certificates"]
    assert first[0].key_id in capsys.readouterr().out

    services.answers.update(published(Log()))
    assert main(["trust"]) == 4
    assert signing_keys.load(file) == first
    assert "kept trust --replace" in capsys.readouterr().err
    assert main(["trust", "--replace"]) == 0
    assert signing_keys.load(file) != first


def test_a_key_under_a_false_id_is_not_pinned(services: Services, profile_file: Path) -> None:
    answer = certificates_pb2.ListSigningKeysResponse(
        keys=[certificates_pb2.SigningKey(key_id="0" * 32, public_key=bytes(32))]
    )
    services.answers["ListSigningKeys"] = answer
    assert main(["trust"]) == 4
    assert not (profile_file.parent / "signing-keys.json").exists()


def test_keys_beyond_the_pinned_ones_are_new() -> None:
    made = datetime(2026, 1, 1, tzinfo=UTC)
    old, new = (SigningKey("audit_log", str(n), bytes([n]) * 32, made) for n in range(2))
    assert signing_keys.added([old], [old, new]) == [new]
    with pytest.raises(KeptError):
        signing_keys.added([old], [new])
    revoked = replace(old, revoked_at=made)
    assert signing_keys.added([old], [revoked]) == [revoked]
    with pytest.raises(KeptError, match="as if it was not"):
        signing_keys.added([revoked], [old])
    with pytest.raises(KeptError):
        signing_keys.added([old], [replace(old, public_key=bytes(32) + b"1")])
