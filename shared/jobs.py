"""Work that a service does by itself: a step that is repeated.

A step does a bounded piece of work, is safe to repeat after any failure, and says whether there is more to do at once. The server runs
each job in a thread of its own; the simulation calls steps itself, in an order that its seed decides.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import structlog

from shared.clock import SystemClock
from shared.errors import KeptError
from shared.redaction import where
from shared.telemetry import JOB_BEGUN, JOB_FAILING

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Job:
    """name: for logs and metrics. interval: from the end of one step to the next, unless there is more to do or `wake` is set.
    step: True when there is more to do at once."""

    name: str
    interval: timedelta
    step: Callable[[], bool]
    wake: threading.Event = field(default_factory=threading.Event)


class Attempts:
    """Attempts of which one that fails, for whatever reason, holds up no other. What is raised, once all were made, is the first
    failure."""

    def __init__(self) -> None:
        self._failure: Exception | None = None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """One of them: an exception ends the block and is kept."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - what one stumbles over must not stop the others for ever
            self._failure = self._failure or error

    def each(self, items: Iterable[T], step: Callable[[T], bool]) -> bool:
        """An attempt for each, in order; whether one of them said that there is more to do."""
        more = False
        for item in items:
            with self.attempt():
                more = step(item) or more
        return more

    def raise_first(self) -> None:
        """Raises the first failure, if there was one."""
        if self._failure is not None:
            raise self._failure


class JobRunner:
    """Runs jobs until it is stopped. A step that fails is logged and tried again after its interval."""

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = jobs
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Starts a thread for each job."""
        for job in self._jobs:
            thread = threading.Thread(target=self._run, args=(job,), name=f"job:{job.name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, timeout: timedelta) -> None:
        """Lets steps in progress end, and waits for all of them together that long."""
        until = time.monotonic() + timeout.total_seconds()
        self._stopping.set()
        for job in self._jobs:
            job.wake.set()
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, job: Job) -> None:
        failed = False
        JOB_FAILING.labels(job.name).set(0)
        while not self._stopping.is_set():
            more = False
            job.wake.clear()
            JOB_BEGUN.labels(job.name).set(SystemClock().now().timestamp())
            try:
                more = job.step()
                if failed:
                    _log.info("job.recovered", job=job.name)
                failed = False
            except KeptError as error:
                if not failed:  # once an outage, not once a try
                    _log.warning("job.failed", job=job.name, reason=error.name)
                failed = True
            except Exception as error:  # noqa: BLE001 - a job outlives its failures; the type is logged, the text may hold data
                _log.error("job.crashed", job=job.name, error=type(error).__name__, where=where(error))
                failed = True
            JOB_FAILING.labels(job.name).set(failed)
            JOB_BEGUN.labels(job.name).set(0)
            if not more and not self._stopping.is_set():
                job.wake.wait(job.interval.total_seconds())
