"""Two services that are cut off hear nothing of each other, and others do; once healed, what was sent arrives."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from deploy.chaos.cuts import Proxies, pairs


@contextmanager
def _server() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        listening.settimeout(10)
        yield listening


def _connected(listening: socket.socket, address: str) -> tuple[socket.socket, socket.socket]:
    host, _, port = address.rpartition(":")
    caller = socket.create_connection((host, int(port)), timeout=10)
    callee, _ = listening.accept()
    callee.settimeout(10)
    return caller, callee


def test_what_is_cut_hears_nothing_until_it_is_healed() -> None:
    proxies = Proxies()
    with _server() as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        (cut,) = proxies.addresses("logging", "settings", [address])
        (other,) = proxies.addresses("retention", "settings", [address])
        proxies.open()
        try:
            caller, callee = _connected(listening, cut)
            bystander, heard = _connected(listening, other)
            caller.sendall(b"before")
            assert callee.recv(16) == b"before"
            proxies.cut(frozenset({"settings", "logging"}))
            bystander.sendall(b"others")
            assert heard.recv(16) == b"others"
            caller.sendall(b"after")
            callee.settimeout(0.1)
            with pytest.raises(TimeoutError):
                callee.recv(16)
            proxies.heal()
            callee.settimeout(10)
            assert callee.recv(16) == b"after"
        finally:
            proxies.close()
            for one in (caller, callee, bystander, heard):
                one.close()


def test_every_two_services_are_a_pair() -> None:
    assert len(pairs()) == len(set(pairs())) == 10
