"""Channels to other services: mTLS, a deadline on every call, typed errors back, retries for what is idempotent.

A Python channel keeps the certificate it was made with, so channels are made again when the files change. Deadlines come from an
interceptor: `timeout` in a service config fired early (ground rules of gRPC in Python). A call made while serving another
never outlives it.
"""

import contextvars
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import grpc

from shared.config import ConfigError, Tls
from shared.errors import from_rpc_error
from shared.telemetry import CERTIFICATE_EXPIRES
from shared.tracing import outgoing

MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
_DEADLINE_SECONDS: Final = 10.0
# What a service that calls others leaves itself of its caller's deadline, to report that theirs passed.
_MARGIN_SECONDS: Final = 0.02
_remaining: contextvars.ContextVar[float | None] = contextvars.ContextVar("kept_deadline", default=None)

# Every call between services is idempotent by design (request ids, entry ids, run ids), so an unreachable service may be asked again.
_SERVICE_CONFIG: Final = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 3,
                    # CANCELLED is what a server that stops says of calls that it has just taken.
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            }
        ],
    }
)
CHANNEL_OPTIONS: Final = (
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A replica that nothing is heard of any more: what was sent and not acknowledged for so long (TCP_USER_TIMEOUT, which gRPC sets by
    # this) ends the connection, within a call's deadline, so that the call goes to another replica. An idle connection finds out by a ping.
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A name is looked up again when a connection ends, and gRPC waits 30 s between look-ups: longer than it takes to replace all replicas.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Calls made in this block end before `seconds` have passed; None sets no bound."""
    token = _remaining.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _remaining.reset(token)


def deadline_for(asked: float | None) -> float:
    """Seconds that a call made now may take: what was asked, at most what the call being served has left."""
    seconds = _DEADLINE_SECONDS if asked is None else asked
    ends = _remaining.get()
    return seconds if ends is None else max(0.001, min(seconds, ends - time.monotonic() - _MARGIN_SECONDS))


class TypedCalls(grpc.Channel):
    """A channel whose calls carry a deadline and fail with KeptError. Streams carry a deadline only when one is asked for.

    `inner` gives the channel to use for the next call.
    """

    def __init__(self, service: str, inner: Callable[[], grpc.Channel]) -> None:
        self._service = service
        self._inner = inner

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Unary(self._service, lambda: self._inner().unary_unary(method, *args, **kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Unary(self._service, lambda: self._inner().stream_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Stream(self._service, lambda: self._inner().unary_stream(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Stream(self._service, lambda: self._inner().stream_stream(method, *args, **kwargs))

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        self._inner().subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        self._inner().unsubscribe(callback)

    def close(self) -> None:
        self._inner().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Unary:
    def __init__(self, service: str, make: Callable[[], Any]) -> None:
        self._service = service
        self._make = make

    def __call__(self, request: Any, timeout: float | None = None, metadata: Any = None) -> Any:
        try:
            return self._make()(request, timeout=deadline_for(timeout), metadata=outgoing(metadata))
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._service) from None


class _Stream:
    def __init__(self, service: str, make: Callable[[], Any]) -> None:
        self._service = service
        self._make = make

    def __call__(self, request: Any, timeout: float | None = None, metadata: Any = None) -> "TypedStream":
        return TypedStream(self._service, self._make()(request, timeout=timeout, metadata=outgoing(metadata)))


class TypedStream:
    """The answers of a streaming call; a failure is a KeptError. `cancel()` ends it from this side."""

    def __init__(self, service: str, call: Any) -> None:
        self._service = service
        self._call = call

    def __iter__(self) -> "TypedStream":
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._service) from None

    def cancel(self) -> None:
        """Ends the call."""
        self._call.cancel()


class Channels:
    """A process's channels, by service name; each is made again when certificate, key or authority change on disk."""

    def __init__(self, tls: Tls, peers: dict[str, str], trust_domain: str) -> None:
        self._tls = tls
        self._peers = peers
        self._trust_domain = trust_domain
        self._lock = threading.Lock()
        self._made: dict[str, tuple[tuple[int, ...], grpc.Channel]] = {}

    def connect(self, service: str) -> grpc.Channel:
        """The channel to a service. Raises ConfigError for a service that no address is configured for."""
        if service not in self._peers:
            raise ConfigError(f"peers.{service}: has to be set: host:port of its mTLS port, by its name")
        return TypedCalls(service, lambda: self._current(service))

    def _current(self, service: str) -> grpc.Channel:
        with self._lock:
            made = self._made.get(service)
            try:
                version = version_of(self._tls)
                if made is not None and made[0] == version:
                    return made[1]
                credentials = client_credentials(self._tls)
            except (OSError, ValueError):
                if made is not None:  # half-written files: the last good ones serve on
                    return made[1]
                raise
            # Every service's certificate is good for the host it runs on; only its own is good for its name.
            name = ("grpc.ssl_target_name_override", server_name(service, self._trust_domain))
            channel = grpc.secure_channel(
                target(self._peers[service]), credentials, options=(*CHANNEL_OPTIONS, name)
            )
            self._made[service] = (version, channel)
            # Calls in progress go on over the old channel, which closes itself when the last one lets go of it.
            return channel

    def close(self) -> None:
        """Closes all channels."""
        with self._lock:
            for _, channel in self._made.values():
                channel.close()
            self._made.clear()


def server_name(service: str, trust_domain: str) -> str:
    """The DNS name that a service's certificate carries besides its SPIFFE id, so that a client knows who answers it."""
    return f"{service.replace('_', '-')}.{trust_domain}"


def target(address: str) -> str:
    """The gRPC target of "host:port". A name is looked up and may stand for many replicas (a headless service); numeric ones of several
    replicas are given with commas between."""
    first = address.partition(",")[0].rpartition(":")[0]
    if not first.replace(".", "").isdigit():
        return f"dns:///{address}"
    return f"ipv4:{address}" if "," in address else address


def version_of(tls: Tls) -> tuple[int, ...]:
    """Another value when one of the files was replaced. Raises OSError while one is missing."""
    return tuple(file.stat().st_mtime_ns for file in (tls.certificate, tls.key, tls.authority))


def client_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Credentials from the files as they are now. Raises ValueError when certificate and key do not belong together."""
    certificate, key = matching_pair(tls.certificate, tls.key)
    return grpc.ssl_channel_credentials(tls.authority.read_bytes(), key, certificate)


def matching_pair(certificate_file: Path, key_file: Path) -> tuple[bytes, bytes]:
    """Certificate and key, checked to belong together: two files are replaced one after the other. Raises ValueError, OSError."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    certificate, key = certificate_file.read_bytes(), key_file.read_bytes()
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    read = x509.load_pem_x509_certificate(certificate)
    of_certificate = read.public_key().public_bytes(*form)
    try:
        of_key = load_pem_private_key(key, None).public_key().public_bytes(*form)
    except (
        TypeError,
        UnsupportedAlgorithm,
    ) as error:  # it wants a pass phrase, or is of a kind that we do not know
        raise ValueError("the key cannot be used") from error
    if of_certificate != of_key:
        raise ValueError("certificate and key do not belong together")
    CERTIFICATE_EXPIRES.set(read.not_valid_after_utc.timestamp())
    return certificate, key
