"""`python -m bench.screening_server DIRECTORY PORT`: safety review as far as logging asks it, in a process of its own, until its standard
input ends. It looks at nothing and finds everything clean: what is measured is logging's part of screening."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from deploy.local.authority import Authority
from kept.safety_review.v1 import screening_pb2, screening_pb2_grpc
from shared.channels import MAX_MESSAGE_BYTES
from shared.config import Tls
from shared.server import protect_memory, server_credentials
from tests.support.server import TRUST_DOMAIN


class _Screening(screening_pb2_grpc.ScreeningServiceServicer):
    def Screen(self, requests: Iterator[Any], context: Any) -> Iterator[screening_pb2.ScreenResponse]:
        for request in requests:
            yield screening_pb2.ScreenResponse(
                records=[
                    screening_pb2.ScreenedRecord(
                        record_id=one.record_id, verdict=screening_pb2.VERDICT_CLEAN, rules_version="bench"
                    )
                    for one in request.interactions
                ]
            )


def main(directory: str, port: str) -> None:
    """Serves until standard input ends."""
    protect_memory()
    authority = Authority(Path(directory), trust_domain=TRUST_DOMAIN, environment="local")
    identity = authority.issue("safety_review", serves=True)
    tls = Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)
    server = grpc.server(
        ThreadPoolExecutor(4), options=(("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),)
    )
    screening_pb2_grpc.add_ScreeningServiceServicer_to_server(_Screening(), server)  # type: ignore[abstract]
    server.add_secure_port(f"127.0.0.1:{port}", server_credentials(tls, client_certificates=True))
    server.start()
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop(1).wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
