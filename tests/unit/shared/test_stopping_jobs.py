"""Jobs that do not end in time hold up their process once, not once each."""

import threading
import time
from datetime import timedelta

from shared.jobs import Job, JobRunner


def test_all_jobs_together_have_the_time_that_is_given() -> None:
    released, entered = threading.Event(), threading.Semaphore(0)

    def hang() -> bool:
        entered.release()
        released.wait(10)
        return False

    runner = JobRunner([Job(f"hangs-{number}", timedelta(hours=1), hang) for number in range(8)])
    runner.start()
    for _ in range(8):
        assert entered.acquire(timeout=10)
    began = time.monotonic()
    runner.stop(timedelta(seconds=0.25))
    took = time.monotonic() - began
    released.set()
    assert 0.25 <= took < 1.0, took
