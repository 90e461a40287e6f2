"""The development authority: only local, private files, certificates that say who the holder is and what it may do."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from deploy.local import authority as authority_module
from deploy.local.authority import Authority, Identity
from deploy.local.errors import NotLocal


def _authority(directory: Path) -> Authority:
    return Authority(directory, trust_domain="kept.local", environment="local")


def _shake_hands(server: Identity, client: Identity, name: str = "localhost") -> str:
    """A TLS handshake in memory, both sides showing and demanding certificates; returns the protocol's version."""
    server_side, client_side = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    for context, identity in ((server_side, server), (client_side, client)):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(identity.certificate, identity.key)
        context.load_verify_locations(identity.authority)
        context.verify_mode = ssl.CERT_REQUIRED
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client_side.wrap_bio(to_client, to_server, server_hostname=name),
        server_side.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].version() or ""


@pytest.mark.parametrize("environment", ["production", "", "LOCAL"])
def test_it_works_in_a_local_stack_only(tmp_path: Path, environment: str) -> None:
    with pytest.raises(NotLocal, match="only where environment"):
        Authority(tmp_path, trust_domain="kept.local", environment=environment)
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_names_its_holder(tmp_path: Path) -> None:
    identity = _authority(tmp_path).issue("access_control", serves=True)
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://kept.local/access_control"]
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "access-control.kept.local"]
    assert identity.spiffe_id == "spiffe://kept.local/access_control"


def test_services_and_gateways_reach_services_by_tls_1_3(tmp_path: Path) -> None:
    authority = _authority(tmp_path)
    settings = authority.issue("settings", serves=True)
    for caller in (authority.issue("logging", serves=True), authority.issue("gateway/chat", serves=False)):
        for name in ("localhost", "127.0.0.1", "settings.kept.local"):
            assert _shake_hands(settings, caller, name) == "TLSv1.3"


def test_a_gateway_cannot_pose_as_a_server(tmp_path: Path) -> None:
    authority = _authority(tmp_path)
    gateway, settings = (
        authority.issue("gateway/chat", serves=False),
        authority.issue("settings", serves=True),
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(gateway, settings)


def test_one_service_cannot_pose_as_another(tmp_path: Path) -> None:
    authority = _authority(tmp_path)
    logging, issuer = authority.issue("logging", serves=True), authority.issue("issuer", serves=False)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        _shake_hands(logging, issuer, "settings.kept.local")


def test_certificates_of_another_stack_are_refused(tmp_path: Path) -> None:
    mine, theirs = _authority(tmp_path / "mine"), _authority(tmp_path / "theirs")
    with pytest.raises(ssl.SSLError):
        _shake_hands(mine.issue("settings", serves=True), theirs.issue("logging", serves=True))


def test_every_file_is_private(tmp_path: Path) -> None:
    _authority(tmp_path / "authority").issue("gateway/chat", serves=False)
    for path in (tmp_path / "authority").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_certificate_stays_until_it_is_about_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _authority(tmp_path).issue("settings", serves=True).certificate.read_bytes()
    assert _authority(tmp_path).issue("settings", serves=True).certificate.read_bytes() == first
    later = datetime.now(UTC) + timedelta(days=65)
    monkeypatch.setattr(authority_module, "_now", lambda: later)
    assert _authority(tmp_path).issue("settings", serves=True).certificate.read_bytes() != first
