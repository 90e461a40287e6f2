"""What is done to an installation under load, and what must hold while it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

from deploy.chaos.cuts import pairs
from deploy.chaos.installation import Installation
from deploy.chaos.load import Load
from deploy.chaos.replicas import Replica
from deploy.chaos.tally import PASSING, Kind, summarize
from deploy.image.engine import EngineError
from deploy.local.layout import SERVICES

# Everybody who holds a certificate.
_HOLDERS: Final = (*SERVICES, "gateway/demo")
_CERTIFICATE_LIFE: Final = timedelta(minutes=1)
_ROTATED_EVERY: Final = 20.0
# Longer than a certificate lives, so that none of those in use at the end is one of the first.
_ROTATION: Final = 75.0
# Longer than a lease (2 s), so that what rests on one stops.
_CUT: Final = 3.5
# Longer than a connection without an answer lasts (shared/channels.py).
_SILENT: Final = 8.0
_PATIENCE: Final = 30.0
_QUIET: Final = 8.0


@dataclass(frozen=True)
class Outcome:
    """One trial. covered: whether callers' own retries must have covered it. seconds: how long it took. recoveries: for each thing that was
    done, the seconds until every kind of call was answered again, counted from when the cause was gone; None where that did not happen in
    time. notes: more figures, as text. failures: what else did not go as it should."""

    name: str
    covered: bool
    seconds: float
    kinds: Sequence[Kind]
    recoveries: dict[str, float | None] = field(default_factory=dict)
    notes: Sequence[str] = ()
    failures: Sequence[str] = ()

    @property
    def failed(self) -> int:
        """Calls that failed in the caller's hands."""
        return sum(kind.failed for kind in self.kinds)

    @property
    def problems(self) -> list[str]:
        """What did not hold; empty when all did."""
        found = list(self.failures)
        found += [
            f"{what}: not answered again in time" for what, took in self.recoveries.items() if took is None
        ]
        for kind in self.kinds:
            if self.covered and kind.failed:
                found.append(
                    f"{kind.failed} of {kind.calls} calls to {kind.kind} failed: {_counts(kind.reasons)}"
                )
            wrong = {reason: count for reason, count in kind.reasons.items() if reason not in PASSING}
            if not self.covered and wrong:
                found.append(
                    f"{kind.kind} failed for another reason than that it cannot be answered: {_counts(wrong)}"
                )
        return found


def _counts(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))


class Trials:
    """Does them, one after the other, each with everything well at its beginning."""

    def __init__(self, installation: Installation, load: Load, say: Callable[[str], None]) -> None:
        self._installation = installation
        self._load = load
        self._say = say
        self._recoveries: dict[str, float | None] = {}
        self._notes: list[str] = []
        self._failures: list[str] = []

    def run(self, name: str, covered: bool, act: Callable[[], None]) -> Outcome:
        """One of them."""
        self._say(f"{name} …")
        self._recoveries, self._notes, self._failures = {}, [], []
        begin = time.monotonic()
        act()
        self._recovered("")
        end = time.monotonic()
        calls = self._load.tally.between(begin, end)
        outcome = Outcome(
            name,
            covered,
            end - begin,
            summarize(calls, begin, end),
            dict(self._recoveries),
            tuple(self._notes),
            tuple(self._failures),
        )
        self._say(
            f"{name}: {len(calls)} calls, {outcome.failed} failed, {end - begin:.0f} s"
            + "".join(f"\n    NOT MET: {problem}" for problem in outcome.problems)
        )
        return outcome

    def _recovered(self, what: str) -> None:
        took = self._load.tally.wait_answered(self._load.kinds, time.monotonic(), _PATIENCE)
        slowest = None if None in took.values() else max(value or 0.0 for value in took.values())
        if what or slowest is None:
            self._recoveries[what or "at the end"] = slowest

    def quiet(self) -> None:
        """Nothing is done: what the load is like by itself."""
        time.sleep(_QUIET)

    def rolling_restart(self) -> None:
        """Each replica is asked to go and started again, one after the other, service by service."""
        self._replaced(self._installation.replicas.all)

    def upgrade(self, image: str) -> None:
        """The Jobs migrate under the old version, and then each replica is replaced by one of the new one: in between, every version talks
        with every other, by contracts and by databases."""
        began = time.monotonic()
        self._installation.run_from(image)
        self._installation.migrate()
        self._notes.append(
            f"the migrations took {time.monotonic() - began:.1f} s, with all of the old version serving"
        )
        self._recovered("migrated")
        self._replaced(self._by_rollout())

    def back(self, image: str) -> None:
        """The Jobs of the version before run on databases that are ahead of it, and each replica is replaced by one of it; in the other
        order."""
        self._installation.run_from(image)
        try:
            self._installation.migrate()
        except EngineError as error:
            # Its replicas are tried all the same, as a cluster starts them. A version that never knew a schema ahead of it ends so too, and
            # that is reported as well: from outside it is no other than one that knows it no more.
            self._failures.append(f"the migrations of {image}: {error}")
        self._replaced(reversed(self._by_rollout()))

    def _by_rollout(self) -> list[Replica]:
        """In the order in which rollouts that begin together end: a replica of a new version is not ready before access control's are, if
        it asks that for what the version before does not have."""
        return sorted(self._installation.replicas.all, key=lambda one: one.service != "access_control")

    def _replaced(self, replicas: Iterable[Replica]) -> None:
        for replica in replicas:
            ended = self._installation.replicas.end(replica)
            started = self._installation.replicas.start(replica)
            self._recovered(replica.name)
            self._notes.append(f"{replica.name} went in {ended:.1f} s and was back in {started:.1f} s")

    def rotation(self) -> None:
        """Certificates that live a minute, replaced every twenty seconds, until all of the first have been over for a while."""
        begin = time.monotonic()
        rounds, before = 0, self._installation.connections()
        while time.monotonic() < begin + _ROTATION:
            for name in _HOLDERS:
                self._installation.rotate(name, _CERTIFICATE_LIFE)
            rounds += 1
            time.sleep(_ROTATED_EVERY)
        # A replica that starts now proves itself, and is proven to, by certificates of the last round.
        replica = self._installation.replicas.of("access_control")[0]
        self._installation.replicas.end(replica)
        self._installation.replicas.start(replica)
        for name in _HOLDERS:
            self._installation.rotate(name, timedelta(hours=1))
        self._notes.append(
            f"{before} connections to the services' doors before, {self._installation.connections()} after"
        )
        self._notes.append(
            f"{rounds} rounds of {len(_HOLDERS)} certificates that lived {_CERTIFICATE_LIFE.seconds} s"
        )

    def kill(self) -> None:
        """SIGKILL of one replica of each service; it is started again once everybody is answered without it."""
        for service in SERVICES:
            replica = self._installation.replicas.of(service)[-1]
            self._installation.replicas.kill(replica)
            self._recovered(f"without {replica.name}")
            self._installation.replicas.start(replica)

    def silence(self) -> None:
        """One replica of each service in turn is heard of no more, as of a machine that lost its network."""
        for service in SERVICES:
            own = self._installation.replicas.of(service)[-1].addresses
            self._installation.cuts.silence([own.services, own.people])
            self._recovered(f"without {service}-2")
            time.sleep(_SILENT)
            self._installation.cuts.heal()

    def database_restart(self) -> None:
        """The one database server under all services ends, disconnecting everybody, and starts again."""
        begin = time.monotonic()
        self._installation.restart_database()
        self._notes.append(f"the server was away for {time.monotonic() - begin:.1f} s")
        self._recovered("database back")

    def partitions(self) -> None:
        """Every two services in turn hear nothing of each other for longer than a lease lasts."""
        for pair in pairs():
            self._installation.cuts.cut(pair)
            time.sleep(_CUT)
            self._installation.cuts.heal()
            self._recovered(" and ".join(sorted(pair)))


def all_trials(trials: Trials, image: str, before: str) -> list[tuple[str, bool, Callable[[], None]]]:
    """Name, whether retries must cover it, and the act. before: the image of an older version that runs at first; "" for none."""
    versions: list[tuple[str, bool, Callable[[], None]]] = [
        (f"upgrade of every service from {before}", True, partial(trials.upgrade, image)),
        (f"the upgrade taken back, to {before}", True, partial(trials.back, before)),
        ("the upgrade again", True, partial(trials.upgrade, image)),
    ]
    return [
        ("nothing", True, trials.quiet),
        *(versions if before else []),
        ("rolling restart of every service", True, trials.rolling_restart),
        ("rotation of every certificate", True, trials.rotation),
        ("SIGKILL of a replica of every service", True, trials.kill),
        ("silence of a replica of every service", True, trials.silence),
        ("restart of the database", False, trials.database_restart),
        ("partition between every two services", False, trials.partitions),
    ]
