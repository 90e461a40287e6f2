"""A running stack with the first two chapters played on it: three customers, staff with roles, some records."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local.__main__ import SAMPLE
from deploy.local.layout import Ports
from deploy.local.stack import Stack
from deploy.local.story import interactions
from deploy.local.story.chapters import organizations, recording
from deploy.local.story.plot import Plot
from deploy.local.story.stage import Stage
from deploy.local.story.telling import Narrator
from kept.options.v1 import roles_pb2

# Enough for every kind of record; the whole sample is the demo's.
_RECORDS = 30


@pytest.fixture(scope="session")
def plot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plot]:
    """The story after its second chapter. Tests that use it bear `pytest.mark.xdist_group("stack")`: one stack is enough."""
    home: Path = tmp_path_factory.mktemp("stack")
    stack = Stack.open(home, Ports.free())
    try:
        stack.start()
        told = io.StringIO()
        narrator = Narrator(Console(file=told, width=200))
        samples, _ = interactions.read(SAMPLE)
        with Stage(stack) as stage:
            played = Plot(stage, narrator, samples[:_RECORDS])
            organizations.play(played)
            recording.play(played)
            played.power("luca", "lena", roles_pb2.POWER_LEGAL, "one of legal staff acts, one does not")
            assert narrator.conclude(), told.getvalue()
            yield played
    finally:
        stack.remove()
