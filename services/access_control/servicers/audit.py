"""AuditService: protobuf in, protobuf out."""

from datetime import UTC

import grpc

from kept.access_control.v1 import audit_pb2, audit_pb2_grpc
from services.access_control.audit.log import AuditLog, EndOfList, EntryList, LoggedEntry, TreeHead
from services.access_control.store.audit import SigningKeyRow
from shared.errors import not_found
from shared.pipeline import caller_of

_PAGE = 100


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """The audit log for services, auditors, customers and the public."""

    def __init__(self, audit_log: AuditLog) -> None:
        self._audit_log = audit_log

    def AppendEntries(
        self, request: audit_pb2.AppendEntriesRequest, context: grpc.ServicerContext
    ) -> audit_pb2.AppendEntriesResponse:
        appended, position = self._audit_log.append_all(request.entries, caller_of(context).name)
        return audit_pb2.AppendEntriesResponse(appended=appended, position=position)

    def ListOwnEntries(
        self, request: audit_pb2.ListOwnEntriesRequest, context: grpc.ServicerContext
    ) -> audit_pb2.ListOwnEntriesResponse:
        page = self._audit_log.own_entries(
            caller_of(context).name, request.after_position, request.page_size or _PAGE
        )
        return audit_pb2.ListOwnEntriesResponse(
            entries=[audit_pb2.OwnEntry(entry=entry, position=position) for position, entry in page.entries],
            position=page.position,
            complete=page.complete,
        )

    def ListEntries(
        self, request: audit_pb2.ListEntriesRequest, context: grpc.ServicerContext
    ) -> audit_pb2.ListEntriesResponse:
        caller_of(context).require_organization(request.organization_id)
        page = self._audit_log.list_entries(
            request.organization_id, request.after_number, request.page_size or _PAGE
        )
        return entry_list(page)

    def GetTreeHead(
        self, request: audit_pb2.GetTreeHeadRequest, context: grpc.ServicerContext
    ) -> audit_pb2.GetTreeHeadResponse:
        return audit_pb2.GetTreeHeadResponse(head=tree_head(self._audit_log.head()))

    def GetInclusionProof(
        self, request: audit_pb2.GetInclusionProofRequest, context: grpc.ServicerContext
    ) -> audit_pb2.GetInclusionProofResponse:
        caller = caller_of(context)
        entry, head = self._audit_log.entry(request.entry_id)
        if caller.is_customer and caller.organization_id != entry.organization_id:
            raise not_found("audit entry")  # a customer does not learn which ids others have
        return audit_pb2.GetInclusionProofResponse(entry=logged_entry(entry), head=tree_head(head))

    def GetConsistencyProof(
        self, request: audit_pb2.GetConsistencyProofRequest, context: grpc.ServicerContext
    ) -> audit_pb2.GetConsistencyProofResponse:
        proof = self._audit_log.consistency_proof(request.first_size, request.second_size)
        return audit_pb2.GetConsistencyProofResponse(proof=proof)

    def ListSigningKeys(
        self, request: audit_pb2.ListSigningKeysRequest, context: grpc.ServicerContext
    ) -> audit_pb2.ListSigningKeysResponse:
        return audit_pb2.ListSigningKeysResponse(
            keys=[signing_key(row) for row in self._audit_log.signing_keys.published()]
        )

    def ReplaceSigningKey(
        self, request: audit_pb2.ReplaceSigningKeyRequest, context: grpc.ServicerContext
    ) -> audit_pb2.ReplaceSigningKeyResponse:
        keys, actor = self._audit_log.signing_keys, caller_of(context).actor
        key_id = keys.replace(request.key_id, actor, request.reason)
        return audit_pb2.ReplaceSigningKeyResponse(key_id=key_id)

    def RevokeSigningKey(
        self, request: audit_pb2.RevokeSigningKeyRequest, context: grpc.ServicerContext
    ) -> audit_pb2.RevokeSigningKeyResponse:
        keys, actor = self._audit_log.signing_keys, caller_of(context).actor
        key_id = keys.revoke(request.key_id, actor, request.reason)
        self._audit_log.integrate()  # the next head is signed by a key that is trusted
        return audit_pb2.RevokeSigningKeyResponse(key_id=key_id)


def entry_list(page: EntryList) -> audit_pb2.ListEntriesResponse:
    """As the contract says it."""
    return audit_pb2.ListEntriesResponse(
        entries=[logged_entry(entry) for entry in page.entries],
        head=tree_head(page.head),
        end=_end_of_list(page.end),
        complete=page.complete,
    )


def tree_head(head: TreeHead) -> audit_pb2.TreeHead:
    """As the contract says it."""
    return audit_pb2.TreeHead(
        tree_size=head.tree_size,
        root_hash=head.root_hash,
        timestamp_ms=head.timestamp_ms,
        key_id=head.key_id,
        signature=head.signature,
    )


def signing_key(row: SigningKeyRow) -> audit_pb2.SigningKey:
    """As the contract says it."""
    key = audit_pb2.SigningKey(key_id=row.key_id, public_key=row.public_key)
    for field, instant in (
        (key.created_at, row.created_at),
        (key.retired_at, row.retired_at),
        (key.revoked_at, row.revoked_at),
    ):
        if instant is not None:
            field.FromDatetime(instant.astimezone(UTC))
    return key


def logged_entry(entry: LoggedEntry) -> audit_pb2.LoggedEntry:
    """As the contract says it."""
    return audit_pb2.LoggedEntry(
        body=entry.body,
        salt=entry.salt,
        commitment=entry.commitment,
        organization_id=entry.organization_id,
        number=entry.number,
        previous_leaf_hash=entry.previous_leaf_hash,
        leaf_index=entry.leaf_index,
        inclusion_proof=entry.inclusion_proof,
    )


def _end_of_list(end: EndOfList) -> audit_pb2.EndOfList:
    return audit_pb2.EndOfList(
        organization_id=end.organization_id,
        last_number=end.last_number,
        last_leaf_hash=end.last_leaf_hash,
        tree_size=end.tree_size,
        key_id=end.key_id,
        signature=end.signature,
    )
