"""Certificates: what is signed verifies with the public key alone, and nothing else does; who sees which."""

import base64
import hashlib
import json
import stat
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import delete, update

from kept.access_control.v1 import audit_pb2
from kept.retention.v1 import certificates_pb2, erasures_pb2
from services.retention.certificates import certificate as certificates
from services.retention.certificates import signing
from services.retention.certificates.certificate import CONTEXT, CertifiedDay, HoldNamed, Receipt, Statement
from services.retention.certificates.destructions import Destruction
from services.retention.rules import RuleInForce
from services.retention.store import tables
from shared.config import ConfigError
from shared.errors import Reason
from shared.identity import Caller, CallerKind
from shared.terms import Term, TermKind
from tests.unit.retention.world import ONE, SETTINGS, START, TWO, World, admin, refused, staff

NOW = datetime(2026, 3, 31, 22, 0, 7, 250_000, tzinfo=UTC)
RULE = RuleInForce(Term(TermKind.AT_MOST, 30), timedelta(hours=2), 4, datetime(2026, 1, 1, tzinfo=UTC))
STATEMENT = Statement(
    organization_id=ONE,
    act_id="run_" + "0" * 26,
    started_at=NOW,
    rule=RULE,
    through_day=date(2026, 3, 1),
    days=[CertifiedDay(date(2026, 3, 1), ("epoch_b", "epoch_a"), ("run_" + "0" * 26,), 12, 1)],
    destructions=[Destruction("run_" + "0" * 26, NOW, NOW, "root_1", "Files on a disk.")],
    removed_at=NOW,
    removed=12,
    held=1,
    holds=[HoldNamed("hold_1", "LEGAL", 1)],
    receipts=[Receipt("logging", NOW, {"interactions": 12}, 1)],
    kept=["1 record is kept by a legal hold – Überprüfung 2027."],
)


@pytest.fixture
def key(tmp_path: Path) -> signing.SigningKey:
    return signing.load_or_create(tmp_path / "new" / "signing_key.pem")


def verify(public_key: bytes, body: dict[str, Any], signature: bytes) -> None:
    """As docs say it: over the context and RFC 8785 of the body, made anew from what was parsed."""
    Ed25519PublicKey.from_public_bytes(public_key).verify(
        signature, b"kept/certificate/v1\0" + rfc8785.dumps(body)
    )


def test_a_body_says_everything_and_verifies_from_its_parsed_form(key: signing.SigningKey) -> None:
    signed = certificates.sign(STATEMENT, key, NOW)
    body = json.loads(signed.body)
    verify(key.public_key, body, signed.signature)
    assert signed.sha256 == hashlib.sha256(rfc8785.dumps(body)).hexdigest()
    assert body["days"][0]["epoch_key_ids"] == ["epoch_a", "epoch_b"]
    assert body["destructions"][0]["destroyed_at"] == "2026-03-31T22:00:07.250000Z"
    assert body["certificate_id"] == signed.certificate_id


@pytest.mark.parametrize(
    "path", ["organization_id", "records_removed", "late_seconds", "through_day", "kept"]
)
def test_a_changed_body_does_not_verify(key: signing.SigningKey, path: str) -> None:
    signed = certificates.sign(STATEMENT, key, NOW)
    body = json.loads(signed.body)
    body[path] = 999 if isinstance(body[path], int) else []
    with pytest.raises(InvalidSignature):
        verify(key.public_key, body, signed.signature)


def test_a_signature_counts_in_its_context_and_for_its_key_only(
    key: signing.SigningKey, tmp_path: Path
) -> None:
    signed = certificates.sign(STATEMENT, key, NOW)
    other = signing.load_or_create(tmp_path / "other.pem")
    assert CONTEXT == b"kept/certificate/v1\0"
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signed.signature, signed.body)
    with pytest.raises(InvalidSignature):
        verify(other.public_key, json.loads(signed.body), signed.signature)


def test_an_act_is_certified_once_for_an_organization_and_once_more_when_completed() -> None:
    ids = {
        STATEMENT.certificate_id,
        replace(STATEMENT, removed=13).certificate_id,
        replace(STATEMENT, organization_id=TWO).certificate_id,
        replace(STATEMENT, act_id="run_" + "1" * 26).certificate_id,
        replace(STATEMENT, completes="certificate_1").certificate_id,
    }
    assert len(ids) == 4


def test_an_envelope_takes_no_entry_that_names_something_else(key: signing.SigningKey) -> None:
    signed = certificates.sign(STATEMENT, key, NOW)
    body = json.dumps({"certificate_id": signed.certificate_id, "certificate_sha256": "0" * 64}).encode()
    with pytest.raises(ValueError, match="not this certificate's"):
        certificates.envelope(signed, audit_pb2.LoggedEntry(body=body), audit_pb2.TreeHead())


@pytest.mark.parametrize(
    ("oldest", "gone_at", "late"),
    [
        (date(2026, 3, 1), datetime(2026, 3, 30, 23, tzinfo=UTC), 0),
        (date(2026, 3, 1), datetime(2026, 3, 31, tzinfo=UTC), 0),
        (date(2026, 3, 1), datetime(2026, 3, 31, 0, 0, 0, 1, tzinfo=UTC), 1),
        (date(2026, 2, 28), datetime(2026, 3, 31, tzinfo=UTC), 86_400),
        (None, NOW, 0),
        (date(2026, 3, 1), None, 0),
    ],
)
def test_lateness(oldest: date | None, gone_at: datetime | None, late: int) -> None:
    assert certificates.late_seconds(RULE, oldest, gone_at) == late


def test_the_signing_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing_key.pem"
    made = signing.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signing.load_or_create(path).key_id == made.key_id
    assert made.key_id == hashlib.sha256(made.public_key).hexdigest()[:32]
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert "PRIVATE" not in repr(made)
    path.chmod(0o604)
    with pytest.raises(ConfigError, match="0600"):
        signing.load_or_create(path)


def test_a_file_that_is_no_such_key_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, words in ((b"", "no private key"), (other, "not Ed25519")):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match=words):
            signing.load_or_create(path)
        assert path.read_bytes() == content


def certified(world: World, organization_id: str, claim: str) -> str:
    world.record(organization_id, START)
    world.erasures(SETTINGS).EraseOrganization(
        erasures_pb2.EraseOrganizationRequest(
            organization_id=organization_id,
            account_deletion_id="deletion_" + "0" * 26,
            confirmed_by="member_" + "0" * 26,
            claim_sha256=hashlib.sha256(claim.encode()).digest(),
        )
    )
    world.settle(
        30, until=lambda: any(e.organization_id == organization_id for e in world.entries("erasure.ended"))
    )
    found = world.certificates(admin(organization_id)).ListCertificates(
        certificates_pb2.ListCertificatesRequest(organization_id=organization_id)
    )
    (certificate,) = found.certificates
    return certificate.certificate_id


def test_an_admin_sees_the_own_organizations_certificates_only(world: World) -> None:
    mine, others = certified(world, ONE, "claim-one"), certified(world, TWO, "claim-two")
    stub = world.certificates(admin(ONE))
    stub.GetCertificate(certificates_pb2.GetCertificateRequest(certificate_id=mine))
    for unknown in (others, "certificate_" + "0" * 26):
        with refused(Reason.REASON_NOT_FOUND) as caught:
            stub.GetCertificate(certificates_pb2.GetCertificateRequest(certificate_id=unknown))
        assert caught[0].metadata == {"kind": "certificate"}
    for named in ("", TWO):
        with refused(Reason.REASON_WRONG_ORGANIZATION):
            stub.ListCertificates(certificates_pb2.ListCertificatesRequest(organization_id=named))
    auditor = world.certificates(staff(1, "AUDITOR"))
    listed = auditor.ListCertificates(certificates_pb2.ListCertificatesRequest()).certificates
    assert [each.certificate_id for each in listed] == [others, mine]


def test_an_envelope_verifies_with_the_published_key_and_carries_the_proof(world: World) -> None:
    certificate_id = certified(world, ONE, "claim-one")
    request = certificates_pb2.GetCertificateRequest(certificate_id=certificate_id)
    envelope = json.loads(world.certificates(admin(ONE)).GetCertificate(request).envelope)
    public = world.certificates(Caller(CallerKind.PUBLIC))
    (key,) = public.ListSigningKeys(certificates_pb2.ListSigningKeysRequest()).keys
    assert envelope["key_id"] == key.key_id == signing.key_id(key.public_key)
    verify(key.public_key, envelope["body"], base64.b64decode(envelope["signature"]))
    (entry,) = world.entries("certificate.signed")
    assert entry.facts["certificate_sha256"] == hashlib.sha256(rfc8785.dumps(envelope["body"])).hexdigest()
    assert entry.facts["certificate_id"] == certificate_id
    assert entry.organization_id == ONE
    assert sorted(envelope["audit_entry"]) == [
        "body",
        "commitment",
        "inclusion_proof",
        "leaf_index",
        "number",
        "organization_id",
        "previous_leaf_hash",
        "salt",
    ]
    assert envelope["audit_entry"]["inclusion_proof"] == [
        base64.b64encode(node * 32).decode() for node in (b"a", b"b")
    ]
    assert (envelope["head"]["tree_size"], envelope["audit_entry"]["leaf_index"]) == (7, 4)


def test_a_new_key_signs_on_and_the_old_one_stays_published(world: World) -> None:
    public = world.certificates(Caller(CallerKind.PUBLIC))
    (old,) = public.ListSigningKeys(certificates_pb2.ListSigningKeysRequest()).keys
    (world.home / "signing_key.pem").unlink()
    world.wire()
    world.settle(1)
    keys = world.certificates(Caller(CallerKind.PUBLIC)).ListSigningKeys(
        certificates_pb2.ListSigningKeysRequest()
    )
    assert [key.key_id for key in keys.keys][1:] == [old.key_id]


def test_a_certificate_that_was_lost_with_a_database_is_signed_once_more_and_says_so(world: World) -> None:
    lost = certified(world, ONE, "claim-one")
    [said] = world.entries("certificate.signed")
    first = opened(world, lost)
    with world.database.transaction() as tx:  # as in a backup of the moment before it was certified
        tx.execute(delete(tables.certificates))
        tx.execute(update(tables.erasures).values(state="CERTIFYING", ended_at=None, is_complete=False))
    world.clock.advance(timedelta(hours=1))
    world.settle(30, until=lambda: len(world.entries("erasure.ended")) == 2)
    [kept, repeated] = world.entries("certificate.signed")
    assert kept == said  # what customers have seen in the log is as it was
    again = opened(world, repeated.facts["certificate_id"])
    assert again["body"]["repeats"] == lost
    assert repeated.facts["certificate_sha256"] == hashlib.sha256(rfc8785.dumps(again["body"])).hexdigest()
    apart = {"certificate_id", "signed_at", "repeats"}
    assert {name: value for name, value in again["body"].items() if name not in apart} == {
        name: value for name, value in first["body"].items() if name not in apart
    }
    [key] = (
        world.certificates(Caller(CallerKind.PUBLIC))
        .ListSigningKeys(certificates_pb2.ListSigningKeysRequest())
        .keys
    )
    verify(key.public_key, again["body"], base64.b64decode(again["signature"]))
    listed = world.certificates(admin(ONE)).ListCertificates(
        certificates_pb2.ListCertificatesRequest(organization_id=ONE)
    )
    assert [each.certificate_id for each in listed.certificates] == [repeated.facts["certificate_id"]]


def opened(world: World, certificate_id: str) -> Any:
    """The envelope that its organization's admin gets."""
    request = certificates_pb2.GetCertificateRequest(certificate_id=certificate_id)
    return json.loads(world.certificates(admin(ONE)).GetCertificate(request).envelope)
