"""Replicas that are replaced by others at other addresses, as a rollout does: callers who know their common name find the new ones at once.

gRPC waits 30 s between look-ups of a name unless it is told otherwise; for as long, every call failed.
"""

import socketserver
import struct
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

import grpc
import pytest

from deploy.local.ports import free_ports
from kept.client.connection import channel_options
from kept.retention.v1 import rules_pb2, rules_pb2_grpc
from shared.channels import CHANNEL_OPTIONS

pytestmark = pytest.mark.integration
_REQUEST = rules_pb2.ListRuleChangesRequest()
_A_RECORD = 1


class _Names(socketserver.ThreadingUDPServer):
    """A name server (RFC 1035) that gives the addresses it holds, whatever it is asked, and none of another kind than A."""

    addresses: Sequence[str] = ()

    class _Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            packet, socket = self.request
            question = packet[12 : packet.index(b"\0", 12) + 5]
            (kind,) = struct.unpack("!H", question[-4:-2])
            found = self.server.addresses if kind == _A_RECORD else ()  # type: ignore[attr-defined]
            answers = [
                struct.pack("!HHHIH", 0xC00C, _A_RECORD, 1, 0, 4) + IPv4Address(one).packed for one in found
            ]
            header = packet[:2] + struct.pack("!HHHHH", 0x8400, 1, len(answers), 0, 0)
            socket.sendto(header + question + b"".join(answers), self.client_address)

    @classmethod
    @contextmanager
    def serving(cls) -> Iterator["_Names"]:
        with cls(("127.0.0.1", 0), cls._Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            yield server
            server.shutdown()
            thread.join()


class _Rules(rules_pb2_grpc.RuleServiceServicer):
    def __init__(self, address: str) -> None:
        self._address = address

    def ListRuleChanges(self, request: Any, context: Any) -> rules_pb2.ListRuleChangesResponse:
        return rules_pb2.ListRuleChangesResponse(
            changes=[rules_pb2.RuleChange(organization_id=self._address)]
        )


def _replica(address: str, port: int) -> grpc.Server:
    server = grpc.server(ThreadPoolExecutor(1))
    rules_pb2_grpc.add_RuleServiceServicer_to_server(_Rules(address), server)
    server.add_insecure_port(f"{address}:{port}")
    server.start()
    return server


@pytest.mark.parametrize(
    "options",
    [CHANNEL_OPTIONS, channel_options("safety_review", "rules:1")],
    ids=["services", "clients"],
)
def test_a_rollout_to_other_addresses_fails_no_call(options: Sequence[tuple[str, Any]]) -> None:
    (port,) = free_ports(1)
    with _Names.serving() as names:
        names.addresses = ["127.0.0.2", "127.0.0.3"]
        running = {address: _replica(address, port) for address in names.addresses}
        where = f"dns://127.0.0.1:{names.server_address[1]}/rules.kept.test:{port}"
        with grpc.insecure_channel(where, options=list(options)) as channel:
            stub = rules_pb2_grpc.RuleServiceStub(channel)

            def answered_by(wanted: set[str]) -> None:
                """Calls until all of these have answered; no call fails."""
                seen: set[str] = set()
                for _ in range(400):
                    seen.add(stub.ListRuleChanges(_REQUEST, timeout=10).changes[0].organization_id)
                    if wanted <= seen:
                        return
                    threading.Event().wait(0.01)
                raise AssertionError(f"only {seen} answer")

            answered_by({"127.0.0.2", "127.0.0.3"})
            for old, new in (("127.0.0.2", "127.0.0.4"), ("127.0.0.3", "127.0.0.5")):
                running[new] = _replica(new, port)
                names.addresses = [one for one in (*names.addresses, new) if one != old]
                running.pop(old).stop(None).wait()
                answered_by(set(names.addresses))
        for server in running.values():
            server.stop(None)
