"""MemberService: an organization's members, one's own account, sign-ins.

Passwords and tokens leave the request into types that print as `[redacted]` at once.
"""

import grpc

from kept.settings.v1 import members_pb2 as contract
from kept.settings.v1 import members_pb2_grpc as contract_grpc
from services.settings.accounts.email_changes import EmailChanges
from services.settings.accounts.invitations import Invitations
from services.settings.accounts.members import Members, etag
from services.settings.accounts.password_resets import PasswordResets
from services.settings.accounts.profiles import Exported, Profile, Profiles
from services.settings.accounts.sign_ins import SignIns
from services.settings.servicers.instants import timestamp
from services.settings.sources import Sources
from services.settings.store.members import Invitation, Member
from services.settings.store.sign_ins import SignIn
from shared.fields import instant
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
        etag=etag(member),
    )


def _profile(profile: Profile) -> contract.Profile:
    return contract.Profile(
        member=_message(profile.member),
        organization_name=profile.organization_name,
        password_changed_at=timestamp(profile.member.password_set_at),
        last_signed_in_at=timestamp(profile.last_signed_in_at),
        failed_sign_ins=profile.failed_since,
    )


def _sign_in(sign_in: SignIn) -> contract.SignIn:
    return contract.SignIn(at=timestamp(sign_in.at), outcome=sign_in.outcome)


def _invitation(invitation: Invitation) -> contract.OpenInvitation:
    return contract.OpenInvitation(
        invitation_id=invitation.invitation_id,
        email=invitation.email,
        role=invitation.role,
        expires_at=timestamp(invitation.expires_at),
    )


def _exported(exported: Exported) -> contract.ExportProfileResponse:
    return contract.ExportProfileResponse(
        profile=_profile(exported.profile),
        sign_ins=[_sign_in(each) for each in exported.sign_ins],
        invitations=[_invitation(each) for each in exported.invitations],
        password_resets=[
            contract.OpenPasswordReset(
                requested_at=timestamp(each.requested_at), expires_at=timestamp(each.expires_at)
            )
            for each in exported.password_resets
        ],
        # A list of instants holds no None; the stubs do not see that.
        known_networks=[at for each in exported.known_networks if (at := timestamp(each)) is not None],
        acts=[
            contract.OwnAct(kind=each.kind, subject=each.subject, at=timestamp(each.at))
            for each in exported.acts
        ],
        email_changes=[
            contract.EmailChange(
                email=each.email,
                replaced_email=each.replaced or "",
                requested_at=timestamp(each.requested_at),
                expires_at=timestamp(each.expires_at),
            )
            for each in exported.email_changes
        ],
        document_requests=[
            contract.OwnDocumentRequest(
                trust_request_id=each.trust_request_id,
                name=each.name,
                email=each.email,
                company=each.company,
                requested_at=timestamp(each.requested_at),
            )
            for each in exported.document_requests
        ],
        exported_at=timestamp(exported.exported_at),
    )


class MemberServicer(contract_grpc.MemberServiceServicer):
    """See the contract."""

    def __init__(
        self,
        members: Members,
        invitations: Invitations,
        profiles: Profiles,
        email_changes: EmailChanges,
        password_resets: PasswordResets,
        sign_ins: SignIns,
        sources: Sources,
    ) -> None:
        self._email_changes = email_changes
        self._members = members
        self._invitations = invitations
        self._profiles = profiles
        self._password_resets = password_resets
        self._sign_ins = sign_ins
        self._sources = sources

    def InviteMember(
        self, request: contract.InviteMemberRequest, context: grpc.ServicerContext
    ) -> contract.InviteMemberResponse:
        caller = caller_of(context)
        caller.require_organization(request.organization_id)
        invitation, token = self._invitations.invite(
            caller, request.organization_id, request.email, request.role
        )
        return contract.InviteMemberResponse(
            invitation_token=token.reveal(), expires_at=timestamp(invitation.expires_at)
        )

    def ListInvitations(
        self, request: contract.ListInvitationsRequest, context: grpc.ServicerContext
    ) -> contract.ListInvitationsResponse:
        caller_of(context).require_organization(request.organization_id)
        found, next_page = self._invitations.page(
            request.organization_id, request.page_size, request.page_token
        )
        return contract.ListInvitationsResponse(
            invitations=[_invitation(each) for each in found], next_page_token=next_page
        )

    def RevokeInvitation(
        self, request: contract.RevokeInvitationRequest, context: grpc.ServicerContext
    ) -> contract.RevokeInvitationResponse:
        self._invitations.revoke(caller_of(context), request.invitation_id)
        return contract.RevokeInvitationResponse()

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
        found, next_page = self._members.page(request.organization_id, request.page_size, request.page_token)
        return contract.ListMembersResponse(
            members=[_message(member) for member in found], next_page_token=next_page
        )

    def SetMemberRole(
        self, request: contract.SetMemberRoleRequest, context: grpc.ServicerContext
    ) -> contract.SetMemberRoleResponse:
        member = self._members.set_role(caller_of(context), request.member_id, request.role, request.etag)
        return contract.SetMemberRoleResponse(member=_message(member))

    def RemoveMember(
        self, request: contract.RemoveMemberRequest, context: grpc.ServicerContext
    ) -> contract.RemoveMemberResponse:
        self._members.remove(caller_of(context), request.member_id, request.etag)
        return contract.RemoveMemberResponse()

    def GetProfile(
        self, request: contract.GetProfileRequest, context: grpc.ServicerContext
    ) -> contract.GetProfileResponse:
        return contract.GetProfileResponse(profile=_profile(self._profiles.get(caller_of(context))))

    def UpdateProfile(
        self, request: contract.UpdateProfileRequest, context: grpc.ServicerContext
    ) -> contract.UpdateProfileResponse:
        profile = self._profiles.update(
            caller_of(context), request.etag, request.first_name, request.last_name
        )
        return contract.UpdateProfileResponse(profile=_profile(profile))

    def RequestEmailChange(
        self, request: contract.RequestEmailChangeRequest, context: grpc.ServicerContext
    ) -> contract.RequestEmailChangeResponse:
        self._email_changes.ask(
            caller_of(context), request.email, Secret(request.password), self._sources.of(context.peer())
        )
        return contract.RequestEmailChangeResponse()

    def ConfirmEmailChange(
        self, request: contract.ConfirmEmailChangeRequest, context: grpc.ServicerContext
    ) -> contract.ConfirmEmailChangeResponse:
        profile = self._email_changes.confirm(
            caller_of(context), Secret(request.change_token), self._sources.of(context.peer())
        )
        return contract.ConfirmEmailChangeResponse(profile=_profile(profile))

    def ChangePassword(
        self, request: contract.ChangePasswordRequest, context: grpc.ServicerContext
    ) -> contract.ChangePasswordResponse:
        changed_at = self._profiles.change_password(
            caller_of(context),
            Secret(request.current_password),
            Secret(request.new_password),
            self._sources.of(context.peer()),
        )
        return contract.ChangePasswordResponse(password_changed_at=timestamp(changed_at))

    def RequestPasswordReset(
        self, request: contract.RequestPasswordResetRequest, context: grpc.ServicerContext
    ) -> contract.RequestPasswordResetResponse:
        self._password_resets.ask(request.email, self._sources.of(context.peer()))
        return contract.RequestPasswordResetResponse()

    def ResetPassword(
        self, request: contract.ResetPasswordRequest, context: grpc.ServicerContext
    ) -> contract.ResetPasswordResponse:
        self._password_resets.set_password(
            Secret(request.reset_token), Secret(request.new_password), self._sources.of(context.peer())
        )
        return contract.ResetPasswordResponse()

    def ExportProfile(
        self, request: contract.ExportProfileRequest, context: grpc.ServicerContext
    ) -> contract.ExportProfileResponse:
        return _exported(self._profiles.export(caller_of(context)))

    def ListSignIns(
        self, request: contract.ListSignInsRequest, context: grpc.ServicerContext
    ) -> contract.ListSignInsResponse:
        found, next_page = self._sign_ins.page(
            caller_of(context).member_id, request.page_size, request.page_token
        )
        return contract.ListSignInsResponse(
            sign_ins=[_sign_in(each) for each in found],
            next_page_token=next_page,
            kept_days=self._sign_ins.kept_days,
        )

    def DeleteMyAccount(
        self, request: contract.DeleteMyAccountRequest, context: grpc.ServicerContext
    ) -> contract.DeleteMyAccountResponse:
        self._profiles.delete(
            caller_of(context),
            request.confirmation_sentence,
            Secret(request.password),
            self._sources.of(context.peer()),
        )
        return contract.DeleteMyAccountResponse()

    def AuthenticateMember(
        self, request: contract.AuthenticateMemberRequest, context: grpc.ServicerContext
    ) -> contract.AuthenticateMemberResponse:
        member, at = self._sign_ins.authenticate(request.email, Secret(request.password), request.source)
        return contract.AuthenticateMemberResponse(member=_message(member), signed_in_at=timestamp(at))

    def RenewSignIn(
        self, request: contract.RenewSignInRequest, context: grpc.ServicerContext
    ) -> contract.RenewSignInResponse:
        member = self._sign_ins.renew(request.member_id, instant("signed_in_at", request.signed_in_at))
        return contract.RenewSignInResponse(member=_message(member))
