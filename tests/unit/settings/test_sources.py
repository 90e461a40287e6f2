"""Where a call comes from: gRPC's peer as an IP address (https://grpc.github.io/grpc/cpp/md_doc_naming.html)."""

from typing import cast
from unittest.mock import Mock

import grpc
import pytest

from services.settings.servicers.sources import source_of


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("ipv4:192.0.2.7:53012", "192.0.2.7"),
        ("ipv6:%5B2001:db8::1%5D:53012", "2001:db8::1"),
        ("ipv6:[2001:db8::1]:53012", "2001:db8::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::1%eth0"),
        ("unix:/run/kept.sock", ""),
        ("unknown", ""),
        ("", ""),
    ],
)
def test_a_peer_is_its_address_without_the_port(peer: str, source: str) -> None:
    assert source_of(cast(grpc.ServicerContext, Mock(peer=lambda: peer))) == source
