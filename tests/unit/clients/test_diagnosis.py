"""What `kept doctor` says of services' health, asked from real health servers."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

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


def _found(tmp_path: Path, channel: Callable[[str], grpc.Channel]) -> dict[str, Finding]:
    addresses = "\n".join(f'{service} = "127.0.0.1:1"' for service in SERVICES)
    file = tmp_path / "profile.toml"
    file.write_text(
        f'version = 1\nname = "test"\n[addresses]\n{addresses}\n[tls]\nauthority = "none.crt"\n'
        '[issuers]\nworkforce = "http://127.0.0.1:1"\ncustomer = "http://127.0.0.1:1"\n'
    )
    return {finding.what: finding for finding in examine(load(file), channel, _nobody)}


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
