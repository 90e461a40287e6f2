"""What gateways send with, against the real service: LiteLLM's callback to a sealed record and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kept.litellm
from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import ingest_pb2, read_pb2
from tests.support.offline_litellm import WatchedRecorder, callbacks, litellm
from tests.unit.logging.peers import GRANT, ORG, PRIVATE, ZDR
from tests.unit.logging.world import World

pytestmark = pytest.mark.xdist_group("litellm")

NOWHERE = Path("none")


def test_a_call_of_litellm_is_stored_sealed_and_read_back_as_its_policy_says(world: World) -> None:
    refusals: list[ingest_pb2.Receipt] = []

    def connect() -> Any:
        return (lambda interactions: world.record(*interactions)), lambda: None

    with WatchedRecorder(
        "logging", NOWHERE, NOWHERE, NOWHERE, connect=connect, on_refusal=refusals.append
    ) as recorder:
        logger = kept.litellm.KeptLogger(
            recorder, lambda metadata: metadata["organization"], now=world.clock.now
        )
        with callbacks(logger):
            for organization_id in (ORG, ZDR, PRIVATE):
                litellm.completion(
                    model="gpt-4o",
                    messages=[{"role": "user", "content": "a question"}],
                    mock_response="an answer",
                    metadata={"organization": organization_id},
                )
                recorder.wait()
        assert (recorder.delivered, recorder.refused, recorder.dropped, logger.failed) == (2, 1, 0, 0)
    request = read_pb2.ReadInteractionsRequest(
        grant_id=GRANT, organization_id=ORG, detail=grants_pb2.DETAIL_FULL
    )
    (answer,) = world.read.ReadInteractions(request)
    assert answer.record.content.prompt[0].parts[0].text == "a question"
    assert answer.record.content.generations[0].parts[0].text == "an answer"
