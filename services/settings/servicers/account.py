"""AccountService."""

import grpc

from kept.settings.v1 import account_pb2 as contract
from kept.settings.v1 import account_pb2_grpc as contract_grpc
from services.settings.organizations.account_deletion import AccountDeletions
from services.settings.servicers.instants import timestamp
from services.settings.store.account_deletions import AccountDeletion
from shared.pipeline import caller_of


def _message(deletion: AccountDeletion) -> contract.AccountDeletion:
    return contract.AccountDeletion(
        account_deletion_id=deletion.account_deletion_id,
        organization_id=deletion.organization_id,
        state=deletion.state,
        confirmation_sentence=deletion.confirmation_sentence,
        requested_by=deletion.requested_by,
        erases_at=timestamp(deletion.erases_at),
        requested_at=timestamp(deletion.requested_at),
        confirmed_by=deletion.confirmed_by or "",
        confirmed_at=timestamp(deletion.confirmed_at),
        cancelled_by=deletion.cancelled_by or "",
        cancelled_at=timestamp(deletion.cancelled_at),
        erasure_id=deletion.erasure_id or "",
    )


class AccountServicer(contract_grpc.AccountServiceServicer):
    """See the contract."""

    def __init__(self, account_deletions: AccountDeletions) -> None:
        self._account_deletions = account_deletions

    def RequestAccountDeletion(
        self, request: contract.RequestAccountDeletionRequest, context: grpc.ServicerContext
    ) -> contract.RequestAccountDeletionResponse:
        caller = caller_of(context)
        caller.require_organization(request.organization_id)
        deletion = self._account_deletions.request(caller, request.organization_id)
        return contract.RequestAccountDeletionResponse(deletion=_message(deletion))

    def ConfirmAccountDeletion(
        self, request: contract.ConfirmAccountDeletionRequest, context: grpc.ServicerContext
    ) -> contract.ConfirmAccountDeletionResponse:
        deletion, claim = self._account_deletions.confirm(
            caller_of(context), request.account_deletion_id, request.confirmation_sentence
        )
        return contract.ConfirmAccountDeletionResponse(deletion=_message(deletion), claim=claim.reveal())

    def CancelAccountDeletion(
        self, request: contract.CancelAccountDeletionRequest, context: grpc.ServicerContext
    ) -> contract.CancelAccountDeletionResponse:
        deletion = self._account_deletions.cancel(caller_of(context), request.account_deletion_id)
        return contract.CancelAccountDeletionResponse(deletion=_message(deletion))

    def GetAccountDeletion(
        self, request: contract.GetAccountDeletionRequest, context: grpc.ServicerContext
    ) -> contract.GetAccountDeletionResponse:
        caller_of(context).require_organization(request.organization_id)
        return contract.GetAccountDeletionResponse(
            deletion=_message(self._account_deletions.newest(request.organization_id))
        )
