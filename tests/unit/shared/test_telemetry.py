"""What the ground that all services stand on measures."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from prometheus_client import REGISTRY

from deploy.local.authority import Authority
from kept.replica.v1 import lease_pb2
from shared.channels import matching_pair
from shared.errors import lease_lapsed
from shared.jobs import Attempts, Job, JobRunner
from shared.replica import Replica
from shared.telemetry import CallCounts
from tests.support.clocks import ManualClock

ROOT = Path(__file__).parents[3]


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


def test_a_call_that_fails_unforeseen_is_counted_where_there_is_a_count_before_it() -> None:
    name, counts = "kept_rpc_internal_errors_total", CallCounts()
    before = REGISTRY.get_sample_value(name)
    assert before is not None
    for code in ("OK", "UNAVAILABLE", "INTERNAL"):
        counts.end(counts.begin("unary", "/kept.test/Measured"), code)
    assert REGISTRY.get_sample_value(name) == before + 1


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


def test_a_key_that_wants_a_pass_phrase_is_none_that_can_be_used(tmp_path: Path) -> None:
    """Refused by a ValueError, so that whoever has a good pair already keeps it."""
    identity = Authority(tmp_path, trust_domain="kept.local", environment="local").issue("x", serves=True)
    key = serialization.load_pem_private_key(identity.key.read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"pass phrase"),
    )
    identity.key.write_bytes(locked)
    with pytest.raises(ValueError, match="cannot be used"):
        matching_pair(identity.certificate, identity.key)


# Where the text of an exception that nobody catches would be shown.
CRASHES = {
    "another library's log": """
try:
    fails()
except ValueError:
    logging.getLogger("library").exception("failed with %s", "content", stack_info=True)
""",
    "a thread": """
thread = threading.Thread(target=fails)
thread.start()
thread.join()
""",
    "a finalizer": """
class Failing:
    def __del__(self):
        fails()
Failing()
""",
    "the process": "fails()",
}


@pytest.mark.parametrize("crash", CRASHES)
def test_no_text_of_an_exception_is_logged(crash: str) -> None:
    """In a process of its own, which has its own ways to end."""
    program = f"""
import logging, threading
from shared.telemetry import configure_logging
configure_logging("test", "info")
def fails():
    raise ValueError("content")
{CRASHES[crash]}
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    [line] = map(json.loads, ended.stderr.splitlines())
    assert line["error"] == "ValueError"
    assert line["where"].rpartition(" > ")[2] == "<string>:6"
    assert "content" not in ended.stderr + ended.stdout
