"""The development certificate authority: who is who inside a local stack.

Its certificates name the holder as a SPIFFE id (URI subject alternative name; SPIFFE X.509-SVID §2). A
service's is good for serving and calling; a gateway's or the issuer's for calling only, so that neither can
pose as a server. Certificates keep real time, whatever the stack's clock says.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.local import private_files
from deploy.local.errors import NotLocal

_AUTHORITY_LIFE = timedelta(days=730)
_LIFE = timedelta(days=90)
_RENEWED_WITHIN = timedelta(days=30)
# Clocks of one machine agree; containers on it may lag a little.
_BACKDATED = timedelta(minutes=5)


@dataclass(frozen=True)
class Identity:
    """Where one holder's certificate and key lie, and the certificate of their authority."""

    spiffe_id: str
    certificate: Path
    key: Path
    authority: Path


class Authority:
    """Issues certificates below `directory`; refuses to exist anywhere but in a local stack."""

    def __init__(self, directory: Path, *, trust_domain: str, environment: str) -> None:
        """Find the authority in `directory` or make it. Raises NotLocal unless `environment` is "local"."""
        if environment != "local":
            raise NotLocal("The development certificate authority", environment)
        self._directory = private_files.directory(directory)
        self._trust_domain = trust_domain
        self.certificate = directory / "ca.crt"
        self._key_file = directory / "ca.key"
        if not self.certificate.exists():
            self._create()
        self._certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        if self._certificate.not_valid_after_utc - _now() < _LIFE:
            self._create()
            self._certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())

    def issue(self, name: str, *, serves: bool) -> Identity:
        """The identity of `name` ("settings", "gateway/chat", "issuer"); a new certificate if the old one
        ends soon.

        `serves` adds what a server needs: the names localhost, 127.0.0.1 and NAME.TRUST-DOMAIN (with "-"
        for "_").
        """
        home = private_files.directory(self._directory / name)
        identity = Identity(
            f"spiffe://{self._trust_domain}/{name}", home / "tls.crt", home / "tls.key", self.certificate
        )
        if not self._is_good(identity):
            self._renew(identity, name, serves, _LIFE)
        return identity

    def renew(self, name: str, *, serves: bool, life: timedelta) -> Identity:
        """A new key and certificate for `name`, whatever the old one is good for; it ends after `life`."""
        identity = self.issue(name, serves=serves)
        self._renew(identity, name, serves, life)
        return identity

    def sign(
        self,
        subject: str,
        names: Iterable[x509.GeneralName],
        usages: Iterable[x509.ObjectIdentifier],
        life: timedelta,
    ) -> tuple[bytes, bytes]:
        """A new certificate with exactly these names and extended usages, and its key, both as PEM; nothing is
        kept."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(subject, key.public_key(), list(names), list(usages), life)
        return certificate.public_bytes(serialization.Encoding.PEM), _pem(key)

    def _renew(self, identity: Identity, name: str, serves: bool, life: timedelta) -> None:
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.spiffe_id)]
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if serves:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            names += [
                x509.DNSName("localhost"),
                x509.DNSName(f"{name.replace('_', '-')}.{self._trust_domain}"),
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            ]
        certificate, key = self.sign(name, names, usages, life)
        private_files.write(identity.key, key)
        private_files.write(identity.certificate, certificate)

    def _is_good(self, identity: Identity) -> bool:
        if not (identity.certificate.exists() and identity.key.exists()):
            return False
        certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
        key = serialization.load_pem_private_key(identity.key.read_bytes(), password=None)
        try:
            certificate.verify_directly_issued_by(self._certificate)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, a new one is the answer
            return False
        return (
            certificate.not_valid_after_utc - _now() > _RENEWED_WITHIN
            and certificate.public_key() == key.public_key()
        )

    def _create(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"Kept development authority of {self._trust_domain}")
        certificate = (
            _builder(name, name, key.public_key(), _AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        private_files.write(self._key_file, _pem(key))
        private_files.write(self.certificate, certificate.public_bytes(serialization.Encoding.PEM))

    def _signed(
        self,
        subject: str,
        public_key: ec.EllipticCurvePublicKey,
        names: list[x509.GeneralName],
        usages: list[x509.ObjectIdentifier],
        life: timedelta,
    ) -> x509.Certificate:
        authority_key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        return (
            _builder(_name(subject), self._certificate.subject, public_key, life)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(issuer_id, critical=False)
            .sign(authority_key, hashes.SHA256())
        )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, life: timedelta
) -> x509.CertificateBuilder:
    now = _now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _now() -> datetime:
    return datetime.now(UTC)
