"""Tests stay on this machine: tests/support/network.py is loaded and refuses everything else."""

from __future__ import annotations

import socket

import pytest

from tests.support.network import NetworkRefusedError


def test_an_address_elsewhere_is_refused() -> None:
    # 192.0.2.0/24 is for documentation (RFC 5737): nothing would answer there even without the refusal.
    with socket.socket() as connection, pytest.raises(NetworkRefusedError):
        connection.connect(("192.0.2.1", 443))


def test_looking_up_a_name_elsewhere_is_refused() -> None:
    with pytest.raises(NetworkRefusedError):
        socket.getaddrinfo("kept.invalid", 443)


def test_this_machine_is_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
