"""Where a call comes from, as far as this end of the connection can tell."""

from urllib.parse import unquote

import grpc


def source_of(context: grpc.ServicerContext) -> str:
    """The peer's IP address; empty where there is none. Behind a balancer that hides its clients all of them are one source."""
    kind, _, address = context.peer().partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    return unquote(address.rpartition(":")[0]).strip("[]")
