"""The replicas of one installation, as processes or as containers from the image: started, asked to go, killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from deploy.image.engine import Engine, EngineError
from deploy.local import health, service_process
from deploy.local.errors import LocalStackError, PartFailed
from deploy.local.layout import SERVICES, Addresses, Layout
from deploy.local.processes import Process, wait_until
from deploy.local.service_process import Program

# Two processors start ten services in half a minute, and take several where others use them too.
_PATIENCE_TO_START: Final = 240.0
# drain and grace of the services (shared/config.py), and some.
_PATIENCE_TO_STOP: Final = 40.0
# Each service is a user of its own, so that its packets can be told from another's.
_FIRST_USER: Final = 65_540


@dataclass(frozen=True)
class Replica:
    """One replica. environment: what tells it from the others; the file is theirs all."""

    service: str
    number: int
    addresses: Addresses
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        """Such as "logging-1"."""
        return f"{self.service}-{self.number}"


class Runner(Protocol):
    """How replicas are run here."""

    name: str

    def start(self, replica: Replica) -> None:
        """Starts it; returns before it is healthy."""

    def is_running(self, replica: Replica) -> bool:
        """Whether it lives."""

    def send(self, replica: Replica, number: signal.Signals) -> None:
        """Sends it a signal."""

    def forget(self, replica: Replica) -> None:
        """Cleans up after one that has ended."""


def user_of(service: str) -> int:
    """The user that a service's containers run as."""
    return _FIRST_USER + SERVICES.index(service)


class Processes:
    """Replicas as processes of this machine."""

    name = "processes"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._running: dict[str, Process] = {}

    def start(self, replica: Replica) -> None:
        """See Runner."""
        arguments = [
            "-m",
            f"services.{replica.service}",
            "--config",
            str(self._layout.configuration(replica.service)),
        ]
        program = Program(replica.name, arguments, lambda: health.serves(replica.addresses.health))
        self._running[replica.name] = service_process.spawn(
            program, self._layout.log(replica.name), replica.environment
        )

    def is_running(self, replica: Replica) -> bool:
        """See Runner."""
        process = self._running.get(replica.name)
        return process is not None and process.is_running()

    def send(self, replica: Replica, number: signal.Signals) -> None:
        """See Runner."""
        self._running[replica.name].send(number)

    def forget(self, replica: Replica) -> None:
        """See Runner."""
        self._running.pop(replica.name, None)
        service_process.forget_ended()


class Containers:
    """Replicas as containers, confined as a cluster confines them, in the network namespace that we are in. image: what those that are
    started from now on run. names: every service's, and where its replicas are."""

    name = "containers"

    def __init__(
        self, layout: Layout, engine: Engine, image: str, names: Mapping[str, Sequence[str]]
    ) -> None:
        self.image = image
        self._layout = layout
        self._engine = engine
        self._names = [f"--add-host={name}:{host}" for name, hosts in names.items() for host in hosts]
        self._prefix = f"kept-chaos-{os.getpid()}"

    def hand_over(self, service: str) -> None:
        """Gives a service's user the files that are the service's; what all read, all may."""
        for home in (self._layout.configuration(service).parent, self._layout.authority / service):
            for path in (home, *home.rglob("*")):
                os.chown(path, user_of(service), user_of(service))
        for file in (self._layout.clock, self._layout.authority / "ca.crt"):
            file.chmod(0o644)

    def migrate(self, replica: Replica) -> None:
        """Brings the database of its service to the schema of `image`, as a Job does before a rollout. Raises EngineError."""
        self._run(replica, "--rm", arguments=["--migrate"])

    def start(self, replica: Replica) -> None:
        """See Runner."""
        self._run(replica, "--detach", "--name", self._container(replica))

    def _run(self, replica: Replica, *options: str, arguments: Sequence[str] = ()) -> None:
        home, identity = (
            self._layout.configuration(replica.service).parent,
            self._layout.authority / replica.service,
        )
        authority = self._layout.authority / "ca.crt"
        user = user_of(replica.service)
        settings = [
            word for name, value in replica.environment.items() for word in ("--env", f"{name}={value}")
        ]
        self._engine.run(
            "run", *options, "--network", "host", *self._names, "--read-only", "--cap-drop", "all",
            "--security-opt", "no-new-privileges", "--user", f"{user}:{user}", *settings,
            "--volume", f"{home}:{home}", "--volume", f"{identity}:{identity}:ro",
            "--volume", f"{authority}:{authority}:ro", "--volume", f"{self._layout.clock}:{self._layout.clock}:ro",
            self.image, f"services.{replica.service}", "--config", str(self._layout.configuration(replica.service)), *arguments,
        )  # fmt: skip

    def is_running(self, replica: Replica) -> bool:
        """See Runner."""
        try:
            said = self._engine.run("inspect", "--format", "{{.State.Running}}", self._container(replica))
        except EngineError:
            return False
        return said.strip() == "true"

    def send(self, replica: Replica, number: signal.Signals) -> None:
        """See Runner."""
        self._engine.run("kill", "--signal", number.name, self._container(replica))

    def forget(self, replica: Replica) -> None:
        """Keeps what it logged, and removes it."""
        container = self._container(replica)
        try:
            log = self._engine.run("logs", container, errors=True)
            with self._layout.log(replica.name).open("a") as kept:
                kept.write(log)
            self._engine.run("rm", "--force", container)
        except EngineError:
            return  # never started

    def _container(self, replica: Replica) -> str:
        return f"{self._prefix}-{replica.name}"


@dataclass
class Replicas:
    """All replicas, and what is done to them. Every act gives how many seconds it took."""

    layout: Layout
    runner: Runner
    all: list[Replica]
    log: Callable[[str], None] = field(default=lambda _: None)

    def of(self, service: str) -> list[Replica]:
        """The replicas of a service."""
        return [one for one in self.all if one.service == service]

    def start(self, *replicas: Replica) -> float:
        """Starts them, and returns when all are healthy. Raises LocalStackError."""
        began = time.monotonic()
        for replica in replicas:
            self.runner.start(replica)
        waiting = list(replicas)

        def all_healthy() -> bool:
            waiting[:] = [one for one in waiting if not health.serves(one.addresses.health)]
            return not waiting

        if not wait_until(all_healthy, patience=_PATIENCE_TO_START):
            self.runner.forget(waiting[0])
            log = self.layout.log(waiting[0].name)
            raise PartFailed(waiting[0].name, "was not healthy in time", str(log), service_process.tail(log))
        return time.monotonic() - began

    def end(self, replica: Replica) -> float:
        """SIGTERM, and returns when it has gone. Raises LocalStackError when it does not."""
        began = time.monotonic()
        self.runner.send(replica, signal.SIGTERM)
        if not wait_until(lambda: not self.runner.is_running(replica), patience=_PATIENCE_TO_STOP):
            raise LocalStackError(f"{replica.name} did not end within {_PATIENCE_TO_STOP:.0f} s of SIGTERM.")
        self.runner.forget(replica)
        return time.monotonic() - began

    def kill(self, replica: Replica) -> None:
        """SIGKILL, and returns when it has gone."""
        self.runner.send(replica, signal.SIGKILL)
        wait_until(lambda: not self.runner.is_running(replica), patience=10.0)
        self.runner.forget(replica)

    def remove(self) -> None:
        """Ends whatever still runs, at once."""
        for replica in self.all:
            if self.runner.is_running(replica):
                self.kill(replica)
            else:
                self.runner.forget(replica)
