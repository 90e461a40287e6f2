"""What the outbox delivers besides audit entries: members to access control, erasures of organizations and of content to retention. All are
idempotent there."""

from collections.abc import Callable

from kept.access_control.v1 import directory_pb2, directory_pb2_grpc
from kept.retention.v1 import erasures_pb2, erasures_pb2_grpc
from services.settings.accounts.members import MEMBER
from services.settings.organizations.account_deletion import ERASURE
from services.settings.zero_data_retention import CONTENT_ERASURE

Deliver = Callable[[bytes], None]


def handlers(
    directory: directory_pb2_grpc.DirectoryServiceStub,
    erasures: erasures_pb2_grpc.ErasureServiceStub,
    taken_over: Callable[[str, str], None],
    content_taken_over: Callable[[str, str], None],
) -> dict[str, Deliver]:
    """For each kind of message, what delivers one. taken_over, content_taken_over: told which erasure (second) an account's deletion, or a
    request for zero data retention, (first) became."""

    def sync_member(payload: bytes) -> None:
        directory.SyncMember(directory_pb2.SyncMemberRequest.FromString(payload))

    def erase_organization(payload: bytes) -> None:
        request = erasures_pb2.EraseOrganizationRequest.FromString(payload)
        taken_over(request.account_deletion_id, erasures.EraseOrganization(request).erasure.erasure_id)

    def erase_content(payload: bytes) -> None:
        request = erasures_pb2.EraseContentRequest.FromString(payload)
        content_taken_over(request.request_id, erasures.EraseContent(request).erasure.erasure_id)

    return {MEMBER: sync_member, ERASURE: erase_organization, CONTENT_ERASURE: erase_content}
