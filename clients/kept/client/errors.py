"""What a call can fail with, as one typed exception that says what to do next.

A service's failure carries its reason (kept.errors.v1), the fields it is about, when to retry, and a correlation id. Failures that
never reached a service have reasons of this client's own: NOT_REACHABLE, NOT_SERVED, NOT_SIGNED_IN, SIGN_IN_REFUSED, PROFILE, UNREADABLE,
CONTRADICTORY, NO_KEYS, KEYS_CHANGED.
grpc is imported only where an RpcError is there to be read.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from kept.client.next_steps import NEXT_STEPS

if TYPE_CHECKING:
    import grpc

_DOMAIN: Final = "kept"
_KEY: Final = re.compile(r"\{([a-z_0-9]+)\}")
# Statuses that say: nobody answered, or nobody can answer at the moment.
_NO_ANSWER: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})


class KeptError(Exception):
    """A call failed.

    reason: from kept.errors.v1 without its prefix, such as "GRANT_EXPIRED", or one of this client's own. text: one short sentence.
    status: the canonical gRPC status name; empty when no service was asked. metadata: what the reason's comment names. fields:
    (path, what is wrong). retry_after: when a retry may help. correlation_id: leads to the service's own log line; may be empty.
    service: which service was asked; may be empty.
    """

    def __init__(
        self,
        reason: str,
        text: str,
        *,
        status: str = "",
        metadata: Mapping[str, str] | None = None,
        fields: Sequence[tuple[str, str]] = (),
        retry_after: timedelta | None = None,
        correlation_id: str = "",
        service: str = "",
    ) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.status = status
        self.metadata = dict(metadata or {})
        self.fields = tuple(fields)
        self.retry_after = retry_after
        self.correlation_id = correlation_id
        self.service = service

    @property
    def unreachable(self) -> bool:
        """True when nobody answered, or the service says that it cannot answer at the moment: the same call may work later."""
        return self.status in _NO_ANSWER

    def next_step(self) -> str:
        """What to do next, in words; empty where there is nothing to add."""
        # Each sentence by itself, and each key once: what a service quotes may hold full stops and braces of its own. A key that it did not
        # send leaves the sentence that needs it unsaid.
        sentences = NEXT_STEPS.get(self.reason, "").split(". ")
        words = ". ".join(
            _KEY.sub(lambda key: self._value(key[1]), sentence)
            for sentence in sentences
            if all(key in self.metadata for key in _KEY.findall(sentence))
        )
        if self.retry_after is not None:
            words = f"{words} Retry after {self.retry_after.total_seconds():g} s.".strip()
        return words

    def _value(self, key: str) -> str:
        value = self.metadata[key]
        return _as_typed(value) if key == "power" else value.rstrip(".")


def _as_typed(power: str) -> str:
    """A power as the command line takes it."""
    return power.removeprefix("POWER_").lower().replace("_", "-")


def not_reachable(service: str, what: str = "") -> KeptError:
    """Nobody answers at the service's address."""
    return KeptError(
        "NOT_REACHABLE",
        what or f"The {service.replace('_', ' ')} service cannot be reached.",
        status="UNAVAILABLE",
        service=service,
    )


def from_rpc_error(error: "grpc.RpcError", service: str) -> KeptError:
    """The failure of a call of `service`, read from the details that its status carries."""
    import grpc

    code = status_of(error)
    found = _from_details(error, service)
    if found is not None:
        found.status = code.name
        return found
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return KeptError(
            "DEADLINE_EXCEEDED",
            f"The {service.replace('_', ' ')} service did not answer in time.",
            status=code.name,
            service=service,
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return KeptError(
            "TOO_LARGE", "The message is larger than is taken.", status=code.name, service=service
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return KeptError(
            "NOT_SERVED",
            f"The {service.replace('_', ' ')} service does not know this method.",
            status=code.name,
            service=service,
        )
    if code.name in _NO_ANSWER:
        # CANCELLED too is nobody's answer: a server that stops ends so what it has just taken. The same call goes to another replica.
        return not_reachable(service)
    return KeptError(
        "INTERNAL",
        f"The {service.replace('_', ' ')} service answered in a way that was not expected ({code.name}).",
        status=code.name,
        service=service,
    )


def status_of(error: "grpc.RpcError") -> "grpc.StatusCode":
    """The status of a failed call: what gRPC raises is a Call too, which its types do not say."""
    import grpc

    code = getattr(error, "code", None)
    return code() if code is not None else grpc.StatusCode.UNKNOWN


def _from_details(error: "grpc.RpcError", service: str) -> KeptError | None:
    """None when the status carries no ErrorInfo of ours, or details that do not go with it."""
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    call: Any = error
    try:
        status = rpc_status.from_call(call)
    except (ValueError, AttributeError):
        return None
    if status is None:
        return None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, request = error_details_pb2.RetryInfo(), error_details_pb2.RequestInfo()
    for packed in status.details:
        for message in (info, bad, retry, request):
            if packed.Is(message.DESCRIPTOR):
                packed.Unpack(message)
    if info.domain != _DOMAIN or not info.reason:
        return None
    text = status.message.removesuffix(f" ({request.request_id})")
    return KeptError(
        info.reason,
        text,
        metadata=dict(info.metadata),
        fields=[(violation.field, violation.description) for violation in bad.field_violations],
        retry_after=retry.retry_delay.ToTimedelta() if retry.HasField("retry_delay") else None,
        correlation_id=request.request_id,
        service=service,
    )
