"""ZeroDataRetentionService."""

from collections.abc import Sequence

import grpc

from kept.settings.v1 import zero_data_retention_pb2 as contract
from kept.settings.v1 import zero_data_retention_pb2_grpc as contract_grpc
from services.settings.servicers.instants import timestamp
from services.settings.store.zero_data_retention import ZdrRequest
from services.settings.zero_data_retention import ZeroDataRetention
from services.settings.zero_data_retention.commitments import Commitment
from services.settings.zero_data_retention.ends import ZeroDataRetentionEnds
from shared.errors import invalid
from shared.pipeline import caller_of
from shared.voices import people


def _message(request: ZdrRequest) -> contract.ZeroDataRetentionRequest:
    return contract.ZeroDataRetentionRequest(
        zero_data_retention_request_id=request.request_id,
        organization_id=request.organization_id,
        state=request.state,
        commitments_version=request.commitments_version,
        requested_by=request.requested_by,
        requested_at=timestamp(request.requested_at),
        approved_by=people(request.approvals),
        effective_at=timestamp(request.effective_at),
        copied_to=request.copied_to,
        end_approved_by=people(request.end_approvals),
        ends_at=timestamp(request.ends_at),
        end_reason=request.end_reason,
        end_effective_at=timestamp(request.end_effective_at),
        erase_logged_before=request.erase_logged_before,
        erasure_id=request.erasure_id,
        end_cause=request.end_cause,
    )


def _named(commitments: Sequence[Commitment]) -> list[contract.AdditionalCommitment]:
    return [contract.AdditionalCommitment(name=each.name, text=each.text) for each in commitments]


class ZeroDataRetentionServicer(contract_grpc.ZeroDataRetentionServiceServicer):
    """See the contract."""

    def __init__(self, zero_data_retention: ZeroDataRetention, ends: ZeroDataRetentionEnds) -> None:
        self._zero_data_retention = zero_data_retention
        self._ends = ends

    def GetAdditionalCommitments(
        self, request: contract.GetAdditionalCommitmentsRequest, context: grpc.ServicerContext
    ) -> contract.GetAdditionalCommitmentsResponse:
        current = self._zero_data_retention.commitments
        asked = current.of(request.version)
        return contract.GetAdditionalCommitmentsResponse(
            version=asked.version,
            commitments=_named(asked.commitments),
            limits=_named(current.limits),
        )

    def RequestZeroDataRetention(
        self, request: contract.RequestZeroDataRetentionRequest, context: grpc.ServicerContext
    ) -> contract.RequestZeroDataRetentionResponse:
        caller = caller_of(context)
        caller.require_organization(request.organization_id)
        made = self._zero_data_retention.request(
            caller,
            request.organization_id,
            request.commitments_version,
            tuple(request.accepted_commitments),
            erase_logged_before=request.erase_logged_before,
        )
        return contract.RequestZeroDataRetentionResponse(request=_message(made))

    def DecideZeroDataRetention(
        self, request: contract.DecideZeroDataRetentionRequest, context: grpc.ServicerContext
    ) -> contract.DecideZeroDataRetentionResponse:
        decided = self._zero_data_retention.decide(
            caller_of(context), request.zero_data_retention_request_id, request.approve, request.reason
        )
        return contract.DecideZeroDataRetentionResponse(request=_message(decided))

    def EndZeroDataRetention(
        self, request: contract.EndZeroDataRetentionRequest, context: grpc.ServicerContext
    ) -> contract.EndZeroDataRetentionResponse:
        ended = self._ends.end(caller_of(context), request.zero_data_retention_request_id, request.reason)
        return contract.EndZeroDataRetentionResponse(request=_message(ended))

    def ListZeroDataRetentionRequests(
        self, request: contract.ListZeroDataRetentionRequestsRequest, context: grpc.ServicerContext
    ) -> contract.ListZeroDataRetentionRequestsResponse:
        caller = caller_of(context)
        if caller.is_customer and not request.organization_id:
            raise invalid("organization_id", "name your own organization")
        caller.require_organization(request.organization_id)
        found = self._zero_data_retention.list_of(request.organization_id)
        return contract.ListZeroDataRetentionRequestsResponse(requests=[_message(made) for made in found])
