"""A cluster's network on this machine: every pod is a network namespace with an address of its own, and names are answered as cluster DNS
answers them, for pods that are ready and for nobody else.

It lies inside the network namespace that we are in, which is made for the run: nothing outside sees it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Final

GATEWAY: Final = "10.77.0.1"
"""Where this program is, as the nodes, the issuer and the cluster's DNS are."""
_BRIDGE: Final = "kept-proof"
_HEADER: Final = struct.Struct("!6H")
_A: Final = 1
_NO_SUCH_NAME: Final = 3
# What a resolver in a pod is told (docs: DNS for Services and Pods, "Pod's DNS Config").
_RESOLVER: Final = (
    "nameserver {0}\nsearch {1}.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
)


class Network:
    """The bridge, and the namespaces on it."""

    def __init__(self) -> None:
        self._spaces: list[str] = []
        self._lock = threading.Lock()
        _ip(f"link add {_BRIDGE} type bridge")
        _ip(f"addr add {GATEWAY}/16 dev {_BRIDGE}")
        _ip(f"link set {_BRIDGE} up")

    def address(self, number: int) -> str:
        """One more address of this program's own, 10.77.0.NUMBER."""
        address = f"10.77.0.{number}"
        _ip(f"addr add {address}/16 dev {_BRIDGE}")
        return address

    def pod(self) -> tuple[str, str]:
        """A new namespace, and its address."""
        with self._lock:
            number = len(self._spaces) + 1
            space, address = f"{_BRIDGE}-{os.getpid()}-{number}", f"10.77.1.{number}"
            self._spaces.append(space)
        _ip(f"netns add {space}")
        _ip(f"link add pod{number} type veth peer name eth0 netns {space}")
        _ip(f"link set pod{number} master {_BRIDGE} up")
        _ip(f"-n {space} addr add {address}/16 dev eth0")
        _ip(f"-n {space} link set eth0 up")
        _ip(f"-n {space} link set lo up")
        return f"/run/netns/{space}", address

    def close(self) -> None:
        """Removes the namespaces; the bridge goes with ours."""
        for space in self._spaces:
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(f"netns del {space}")


def resolver(namespace: str) -> str:
    """resolv.conf of the pods of a Kubernetes namespace."""
    return _RESOLVER.format(GATEWAY, namespace)


class Names:
    """A DNS server (RFC 1035) at GATEWAY that knows addresses (A) and nothing else."""

    def __init__(self, look_up: Callable[[str], Sequence[str] | None]) -> None:
        """look_up: the addresses of a name, without final dot; None where there is no such name."""
        self._look_up = look_up
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((GATEWAY, 53))
        threading.Thread(target=self._serve, name="names", daemon=True).start()

    def _serve(self) -> None:
        while True:
            question, asker = self._socket.recvfrom(512)
            with contextlib.suppress(struct.error, IndexError, UnicodeDecodeError):
                self._socket.sendto(answer(question, self._look_up), asker)


def answer(question: bytes, look_up: Callable[[str], Sequence[str] | None]) -> bytes:
    """The answer to a message with one question. Raises struct.error, IndexError or UnicodeDecodeError where there is none in it."""
    number, flags, *_ = _HEADER.unpack_from(question)
    labels, place = [], _HEADER.size
    while length := question[place]:
        labels.append(question[place + 1 : place + 1 + length].decode("ascii").lower())
        place += 1 + length
    (kind,) = struct.unpack_from("!H", question, place + 1)
    found = look_up(".".join(labels))
    addresses = found if found and kind == _A else ()
    # An answer, authoritative, with recursion as asked for and available.
    code = 0x8480 | flags & 0x0100 | (_NO_SUCH_NAME if found is None else 0)
    # Each record names the question by a pointer, and is good for five seconds, as CoreDNS has it.
    records = [struct.pack("!3HIH", 0xC00C, _A, 1, 5, 4) + socket.inet_aton(one) for one in addresses]
    head = _HEADER.pack(number, code, 1, len(records), 0, 0)
    return head + question[_HEADER.size : place + 5] + b"".join(records)


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, capture_output=True)
