"""The simulated world: every process, its database, its clock, its key store; who signs in; what dies and comes back."""

import hashlib
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

import services.access_control.grants.ended
from services.access_control.audit.decision_log import DecisionLog
from services.access_control.audit.log import AuditLog
from services.access_control.key_stores.files import FileKeyStore
from services.access_control.people.bootstrap import First, bootstrap
from shared import ids
from shared.database import Database
from shared.errors import KeptError
from shared.identity import Caller, CallerKind, IssuerKeys
from shared.identity import _Listed as Listed
from shared.inprocess import InProcess
from shared.jobs import Job
from shared.redaction import Secret
from shared.replica import Replica
from tests.simulation.clocks import ProcessClock, WorldTime
from tests.simulation.databases import Databases
from tests.simulation.faults import Crash, Faults
from tests.simulation.network import channel
from tests.simulation.rooms import ISSUERS, PROCESSES, ROOMS, configuration

_KEY = ECKey.generate_key("P-256", parameters={"kid": "sim"})
# Jobs that listen, a heartbeat a step.
_WATCHES = {"ended_grants"}
# Asks about every hour there was: a leap of a day is a hundred questions, and none of them bears on an invariant. A few are asked.
_PATIENT = {"log_questions"}
_HOUSEKEEPING = {
    *_PATIENT,
    "partitions",
    "epoch_keys",
    "data_keys",
    "old_verdicts",
    "ended_cases",
    "hold_extensions",
    "rules",
    "subject_fences",
    "usage_periods",
    "reported_usage",
    "replay",
}
# Jobs that ask other services how far they are.
_FOLLOWING = {"holds", "runs", "erasures", "subject_erasures", "content_erasures", "certificates"}
# A quiet moment is this many steps at most, and so long each.
_ROUNDS = 48
_STEP = timedelta(seconds=0.5)


def _is_listening(job: Job) -> bool:
    return job.name.startswith("replica:") or job.name in _WATCHES


@dataclass
class Process:
    """A process that runs: its clock survives it, everything in memory does not."""

    name: str
    room: str
    clock: ProcessClock
    database: Database
    server: InProcess
    lives: int


class World:
    """One history's world."""

    def __init__(self, seed: random.Random, databases: Databases, home: Path, time: WorldTime) -> None:
        self.seed = seed
        self.time = time
        self.faults = Faults(random.Random(seed.random()))
        self.trace = hashlib.sha256()
        self._cut_until: dict[str | None, float] = {}
        self._home = home
        self.databases = databases
        self._patches = ExitStack()
        self._patch(random.Random(seed.random()))
        self.processes: dict[str, Process] = {}
        try:
            for name, room in PROCESSES.items():
                self.processes[name] = self._start(name, room, ProcessClock(self.time), 1)
        except BaseException:
            self.close()
            raise

    def _patch(self, entropy: random.Random) -> None:
        """Replaces what reaches out of this world: chance, the issuers' keys, and waiting for the wire."""

        def fetch(keys: IssuerKeys) -> None:
            keys._listed = Listed(KeySet([_KEY]), frozenset({"sim"}), keys._clock.boottime())

        monotonic = mock.Mock(monotonic=lambda: self.time.boottime)
        for target, name, replacement in (
            (ids, "entropy", entropy.randbytes),
            (IssuerKeys, "_fetch", fetch),
            # A heartbeat comes as soon as it is asked for; when it is asked for is for the seed to decide.
            (services.access_control.grants.ended, "_wait", lambda is_active, _: is_active()),
            (services.access_control.grants.ended, "time", monotonic),
        ):
            self._patches.enter_context(mock.patch.object(target, name, replacement))

    def roots(self) -> list[str]:
        """The root keys that are in the key store."""
        return FileKeyStore(self._home / "key_store").root_ids()

    def note(self, *event: object) -> None:
        """Adds an event to the trace, whose digest says whether two histories are the same."""
        self.trace.update(repr((event, self.time.boottime)).encode())

    def close(self) -> None:
        """Puts back what the world replaced in this process, and gives back the connections that its processes kept: another world's
        processes use the same engines."""
        for process in self.processes.values():
            process.database.close()
        self._patches.close()

    def lives(self, name: str | None) -> int:
        """Which of a process's lives this is; 0 for who is no process."""
        return self.processes[name].lives if name in self.processes else 0

    def step(self, name: str, lives: int) -> None:
        """Called between any two steps of a process. Raises Crash: when the seed says so, and in what is left of an earlier life."""
        if name in self.processes and (lives < self.lives(name) or self.faults.is_fatal()):
            raise Crash(name, lives)

    def restart(self, crash: Crash) -> None:
        """The process died; another takes its place, with nothing but what is on disk."""
        old = self.processes[crash.process]
        if old.lives != crash.incarnation:
            return  # it has been replaced
        self.note("crashed", crash.process)
        old.database.close()  # its connections die with it; what it kept would be missing from the pool of the next
        with self.quiet():
            self.processes[old.name] = self._start(old.name, old.room, old.clock, old.lives + 1)

    def while_all_are_stopped(self, act: Callable[[], Any]) -> Any:
        """Every process ends, something is done, and others take their places."""
        for process in self.processes.values():
            process.database.close()
        done = act()
        with self.quiet():
            for old in list(self.processes.values()):
                self.processes[old.name] = self._start(old.name, old.room, old.clock, old.lives + 1)
        return done

    def cut_off(self, name: str, during: timedelta) -> None:
        """What a process calls is lost for so long; others reach it."""
        self._cut_until[name] = self.time.boottime + during.total_seconds()

    def is_cut_off(self, name: str | None) -> bool:
        """Whether what it calls is lost now."""
        return not self.faults.off and self.time.boottime < self._cut_until.get(name, 0.0)

    def mend(self) -> None:
        """Clocks are set right, and everybody reaches everybody."""
        self._cut_until.clear()
        for process in self.processes.values():
            process.clock.skew = timedelta(0)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Nothing goes wrong in this block."""
        was, self.faults.off = self.faults.off, True
        try:
            yield
        finally:
            self.faults.off = was

    def _start(self, name: str, room: str, clock: ProcessClock, lives: int) -> Process:
        database = Database(self.databases.urls[room], on_commit=lambda _: self.step(name, lives))
        database.engine = self.databases.engines[name]
        config = ROOMS[room].config_class.model_validate(
            configuration(room, self.databases.urls[room], self._home)
        )
        service = ROOMS[room].wire(
            config,
            clock,
            database,
            lambda peer: channel(
                self, lambda: self._any_of(peer), lambda: Caller(CallerKind.SERVICE, name=room), name
            ),
        )
        return Process(name, room, clock, database, InProcess(service), lives)

    def _any_of(self, room: str) -> str:
        names = [name for name, of in PROCESSES.items() if of == room]
        return names[0] if len(names) == 1 else self.seed.choice(names)

    def bootstrap(self) -> None:
        """The first two operators."""
        process = self.processes["access_control"]
        log = AuditLog(process.database, process.clock, FileKeyStore(self._home / "key_store"))
        firsts = (
            First("Olga Operator", "olga@vendor.example", "olga"),
            First("Omar Operator", "omar@vendor.example", "omar"),
        )
        bootstrap(
            process.database,
            process.clock,
            DecisionLog(process.database, log, process.clock),
            ISSUERS["workforce"],
            firsts,
            hashlib.sha256(b"agreement").digest(),
        )

    # who calls

    def token(self, kind: str, subject: str, room: str, organization_id: str = "") -> Secret:
        """A fresh token for one service."""
        now = int(self.time.now.timestamp())
        claims = {"iss": ISSUERS[kind], "sub": subject, "aud": f"kept:{room}", "iat": now, "exp": now + 900}
        if organization_id:
            claims["org"] = organization_id
        return Secret(jwt.encode({"alg": "ES256", "kid": "sim"}, claims, _KEY))

    def person(self, subject: str, organization_id: str = "") -> Callable[[str], grpc.Channel]:
        """Channels for a person of the workforce, or of a customer where an organization is given."""
        kind = "customer" if organization_id else "workforce"

        def connect(room: str) -> grpc.Channel:
            return channel(
                self,
                lambda: self._any_of(room),
                lambda: Caller(
                    CallerKind.CUSTOMER if organization_id else CallerKind.STAFF,
                    issuer=ISSUERS[kind],
                    subject=subject,
                    token=self.token(kind, subject, room, organization_id),
                    organization_id=organization_id,
                ),
            )

        return connect

    def public(self, room: str) -> grpc.Channel:
        """A channel for nobody."""
        return channel(self, lambda: self._any_of(room), lambda: Caller(CallerKind.PUBLIC))

    def service(self, name: str, room: str) -> grpc.Channel:
        """A channel for a service, for what no process of its own does yet."""
        return channel(self, lambda: self._any_of(room), lambda: Caller(CallerKind.SERVICE, name=name))

    def gateway(self, process: str) -> grpc.Channel:
        """The gateway's channel to one process of logging."""
        return channel(self, lambda: process, lambda: Caller(CallerKind.GATEWAY, name="sim"))

    # what processes do by themselves

    def step_some_jobs(self) -> None:
        """Some jobs take steps, in an order that the seed decides."""
        jobs = self._jobs(lambda _: True)
        for name, index in self.seed.sample(jobs, k=len(jobs) // 3):
            self.step_job(name, index)

    def _jobs(self, wanted: Callable[[Job], bool]) -> list[tuple[str, int]]:
        return [
            (name, index)
            for name, process in self.processes.items()
            for index, job in enumerate(process.server.service.jobs)
            if wanted(job)
        ]

    def step_job(self, name: str, index: int) -> bool:
        """One job takes steps until it says that there is no more to do; whether that was without a failure. A watch, which never says so,
        takes one."""
        try:
            job = self.processes[name].server.service.jobs[index]
            for _ in range(1 if job.name in _WATCHES | _PATIENT else 50):
                if not job.step():
                    break
            return True
        except KeptError as error:
            self.note("waits", name, index, error.name)  # it says so in the log and tries again later
        except Crash as crash:
            self.restart(crash)
        return False

    def step_jobs(self, room: str, job: str) -> None:
        """A job of every process of a room, by its name."""
        for name, process in list(self.processes.items()):
            names = [each.name for each in process.server.service.jobs]
            if process.room == room and job in names:
                self.step_job(name, names.index(job))

    def settle(self) -> None:
        """Nothing goes wrong for a while, and everybody does what there is to do: each job once, and then, half a second at a time, the
        jobs that a write since their last step may have given something to do."""
        with self.quiet():
            self.mend()
            self.leases()
            jobs = self._jobs(lambda job: not _is_listening(job))
            self.seed.shuffle(jobs)
            seen: dict[tuple[str, int], int] = {}
            for _ in range(_ROUNDS):
                due = [job for job in jobs if seen.get(job) != self._writes_for(job)]
                if not due:
                    return
                for job in due:
                    before = self._writes_for(job)
                    seen[job] = before if self.step_job(*job) else -1
                self.time.advance(_STEP)
                self.leases(often=0.0)

    def _writes_for(self, job: tuple[str, int]) -> int:
        """Grows when something is written that a job may act on: into its own database, or where it asks. What keeps house has
        nothing more to do in the same moment."""
        name, index = job
        writes = self.databases.writes
        job_name = self.processes[name].server.service.jobs[index].name
        if job_name in _HOUSEKEEPING:
            return 0
        follows_others = PROCESSES[name] == "retention" and job_name in _FOLLOWING
        return sum(writes.values()) if follows_others else writes[PROCESSES[name]]

    def leases(self, *names: str, often: float = 0.2) -> None:
        """Replicas (of these processes; of all) whose lease has run out poll, and now and then one whose lease has not; watches listen."""
        for name, index in self._jobs(_is_listening):
            if names and name not in names:
                continue
            step = inspect.unwrap(self.processes[name].server.service.jobs[index].step)
            replica = getattr(step, "__self__", None)
            if not isinstance(replica, Replica):
                # A watch that broke off is begun anew by the next step.
                _ = self.step_job(name, index) or self.step_job(name, index)
            elif not replica.has_lease() or self.seed.random() < often:
                self.step_job(name, index)

    def attempt(self, act: Callable[[], Any]) -> Any:
        """What an actor gets: an answer, or the error. A crash in the middle is an error to the actor too."""
        try:
            return act()
        except KeptError as error:
            self.note("told", error.name)
            return error
        except Crash as crash:
            self.restart(crash)
            return None
