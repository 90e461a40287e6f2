"""ApiKeyService."""

import grpc
from google.protobuf.duration_pb2 import Duration

from kept.settings.v1 import api_keys_pb2 as contract
from kept.settings.v1 import api_keys_pb2_grpc as contract_grpc
from services.settings.organizations.api_keys import ApiKeys, Registration, terms_of
from services.settings.servicers.instants import timestamp
from services.settings.store.api_keys import ApiKey
from services.settings.store.organizations import Organization
from shared.pipeline import caller_of


def _message(key: ApiKey, organization: Organization) -> contract.ApiKey:
    return contract.ApiKey(
        api_key_id=key.api_key_id,
        organization_id=key.organization_id,
        name=key.name,
        kind=key.kind,
        fingerprint=key.fingerprint,
        terms=terms_of(key.kind, organization.tier),
        registered_by=key.registered_by,
        registered_at=timestamp(key.registered_at),
        revoked_by=key.revoked_by or "",
        revoked_at=timestamp(key.revoked_at),
    )


class ApiKeyServicer(contract_grpc.ApiKeyServiceServicer):
    """See the contract."""

    def __init__(self, api_keys: ApiKeys) -> None:
        self._api_keys = api_keys

    def RegisterApiKey(
        self, request: contract.RegisterApiKeyRequest, context: grpc.ServicerContext
    ) -> contract.RegisterApiKeyResponse:
        caller = caller_of(context)
        caller.require_organization(request.organization_id)
        key, organization = self._api_keys.register(
            caller,
            request.organization_id,
            Registration(request.request_id, request.name, request.kind, request.fingerprint),
        )
        return contract.RegisterApiKeyResponse(api_key=_message(key, organization))

    def ListApiKeys(
        self, request: contract.ListApiKeysRequest, context: grpc.ServicerContext
    ) -> contract.ListApiKeysResponse:
        caller_of(context).require_organization(request.organization_id)
        organization, found, next_page = self._api_keys.page(
            request.organization_id, request.page_size, request.page_token
        )
        return contract.ListApiKeysResponse(
            api_keys=[_message(key, organization) for key in found], next_page_token=next_page
        )

    def RevokeApiKey(
        self, request: contract.RevokeApiKeyRequest, context: grpc.ServicerContext
    ) -> contract.RevokeApiKeyResponse:
        key, organization, ends_at = self._api_keys.revoke(caller_of(context), request.api_key_id)
        return contract.RevokeApiKeyResponse(api_key=_message(key, organization), ends_at=timestamp(ends_at))

    def ResolveApiKey(
        self, request: contract.ResolveApiKeyRequest, context: grpc.ServicerContext
    ) -> contract.ResolveApiKeyResponse:
        found = self._api_keys.resolve(caller_of(context).name, request.fingerprint)
        keep_for = Duration()
        keep_for.FromTimedelta(self._api_keys.keep_for)
        return contract.ResolveApiKeyResponse(
            api_key_id=found.key.api_key_id,
            organization_id=found.key.organization_id,
            kind=found.key.kind,
            terms=found.terms,
            revoked=found.revoked,
            keep_for=keep_for,
        )
