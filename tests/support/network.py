"""A test that reaches for the network fails: every address but this machine's own is refused.

pytest loads this by `-p tests.support.network` (pyproject.toml). An audit hook (PEP 578) sees what Python's
own sockets do, httpx and urllib included; gRPC's and libpq's sockets are C and are not seen.
"""

from __future__ import annotations

import ipaddress
import os
import sys

CONNECTIONS = frozenset({"socket.connect", "socket.sendto"})


class NetworkRefusedError(RuntimeError):
    """A test tried to leave this machine."""


def is_here(host: object) -> bool:
    """Whether a host, name or address, is this machine's loopback. No name but `localhost` is looked up."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in ("", None, "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in CONNECTIONS:
        address = arguments[1]
        # A path is a Unix socket; a tuple starts with the host.
        if isinstance(address, tuple) and address and not is_here(address[0]):
            raise NetworkRefusedError(f"a test connects to {address[0]}")
    elif event == "socket.getaddrinfo" and not is_here(arguments[0]):
        raise NetworkRefusedError(f"a test looks up {arguments[0]}")


def pytest_configure() -> None:
    # LiteLLM asks the network for a list of prices when it is imported, whoever imports it first.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    sys.addaudithook(refuse)
