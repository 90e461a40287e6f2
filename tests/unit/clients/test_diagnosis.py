"""What `kept doctor` says of services' health, asked from real health servers."""

import socketserver
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from kept.client.clock import system_now
from kept.client.connection import Calls
from kept.client.diagnosis import Finding, examine
from kept.client.errors import KeptError
from kept.client.profile import SERVICES, load

_GOOD = health_pb2.HealthCheckResponse.SERVING
_BAD = health_pb2.HealthCheckResponse.NOT_SERVING


@contextmanager
def reporting(states: dict[str, Any]) -> Iterator[Callable[[str], grpc.Channel]]:
    """Channels to a server that reports these states."""
    statuses = health.HealthServicer()
    for part, state in states.items():
        statuses.set(part, state)
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    channel = grpc.insecure_channel(address)
    try:
        yield lambda service: grpc.intercept_channel(channel, Calls(service, None))
    finally:
        channel.close()
        server.stop(None).wait()


def _nobody() -> Any:
    raise KeptError("NOT_SIGNED_IN", "Nobody is signed in.")


def _found(
    tmp_path: Path,
    channel: Callable[[str], grpc.Channel],
    find: Callable[[], Any] = _nobody,
    issuer: str = "http://127.0.0.1:1",
) -> dict[str, Finding]:
    addresses = "\n".join(f'{service} = "127.0.0.1:1"' for service in SERVICES)
    file = tmp_path / "profile.toml"
    file.write_text(
        f'version = 1\nname = "test"\n[addresses]\n{addresses}\n[tls]\nauthority = "none.crt"\n'
        f'[issuers]\nworkforce = "{issuer}"\ncustomer = "{issuer}"\n'
    )
    return {finding.what: finding for finding in examine(load(file), channel, find)}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"": _GOOD, "database": _GOOD}, {"": "ok", " database": "ok"}),
        ({"": _GOOD, "database": _GOOD, "leases": _GOOD}, {"": "ok", " database": "ok", " leases": "ok"}),
        ({"": _GOOD, "database": _GOOD, "leases": _BAD}, {"": "ok", " database": "ok", " leases": "bad"}),
        ({"": _BAD, "database": _BAD, "leases": _BAD}, {"": "bad", " database": "bad", " leases": "bad"}),
        ({"": _GOOD, "database": _GOOD, "outbox": _GOOD}, {"": "ok", " database": "ok", " outbox": "ok"}),
        ({"": _GOOD, "database": _GOOD, "outbox": _BAD}, {"": "ok", " database": "ok", " outbox": "bad"}),
    ],
)
def test_a_service_its_database_its_leases_and_its_outbox(
    tmp_path: Path, states: dict[str, Any], expected: dict[str, str]
) -> None:
    with reporting(states) as channel:
        found = _found(tmp_path, channel)
    said = {
        part: found["logging" + part].state
        for part in ("", " database", " leases", " outbox")
        if "logging" + part in found
    }
    assert said == expected
    assert all(finding.next_step for finding in found.values() if finding.state == "bad")


def test_a_service_that_does_not_answer(tmp_path: Path) -> None:
    channel = grpc.insecure_channel("127.0.0.1:1")
    found = _found(tmp_path, lambda service: grpc.intercept_channel(channel, Calls(service, None)))
    channel.close()
    assert found["logging"].state == "bad"
    assert "logging database" not in found, "nothing is said about what was not seen"
    assert found["logging certificate"].state == "bad"
    assert found["sign-in"].state == "note"


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The URL of what says this to whoever asks it something."""

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", b""],
    ids=["ssh", "too many headers", "nothing"],
)
def test_an_issuer_whose_port_speaks_something_else_does_not_answer(tmp_path: Path, answer: bytes) -> None:
    with reporting({"": _GOOD}) as channel, answering(answer) as issuer:
        found = _found(tmp_path, channel, issuer=issuer)
    assert (found["workforce issuer"].state, found["customer issuer"].state) == ("bad", "bad")
    assert found["workforce issuer"].words == f"{issuer} does not answer"


def test_an_issuer_that_no_request_can_name_does_not_answer(tmp_path: Path) -> None:
    with reporting({"": _GOOD}) as channel:
        found = _found(tmp_path, channel, issuer="http://127.0.0.1:1/für-alle")
    assert (found["workforce issuer"].state, found["customer issuer"].state) == ("bad", "bad")


def test_an_issuer_on_loopback_is_asked_past_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setattr(urllib.request, "_opener", None)  # it would remember the proxies of an earlier test
    date = format_datetime(system_now(), usegmt=True).encode()
    with (
        reporting({"": _GOOD}) as channel,
        answering(b"HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Length: 0\r\n\r\n" % date) as issuer,
    ):
        found = _found(tmp_path, channel, issuer=issuer)
    assert found["workforce issuer"].words == "answers; its clock is this machine's"


class Dated:
    """A session whose tokens are dated so."""

    name, kind = "anna", "workforce"

    def __init__(self, issued: Any) -> None:
        self.issued = issued

    def access_token(self, audience: str, *, fresh: bool) -> str:
        return ""

    def claims(self) -> dict[str, Any]:
        return {"iat": self.issued}


@pytest.mark.parametrize("issued", [1e300, 2**70, -(2**70), float("nan"), float("inf"), None, "now"])
def test_a_token_that_is_dated_at_no_time_costs_no_finding(tmp_path: Path, issued: Any) -> None:
    with reporting({"": _GOOD}) as channel:
        found = _found(tmp_path, channel, lambda: Dated(issued))
    assert (found["sign-in"].state, found["sign-in"].words) == ("ok", "anna (workforce)")
    assert "signing keys" in found
