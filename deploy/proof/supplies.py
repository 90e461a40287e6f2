"""What a pod's volumes and variables come from: the overlay's ConfigMaps, and the Secrets that its operators make or that people do."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from deploy.check.kustomize import Resource
from deploy.check.overlay import Overlay
from deploy.local.authority import Authority

_USAGES: Final = {
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
}
Files = Mapping[str, bytes]


@dataclass
class Supplies:
    """By name: ConfigMaps, Secrets, and what lies in image volumes by their reference."""

    config_maps: dict[str, Files]
    secrets: dict[str, Files]
    images: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, overlay: Overlay, home: Path) -> Supplies:
        """Those of an overlay, but for its databases'."""
        config_maps: dict[str, Files] = {
            one.value["metadata"]["name"]: {
                name: text.encode() for name, text in (one.value.get("data") or {}).items()
            }
            for one in overlay.of_kind("ConfigMap")
        }
        authority = Authority(home / "identities", trust_domain=overlay.trust_domain, environment="local")
        identities: dict[str, Files] = {
            one.value["spec"]["secretName"]: issued(one, authority)
            for one in overlay.of_kind("Certificate")
            if not one.value["spec"].get("isCA")
        }
        return cls(config_maps, identities | made_by_people())


def issued(certificate: Resource, authority: Authority) -> Files:
    """What cert-manager leaves for a Certificate: its names and usages, and no others."""
    spec = certificate.value["spec"]
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in spec.get("uris", ())]
    names += [x509.DNSName(name) for name in spec.get("dnsNames", ())]
    usages = [_USAGES[usage] for usage in spec["usages"] if usage in _USAGES]
    life = timedelta(hours=int(spec["duration"].removesuffix("h")))
    pem, key = authority.sign(certificate.value["metadata"]["name"], names, usages, life)
    return {"tls.crt": pem, "tls.key": key, "ca.crt": authority.certificate.read_bytes()}


def made_by_people() -> dict[str, Files]:
    """The Secrets that docs/operations/install.md has people make, by its commands."""
    signing_key = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "settings-token-keys": {"current": _random() + b"\n"},
        "retention-signing-key": {"signing_key.pem": signing_key},
        "settings-mail": {"secret": b"whsec_" + _random() + b"\n"},
    }


def _random() -> bytes:
    return base64.b64encode(secrets.token_bytes(32))
