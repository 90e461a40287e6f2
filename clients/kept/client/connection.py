"""Channels to the people ports: TLS by the profile's authority, a bearer token for the service's own audience, a deadline on every
call, typed errors back, and retries of what may be repeated when a service cannot be reached.

Deadlines come from the interceptor: a `timeout` in a service config fires early in gRPC for Python. Retries are gRPC's own
(gRFC A6), for reads and for changes that bear a request id, which happen once however often they are asked for. Whether another change
happened is for the person to find out who wanted it.
"""

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, Self

import grpc
from google.protobuf import descriptor_pool

from kept.client.errors import KeptError, from_rpc_error, status_of
from kept.client.profile import Profile
from kept.client.session import Session
from kept.options.v1 import callers_pb2

DEADLINE_SECONDS: Final = 15.0
_MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
_READS: Final = ("Get", "List", "Plan")

# Gives a token for the service; True asks for one that was never shown yet.
TokenSource = Callable[[bool], str]


class Connection:
    """One identity's channels to one installation. Made when first asked for; close it, or use it in a `with`."""

    def __init__(self, profile: Profile, session: Session | None) -> None:
        """Without a session only public methods are called with success."""
        self._profile = profile
        self._session = session
        self._channels: dict[str, grpc.Channel] = {}

    def channel(self, service: str) -> grpc.Channel:
        """The channel to "settings", "logging", "access_control", "retention" or "safety_review". Raises KeptError when the
        authority file cannot be read."""
        if service not in self._channels:
            session = self._session
            token: TokenSource | None = None
            if session is not None:
                holder, audience = session, f"kept:{service}"

                def token(fresh: bool) -> str:
                    return holder.access_token(audience, fresh=fresh)

            self._channels[service] = grpc.intercept_channel(
                grpc.secure_channel(
                    target(self._profile.addresses[service]),
                    grpc.ssl_channel_credentials(_authority(self._profile)),
                    options=channel_options(service, self._profile.addresses[service]),
                ),
                Calls(service, token),
            )
        return self._channels[service]

    def close(self) -> None:
        """Closes all channels."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _authority(profile: Profile) -> bytes:
    try:
        return profile.authority.read_bytes()
    except OSError as error:
        raise KeptError(
            "PROFILE", f"The authority file {profile.authority} cannot be read: {error.strerror}."
        ) from None


def target(address: str) -> str:
    """The gRPC target of "host:port": names are looked up, so that all replicas behind one are known. Numeric addresses of several replicas
    are given with commas between."""
    host = address.partition(",")[0].rpartition(":")[0]
    if host.replace(".", "").isdigit():
        return f"ipv4:{address}" if "," in address else address
    return address if host.startswith("[") else f"dns:///{address}"


def channel_options(service: str, address: str) -> list[tuple[str, Any]]:
    """Options of a channel to a service at "host:port", or several."""
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{"service": owner, "method": method} for owner, method in repeatable(service)],
                "retryPolicy": {
                    # 3.3 s in all: a database that is restarted is back by then.
                    "maxAttempts": 5,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 3,
                    # A server that stops ends with CANCELLED what it has just taken: about one call each time, of many at once.
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            }
        ],
    }
    # Of several addresses each is the whole service: their certificates are good for the host of the first.
    first, several, _ = address.partition(",")
    return [
        *([("grpc.default_authority", first)] if several else []),
        ("grpc.service_config", json.dumps(config)),
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        # The servers admit pings no more often than every 10 s. What was sent and not acknowledged for as long as the time-out ends the
        # connection (TCP_USER_TIMEOUT, which gRPC sets by this), so that a call to a replica that is cut off goes to another in time.
        ("grpc.keepalive_time_ms", 15_000),
        ("grpc.keepalive_timeout_ms", 4_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # gRPC waits 30 s between look-ups of a name: longer than it takes to replace all replicas behind it.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ]


def repeatable(service: str) -> list[tuple[str, str]]:
    """(service, method) of each unary method that changes nothing, by its name's verb, or whose request bears a request id."""
    package = importlib.import_module(f"kept.{service}.v1")
    found: list[tuple[str, str]] = []
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.endswith("_pb2"):
            continue
        file = importlib.import_module(f"{package.__name__}.{module.name}").DESCRIPTOR
        for owner in file.services_by_name.values():
            found.extend(
                (owner.full_name, method.name)
                for method in owner.methods
                if not (method.client_streaming or method.server_streaming)
                and (method.name.startswith(_READS) or "request_id" in method.input_type.fields_by_name)
            )
    return sorted(found)


def is_public(method: str) -> bool:
    """Whether the contract lets anybody call the method ("/package.Service/Method")."""
    if method.startswith("/grpc.health.v1."):
        return True
    try:
        descriptor = descriptor_pool.Default().FindMethodByName(method.lstrip("/").replace("/", "."))
    except KeyError:
        return False
    return bool(descriptor.GetOptions().Extensions[callers_pb2.callers].public)


class _Details(NamedTuple):
    """grpc.ClientCallDetails, which cannot be changed in place."""

    method: str
    timeout: float | None
    metadata: list[tuple[str, str | bytes]] | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class Calls(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg] # generic in its types alone
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg] # generic in its types alone
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg] # generic in its types alone
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg] # generic in its types alone
):
    """Sets token and deadline, and raises KeptError for whatever fails. A token that is refused is replaced once. Streams have a
    deadline only when one is asked for."""

    def __init__(self, service: str, token: TokenSource | None, deadline: float = DEADLINE_SECONDS) -> None:
        self._service = service
        self._token = token
        self._deadline = deadline

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """One answer."""
        outcome = continuation(self._details(client_call_details, self._deadline), request)
        if self._refused(outcome, client_call_details.method):
            outcome = continuation(self._details(client_call_details, self._deadline, fresh=True), request)
        if isinstance(outcome, grpc.RpcError):
            raise from_rpc_error(outcome, self._service) from None
        return outcome

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Many answers to one request."""

        def begin(fresh: bool) -> Any:
            return continuation(self._details(client_call_details, None, fresh=fresh), request)

        return Answers(self._service, begin, self._token is not None)

    def intercept_stream_unary(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        """One answer to many requests, which are held until it is there: they may have to be sent again."""
        requests = tuple(request_iterator)
        outcome = continuation(self._details(client_call_details, None), iter(requests))
        if self._refused(outcome, client_call_details.method):
            outcome = continuation(self._details(client_call_details, None, fresh=True), iter(requests))
        if isinstance(outcome, grpc.RpcError):
            raise from_rpc_error(outcome, self._service) from None
        return outcome

    def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Many answers to many requests, which can be sent once only."""

        def begin(fresh: bool) -> Any:
            return continuation(self._details(client_call_details, None, fresh=fresh), request_iterator)

        return Answers(self._service, begin, False)

    def _refused(self, outcome: Any, method: str) -> bool:
        return (
            self._token is not None
            and not is_public(method)
            and isinstance(outcome, grpc.RpcError)
            and status_of(outcome) is grpc.StatusCode.UNAUTHENTICATED
        )

    def _details(self, details: Any, deadline: float | None, *, fresh: bool = False) -> _Details:
        metadata = list(details.metadata or ())
        # A public method is asked without a token: nobody need know who asks, and an old token would only be refused.
        if self._token is not None and not is_public(details.method):
            metadata.append(("authorization", f"Bearer {self._token(fresh)}"))
        return _Details(
            details.method,
            deadline if details.timeout is None else details.timeout,
            metadata,
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )


class Answers:
    """The answers of a streaming call; iterating raises KeptError. `cancel()` ends it from this side."""

    def __init__(self, service: str, begin: Callable[[bool], Any], may_refresh: bool) -> None:
        self._service = service
        self._begin = begin
        self._may_refresh = may_refresh
        self._call = begin(False)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            answer = next(self._call)
        except grpc.RpcError as error:
            if not (self._may_refresh and status_of(error) is grpc.StatusCode.UNAUTHENTICATED):
                raise from_rpc_error(error, self._service) from None
            self._may_refresh = False
            self._call = self._begin(True)
            return next(self)
        self._may_refresh = False  # once something came, beginning again would send it twice
        return answer

    def cancel(self) -> None:
        """Ends the call."""
        self._call.cancel()
