"""DirectoryService: protobuf in, protobuf out."""

import re
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Final

import grpc

from kept.access_control.v1 import directory_pb2, directory_pb2_grpc
from services.access_control.people.affiliations import Affiliations
from services.access_control.people.directory import Directory
from services.access_control.people.identities import Identities
from services.access_control.people.person import Member
from services.access_control.people.providers import Providers
from services.access_control.people.reviews import Reviews
from services.access_control.servicers import standing
from shared.clock import Clock
from shared.errors import invalid
from shared.fields import instant
from shared.pages import DEFAULT_SIZE, page
from shared.pipeline import caller_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class DirectoryServicer(directory_pb2_grpc.DirectoryServiceServicer):
    """Who is who."""

    def __init__(
        self,
        directory: Directory,
        identities: Identities,
        providers: Providers,
        reviews: Reviews,
        affiliations: Affiliations,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._identities = identities
        self._providers = providers
        self._reviews = reviews
        self._affiliations = affiliations
        self._clock = clock

    def CreatePerson(
        self, request: directory_pb2.CreatePersonRequest, context: grpc.ServicerContext
    ) -> directory_pb2.CreatePersonResponse:
        person = self._directory.create_person(
            caller_of(context).person_id,
            request.display_name,
            request.email,
            request.subject,
            issuer=request.issuer,
            provider_id=request.provider_id,
        )
        return directory_pb2.CreatePersonResponse(person=standing.person(person, self._now()))

    def AssignRole(
        self, request: directory_pb2.AssignRoleRequest, context: grpc.ServicerContext
    ) -> directory_pb2.AssignRoleResponse:
        role = self._directory.assign_role(caller_of(context).person_id, request.person_id, request.role)
        return directory_pb2.AssignRoleResponse(role_assignment=standing.role(role, self._now()))

    def ConfirmRole(
        self, request: directory_pb2.ConfirmRoleRequest, context: grpc.ServicerContext
    ) -> directory_pb2.ConfirmRoleResponse:
        role = self._directory.confirm_role(caller_of(context).person_id, request.role_assignment_id)
        return directory_pb2.ConfirmRoleResponse(role_assignment=standing.role(role, self._now()))

    def EndRole(
        self, request: directory_pb2.EndRoleRequest, context: grpc.ServicerContext
    ) -> directory_pb2.EndRoleResponse:
        ended = self._directory.end_role(caller_of(context).person_id, request.role_assignment_id)
        return directory_pb2.EndRoleResponse(ended_grants=ended)

    def RecordAgreement(
        self, request: directory_pb2.RecordAgreementRequest, context: grpc.ServicerContext
    ) -> directory_pb2.RecordAgreementResponse:
        agreement_id = self._directory.record_agreement(
            caller_of(context).person_id,
            request.person_id or request.provider_id,
            frozenset(request.kinds),
            request.document_sha256,
            instant("signed_at", request.signed_at),
            instant("expires_at", request.expires_at),
        )
        return directory_pb2.RecordAgreementResponse(agreement_id=agreement_id)

    def DisablePerson(
        self, request: directory_pb2.DisablePersonRequest, context: grpc.ServicerContext
    ) -> directory_pb2.DisablePersonResponse:
        ended = self._directory.disable_person(caller_of(context).person_id, request.person_id)
        return directory_pb2.DisablePersonResponse(ended_grants=ended)

    def LinkIdentity(
        self, request: directory_pb2.LinkIdentityRequest, context: grpc.ServicerContext
    ) -> directory_pb2.LinkIdentityResponse:
        identity = self._identities.link(
            caller_of(context).person_id, request.person_id, request.issuer, request.subject
        )
        return directory_pb2.LinkIdentityResponse(identity=standing.identity(identity))

    def ConfirmIdentity(
        self, request: directory_pb2.ConfirmIdentityRequest, context: grpc.ServicerContext
    ) -> directory_pb2.ConfirmIdentityResponse:
        identity = self._identities.confirm(caller_of(context).person_id, request.identity_id)
        return directory_pb2.ConfirmIdentityResponse(identity=standing.identity(identity))

    def EndIdentity(
        self, request: directory_pb2.EndIdentityRequest, context: grpc.ServicerContext
    ) -> directory_pb2.EndIdentityResponse:
        self._identities.end(caller_of(context).person_id, request.identity_id)
        return directory_pb2.EndIdentityResponse()

    def ListIdentities(
        self, request: directory_pb2.ListIdentitiesRequest, context: grpc.ServicerContext
    ) -> directory_pb2.ListIdentitiesResponse:
        found = self._identities.of_person(request.person_id)
        return directory_pb2.ListIdentitiesResponse(identities=map(standing.identity, found))

    def DeclareAffiliation(
        self, request: directory_pb2.DeclareAffiliationRequest, context: grpc.ServicerContext
    ) -> directory_pb2.DeclareAffiliationResponse:
        actor = caller_of(context).person_id
        made = self._affiliations.declare(actor, request.person_id or actor, request.organization_id)
        return directory_pb2.DeclareAffiliationResponse(affiliation=standing.affiliation(made))

    def EndAffiliation(
        self, request: directory_pb2.EndAffiliationRequest, context: grpc.ServicerContext
    ) -> directory_pb2.EndAffiliationResponse:
        self._affiliations.end(caller_of(context).person_id, request.person_id, request.organization_id)
        return directory_pb2.EndAffiliationResponse()

    def ListAffiliations(
        self, request: directory_pb2.ListAffiliationsRequest, context: grpc.ServicerContext
    ) -> directory_pb2.ListAffiliationsResponse:
        found = self._affiliations.of_person(request.person_id)
        return directory_pb2.ListAffiliationsResponse(affiliations=map(standing.affiliation, found))

    def CreateProvider(
        self, request: directory_pb2.CreateProviderRequest, context: grpc.ServicerContext
    ) -> directory_pb2.CreateProviderResponse:
        provider = self._providers.create(caller_of(context).person_id, request.name)
        return directory_pb2.CreateProviderResponse(provider=standing.provider(provider, self._now()))

    def ConfirmProvider(
        self, request: directory_pb2.ConfirmProviderRequest, context: grpc.ServicerContext
    ) -> directory_pb2.ConfirmProviderResponse:
        provider = self._providers.confirm(caller_of(context).person_id, request.provider_id)
        return directory_pb2.ConfirmProviderResponse(provider=standing.provider(provider, self._now()))

    def EndProvider(
        self, request: directory_pb2.EndProviderRequest, context: grpc.ServicerContext
    ) -> directory_pb2.EndProviderResponse:
        ended = self._providers.end(caller_of(context).person_id, request.provider_id)
        return directory_pb2.EndProviderResponse(ended_grants=ended)

    def ListProviders(
        self, request: directory_pb2.ListProvidersRequest, context: grpc.ServicerContext
    ) -> directory_pb2.ListProvidersResponse:
        now = self._now()
        found, token = page(
            "providers", request.page_size, request.page_token, self._providers.list, itemgetter(0)
        )
        return directory_pb2.ListProvidersResponse(
            providers=[standing.provider(provider, now) for _, provider in found], next_page_token=token
        )

    def ListReviews(
        self, request: directory_pb2.ListReviewsRequest, context: grpc.ServicerContext
    ) -> directory_pb2.ListReviewsResponse:
        size, now = request.page_size or DEFAULT_SIZE, self._now()
        found = self._reviews.list_due(_place(request.page_token), size + 1)
        answer = directory_pb2.ListReviewsResponse(
            reviews=[standing.review_item(item, now) for item in found[:size]]
        )
        if len(found) > size:
            last = found[size - 1]
            at = (last.review.reviewed_at - _EPOCH) // _MICROSECOND
            answer.next_page_token = f"{at}-{last.subject_id}"
        return answer

    def ConfirmReview(
        self, request: directory_pb2.ConfirmReviewRequest, context: grpc.ServicerContext
    ) -> directory_pb2.ConfirmReviewResponse:
        actor = caller_of(context).person_id
        if request.verdict == directory_pb2.REVIEW_VERDICT_END:
            return directory_pb2.ConfirmReviewResponse(
                ended_grants=self._reviews.end(actor, request.subject_id)
            )
        review = self._reviews.keep(actor, request.subject_id)
        return directory_pb2.ConfirmReviewResponse(review=standing.review(review, self._now()))

    def ListPeople(
        self, request: directory_pb2.ListPeopleRequest, context: grpc.ServicerContext
    ) -> directory_pb2.ListPeopleResponse:
        now = self._now()
        found, token = page(
            "people", request.page_size, request.page_token, self._directory.list_people, itemgetter(0)
        )
        return directory_pb2.ListPeopleResponse(
            people=[standing.person(person, now) for _, person in found], next_page_token=token
        )

    def GetMe(
        self, request: directory_pb2.GetMeRequest, context: grpc.ServicerContext
    ) -> directory_pb2.GetMeResponse:
        caller = caller_of(context)
        if caller.is_customer:
            return directory_pb2.GetMeResponse(
                member_id=caller.member_id,
                organization_id=caller.organization_id,
                customer_role=caller.customer_role,
            )
        person = self._directory.person(caller.person_id)
        return directory_pb2.GetMeResponse(person=standing.person(person, self._now()))

    def SyncMember(
        self, request: directory_pb2.SyncMemberRequest, context: grpc.ServicerContext
    ) -> directory_pb2.SyncMemberResponse:
        self._directory.sync_member(
            Member(
                request.member_id,
                request.organization_id,
                request.role,
                request.display_name,
                request.revision,
            )
        )
        return directory_pb2.SyncMemberResponse()

    def _now(self) -> datetime:
        return self._clock.now()


def _place(token: str) -> tuple[datetime, str] | None:
    """Where the page before ended. Raises INVALID_ARGUMENT for what no list gave."""
    if not token:
        return None
    found = re.fullmatch(r"([0-9]{1,17})-([a-z]+_[0-9a-z]{26})", token)
    if found is None:
        raise invalid("page_token", "is not one that this list gave")
    return _EPOCH + int(found[1]) * _MICROSECOND, found[2]
