"""MemberService. Passwords and tokens leave the request into types that print as `[redacted]` at once."""

import grpc

from kept.settings.v1 import members_pb2 as contract
from kept.settings.v1 import members_pb2_grpc as contract_grpc
from services.settings.members import Members
from services.settings.servicers.instants import timestamp
from services.settings.store.members import Member
from shared.pipeline import caller_of
from shared.redaction import Secret


def _message(member: Member) -> contract.Member:
    return contract.Member(
        member_id=member.member_id,
        organization_id=member.organization_id,
        first_name=member.first_name,
        last_name=member.last_name,
        email=member.email,
        role=member.role,
        registered_at=timestamp(member.registered_at),
    )


class MemberServicer(contract_grpc.MemberServiceServicer):
    """See the contract."""

    def __init__(self, members: Members) -> None:
        self._members = members

    def InviteMember(
        self, request: contract.InviteMemberRequest, context: grpc.ServicerContext
    ) -> contract.InviteMemberResponse:
        caller = caller_of(context)
        caller.require_organization(request.organization_id)
        invitation, token = self._members.invite(caller, request.organization_id, request.email, request.role)
        return contract.InviteMemberResponse(
            invitation_token=token.reveal(), expires_at=timestamp(invitation.expires_at)
        )

    def RegisterMember(
        self, request: contract.RegisterMemberRequest, context: grpc.ServicerContext
    ) -> contract.RegisterMemberResponse:
        member = self._members.register(
            Secret(request.invitation_token), request.first_name, request.last_name, Secret(request.password)
        )
        return contract.RegisterMemberResponse(member=_message(member))

    def ListMembers(
        self, request: contract.ListMembersRequest, context: grpc.ServicerContext
    ) -> contract.ListMembersResponse:
        caller_of(context).require_organization(request.organization_id)
        return contract.ListMembersResponse(
            members=[_message(member) for member in self._members.list_of(request.organization_id)]
        )

    def AuthenticateMember(
        self, request: contract.AuthenticateMemberRequest, context: grpc.ServicerContext
    ) -> contract.AuthenticateMemberResponse:
        member = self._members.authenticate(request.email, Secret(request.password), request.source)
        return contract.AuthenticateMemberResponse(member=_message(member))
