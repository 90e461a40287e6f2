"""AuthzService: protobuf in, protobuf out."""

from collections.abc import Iterator

import grpc

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc
from services.access_control.authorization.authority import Authority
from services.access_control.grants.cases import Cases
from services.access_control.grants.ended import EndedGrants
from services.access_control.grants.messages import scope_message
from services.access_control.grants.opening import Opening, Wanted
from services.access_control.organization_policies import Policies
from services.access_control.people.affiliations import Affiliations
from shared.pipeline import caller_of


class AuthzServicer(authz_pb2_grpc.AuthzServiceServicer):
    """Decisions for the other services."""

    def __init__(
        self,
        authority: Authority,
        opening: Opening,
        ended_grants: EndedGrants,
        cases: Cases,
        affiliations: Affiliations,
        policies: Policies,
    ) -> None:
        self._authority = authority
        self._opening = opening
        self._ended_grants = ended_grants
        self._cases = cases
        self._affiliations = affiliations
        self._policies = policies

    def Check(
        self, request: authz_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> authz_pb2.CheckResponse:
        service = caller_of(context).name
        checked = self._authority.check(service, request.token, request.method)
        person = checked.caller
        affiliated = (
            self._affiliations.of_person(person.person_id)
            if service == "safety_review" and person.person_id
            else ()
        )
        return authz_pb2.CheckResponse(
            person_id=person.person_id,
            roles=sorted(person.roles),
            member_id=person.member_id,
            organization_id=person.organization_id,
            customer_role=person.customer_role,
            policies=checked.decision.policies,
            audit_entry_id=checked.audit_entry_id,
            affiliated_organization_ids=[one.organization_id for one in affiliated],
        )

    def CheckVoices(
        self, request: authz_pb2.CheckVoicesRequest, context: grpc.ServicerContext
    ) -> authz_pb2.CheckVoicesResponse:
        counting = self._authority.voices(caller_of(context).name, request.person_ids, request.method)
        return authz_pb2.CheckVoicesResponse(person_ids=counting)

    def RequireOrganization(
        self, request: authz_pb2.RequireOrganizationRequest, context: grpc.ServicerContext
    ) -> authz_pb2.RequireOrganizationResponse:
        self._policies.require_known(request.organization_id)
        return authz_pb2.RequireOrganizationResponse()

    def Authorize(
        self, request: authz_pb2.AuthorizeRequest, context: grpc.ServicerContext
    ) -> authz_pb2.AuthorizeResponse:
        authorized = self._opening.authorize(
            caller_of(context).name,
            request.token,
            request.grant_id,
            request.organization_id,
            request.detail,
        )
        answer = authz_pb2.AuthorizeResponse(
            person_id=authorized.reader,
            scope=scope_message(authorized.scope),
            remaining=authorized.remaining,
            audit_entry_id=authorized.audit_entry_id,
            without_held=not authorized.held_too,
        )
        answer.expires_at.FromDatetime(authorized.expires_at)
        return answer

    def AuthorizePermission(
        self, request: authz_pb2.AuthorizePermissionRequest, context: grpc.ServicerContext
    ) -> authz_pb2.AuthorizePermissionResponse:
        authorized = self._opening.authorize_permission(
            caller_of(context).name, request.permission, request.grant_id, request.person_id
        )
        answer = authz_pb2.AuthorizePermissionResponse(
            scope=scope_message(authorized.scope),
            remaining=authorized.remaining,
            audit_entry_id=authorized.audit_entry_id,
        )
        answer.expires_at.FromDatetime(authorized.expires_at)
        return answer

    def OpenRecords(
        self, request: authz_pb2.OpenRecordsRequest, context: grpc.ServicerContext
    ) -> authz_pb2.OpenRecordsResponse:
        wanted = Wanted(
            request.organization_id,
            request.detail,
            [(record.record_id, record.data_key_id) for record in request.records],
            {data_key.data_key_id: data_key.sealed for data_key in request.data_keys},
            {one.data_key_id: one.application for one in request.data_keys if one.application},
            {one.record_id: one.application for one in request.records if one.application},
            request.leave_out_gone,
        )
        service = caller_of(context).name
        if request.WhichOneof("principal") == "token":
            opened = self._opening.open_for_person(service, request.token, request.grant_id, wanted)
        else:
            opened = self._opening.open_for_service(service, request.permission, wanted, request.grant_id)
        answer = authz_pb2.OpenRecordsResponse(
            audit_entry_id=opened.audit_entry_id, left_out_record_ids=sorted(opened.left_out)
        )
        add = answer.keys.add  # in place: half of what it takes to make 500 messages and copy them
        for record_id, key in opened.keys.items():
            add(record_id=record_id, key=key)
        return answer

    def AuthorizeScreening(
        self, request: authz_pb2.AuthorizeScreeningRequest, context: grpc.ServicerContext
    ) -> authz_pb2.AuthorizeScreeningResponse:
        entry_ids = self._opening.authorize_screening(
            caller_of(context).name,
            request.request_id,
            [(batch.organization_id, batch.record_ids) for batch in request.batches],
        )
        return authz_pb2.AuthorizeScreeningResponse(audit_entry_ids=entry_ids)

    def WatchEndedGrants(
        self, request: authz_pb2.WatchEndedGrantsRequest, context: grpc.ServicerContext
    ) -> Iterator[authz_pb2.WatchEndedGrantsResponse]:
        for grant_ids in self._ended_grants.heartbeats(context.is_active):
            yield authz_pb2.WatchEndedGrantsResponse(grant_ids=grant_ids)

    def OpenCase(
        self, request: authz_pb2.OpenCaseRequest, context: grpc.ServicerContext
    ) -> authz_pb2.OpenCaseResponse:
        self._cases.open(request.case_id, request.organization_id, request.record_ids, request.round or 1)
        return authz_pb2.OpenCaseResponse()

    def CloseCase(
        self, request: authz_pb2.CloseCaseRequest, context: grpc.ServicerContext
    ) -> authz_pb2.CloseCaseResponse:
        self._cases.close(request.case_id, request.upheld)
        return authz_pb2.CloseCaseResponse()
