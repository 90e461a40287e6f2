"""One small typed error for everything that can go wrong on purpose.

Domain code raises `KeptError(Reason.X, "short text")`; the pipeline turns it into a gRPC status with `ErrorInfo` (domain "kept"),
`BadRequest`, `RetryInfo` and `PreconditionFailure`; a client turns it back. The status of each reason is declared in the contract
(kept/errors/v1/reasons.proto). Texts name conditions, never values of content.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from kept.errors.v1 import reasons_pb2
from kept.options.v1 import callers_pb2

Reason = reasons_pb2.Reason
DOMAIN: Final = "kept"
# A status text above some 16 kB becomes another error on the wire; ours name a condition and need far less.
_LONGEST_TEXT: Final = 300
_PREFIX: Final = "REASON_"


class KeptError(Exception):
    """A call failed for a declared reason.

    reason: why, from kept.errors.v1. text: one short sentence for a person, free of content. metadata: the keys that the reason's
    comment names. fields: (path, what is wrong) of invalid fields. retry_after: when a retry may help.
    """

    def __init__(
        self,
        reason: "reasons_pb2.Reason.ValueType",
        text: str,
        *,
        metadata: Mapping[str, str] | None = None,
        fields: Sequence[tuple[str, str]] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.metadata = dict(metadata or {})
        self.fields = tuple(fields)
        self.retry_after = retry_after

    @property
    def name(self) -> str:
        """The reason's name without its prefix, such as "GRANT_EXPIRED"."""
        return Reason.Name(self.reason).removeprefix(_PREFIX)

    @property
    def status(self) -> grpc.StatusCode:
        """The status that the contract declares for the reason."""
        value = Reason.DESCRIPTOR.values_by_number[self.reason]
        return grpc.StatusCode[value.GetOptions().Extensions[callers_pb2.reason].status or "INTERNAL"]


def lease_lapsed() -> KeptError:
    """This process does not know policies or rules for sure."""
    return KeptError(
        Reason.REASON_LEASE_LAPSED,
        "This process does not know the current policies for sure; retry shortly.",
        retry_after=timedelta(milliseconds=500),
    )


def peer_unavailable(service: str) -> KeptError:
    """Another service cannot be reached."""
    return KeptError(
        Reason.REASON_PEER_UNAVAILABLE,
        f"The {service} service cannot be reached; retry shortly.",
        metadata={"service": service},
        retry_after=timedelta(seconds=1),
    )


def unknown_organization() -> KeptError:
    """There is no organization of this id; nothing was done."""
    return KeptError(Reason.REASON_UNKNOWN_ORGANIZATION, "No organization of this id is known.")


def not_found(kind: str) -> KeptError:
    """There is no such thing, or the caller may not know."""
    return KeptError(Reason.REASON_NOT_FOUND, f"There is no such {kind}.", metadata={"kind": kind})


def invalid(field: str, what: str) -> KeptError:
    """One field is wrong in a way that its contract's rules cannot say."""
    return KeptError(
        Reason.REASON_INVALID_ARGUMENT, "A field is not valid; nothing was changed.", fields=[(field, what)]
    )


def wrong_state(what: str, state: str) -> KeptError:
    """The thing is not in a state that allows this."""
    return KeptError(Reason.REASON_WRONG_STATE, what, metadata={"state": state})


def outdated(what: str, etag: str) -> KeptError:
    """What the caller saw of the thing is not what it is now. etag: of what it is."""
    return KeptError(Reason.REASON_CONFLICT, what, metadata={"etag": etag})


def limit_reached(what: str, kind: str, limit: int) -> KeptError:
    """There are as many of a kind as there may be."""
    return KeptError(Reason.REASON_LIMIT_REACHED, what, metadata={"kind": kind, "limit": str(limit)})


def to_status(error: KeptError, correlation_id: str) -> grpc.Status:
    """The error as a gRPC status with details (google.rpc.Status). `correlation_id` leads to the service's own log line."""
    details: list[any_pb2.Any] = []

    def attach(
        message: "error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo "
        "| error_details_pb2.PreconditionFailure | error_details_pb2.RequestInfo",
    ) -> None:
        packed = any_pb2.Any()
        packed.Pack(message)
        details.append(packed)

    attach(
        error_details_pb2.ErrorInfo(
            reason=error.name,
            domain=DOMAIN,
            metadata={key: value[:200] for key, value in error.metadata.items()},
        )
    )
    if error.fields:
        attach(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=field[:200], description=what[:200])
                    for field, what in error.fields[:20]
                ]
            )
        )
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        attach(retry)
    if error.status is grpc.StatusCode.FAILED_PRECONDITION:
        attach(
            error_details_pb2.PreconditionFailure(
                violations=[
                    error_details_pb2.PreconditionFailure.Violation(
                        type=error.name, description=error.text[:_LONGEST_TEXT]
                    )
                ]
            )
        )
    attach(error_details_pb2.RequestInfo(request_id=correlation_id))
    status = status_pb2.Status(
        code=code_pb2.Code.Value(error.status.name),
        message=f"{error.text[:_LONGEST_TEXT]} ({correlation_id})",
        details=details,
    )
    return rpc_status.to_status(status)


def from_rpc_error(error: grpc.RpcError, service: str) -> KeptError:
    """The error that a call of `service` failed with, as the same typed error; a failure without our details is the service not
    being reachable (UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED) or a fault of ours."""
    call: Any = error  # every RpcError that a call raises is also a grpc.Call; the types do not say so
    status = rpc_status.from_call(call) if hasattr(call, "trailing_metadata") else None
    if status is not None:
        found: KeptError | None = None
        fields: list[tuple[str, str]] = []
        retry_after: timedelta | None = None
        for packed in status.details:
            if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                info = error_details_pb2.ErrorInfo()
                packed.Unpack(info)
                if info.domain == DOMAIN and _PREFIX + info.reason in Reason.DESCRIPTOR.values_by_name:
                    text = status.message.rsplit(" (", 1)[0]
                    found = KeptError(Reason.Value(_PREFIX + info.reason), text, metadata=dict(info.metadata))
            elif packed.Is(error_details_pb2.BadRequest.DESCRIPTOR):
                bad = error_details_pb2.BadRequest()
                packed.Unpack(bad)
                fields = [(violation.field, violation.description) for violation in bad.field_violations]
            elif packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                retry = error_details_pb2.RetryInfo()
                packed.Unpack(retry)
                retry_after = retry.retry_delay.ToTimedelta()
        if found is not None:
            found.fields, found.retry_after = tuple(fields), retry_after
            return found
    code = call.code() if hasattr(call, "code") else grpc.StatusCode.UNKNOWN
    if code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ):
        return peer_unavailable(service)
    return KeptError(
        Reason.REASON_INTERNAL, f"The {service} service answered in a way that was not expected."
    )
