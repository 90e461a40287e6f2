"""Secrets as a cluster's operators leave them."""

from pathlib import Path

import pytest
from cryptography import x509

from deploy.check.overlay import Overlay
from deploy.proof.pods import in_bytes
from deploy.proof.supplies import Supplies


def test_an_identity_has_the_names_of_its_certificate_object_and_no_others(tmp_path: Path) -> None:
    supplies = Supplies.of(Overlay.rendered("production"), tmp_path)
    identity = supplies.secrets["access-control-identity"]
    certificate = x509.load_pem_x509_certificate(identity["tls.crt"])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [
        "spiffe://kept.example/access_control",
        "access-control.kept.example",
        "access-control.kept.svc.cluster.local",
    ]
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(identity["ca.crt"]))


@pytest.mark.parametrize(("written", "meant"), [("192Mi", 192 * 1024**2), ("1Gi", 1024**3), ("512", 512)])
def test_memory_is_read_as_manifests_write_it(written: str, meant: int) -> None:
    assert in_bytes(written) == meant
