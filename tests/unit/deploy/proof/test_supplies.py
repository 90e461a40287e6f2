"""Secrets as a cluster's operators leave them."""

from pathlib import Path

from cryptography import x509

from deploy.check.overlay import Overlay
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
