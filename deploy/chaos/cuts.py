"""Partitions: two services that hear nothing of each other any more, while everybody else goes on.

Packets are dropped, as a broken network does; nobody is told. Where we are root and containers run, the kernel drops them, in a network
namespace of our own; elsewhere every connection between services goes through a proxy here that stops passing anything on.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from deploy.local import ports
from deploy.local.layout import SERVICES

_TABLE: Final = "kept_chaos"
_CHUNK: Final = 64 * 1024

Pair = frozenset[str]


def pairs() -> list[Pair]:
    """Every two services."""
    return [frozenset(two) for two in itertools.combinations(SERVICES, 2)]


class Cuts(Protocol):
    """What cuts two services off from each other."""

    name: str

    def addresses(self, caller: str, callee: str, real: Sequence[str]) -> Sequence[str]:
        """Where `caller` reaches the replicas of `callee` that listen at `real`."""

    def open(self) -> None:
        """Begins; nothing is cut."""

    def cut(self, pair: Pair) -> None:
        """Drops everything between the two, of connections that stand and of new ones."""

    def silence(self, doors: Sequence[str]) -> None:
        """Drops everything to and from these addresses, which are one replica's."""

    def heal(self) -> None:
        """Drops nothing any more."""

    def close(self) -> None:
        """Ends."""


class PacketFilter:
    """By nftables, in the network namespace that we are in. A connection is marked by who opened it (each service is a user) to whom, and
    carries its mark in both directions."""

    name = "packets dropped by nftables in a network namespace"

    def __init__(self, users: Mapping[str, int], doors: Mapping[str, Sequence[str]]) -> None:
        """users: of each service's processes. doors: where each service's replicas listen for services."""
        self._users = users
        self._doors = {
            service: sorted({one.rpartition(":")[2] for one in door}) for service, door in doors.items()
        }

    def addresses(self, caller: str, callee: str, real: Sequence[str]) -> Sequence[str]:
        """The real ones."""
        return real

    def open(self) -> None:
        """See Cuts."""
        lines = [
            f"meta skuid {self._users[caller]} tcp dport {{ {', '.join(self._doors[callee])} }} "
            f"ct mark set {_mark(frozenset((caller, callee)))}"
            for caller, callee in itertools.permutations(SERVICES, 2)
        ]
        self._rules("marks", -10, lines)
        self._rules("cuts", 0, [])

    def cut(self, pair: Pair) -> None:
        """See Cuts."""
        self._nft(f"add rule inet {_TABLE} cuts ct mark {_mark(pair)} drop")

    def silence(self, doors: Sequence[str]) -> None:
        """See Cuts. Callers from outside are cut off too."""
        for door in doors:
            host, _, port = door.rpartition(":")
            self._nft(f"add rule inet {_TABLE} cuts ip daddr {host} tcp dport {port} drop")
            self._nft(f"add rule inet {_TABLE} cuts ip saddr {host} tcp sport {port} drop")

    def heal(self) -> None:
        """See Cuts."""
        self._nft(f"flush chain inet {_TABLE} cuts")

    def close(self) -> None:
        """See Cuts."""
        self._nft(f"delete table inet {_TABLE}")

    def _rules(self, chain: str, priority: int, lines: Sequence[str]) -> None:
        self._nft(
            f"add table inet {_TABLE}\n"
            f"add chain inet {_TABLE} {chain} {{ type filter hook output priority {priority}; policy accept; }}\n"
            + "".join(f"add rule inet {_TABLE} {chain} {line}\n" for line in lines)
        )

    def _nft(self, script: str) -> None:
        subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True, capture_output=True)


def _mark(pair: Pair) -> int:
    return 1 + pairs().index(pair)


@dataclass(frozen=True)
class _Route:
    """One proxy: for whom, and where it leads."""

    pair: Pair
    leads_to: str


class Proxies:
    """By a proxy on 127.0.0.1 for each service that calls and each replica that is called, all on one thread."""

    name = "TCP proxies that pass nothing on"

    def __init__(self) -> None:
        self._routes: dict[int, _Route] = {}
        self._cut: set[Pair] = set()
        self._silent: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._healed = asyncio.Event()
        self._healed.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)

    def addresses(self, caller: str, callee: str, real: Sequence[str]) -> Sequence[str]:
        """A proxy for each."""
        numbers = ports.free_ports(len(real))
        for number, address in zip(numbers, real, strict=True):
            self._routes[number] = _Route(frozenset((caller, callee)), address)
        return [f"{ports.LOOPBACK}:{number}" for number in numbers]

    def open(self) -> None:
        """Listens for all addresses that were given out."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def cut(self, pair: Pair) -> None:
        """See Cuts."""
        self._loop.call_soon_threadsafe(self._healed.clear)
        self._loop.call_soon_threadsafe(self._cut.add, pair)

    def silence(self, doors: Sequence[str]) -> None:
        """See Cuts. Callers from outside, who need no proxy, still reach it."""
        self._loop.call_soon_threadsafe(self._healed.clear)
        self._loop.call_soon_threadsafe(self._silent.update, doors)

    def heal(self) -> None:
        """See Cuts. What was held back arrives now, as packets do that are sent again."""
        self._loop.call_soon_threadsafe(self._cut.clear)
        self._loop.call_soon_threadsafe(self._silent.clear)
        self._loop.call_soon_threadsafe(self._healed.set)

    def close(self) -> None:
        """See Cuts."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _listen(self) -> None:
        for number, route in self._routes.items():
            await asyncio.start_server(partial(self._serve, route), ports.LOOPBACK, number)

    async def _serve(self, route: _Route, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = route.leads_to.rpartition(":")
        await self._passing(route)
        try:
            there, back = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        with contextlib.suppress(asyncio.CancelledError):  # when all ends, and then alone
            await asyncio.gather(self._pass_on(route, reader, back), self._pass_on(route, there, writer))

    async def _pass_on(
        self, route: _Route, source: asyncio.StreamReader, target: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK):
                await self._passing(route)
                target.write(data)
                await target.drain()
            await self._passing(route)
        target.close()

    async def _passing(self, route: _Route) -> None:
        while route.pair in self._cut or route.leads_to in self._silent:
            await self._healed.wait()
