"""IdentifierService."""

import grpc

from kept.settings.v1 import identifiers_pb2, identifiers_pb2_grpc
from services.settings.subjects.identifiers import NamesOfCustomers


class IdentifierServicer(identifiers_pb2_grpc.IdentifierServiceServicer):
    """See the contract."""

    def __init__(self, names: NamesOfCustomers) -> None:
        self._names = names

    def ListIdentifiers(
        self, request: identifiers_pb2.ListIdentifiersRequest, context: grpc.ServicerContext
    ) -> identifiers_pb2.ListIdentifiersResponse:
        """See the contract."""
        found = self._names.of(request.organization_ids)
        return identifiers_pb2.ListIdentifiersResponse(
            organization_names=found.names,
            emails=found.emails,
            people=[
                identifiers_pb2.PersonName(first_name=first, last_name=last) for first, last in found.people
            ],
        )
