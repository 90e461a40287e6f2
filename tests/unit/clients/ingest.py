"""A logging service's ingest on a real gRPC server with mTLS, as tests of recorders want it: it keeps what it is sent, and answers as
told."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from deploy.local.authority import Authority
from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc, interactions_pb2

Answer = Callable[[interactions_pb2.Interaction], ingest_pb2.Receipt | None]


@dataclass
class Ingest(ingest_pb2_grpc.IngestServiceServicer):
    """stored: by id. batches: their sizes, in order. breaks: statuses that the next calls end with, after they stored. answer: a receipt
    other than the usual one. open: cleared, calls wait; entered: set once a call is here."""

    stored: dict[bytes, interactions_pb2.Interaction] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    breaks: list[grpc.StatusCode] = field(default_factory=list)
    answer: Answer = lambda _: None
    open: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def RecordInteractions(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        for batch in request_iterator:
            self.entered.set()
            self.open.wait(20)
            self.batches.append(len(batch.interactions))
            receipts = [self._receipt(one) for one in batch.interactions]
            if self.breaks:
                context.abort(self.breaks.pop(0), "as the test says")
            yield ingest_pb2.RecordInteractionsResponse(receipts=receipts)

    def _receipt(self, one: interactions_pb2.Interaction) -> ingest_pb2.Receipt:
        told = self.answer(one)
        if told is not None:
            return told
        known = one.record_id in self.stored
        self.stored.setdefault(one.record_id, one)
        return ingest_pb2.Receipt(
            record_id=one.record_id,
            outcome=ingest_pb2.OUTCOME_DUPLICATE if known else ingest_pb2.OUTCOME_STORED,
        )


@dataclass
class Serving:
    """Where the server is, and the files of a gateway that may call it."""

    address: str
    certificate: Path
    key: Path
    authority: Path

    @property
    def arguments(self) -> tuple[str, Path, Path, Path]:
        """As recorders take them."""
        return self.address, self.certificate, self.key, self.authority


@contextmanager
def serving(directory: Path, servicer: Ingest) -> Iterator[Serving]:
    """A server on the loopback interface, stopped at the end."""
    servicer.open.set()
    made = Authority(directory / "ca", trust_domain="kept.test", environment="local")
    identity, gateway = made.issue("logging", serves=True), made.issue("gateway/chat", serves=False)
    server = grpc.server(ThreadPoolExecutor(4))
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(servicer, server)
    port = server.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials(
            [(identity.key.read_bytes(), identity.certificate.read_bytes())],
            identity.authority.read_bytes(),
            True,
        ),
    )
    server.start()
    try:
        yield Serving(f"127.0.0.1:{port}", gateway.certificate, gateway.key, gateway.authority)
    finally:
        servicer.open.set()
        server.stop(None).wait()
