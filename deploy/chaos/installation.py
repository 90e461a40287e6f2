"""One installation with two replicas of every service: made, started with the story's first chapter told on it, and ended."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from rich.console import Console

from deploy.chaos.cuts import Cuts, PacketFilter, Proxies
from deploy.chaos.replicas import Containers, Processes, Replica, Replicas, Runner, user_of
from deploy.image.engine import Engine
from deploy.local import ports
from deploy.local.authority import Authority
from deploy.local.errors import LocalStackError
from deploy.local.layout import ENVIRONMENT, SERVICES, TRUST_DOMAIN, Addresses, Layout, Ports
from deploy.local.stack import ISSUER, Stack, kept_programs
from deploy.local.story.chapters import organizations
from deploy.local.story.plot import Plot
from deploy.local.story.stage import Stage
from deploy.local.story.telling import Narrator

REPLICAS: Final = 2
_DOORS: Final = ("services", "people", "health", "metrics")
# Two replicas of five services share one server here.
_POOL: Final = 9


@dataclass
class Installation:
    """What runs, and what can be done to it."""

    stack: Stack
    replicas: Replicas
    cuts: Cuts
    authority: Authority

    @classmethod
    def make(cls, home: Path, engine: Engine | None, image: str) -> Installation:
        """In an empty folder; nothing is started. With an engine as containers from `image`, which takes root; without, as processes."""
        layout = Layout.create(home, Ports.free())
        stack = Stack(layout, [one for one in kept_programs(layout) if one.name == ISSUER])
        first = {service: layout.addresses(service) for service in SERVICES}
        more = _more_addresses if engine is None else _same_ports_elsewhere
        addresses = {service: [first[service], *more(first[service])] for service in SERVICES}
        doors = {service: [one.services for one in addresses[service]] for service in SERVICES}
        runner: Runner
        cuts: Cuts
        if engine is not None:
            runner = Containers(layout, engine, image, {_name(one): _hosts(doors[one]) for one in SERVICES})
            cuts = PacketFilter({service: user_of(service) for service in SERVICES}, doors)
        else:
            runner, cuts = Processes(layout), Proxies()
        replicas = []
        for service in SERVICES:
            others = [peer for peer in SERVICES if peer != service]
            if engine is not None:  # by a name that stands for all of them, as a headless Service's does
                peers = {peer: f"{_name(peer)}:{first[peer].services.rpartition(':')[2]}" for peer in others}
            else:
                peers = {peer: ",".join(cuts.addresses(service, peer, doors[peer])) for peer in others}
            for number, own in enumerate(addresses[service], start=1):
                environment = _environment(service, own, peers, migrates=engine is None)
                replicas.append(Replica(service, number, own, environment))
        authority = Authority(layout.authority, trust_domain=TRUST_DOMAIN, environment=ENVIRONMENT)
        return cls(stack, Replicas(layout, runner, replicas), cuts, authority)

    def start(self) -> None:
        """Everything. Raises LocalStackError."""
        self.stack.start()
        self.cuts.open()
        self._hand_over()
        self.migrate()
        self.replicas.start(*self.replicas.all)

    def run_from(self, image: str) -> None:
        """What is started from now on, migrations too, is from another image. Raises LocalStackError for processes, which have none."""
        if not isinstance(self.replicas.runner, Containers):
            raise LocalStackError("Another version can only be run as containers.")
        self.replicas.runner.image = image

    def migrate(self) -> None:
        """The Jobs before a rollout, where replicas are containers; processes migrate when they start. Raises EngineError."""
        if isinstance(self.replicas.runner, Containers):
            for service in SERVICES:
                self.replicas.runner.migrate(self.replicas.of(service)[0])

    def several(self, service: str, door: str) -> str:
        """The addresses of all replicas' "services" or "people" doors, as clients take them."""
        return ",".join(getattr(one.addresses, door) for one in self.replicas.of(service))

    def tell(self) -> Plot:
        """Customers, staff with roles, a gateway: the story's first chapter."""
        told = io.StringIO()
        plot = Plot(Stage(self.stack), Narrator(Console(file=told, width=200)), [])
        organizations.play(plot)
        if not plot.tell.conclude():
            raise LocalStackError(f"The first chapter did not go as told:\n{told.getvalue()}")
        return plot

    def rotate(self, name: str, life: timedelta) -> None:
        """A new key and certificate, in place, as a certificate manager does it."""
        self.authority.renew(name, serves=name in SERVICES, life=life)
        if isinstance(self.replicas.runner, Containers) and name in SERVICES:
            self.replicas.runner.hand_over(name)

    def connections(self) -> int:
        """How many connections stand at the services' doors, by proc_net(5)."""
        doors = {f"{int(one.addresses.services.rpartition(':')[2]):04X}" for one in self.replicas.all}
        tables = [table for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if table.exists()]
        lines = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
        return sum(fields[3] == "01" and fields[1].rpartition(":")[2] in doors for fields in lines)

    def restart_database(self, between: Callable[[], None] = lambda: None) -> None:
        """Ends the database server, as an operator does ("fast"), and starts it again."""
        self.stack.database.stop()
        between()
        self.stack.database.start()

    def remove(self) -> None:
        """Ends everything, whatever state it is in, and removes it."""
        self.replicas.remove()
        with contextlib.suppress(subprocess.CalledProcessError):  # never opened
            self.cuts.close()
        self.stack.remove()

    def _hand_over(self) -> None:
        if isinstance(self.replicas.runner, Containers):
            for service in SERVICES:
                # Made here, so that it can be handed over: containers see no folder above it.
                self.replicas.runner.hand_over(service)


def _more_addresses(_first: Addresses) -> list[Addresses]:
    return [
        Addresses(*(f"{ports.LOOPBACK}:{number}" for number in ports.free_ports(len(_DOORS))))
        for _ in range(REPLICAS - 1)
    ]


def _same_ports_elsewhere(first: Addresses) -> list[Addresses]:
    """On other addresses of this machine's own, so that one name and one port stand for all replicas."""
    here, ports_ = f"{ports.LOOPBACK}:", [getattr(first, door).rpartition(":")[2] for door in _DOORS]
    assert all(getattr(first, door).startswith(here) for door in _DOORS)
    return [Addresses(*(f"127.0.0.{number}:{port}" for port in ports_)) for number in range(2, REPLICAS + 1)]


def _name(service: str) -> str:
    return f"{service.replace('_', '-')}.chaos"


def _hosts(doors: Sequence[str]) -> list[str]:
    return [door.rpartition(":")[0] for door in doors]


def _environment(service: str, own: Addresses, peers: dict[str, str], *, migrates: bool) -> dict[str, str]:
    """The variables that are laid over the service's file (shared/config.py)."""
    prefix = f"KEPT_{service.upper()}_"
    settings = {f"{door}_address": getattr(own, door) for door in _DOORS}
    settings |= {f"peers__{peer}": address for peer, address in peers.items()}
    settings["database_pool"] = str(_POOL)
    settings["migrate_at_start"] = str(migrates).lower()
    return {prefix + name.upper(): value for name, value in settings.items()}


def default_home() -> Path:
    """Where `make chaos` keeps what runs, while it does."""
    return Path(__file__).resolve().parents[2] / "build" / f"chaos-{os.getpid()}"
