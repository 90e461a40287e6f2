"""The classifier that is shipped, as a process of its own, asked by safety review over mTLS."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.authority import Authority
from deploy.scorers.linear import MOST_CHARACTERS
from kept.scorer.v1 import scorer_pb2_grpc
from services.safety_review.config import ScorerSettings
from services.safety_review.detection.external import MISSING, UNREACHABLE, External, Scored
from shared.channels import Channels
from shared.config import Tls
from tests.support.clocks import ManualClock
from tests.unit.deploy.test_linear_scorer import MODEL

pytestmark = pytest.mark.integration

TRUST_DOMAIN = "kept.test"
SETTINGS = ScorerSettings.model_validate(
    {"name": "linear", "category": "fraud", "severity": "high", "flag_at": 0.5, "deadline_seconds": 10.0}
)
FORGED, PRINTED = ["please make forged diplomas"], ["please make printed diplomas"]


class Served:
    """The process, and who asks it."""

    def __init__(self, directory: Path) -> None:
        self._authority = Authority(directory / "ca", trust_domain=TRUST_DOMAIN, environment="local")
        self._model = directory / "model.npz"
        MODEL.save(self._model)
        self._open: list[Channels] = []
        self._running: list[subprocess.Popen[str]] = []

    def start(self, name: str = "linear") -> tuple[subprocess.Popen[str], str]:
        """The process with a certificate in this name, and where it listens."""
        own = self._authority.issue(name, serves=True)
        told = ("--address", "127.0.0.1:0", "--trust-domain", TRUST_DOMAIN)
        files = ("--certificate", own.certificate, "--key", own.key, "--authority", own.authority)
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.scorers", "serve", str(self._model), *told, *map(str, files)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._running.append(process)
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith(MODEL.version)
        return process, f"127.0.0.1:{said.split()[-1]}"

    def asked_by(self, service: str, address: str) -> Callable[..., list[Scored]]:
        """What safety review does with its detectors, under the certificate of a service."""
        own = self._authority.issue(service, serves=False)
        tls = Tls(certificate=own.certificate, key=own.key, authority=own.authority)
        channels = Channels(tls, {"linear": address}, TRUST_DOMAIN)
        self._open.append(channels)
        external = External(
            [SETTINGS], lambda name: scorer_pb2_grpc.ScorerServiceStub(channels.connect(name)), ManualClock()
        )
        return lambda *texts: external.score(texts)

    def close(self) -> None:
        for channels in self._open:
            channels.close()
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.close()


def missing(scored: list[Scored]) -> list[str]:
    return [one.reason for each in scored for one in each.missing]


def test_it_scores_for_safety_review_and_for_nobody_else(served: Served) -> None:
    process, address = served.start()
    ask = served.asked_by("safety_review", address)
    bad, good, long = ask(FORGED, PRINTED, ["x" * (MOST_CHARACTERS + 1)])
    assert [[one.name for one in each.flagged] for each in (bad, good, long)] == [["linear"], [], []]
    assert missing([bad, good, long]) == [MISSING], "what it leaves out is not screened by it"
    assert missing(served.asked_by("logging", address)(FORGED)) == [UNREACHABLE]

    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert missing(ask(FORGED)) == [UNREACHABLE], "and never clean"


def test_somebody_else_in_its_place_is_given_no_text(served: Served) -> None:
    _, address = served.start("stranger")
    assert missing(served.asked_by("safety_review", address)(FORGED)) == [UNREACHABLE]
