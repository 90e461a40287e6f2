"""What the ground that all services stand on measures."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from prometheus_client import REGISTRY

from deploy.local.authority import Authority
from kept.replica.v1 import lease_pb2
from shared.channels import matching_pair
from shared.errors import lease_lapsed
from shared.jobs import Attempts, Job, JobRunner
from shared.replica import Replica
from tests.support.clocks import ManualClock


def test_a_lease_is_as_old_as_the_poll_that_brought_it() -> None:
    clock = ManualClock()
    lease = lease_pb2.Lease(version=1, complete=True)

    def poll(_: int) -> tuple[list[object], lease_pb2.Lease]:
        clock.advance(timedelta(seconds=1))  # on its way
        lease.answered_at.FromDatetime(clock.now())
        return [], lease

    replica: Replica[str] = Replica("measured", poll, clock, window=timedelta(hours=1))  # type: ignore[arg-type]
    sent_at = clock.now().timestamp()
    replica.poll_once()
    assert REGISTRY.get_sample_value("kept_lease_timestamp_seconds", {"feed": "measured"}) == sent_at
    lease.complete = False
    replica.poll_once()
    assert REGISTRY.get_sample_value("kept_lease_timestamp_seconds", {"feed": "measured"}) == sent_at


@pytest.mark.parametrize("failure", [lease_lapsed, lambda: RuntimeError("unforeseen")])
def test_a_job_is_seen_to_fail_until_it_does_not(failure: Callable[[], Exception]) -> None:
    seen: list[float | None] = []
    done = threading.Event()

    def step() -> bool:
        seen.append(REGISTRY.get_sample_value("kept_job_failing", {"job": "measured"}))
        if len(seen) == 1:
            raise failure()
        if len(seen) == 3:
            done.set()
        return len(seen) < 3

    runner = JobRunner([Job("measured", timedelta(milliseconds=1), step)])
    runner.start()
    assert done.wait(10)
    runner.stop(timedelta(seconds=10))
    assert seen[:3] == [0, 1, 0]


def test_what_a_step_came_to_is_seen_at_its_end_and_not_at_the_next() -> None:
    def step() -> bool:
        ended.set()
        raise lease_lapsed()

    ended = threading.Event()
    runner = JobRunner([Job("rare", timedelta(hours=1), step)])
    runner.start()
    assert ended.wait(10)
    runner.stop(timedelta(seconds=10))
    assert REGISTRY.get_sample_value("kept_job_failing", {"job": "rare"}) == 1


def test_a_step_that_does_not_end_is_seen() -> None:
    def begun() -> float | None:
        return REGISTRY.get_sample_value("kept_job_step_begun_timestamp_seconds", {"job": "hangs"})

    def step() -> bool:
        seen.append(begun())
        ended.set()
        return False

    seen: list[float | None] = []
    ended = threading.Event()
    before = time.time()
    runner = JobRunner([Job("hangs", timedelta(hours=1), step)])
    runner.start()
    assert ended.wait(10)
    runner.stop(timedelta(seconds=10))
    assert before <= (seen[0] or 0) <= time.time()
    assert begun() == 0, "between steps"


def test_an_attempt_that_fails_for_a_reason_that_nobody_foresaw_holds_up_no_other() -> None:
    tried: list[int] = []

    def step(number: int) -> bool:
        tried.append(number)
        if number < 3:
            raise ValueError(number)
        return True

    attempts = Attempts()
    assert attempts.each([1, 2, 3], step)
    assert tried == [1, 2, 3]
    with pytest.raises(ValueError, match="1"):
        attempts.raise_first()


def test_the_end_of_the_certificate_in_use_is_known(tmp_path: Path) -> None:
    identity = Authority(tmp_path, trust_domain="kept.local", environment="local").issue("x", serves=True)
    matching_pair(identity.certificate, identity.key)
    end = x509.load_pem_x509_certificate(identity.certificate.read_bytes()).not_valid_after_utc
    assert end > datetime.now(UTC)
    assert REGISTRY.get_sample_value("kept_certificate_expiry_timestamp_seconds") == end.timestamp()
