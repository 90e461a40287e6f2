"""What a trial does to an installation."""

from types import SimpleNamespace
from typing import Any, cast

from deploy.chaos.load import Load
from deploy.chaos.trials import Trials
from deploy.image.engine import EngineError


class _Installation:
    """Notes which image's migrations run; replicas there are none."""

    def __init__(self, refused: str = "") -> None:
        self.replicas = SimpleNamespace(all=[])
        self.migrated: list[str] = []
        self._refused, self._image = refused, ""

    def run_from(self, image: str) -> None:
        self._image = image

    def migrate(self) -> None:
        self.migrated.append(self._image)
        if self._refused:
            raise EngineError(self._refused)


def _trials(installation: _Installation) -> Trials:
    tally = SimpleNamespace(wait_answered=lambda *_: {"read": 0.0}, between=lambda *_: [])
    load = cast(Load, SimpleNamespace(tally=tally, kinds=["read"]))
    return Trials(cast(Any, installation), load, lambda _: None)


def test_going_back_runs_the_older_versions_migrations_too() -> None:
    installation = _Installation()
    trials = _trials(installation)
    outcome = trials.run("back", True, lambda: trials.back("older"))
    assert installation.migrated == ["older"]
    assert not outcome.problems


def test_migrations_that_end_badly_on_the_way_back_are_a_problem_of_the_trial() -> None:
    trials = _trials(_Installation("Can't locate revision"))
    outcome = trials.run("back", True, lambda: trials.back("older"))
    assert outcome.problems == ["the migrations of older: Can't locate revision"]
