"""DirectoryService: protobuf in, protobuf out."""

import grpc

from kept.access_control.v1 import directory_pb2, directory_pb2_grpc
from services.access_control.directory import Directory
from services.access_control.people import Member, Person, RoleAssignment
from services.access_control.servicers.fields import PAGE, instant, page_number
from shared.pipeline import caller_of


class DirectoryServicer(directory_pb2_grpc.DirectoryServiceServicer):
    """Who is who."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def CreatePerson(
        self, request: directory_pb2.CreatePersonRequest, context: grpc.ServicerContext
    ) -> directory_pb2.CreatePersonResponse:
        person = self._directory.create_person(
            caller_of(context).person_id, request.display_name, request.email, request.subject
        )
        return directory_pb2.CreatePersonResponse(person=_person(person))

    def AssignRole(
        self, request: directory_pb2.AssignRoleRequest, context: grpc.ServicerContext
    ) -> directory_pb2.AssignRoleResponse:
        role = self._directory.assign_role(caller_of(context).person_id, request.person_id, request.role)
        return directory_pb2.AssignRoleResponse(role_assignment=_role(role))

    def ConfirmRole(
        self, request: directory_pb2.ConfirmRoleRequest, context: grpc.ServicerContext
    ) -> directory_pb2.ConfirmRoleResponse:
        role = self._directory.confirm_role(caller_of(context).person_id, request.role_assignment_id)
        return directory_pb2.ConfirmRoleResponse(role_assignment=_role(role))

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
            request.person_id,
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

    def ListPeople(
        self, request: directory_pb2.ListPeopleRequest, context: grpc.ServicerContext
    ) -> directory_pb2.ListPeopleResponse:
        size = request.page_size or PAGE
        found = self._directory.list_people(page_number(request.page_token) or 0, size + 1)
        answer = directory_pb2.ListPeopleResponse(people=[_person(person) for _, person in found[:size]])
        if len(found) > size:
            answer.next_page_token = str(found[size - 1][0])
        return answer

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
        return directory_pb2.GetMeResponse(person=_person(self._directory.person(caller.person_id)))

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


def _role(role: RoleAssignment) -> directory_pb2.RoleAssignment:
    made = directory_pb2.RoleAssignment(
        role_assignment_id=role.role_assignment_id,
        role=role.role,
        assigned_by=role.assigned_by,
        confirmed_by=role.confirmed_by,
    )
    made.assigned_at.FromDatetime(role.assigned_at)
    return made


def _person(person: Person) -> directory_pb2.Person:
    made = directory_pb2.Person(
        person_id=person.person_id,
        display_name=person.display_name,
        email=person.email,
        roles=[_role(role) for role in person.roles],
        disabled=person.disabled,
    )
    if person.agreement_until is not None:
        made.agreement_until.FromDatetime(person.agreement_until)
    return made
