"""Screening leaves the processors to whoever records, over a running stack."""

import os
from collections import Counter
from pathlib import Path

import pytest

from deploy.local.story.plot import Plot

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]


def _niceness(plot: Plot, service: str) -> Counter[int]:
    """How many threads of the service's process step back how far."""
    (pid,) = (part.pid for part in plot.stage.stack.status() if part.name == service)
    threads = Path(f"/proc/{pid}/task").iterdir()
    return Counter(os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in threads)


def test_safety_review_gives_way_and_logging_does_not(plot: Plot) -> None:
    (recording,) = _niceness(plot, "logging")
    screening = _niceness(plot, "safety_review")
    # What a library started when it was imported does not screen.
    assert screening.most_common(1)[0][0] == min(recording + 10, 19)
    assert screening[recording] <= 1
