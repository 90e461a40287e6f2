"""The local stack: makes it, starts it, finds it again, ends it.

    stack = Stack.open(Path("build/stack"), Ports.block(7400))
    stack.start()
    stack.travel(timedelta(days=31))
    stack.stop()

A start is all or nothing: when a part cannot start, whatever runs of the stack is ended before the error is
raised.
"""

from __future__ import annotations

import errno
import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from deploy.local import configuration, health, ports, processes, service_process
from deploy.local.authority import Authority, Identity
from deploy.local.clock_file import ClockFile
from deploy.local.errors import DiskFull, LocalStackError
from deploy.local.issuer import people
from deploy.local.layout import ENVIRONMENT, SERVICES, TRUST_DOMAIN, Addresses, Layout, Ports
from deploy.local.postgres import Postgres
from deploy.local.records import Copy, Part, Records
from deploy.local.service_process import Program

# A new stack takes some 100 MB; with less than this left, PostgreSQL would soon stop in the middle of
# something.
_LEAST_ROOM = 500 * 2**20
_PATIENCE_TO_START = 60.0
# Services drain on SIGTERM: they say NOT_SERVING, wait, finish what is in flight (25 s at most).
_PATIENCE_TO_STOP = 40.0

ISSUER = "issuer"
_POSTGRES = "postgres"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class PartStatus:
    """How one process of the stack is."""

    name: str
    pid: int | None
    """None if it does not run."""
    healthy: bool
    seconds: float | None
    """From its start until it was healthy, when it was started."""


@dataclass(frozen=True)
class ServingCopy:
    """A second database server, started from a backup."""

    port: int
    layout: Layout

    def url(self, service: str) -> str:
        """The URL of a service's database in the copy, without its password: fit for a command line."""
        return f"postgresql+psycopg://{service}@{ports.LOOPBACK}:{self.port}/{service}"

    def password(self, service: str) -> dict[str, str]:
        """The environment variable by which PostgreSQL's client library takes the password (libpq §32.15)."""
        return {"PGPASSWORD": self.layout.secret(service)}


class Stack:
    """One local stack in one directory. Commands of several processes on it take turns."""

    def __init__(
        self, layout: Layout, programs: Sequence[Program] | None = None, *, durable: bool = True
    ) -> None:
        """For tests: `programs` takes the place of Kept's own processes; `durable=False` of durable commits."""
        self.layout = layout
        self._programs = kept_programs(layout) if programs is None else programs
        self.clock = ClockFile(layout.clock)
        self._records = Records(layout.running)
        self._postgres = Postgres(
            layout.database,
            port=layout.ports["postgres"],
            password=layout.secret("postgres"),
            log=layout.log("postgres"),
            durable=durable,
        )

    @classmethod
    def open(cls, directory: Path, ports_: Ports | None = None) -> Stack:
        """The stack in `directory`; made there, on these ports (7400 up by default), if there is none.

        Raises LocalStackError if another kind of thing lies there, or a stack that has other ports, or if the disk is full.
        """
        directory = directory.absolute()
        found = Layout.find(directory)
        if found is not None and (ports_ is None or found.ports == ports_):
            return cls(found)
        if found is not None and found.database.exists():
            raise LocalStackError(
                f"The stack in {directory} was made on ports from {found.ports.first()}: "
                "start it without --base-port, or remove it first with `python -m deploy.local reset`."
            )
        with _full_disk_is_said(directory):
            return cls(Layout.create(directory, ports_ or Ports.block(7400)))

    @classmethod
    def find(cls, directory: Path) -> Stack | None:
        """The stack in `directory`, or None."""
        layout = Layout.find(directory.absolute())
        return None if layout is None else cls(layout)

    # running

    def start(self, progress: Progress = lambda _: None) -> bool:
        """Start whatever does not run yet, and return when all is healthy. False if everything ran already.

        `progress` is told in a few words what is being done. Raises LocalStackError; nothing runs then.
        """
        with self._turn():
            if self._is_up():
                return False
            try:
                with _full_disk_is_said(self.layout.directory):
                    self._start(progress)
            except BaseException:
                self._stop()
                raise
            return True

    def stop(self) -> list[str]:
        """End everything that runs of the stack; returns the names of what had to be killed."""
        with self._turn():
            return self._stop()

    def is_running(self) -> bool:
        """True if all of the stack's processes live."""
        return self._is_up()

    def status(self) -> list[PartStatus]:
        """Every process that belongs to the stack: whether it runs, and whether it is healthy now."""
        recorded = self._records.parts()
        database = self._postgres.process()
        seconds = recorded[_POSTGRES].seconds if _POSTGRES in recorded else None
        statuses = [PartStatus(_POSTGRES, database.pid if database else None, database is not None, seconds)]
        for program in self._programs:
            part = recorded.get(program.name)
            if part is not None and part.process.is_running():
                statuses.append(PartStatus(program.name, part.pid, program.is_healthy(), part.seconds))
            else:
                statuses.append(PartStatus(program.name, None, False, None))
        return statuses

    def remove(self) -> None:
        """End the stack and remove everything of it."""
        self.stop()
        shutil.rmtree(self.layout.directory)

    # for the story, the tests and the person at the keyboard

    def addresses(self, service: str) -> Addresses:
        """Where a service listens."""
        return self.layout.addresses(service)

    def identity(self, name: str) -> Identity:
        """Certificate and key of a caller, such as "gateway/chat"; made when first asked for."""
        return self._authority().issue(name, serves=name in SERVICES)

    def password(self, username: str) -> str:
        """The password of one of the workforce (`deploy.local.issuer.people.WORKFORCE`)."""
        return people.password(self.layout.passwords, username)

    def travel(self, by: timedelta) -> None:
        """Move the clock of the whole stack ahead: leases drop, tokens expire, TLS keeps real time."""
        self.clock.travel(by)

    def command(
        self,
        service: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        patience: float = 60.0,
    ) -> str:
        """Run `python -m services.SERVICE ARGUMENTS --config FILE` to its end; returns what it printed.

        Arguments are visible to every user of the machine: secrets go into `environment`. Raises
        LocalStackError.
        """
        config = str(self.layout.configuration(service))
        return service_process.run(
            ["-m", f"services.{service}", *arguments, "--config", config],
            environment=environment,
            patience=patience,
        )

    @property
    def database(self) -> Postgres:
        """The stack's database server."""
        return self._postgres

    def database_url(self, service: str) -> str:
        """The URL of a service's live database, password included."""
        return self._postgres.url(service, service, self.layout.secret(service))

    def back_up_databases(self, name: str) -> Path:
        """A base backup (`pg_basebackup -X stream`) of the live server, named; returns its directory."""
        target = self.layout.copies / name
        if target.exists():
            raise LocalStackError(f"There is a copy called {name} already: choose another name.")
        self._postgres.base_backup(target)
        return target

    @contextmanager
    def serving_copy(self, backup: Path) -> Iterator[ServingCopy]:
        """Start a backup as a second server beside the stack, as long as the block runs.

        with stack.serving_copy(backup) as copy:
            stack.command("x", "--try-open", copy.url("x"), environment=copy.password("x"))
        """
        port = self.layout.ports["postgres_copy"]
        # Written down before the start: stop() then ends it even if this process is killed.
        self._records.copied(Copy(str(backup), port))
        server = self._postgres.start_copy(backup, port)
        try:
            yield ServingCopy(port, self.layout)
        finally:
            server.stop()

    def files(self) -> list[Path]:
        """Every file of the stack: databases with their WAL, copies, logs, keys, configuration."""
        return list(self.layout.files())

    # parts

    def _start(self, progress: Progress) -> None:
        self._require_room()
        recorded = self._records.parts()
        programs = [program for program in self._programs if not _lives(recorded.get(program.name))]
        self._require_ports(programs)
        began = time.monotonic()
        if not self._postgres.is_running():
            progress("starting PostgreSQL")
            self._postgres.start()
            server = self._postgres.process()
            if server is not None:
                self._records.started(_POSTGRES, server)
                self._records.healthy(_POSTGRES, time.monotonic() - began)
        progress("making databases, certificates and configuration")
        self._configure()
        waiting = {}
        for program in programs:
            process = service_process.spawn(program, self.layout.log(program.name))
            self._records.started(program.name, process)
            waiting[program.name] = (program, process, time.monotonic())

        def healthy(name: str, seconds: float) -> None:
            self._records.healthy(name, seconds)
            del waiting[name]
            progress(f"waiting for {', '.join(waiting)}" if waiting else "all healthy")

        progress(f"starting {', '.join(waiting)}")
        service_process.wait_until_healthy(
            dict(waiting), patience=_PATIENCE_TO_START, log=self.layout.log, healthy=healthy
        )

    def _configure(self) -> None:
        self.clock.create()
        people.create(self.layout.people, self.layout.passwords)
        authority = self._authority()
        for service in SERVICES:
            url = self._postgres.ensure_database(service, self.layout.secret(service))
            configuration.write_service(self.layout, service, authority.issue(service, serves=True), url)
        configuration.write_issuer(self.layout, authority.issue(ISSUER, serves=False))
        configuration.write_profile(self.layout)

    def _stop(self) -> list[str]:
        parts = [part for part in self._records.parts().values() if part.name != _POSTGRES and _lives(part)]
        killed = processes.end([part.process for part in parts], patience=_PATIENCE_TO_STOP)
        for copy in self._records.copies():
            self._postgres.copy(Path(copy.data), copy.port).stop()
        self._postgres.stop()
        service_process.forget_ended()
        self._records.clear()
        return [part.name for part in parts if part.process in killed]

    def _is_up(self) -> bool:
        recorded = self._records.parts()
        return self._postgres.is_running() and all(_lives(recorded.get(each.name)) for each in self._programs)

    def _require_room(self) -> None:
        if shutil.disk_usage(self.layout.directory).free < _LEAST_ROOM:
            raise DiskFull(str(self.layout.directory))

    def _require_ports(self, programs: Sequence[Program]) -> None:
        """Every port that a part needs which does not run yet: found out before anything is started."""
        needed = {program.name for program in programs}
        if not self._postgres.is_running():
            needed.add(_POSTGRES)
        for name, number in self.layout.ports.numbers.items():
            part = name.partition(".")[0]
            if part in needed:
                ports.require_free(part, number)

    def _authority(self) -> Authority:
        return Authority(self.layout.authority, trust_domain=TRUST_DOMAIN, environment=ENVIRONMENT)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Commands on one stack take turns; the lock goes with the process that holds it."""
        with open(self.layout.directory / "lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def kept_programs(layout: Layout) -> list[Program]:
    """The processes of a stack beside its database: five services and the issuer, in no order."""
    programs = [
        Program(
            service,
            ["-m", f"services.{service}", "--config", str(layout.configuration(service))],
            partial(health.serves, layout.addresses(service).health),
        )
        for service in SERVICES
    ]
    issuer = ["-m", "deploy.local.issuer", "--config", str(layout.issuer_configuration)]
    return [
        *programs,
        Program(ISSUER, issuer, partial(health.answers, layout.issuer_address, "/workforce/jwks.json")),
    ]


@contextmanager
def _full_disk_is_said(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(str(directory)) from error
        raise


def _lives(part: Part | None) -> bool:
    return part is not None and part.process.is_running()
