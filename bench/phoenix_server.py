"""`python bench/phoenix_server.py`, by the interpreter of Phoenix's own environment: Phoenix as its own command starts it, but that it
listens for OTLP on loopback alone. It would listen on every interface otherwise, and has no setting for it."""

import importlib
import sys
from typing import Any

import grpc.aio


def _on_loopback(self: Any, address: str) -> int:
    return int(_add_port(self, address.replace("[::]", "127.0.0.1")))


_server: Any = grpc.aio.Server
_add_port: Any = _server.add_insecure_port


if __name__ == "__main__":
    _server.add_insecure_port = _on_loopback
    sys.argv = ["phoenix", "serve"]
    importlib.import_module("phoenix.server.main").main()
