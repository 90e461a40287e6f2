"""Who calls whom, as the contracts declare it."""

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Final

from google.protobuf.descriptor import MethodDescriptor

import kept
from deploy.check.overlay import SERVICES
from kept.options.v1 import callers_pb2
from shared.callers import declared

# Callers that no manifest of this project starts: they come from namespaces of their own, by these labels.
GATEWAYS: Final = "namespace kept.dev/model-gateway"
PEOPLE: Final = "namespace kept.dev/people"
ISSUER: Final = "namespace kept.dev/issuer"
# Declared for what is to come; there is nothing that could call.
_NOT_DEPLOYED: Final = frozenset({"training"})
# Contracts that are not ours, and who serves them.
_FOREIGN: Final = (
    ("logging", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
    ("logging", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
)


@cache
def arrows() -> frozenset[tuple[str, str, bool]]:
    """(caller, service, by the people's port)."""
    found: set[tuple[str, str, bool]] = set()
    for service in SERVICES:
        for method in _methods(service):
            options = method.GetOptions()
            if options.HasExtension(callers_pb2.callers):
                found |= set(_callers(service, options.Extensions[callers_pb2.callers]))
    for service, method_name in _FOREIGN:
        found |= set(_callers(service, declared(method_name)))
    return frozenset(found)


def _callers(service: str, callers: callers_pb2.Callers) -> Iterator[tuple[str, str, bool]]:
    for name in callers.services:
        if name not in _NOT_DEPLOYED:
            yield ISSUER if name == "issuer" else name, service, False
    if callers.gateways:
        yield GATEWAYS, service, False
    if callers.roles or callers.any_staff or callers.customers or callers.public:
        yield PEOPLE, service, True


def _methods(service: str) -> Iterator[MethodDescriptor]:
    package = importlib.import_module(f"{kept.__name__}.{service}.v1")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"{package.__name__}.{module.name}").DESCRIPTOR
            for one in file.services_by_name.values():
                yield from one.methods
