"""OrganizationService."""

import grpc

from kept.settings.v1 import organizations_pb2 as contract
from kept.settings.v1 import organizations_pb2_grpc as contract_grpc
from kept.settings.v1 import terms_pb2
from services.settings.accounts.invitations import Invitations
from services.settings.organizations.changes import OrganizationChanges, Wanted, etag
from services.settings.organizations.organization import Creation, Organizations
from services.settings.organizations.usage_agreements import UsageAgreements
from services.settings.servicers.instants import timestamp
from services.settings.servicers.terms import duty_message, terms_message
from services.settings.store.organizations import Organization
from services.settings.trust.terms import Terms
from shared.errors import not_found
from shared.pipeline import caller_of


def organization_message(organization: Organization) -> contract.Organization:
    """An organization as callers see it; of an erased one only its id and its state are left."""
    if organization.state == contract.ORGANIZATION_STATE_ERASED:
        return contract.Organization(organization_id=organization.organization_id, state=organization.state)
    return contract.Organization(
        organization_id=organization.organization_id,
        display_name=organization.display_name,
        tier=organization.tier,
        deployment=organization.deployment,
        state=organization.state,
        sales_representative=organization.sales_representative,
        created_at=timestamp(organization.created_at),
        zero_data_retention=organization.zero_data_retention,
        usage_agreed=organization.usage_agreed,
        etag=etag(organization),
        training_retention_days=organization.training_retention_days,
        contract_references=organization.contract_references,
        privacy_contact=organization.privacy_contact,
        support_contact=organization.support_contact,
    )


def _wanted(request: contract.UpdateOrganizationRequest) -> Wanted:
    """What is to change; None where the request says nothing."""
    return Wanted(
        tier=request.tier if request.HasField("tier") else None,
        deployment=request.deployment if request.HasField("deployment") else None,
        usage_agreed=request.usage_agreed if request.HasField("usage_agreed") else None,
        training_retention_days=(
            request.training_retention_days if request.HasField("training_retention_days") else None
        ),
        contract_references=(
            tuple(request.contract_references.references) if request.HasField("contract_references") else None
        ),
        privacy_contact=request.privacy_contact if request.HasField("privacy_contact") else None,
        support_contact=request.support_contact if request.HasField("support_contact") else None,
    )


class OrganizationServicer(contract_grpc.OrganizationServiceServicer):
    """See the contract."""

    def __init__(
        self,
        organizations: Organizations,
        changes: OrganizationChanges,
        usage_agreements: UsageAgreements,
        terms: Terms,
        invitations: Invitations,
    ) -> None:
        self._invitations = invitations
        self._terms = terms
        self._organizations = organizations
        self._changes = changes
        self._usage_agreements = usage_agreements

    def CreateOrganization(
        self, request: contract.CreateOrganizationRequest, context: grpc.ServicerContext
    ) -> contract.CreateOrganizationResponse:
        created = self._organizations.create(
            caller_of(context),
            request.request_id,
            Creation(
                display_name=request.display_name,
                tier=request.tier,
                deployment=request.deployment,
                admin_email=request.admin_email,
                sales_representative=request.sales_representative,
                training_allowed=request.training_allowed,
                usage_agreed=request.usage_agreed,
            ),
        )
        return contract.CreateOrganizationResponse(
            organization=organization_message(created.organization),
            effective_at=timestamp(created.effective_at),
            invitation_token=created.invitation_token.reveal(),
        )

    def InviteFirstAdmin(
        self, request: contract.InviteFirstAdminRequest, context: grpc.ServicerContext
    ) -> contract.InviteFirstAdminResponse:
        invitation, token = self._invitations.invite_first_admin(
            caller_of(context), request.organization_id, request.admin_email
        )
        return contract.InviteFirstAdminResponse(
            invitation_token=token.reveal(), expires_at=timestamp(invitation.expires_at)
        )

    def GetOrganization(
        self, request: contract.GetOrganizationRequest, context: grpc.ServicerContext
    ) -> contract.GetOrganizationResponse:
        caller = caller_of(context)
        if caller.is_customer and caller.organization_id != request.organization_id:
            raise not_found("organization")  # as the contract says: as if it did not exist
        organization = self._organizations.get(request.organization_id)
        return contract.GetOrganizationResponse(organization=organization_message(organization))

    def UpdateOrganization(
        self, request: contract.UpdateOrganizationRequest, context: grpc.ServicerContext
    ) -> contract.UpdateOrganizationResponse:
        organization, effective_at = self._changes.update(
            caller_of(context),
            request.organization_id,
            request.etag,
            _wanted(request),
        )
        return contract.UpdateOrganizationResponse(
            organization=organization_message(organization), effective_at=timestamp(effective_at)
        )

    def ListOrganizationChanges(
        self, request: contract.ListOrganizationChangesRequest, context: grpc.ServicerContext
    ) -> contract.ListOrganizationChangesResponse:
        caller_of(context).require_organization(request.organization_id)
        found, next_page = self._changes.page(request.organization_id, request.page_size, request.page_token)
        return contract.ListOrganizationChangesResponse(
            changes=[
                contract.OrganizationChange(
                    tier=one.tier,
                    deployment=one.deployment,
                    training_retention_days=one.training_retention_days,
                    contract_references=one.contract_references,
                    usage_agreed=one.usage_agreed,
                    effective_at=timestamp(one.effective_at),
                    entered_at=timestamp(one.entered_at),
                    entered_by=one.entered_by,
                )
                for one in found
            ],
            next_page_token=next_page,
        )

    def ListUsageAgreements(
        self, request: contract.ListUsageAgreementsRequest, context: grpc.ServicerContext
    ) -> contract.ListUsageAgreementsResponse:
        caller_of(context).require_organization(request.organization_id)
        found, next_page = self._usage_agreements.page(
            request.organization_id, request.page_size, request.page_token
        )
        return contract.ListUsageAgreementsResponse(
            agreements=[
                contract.UsageAgreement(
                    usage_agreed=one.usage_agreed,
                    effective_at=timestamp(one.effective_at),
                    entered_at=timestamp(one.entered_at),
                    entered_by=one.entered_by,
                )
                for one in found
            ],
            next_page_token=next_page,
        )

    def GetEffectiveTerms(
        self, request: terms_pb2.GetEffectiveTermsRequest, context: grpc.ServicerContext
    ) -> terms_pb2.GetEffectiveTermsResponse:
        caller_of(context).require_organization(request.organization_id)
        return terms_message(self._terms.effective(request.organization_id))

    def AcceptTerms(
        self, request: terms_pb2.AcceptTermsRequest, context: grpc.ServicerContext
    ) -> terms_pb2.AcceptTermsResponse:
        caller = caller_of(context)
        caller.require_organization(request.organization_id)
        duties = self._terms.accept(
            caller, request.organization_id, request.version, tuple(request.accepted_duties)
        )
        return terms_pb2.AcceptTermsResponse(duties=[duty_message(one) for one in duties])

    def ListOrganizations(
        self, request: contract.ListOrganizationsRequest, context: grpc.ServicerContext
    ) -> contract.ListOrganizationsResponse:
        found, next_page = self._organizations.page(request.page_size, request.page_token)
        return contract.ListOrganizationsResponse(
            organizations=[organization_message(organization) for organization in found],
            next_page_token=next_page,
        )
