"""The contracts, by reflection: every method that there is, with its declared callers and its messages."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor, message_factory
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from kept.options.v1 import callers_pb2
from shared.callers import declared

_PROTOS = Path(__file__).parents[2] / "protos"
_FOREIGN = (
    ("logging", trace_service_pb2.DESCRIPTOR.services_by_name["TraceService"]),
    ("logging", logs_service_pb2.DESCRIPTOR.services_by_name["LogsService"]),
)
SERVICES = ("settings", "logging", "access_control", "retention", "safety_review")


@dataclass(frozen=True)
class Method:
    """One method. service: the process that serves it. path: "/package.Service/Method"."""

    service: str
    path: str
    descriptor: descriptor.MethodDescriptor

    @property
    def callers(self) -> callers_pb2.Callers | None:
        """What it declares, or what is declared for it where its contract is another's; None when nothing is."""
        options = self.descriptor.GetOptions()
        if options.HasExtension(callers_pb2.callers):
            return options.Extensions[callers_pb2.callers]
        foreign = declared(self.path)
        return foreign if foreign.ListFields() else None

    def request(self) -> Message:
        """A new, empty request."""
        made: Message = message_factory.GetMessageClass(self.descriptor.input_type)()
        return made

    def invoke(self, channel: Any, request: bytes, metadata: Any, timeout: float = 15.0) -> list[bytes]:
        """Calls it with raw bytes, streams with one message; the answers. Raises grpc.RpcError."""
        sending = (lambda data: data, lambda data: data)
        streaming = self.descriptor.server_streaming
        incoming: Any = iter([request]) if self.descriptor.client_streaming else request
        if self.descriptor.client_streaming:
            make = channel.stream_stream if streaming else channel.stream_unary
        else:
            make = channel.unary_stream if streaming else channel.unary_unary
        call = make(self.path, *sending)
        if not streaming:
            return [call(incoming, timeout=timeout, metadata=metadata)]
        answering = call(incoming, timeout=timeout, metadata=metadata)
        try:
            for first in answering:
                return [first]
            return []
        finally:
            answering.cancel()


def methods() -> list[Method]:
    """Every method of every contract, by path; OTLP's too, which logging serves."""
    found = []
    for file in _files():
        for service in file.services_by_name.values():
            room = file.package.split(".")[1]
            if room in SERVICES:
                found += _methods(room, service)
    for room, service in _FOREIGN:
        found += _methods(room, service)
    return sorted(found, key=lambda method: method.path)


def _methods(room: str, service: Any) -> list[Method]:
    return [Method(room, f"/{service.full_name}/{method.name}", method) for method in service.methods]


def _files() -> Iterator[Any]:
    for file in sorted((_PROTOS / "kept").rglob("*.proto")):
        module = ".".join(file.relative_to(_PROTOS).with_suffix("").parts) + "_pb2"
        yield importlib.import_module(module).DESCRIPTOR
