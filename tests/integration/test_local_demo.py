"""`demo` ends and removes its stack whatever happens, and says by its exit code how the story went."""

from __future__ import annotations

import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.local import __main__ as command
from deploy.local import stack as stack_module
from deploy.local import throwaway
from deploy.local.layout import SERVICES, Layout, Ports
from deploy.local.postgres import Postgres
from deploy.local.service_process import Program
from deploy.local.stack import Stack

Story = Callable[[Callable[[Stack, Path], bool]], None]


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    """Puts another story, and a fake process for Kept's own, in place."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def programs(layout: Layout) -> list[Program]:
        return [Program(name, ["-c", "import time; time.sleep(600)"], lambda: True) for name in SERVICES]

    def volatile(data: Path, **options: Any) -> Postgres:
        return Postgres(data, **(options | {"durable": False}))  # for speed; durability has tests of its own

    monkeypatch.setattr(stack_module, "kept_programs", programs)
    monkeypatch.setattr(stack_module, "Postgres", volatile)

    def put(tell: Callable[[Stack, Path], bool]) -> None:
        module = types.ModuleType("deploy.local.story")
        module.tell = tell  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "deploy.local.story", module)

    return put


@pytest.fixture
def interactions(tmp_path: Path) -> Path:
    path = tmp_path / "interactions.jsonl"
    path.write_text('{"prompt": "a", "generation": "b"}\n')
    return path


def _failing(stack: Stack, path: Path) -> bool:
    raise ZeroDivisionError


@pytest.mark.parametrize(("outcome", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_is_the_storys_and_nothing_is_left(
    story: Story, interactions: Path, tmp_path: Path, outcome: bool, code: int
) -> None:
    seen: list[Stack] = []

    def tell(stack: Stack, path: Path) -> bool:
        assert stack.is_running()
        assert path == interactions
        seen.append(stack)
        return outcome

    story(tell)
    assert command.main(["demo", str(interactions)]) == code
    assert not seen[0].is_running()
    assert list(tmp_path.iterdir()) == [interactions]


def test_a_story_that_breaks_off_leaves_nothing(story: Story, interactions: Path, tmp_path: Path) -> None:
    story(_failing)
    with pytest.raises(ZeroDivisionError):
        command.main(["demo", str(interactions)])
    assert list(tmp_path.iterdir()) == [interactions]


def test_a_demo_that_was_killed_is_cleaned_up_by_the_next(
    story: Story, interactions: Path, tmp_path: Path
) -> None:
    home = throwaway.make("kept-demo-")
    killed = Stack(Layout.create(home / "stack", Ports.free()), durable=False)
    killed.start()
    (home / "owner.json").write_text('[1, "another start"]')
    story(lambda stack, path: True)
    assert command.main(["demo", str(interactions)]) == 0
    assert not killed.is_running()
    assert list(tmp_path.iterdir()) == [interactions]


def test_run_tells_the_story_until_it_went_well_and_leaves_the_stack_up(
    story: Story, interactions: Path, tmp_path: Path
) -> None:
    outcomes = [False, True]
    story(lambda stack, path: outcomes.pop(0))
    layout = Layout.create(tmp_path / "stack", Ports.free())
    place = ["--directory", str(layout.directory)]
    try:
        assert command.main(["run", str(interactions), *place]) == 1
        assert command.main(["run", str(interactions), *place]) == 0
        assert command.main(["run", str(interactions), *place]) == 0, "a third telling would fail here"
        assert command.main(["status", *place]) == 0
    finally:
        assert command.main(["stop", *place]) == 0
    assert not Stack(layout).is_running()
    assert command.main(["reset", *place]) == 0
    assert not layout.directory.exists()
