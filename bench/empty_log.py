"""An audit log that is empty: whoever asks it finds its own database as new as the log, and serves."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from deploy.local.authority import Authority
from deploy.local.ports import free_ports
from kept.access_control.v1 import audit_pb2, audit_pb2_grpc
from shared.config import Tls
from shared.server import server_credentials


class _EmptyLog(audit_pb2_grpc.AuditServiceServicer):
    """An audit log with nothing of the asking service in it."""

    def ListOwnEntries(self, request: Any, context: Any) -> audit_pb2.ListOwnEntriesResponse:
        return audit_pb2.ListOwnEntriesResponse(complete=True)


@contextmanager
def empty_log(authority: Authority) -> Iterator[str]:
    """Its address, until the block ends."""
    identity = authority.issue("access_control", serves=True)
    tls = Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)
    server = grpc.server(ThreadPoolExecutor(2))
    audit_pb2_grpc.add_AuditServiceServicer_to_server(_EmptyLog(), server)  # type: ignore[abstract]
    [port] = free_ports(1)
    server.add_secure_port(f"127.0.0.1:{port}", server_credentials(tls, client_certificates=True))
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(1).wait()
