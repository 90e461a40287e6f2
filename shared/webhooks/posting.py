"""One HTTP POST with a deadline: no redirect is followed, no proxy asked, and of the answer only its status is looked at.

`http.client` bounds each read, not their sum, so a receiver that sends a byte now and then would hold the thread for hours. A timer
cuts the connection when the time is over, whatever the receiver does.
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import SplitResult, urlsplit


class NoAnswer(Exception):
    """There was none. reason: TIMEOUT, UNREACHABLE, NOT_TRUSTED (its certificate), NO_TLS or NO_HTTP."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Answer:
    """What a receiver answered. retry_after: of a `Retry-After` in seconds (RFC 9110 §10.2.3), else zero."""

    status: int
    retry_after: timedelta


def post(
    url: str, headers: Mapping[str, str], body: bytes, *, authority: Path | None, timeout: timedelta
) -> Answer:
    """Sends one request over a connection of its own. Raises NoAnswer within the timeout, but for a slow resolver and for hosts with more
    than two addresses that do not answer."""
    ends = time.monotonic() + timeout.total_seconds()
    is_over = threading.Event()
    try:
        with _connected(urlsplit(url), authority, ends, timeout.total_seconds() / 3) as connection:
            cut = threading.Timer(max(0.0, ends - time.monotonic()), _cut, (connection, is_over))
            cut.daemon = True
            cut.start()
            try:
                answer = _exchange(urlsplit(url), connection, headers, body)
            finally:
                cut.cancel()
        if is_over.is_set():  # http.client takes headers that are cut off for complete ones
            raise NoAnswer("TIMEOUT")
        return answer
    except TimeoutError as error:
        raise NoAnswer("TIMEOUT") from error
    except ssl.SSLCertVerificationError as error:
        raise NoAnswer("NOT_TRUSTED") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        if is_over.is_set():
            raise NoAnswer("TIMEOUT") from error
        if isinstance(error, ssl.SSLError):
            raise NoAnswer("NO_TLS") from error
        raise NoAnswer("UNREACHABLE" if isinstance(error, OSError) else "NO_HTTP") from error


def _connected(parts: SplitResult, authority: Path | None, ends: float, to_connect: float) -> socket.socket:
    """A connection, with TLS where the URL says so. to_connect: seconds that one address gets, so that another can be tried."""
    host = parts.hostname or ""
    plain = socket.create_connection((host, _port(parts)), to_connect)
    try:
        plain.settimeout(max(0.001, ends - time.monotonic()))
        if parts.scheme == "http":
            return plain
        context = ssl.create_default_context(cafile=authority)
        context.set_alpn_protocols(["http/1.1"])
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _exchange(
    parts: SplitResult, connection: socket.socket, headers: Mapping[str, str], body: bytes
) -> Answer:
    of_scheme = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    client = of_scheme(parts.hostname or "", _port(parts))  # without one it looks for it in an IPv6 address
    client.sock = connection
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    client.request("POST", target, body, {**headers, "Connection": "close"})
    answer = (
        client.getresponse()
    )  # status and headers, which http.client bounds; the body is left where it is
    seconds = answer.headers.get("Retry-After", "")
    is_seconds = seconds.isascii() and seconds.isdigit() and len(seconds) < 7
    return Answer(answer.status, timedelta(seconds=int(seconds) if is_seconds else 0))


def _cut(connection: socket.socket, is_over: threading.Event) -> None:
    is_over.set()
    with suppress(OSError):  # it is closed already
        # Not SSLSocket's own method, which would take the TLS state away under the thread that reads.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
