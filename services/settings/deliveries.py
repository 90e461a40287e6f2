"""What the outbox delivers, and where: audit entries and members to access control, erasures to retention. All are idempotent there."""

from collections.abc import Callable

from kept.access_control.v1 import audit_pb2, audit_pb2_grpc, directory_pb2, directory_pb2_grpc
from kept.retention.v1 import erasures_pb2, erasures_pb2_grpc
from services.settings.account_deletion import ERASURE
from services.settings.members import MEMBER
from shared.outbox import AUDIT

Deliver = Callable[[list[bytes]], None]


def handlers(
    audit_log: audit_pb2_grpc.AuditServiceStub,
    directory: directory_pb2_grpc.DirectoryServiceStub,
    erasures: erasures_pb2_grpc.ErasureServiceStub,
) -> dict[str, Deliver]:
    """For each kind of message, what delivers a batch of them in order."""

    def append_entries(payloads: list[bytes]) -> None:
        entries = [audit_pb2.AuditEntry.FromString(payload) for payload in payloads]
        audit_log.AppendEntries(audit_pb2.AppendEntriesRequest(entries=entries))

    def sync_members(payloads: list[bytes]) -> None:
        for payload in payloads:
            directory.SyncMember(directory_pb2.SyncMemberRequest.FromString(payload))

    def erase_organizations(payloads: list[bytes]) -> None:
        for payload in payloads:
            erasures.EraseOrganization(erasures_pb2.EraseOrganizationRequest.FromString(payload))

    return {AUDIT: append_entries, MEMBER: sync_members, ERASURE: erase_organizations}
