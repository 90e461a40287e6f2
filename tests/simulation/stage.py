"""Where histories are played, one after the other: the beginning, which is the same for all, is played once and kept."""

import copy
import random
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.simulation.beginning import begin
from tests.simulation.clocks import WorldTime
from tests.simulation.databases import Databases, Saved
from tests.simulation.history import History
from tests.simulation.model import Model
from tests.simulation.scene import Powers, Scene
from tests.simulation.world import World
from tests.support.postgres import TestServer


@dataclass(frozen=True)
class _Beginning:
    """The state of a world on its first evening."""

    rows: Saved
    model: Model
    powers: Powers
    now: datetime
    boottime: float


@dataclass(frozen=True)
class Told:
    """What came of a history. trace: digest of everything that happened, in order."""

    summary: str
    trace: str


class Stage:
    """Plays histories. home: an empty directory."""

    def __init__(self, server: TestServer, home: Path) -> None:
        self._databases = Databases(server)
        self._kept, self._home = home / "beginning", home / "world"
        self._beginning = self._begin()

    def _begin(self) -> _Beginning:
        world = World(random.Random("beginning"), self._databases, self._kept, WorldTime())
        try:
            scene = Scene(world)
            begin(scene)
            time = world.time
            return _Beginning(self._databases.save(), scene.model, scene.powers, time.now, time.boottime)
        finally:
            world.close()

    def play(self, seed: int, days: int, favoured: frozenset[str] = frozenset()) -> Told:
        """Plays one history. favoured: acts that come up more often. Raises Broken."""
        begun = self._beginning
        self._databases.restore(begun.rows)
        shutil.rmtree(self._home, ignore_errors=True)
        shutil.copytree(self._kept, self._home)
        time = WorldTime(begun.now, begun.boottime)
        world = World(random.Random(seed), self._databases, self._home, time)
        try:
            history = History(Scene(world, copy.deepcopy(begun.model), dict(begun.powers)), favoured)
            for _ in range(days):
                history.day()
            history.quiet_moment()
            return Told(_summary(history.scene), world.trace.hexdigest())
        finally:
            world.close()

    def close(self) -> None:
        """Gives all connections back."""
        self._databases.close()


def _summary(scene: Scene) -> str:
    model, faults = scene.model, scene.world.faults
    stored = sum(sent.stored for sent in model.records.values())
    read = {record_id for grant in model.grants.values() for record_id in grant.read}
    erased = sum(organization.erased for organization in model.organizations.values())
    forgotten = sum(subject.done for subject in model.subjects)
    return (
        f"{len(model.records)} records sent, {stored} stored, {len(read)} read under {len(model.grants)} grants, "
        f"{len(model.holds)} holds, {len(model.certified)} epochs certified, {erased} erasures, "
        f"{forgotten} end users forgotten; {faults.crashes} crashes, "
        f"{faults.losses} lost and {faults.doubled} doubled calls"
    )
