"""`kept certificates`: proof that something was deleted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kept.cli.arguments import AnyOrganization, Limit
from kept.cli.invocation import Invocation, group, verb
from kept.cli.retention import write_file
from kept.cli.verification import read_evidence, verify_certificate
from kept.client.errors import KeptError

if TYPE_CHECKING:
    from kept.retention.v1 import certificates_pb2_grpc


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    certificates = group(app, "certificates", "Proof of deletion, verifiable offline.")
    verb(certificates, "list")(list_)
    verb(certificates, "get")(get)
    verb(certificates, "pdf")(pdf)
    verb(certificates, "verify")(verify_certificate)


def _stub(call: Invocation) -> "certificates_pb2_grpc.CertificateServiceStub":
    from kept.retention.v1 import certificates_pb2_grpc

    return certificates_pb2_grpc.CertificateServiceStub(call.channel("retention"))


def list_(call: Invocation, organization: AnyOrganization = "", limit: Limit = 100) -> None:
    """Certificates, newest first.

    A customer's own; for auditors, all.
    """
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.retention.v1 import certificates_pb2

    own = organization or str(call.session.claims().get("org", ""))
    response = pages(
        _stub(call).ListCertificates, certificates_pb2.ListCertificatesRequest(organization_id=own), limit
    )
    columns = ["certificate_id", "organization_id", ("run or erasure", "act_id"), "signed_at", "further"]
    call.show(response, lambda: table(response.certificates, columns, "There is no certificate."))


def get(
    call: Invocation,
    certificate: Annotated[str, typer.Argument(metavar="CERTIFICATE", help="Certificate id, certificate_….")],
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where to write it; - is the terminal.")
    ] = Path("-"),
) -> None:
    """Fetch a certificate.

    Byte for byte as it was signed (JSON). Keep the file: it verifies offline, for ever.
    """
    from kept.retention.v1 import certificates_pb2

    response = _stub(call).GetCertificate(certificates_pb2.GetCertificateRequest(certificate_id=certificate))
    write_file(call, output, response.envelope)


def pdf(
    call: Invocation,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate as `get` wrote it (JSON).")],
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where to write it; - is the terminal.")
    ],
) -> None:
    """Lay a certificate out on one page (PDF).

    For reading and filing; the signed JSON is attached to it, and `verify` takes the PDF as well. Works offline; verifies nothing.
    """
    from kept.evidence.certificate_pdf import write_pdf
    from kept.evidence.verdicts import EvidenceError

    try:
        made = write_pdf(read_evidence(file))
    except EvidenceError as error:
        raise KeptError("UNREADABLE", f"{file} cannot be laid out: {error}") from None
    write_file(call, output, made)
