"""kept.retention.v1.CertificateService."""

import grpc

from kept.retention.v1 import certificates_pb2, certificates_pb2_grpc
from services.retention.servicers import messages
from services.retention.store import certificates as rows
from shared.database import Database
from shared.errors import not_found
from shared.pages import page
from shared.pipeline import caller_of


class CertificateServicer(certificates_pb2_grpc.CertificateServiceServicer):
    """Certificates, for the organization's admin and for auditors; the public keys, for everybody."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ListCertificates(
        self, request: certificates_pb2.ListCertificatesRequest, context: grpc.ServicerContext
    ) -> certificates_pb2.ListCertificatesResponse:
        caller_of(context).require_organization(request.organization_id)
        with self._database.transaction() as tx:
            found, token = page(
                "certificates",
                request.page_size,
                request.page_token,
                lambda before, limit: rows.page(tx, request.organization_id, before or None, limit),
                lambda one: one.number,
            )
        return certificates_pb2.ListCertificatesResponse(
            certificates=[messages.certificate(one) for one in found], next_page_token=token
        )

    def GetCertificate(
        self, request: certificates_pb2.GetCertificateRequest, context: grpc.ServicerContext
    ) -> certificates_pb2.GetCertificateResponse:
        caller = caller_of(context)
        with self._database.transaction() as tx:
            found = rows.get(tx, request.certificate_id)
        # Another organization's certificate is answered like one that does not exist.
        if found is None or (caller.is_customer and caller.organization_id != found.organization_id):
            raise not_found("certificate")
        return certificates_pb2.GetCertificateResponse(
            certificate=messages.certificate(found), envelope=found.envelope or b""
        )

    def ListSigningKeys(
        self, request: certificates_pb2.ListSigningKeysRequest, context: grpc.ServicerContext
    ) -> certificates_pb2.ListSigningKeysResponse:
        with self._database.transaction() as tx:
            known = rows.keys(tx)
        response = certificates_pb2.ListSigningKeysResponse()
        for key in known:
            response.keys.add(key_id=key.key_id, public_key=key.public_key).created_at.FromDatetime(
                key.created_at
            )
        return response
