"""The stage: who acts, by which door, with which token. Nothing here decides anything."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc

from deploy.local.stack import Stack
from kept.client import profile, session
from kept.client.errors import KeptError, from_rpc_error

S = TypeVar("S")
R = TypeVar("R")
_PATIENCE: Final = 15.0
# Right after travel every lease is void, and processes meet again within a second.
_PASSING: Final = frozenset({"LEASE_LAPSED", "PEER_UNAVAILABLE"})
_DEADLINE: Final = 20.0
_MAX_MESSAGE: Final = 8 * 1024 * 1024
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class Actor:
    """Somebody who calls: a person with a token, the public, or a service with a certificate."""

    def __init__(
        self, name: str, channel: Callable[[str], grpc.Channel], token: Callable[[str], str] | None = None
    ) -> None:
        self.name = name
        self._channel = channel
        self._token = token

    def stub(self, kind: Callable[[Any], S]) -> S:
        """A stub of a generated class, by which this actor calls. Failures are kept.client's KeptError."""
        service = kind.__module__.split(".")[1]
        return kind(_Calls(self._channel(service), service, self._token))


class Stage:
    """A running stack, and everybody who acts on it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._profile = profile.load(stack.layout.directory / "profile.toml")
        self._sessions = session.Sessions(self._profile, now=self.now)
        self._channels: dict[tuple[str, str], grpc.Channel] = {}
        self.public = Actor("public", self._people)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels.values():
            channel.close()

    def now(self) -> datetime:
        """The stack's time."""
        return datetime.now(UTC) + self.stack.clock.offset()

    def staff(self, username: str) -> Actor:
        """One of the workforce, signed in anew: after travel everybody has to."""
        signed = self._sessions.sign_in(
            "workforce", username, self.stack.password(username), username, "kept:access_control"
        )
        return Actor(username, self._people, signed.access_token)

    def customer(self, email: str, password: str) -> Actor:
        """A customer's member, signed in anew."""
        signed = self._sessions.sign_in("customer", email, password, email, "kept:settings")
        return Actor(email, self._people, signed.access_token)

    def service(self, name: str) -> Actor:
        """A service or a gateway ("gateway/demo"), by its certificate."""
        identity = self.stack.identity(name)
        credentials = grpc.ssl_channel_credentials(
            identity.authority.read_bytes(), identity.key.read_bytes(), identity.certificate.read_bytes()
        )
        return Actor(
            name,
            lambda service: self._opened(name, service, self.stack.addresses(service).services, credentials),
        )

    def kept(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Runs the `kept` command as a person would, on this stack's profile."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("kept")), *words],
            env={**os.environ, "KEPT_PROFILE": str(self._profile.file)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def wait_until(self, instant: datetime) -> None:
        """Waits until the stack's clock shows this instant: what counts from then on counts now."""
        while (remaining := (instant - self.now()).total_seconds()) > 0:
            time.sleep(min(remaining, 0.5))

    def _people(self, service: str) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(self._profile.authority.read_bytes())
        return self._opened("people", service, self._profile.addresses[service], credentials)

    def _opened(
        self, who: str, service: str, address: str, credentials: grpc.ChannelCredentials
    ) -> grpc.Channel:
        if (who, service) not in self._channels:
            self._channels[who, service] = grpc.secure_channel(address, credentials, options=_OPTIONS)
        return self._channels[who, service]


def _patiently(call: Callable[[], R]) -> R:
    """Does what a good client does: a service that says "not for the moment" is asked again after the delay it names."""
    ends = time.monotonic() + _PATIENCE
    while True:
        try:
            return call()
        except KeptError as error:
            if error.reason not in _PASSING or time.monotonic() > ends:
                raise
            time.sleep((error.retry_after or timedelta(milliseconds=250)).total_seconds())


class _Calls:
    """A channel whose calls carry a deadline and a fresh token, and fail with KeptError."""

    def __init__(self, channel: grpc.Channel, service: str, token: Callable[[str], str] | None) -> None:
        self._channel = channel
        self._service = service
        self._token = token

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (
            ()
            if self._token is None
            else (("authorization", f"Bearer {self._token('kept:' + self._service)}"),)
        )

    def _unary(self, make: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
        call = make(*args, **kwargs)

        def once(request: Any, timeout: float) -> Any:
            try:
                return call(request, timeout=timeout, metadata=self._metadata(), wait_for_ready=True)
            except grpc.RpcError as error:
                raise from_rpc_error(error, self._service) from None

        def invoke(request: Any, timeout: float = _DEADLINE) -> Any:
            return _patiently(lambda: once(request, timeout))

        return invoke

    def _stream(self, make: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
        call = make(*args, **kwargs)

        def opened(request: Any, timeout: float) -> tuple[Any, list[Any]]:
            """The stream, and its first answer if there is one."""
            answering = call(request, timeout=timeout, metadata=self._metadata(), wait_for_ready=True)
            try:
                return answering, [next(answering)]
            except StopIteration:
                return answering, []
            except grpc.RpcError as error:
                raise from_rpc_error(error, self._service) from None

        def answers(request: Any, timeout: float) -> Iterator[Any]:
            resendable = not isinstance(request, Iterator)
            start = partial(opened, request, timeout)
            answering, first = _patiently(start) if resendable else start()
            try:
                yield from first
                yield from answering
            except grpc.RpcError as error:
                raise from_rpc_error(error, self._service) from None
            finally:
                answering.cancel()

        def invoke(request: Any, timeout: float = 60.0) -> Iterator[Any]:
            return answers(request, timeout)

        return invoke

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._unary(self._channel.unary_unary, *args, **kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._stream(self._channel.unary_stream, *args, **kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._stream(self._channel.stream_stream, *args, **kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._unary(self._channel.stream_unary, *args, **kwargs)
