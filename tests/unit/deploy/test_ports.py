"""Free ports are free and different; a port in use is named with the process that holds it."""

from __future__ import annotations

import os
import socket
from itertools import pairwise

import pytest

from deploy.local import ports
from deploy.local.errors import LocalStackError, PortInUse
from deploy.local.layout import SERVICES, Ports

# What the largest of our test processes hands out, and more; the range that they look in.
ENOUGH, RANGE = 500, 12_000


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


@pytest.mark.parametrize("apart", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("first", [1, 4_000, 22_980, 4_194_000])
def test_processes_of_neighbouring_ids_do_not_look_in_the_same_place(first: int, apart: int) -> None:
    """As test processes are, which are started one after the other: a part that is started again finds its port taken else."""
    begins = sorted(ports.begin_of(first + number * apart) for number in range(4))
    assert all(after - before > ENOUGH for before, after in pairwise([*begins, begins[0] + RANGE]))
