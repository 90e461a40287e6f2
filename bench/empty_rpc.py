"""The floor of every call: an empty unary RPC on this server builder over mTLS, against the same on bare gRPC.

The caller is a service that is declared, so it passes the whole pipeline: identity, callers, validation, telemetry, errors.
"""

import statistics
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from bench import empty_server
from bench.figures import Figure, in_turns, median_ratio
from deploy.local.ports import free_ports
from kept.safety_review.v1 import detectors_pb2, detectors_pb2_grpc
from shared.channels import client_credentials
from shared.config import Tls
from shared.server import server_credentials
from tests.support.server import Rules, running


def measure(small: bool) -> Iterator[Figure]:
    """`empty_rpc_us` and `builder_ratio`."""
    calls = 300 if small else 3000
    empty_server.allow_caller()
    ports = free_ports(2)
    with (
        tempfile.TemporaryDirectory() as directory,
        running(Path(directory), empty_server.answer, port=ports[0]) as server,
    ):
        identity = server.authority.issue(empty_server.CALLER, serves=False)
        tls = Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)
        bare = grpc.server(ThreadPoolExecutor(4))
        detectors_pb2_grpc.add_DetectorServiceServicer_to_server(Rules(empty_server.answer), bare)  # type: ignore[abstract]
        bare.add_secure_port(
            f"127.0.0.1:{ports[1]}", server_credentials(server.config.tls, client_certificates=True)
        )
        bare.start()
        request = detectors_pb2.ListRulesRequest()
        channels = [grpc.secure_channel(f"127.0.0.1:{port}", client_credentials(tls)) for port in ports]
        ours, theirs = (detectors_pb2_grpc.DetectorServiceStub(channel).ListRules for channel in channels)
        built, plain = in_turns(lambda: ours(request, timeout=10), lambda: theirs(request, timeout=10), calls)
        for channel in channels:
            channel.close()
        bare.stop(1).wait()
    yield Figure(
        "empty_rpc_us",
        statistics.median(built) * 1e6,
        "microseconds",
        False,
        f"median of {calls} calls, one caller, mTLS",
    )
    yield Figure(
        "builder_ratio",
        median_ratio(built, plain),
        "ratio",
        False,
        "an empty call through the whole pipeline ÷ the same call on bare gRPC over mTLS, in turns",
    )
