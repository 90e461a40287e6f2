"""Free ports are free and different; a port in use is named with the process that holds it."""

from __future__ import annotations

import os
import socket

import pytest

from deploy.local import ports
from deploy.local.errors import LocalStackError, PortInUse
from deploy.local.layout import SERVICES, Ports


def test_free_ports_are_different_and_never_given_twice() -> None:
    first, second = ports.free_ports(20), ports.free_ports(20)
    assert len({*first, *second}) == 40
    assert all(ports.is_free(port) for port in first)


def test_a_port_in_use_is_named_with_its_process() -> None:
    [port] = ports.free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        assert not ports.is_free(port)
        with pytest.raises(
            PortInUse, match=rf"Port {port}, which settings needs, is in use by pid {os.getpid()} \("
        ):
            ports.require_free("settings", port)
    ports.require_free("settings", port)


def test_a_block_gives_every_part_ports_of_its_own() -> None:
    block = Ports.block(7400)
    assert block["settings.services"] == 7400
    assert block["safety_review.metrics"] == 7443
    assert len(set(block.numbers.values())) == len(block.numbers) == 4 * len(SERVICES) + 3


@pytest.mark.parametrize("base", [-1, 80, 65_500])
def test_a_block_outside_the_usable_range_is_refused(base: int) -> None:
    with pytest.raises(LocalStackError, match="between 1024 and 65000"):
        Ports.block(base)
