"""What the outbox delivers besides audit entries: members to access control, erasures to retention. Both are idempotent there."""

from collections.abc import Callable

from kept.access_control.v1 import directory_pb2, directory_pb2_grpc
from kept.retention.v1 import erasures_pb2, erasures_pb2_grpc
from services.settings.account_deletion import ERASURE
from services.settings.members import MEMBER

Deliver = Callable[[bytes], None]


def handlers(
    directory: directory_pb2_grpc.DirectoryServiceStub, erasures: erasures_pb2_grpc.ErasureServiceStub
) -> dict[str, Deliver]:
    """For each kind of message, what delivers one."""

    def sync_member(payload: bytes) -> None:
        directory.SyncMember(directory_pb2.SyncMemberRequest.FromString(payload))

    def erase_organization(payload: bytes) -> None:
        erasures.EraseOrganization(erasures_pb2.EraseOrganizationRequest.FromString(payload))

    return {MEMBER: sync_member, ERASURE: erase_organization}
