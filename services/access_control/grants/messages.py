"""What grants cover, as the contract says it, and back."""

import hashlib
from datetime import UTC, timedelta

from kept.access_control.v1 import grants_pb2
from services.access_control.grants.grant import Grant
from services.access_control.grants.scope import DataScope


def scope_message(data: DataScope) -> grants_pb2.DataScope:
    """As the contract says it."""
    scope = grants_pb2.DataScope(
        organization_id=data.organization_id,
        record_ids=sorted(data.record_ids),
        detail=data.detail,
        budget=data.budget,
        case_id=data.case_id,
        permission=data.permission,
    )
    if data.start is not None:
        getattr(scope, "from").FromDatetime(data.start)
    if data.until is not None:
        scope.until.FromDatetime(data.until)
    return scope


def asked_message(data: DataScope | None, duration: timedelta) -> grants_pb2.Asked:
    """As the contract says it."""
    made = grants_pb2.Asked(data=scope_message(data) if data is not None else None)
    made.duration.FromTimedelta(duration)
    return made


def etag(grant: Grant) -> str:
    """What an approval shows to prove that it is of what waits now: another scope, duration or extension changes it. Votes do not, so that
    two approve at once."""
    waiting = grants_pb2.Grant(grant_id=grant.grant_id, asked=asked_message(grant.data, grant.duration))
    if grant.extension is not None:
        waiting.extension.reason = grant.extension.reason
        waiting.extension.duration.FromTimedelta(grant.extension.duration)
        waiting.extension.requested_at.FromDatetime(grant.extension.requested_at)
    return "grant-" + hashlib.sha256(waiting.SerializeToString(deterministic=True)).hexdigest()[:32]


def asked_of(stored: bytes) -> tuple[DataScope | None, timedelta]:
    """What `asked_message` said, from its bytes."""
    made = grants_pb2.Asked.FromString(stored)
    return scope_of(made.data) if made.HasField("data") else None, made.duration.ToTimedelta()


def scope_of(scope: grants_pb2.DataScope) -> DataScope:
    """What a message of the contract says; its instants are ones of the calendar."""
    return DataScope(
        scope.organization_id,
        scope.detail,
        scope.budget,
        getattr(scope, "from").ToDatetime(tzinfo=UTC) if scope.HasField("from") else None,
        scope.until.ToDatetime(tzinfo=UTC) if scope.HasField("until") else None,
        frozenset(scope.record_ids),
        scope.case_id,
        scope.permission,
    )
