"""What readers ask for, over a running stack: log data and kind of key by the real contract, and what safety review holds, by all services
that have a part in it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from deploy.local.story.interactions import Sample
from deploy.local.story.plot import Plot
from kept.access_control.v1 import grants_pb2
from kept.client.record_ids import created_at
from kept.logging.v1 import ingest_pb2, interactions_pb2, read_pb2, read_pb2_grpc

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]

# The word is one that the stack's own rules flag.
_TEXTS = ("good morning", "please say zebracanary", "good night")


def test_a_reader_gets_what_she_asks_for_and_no_more(plot: Plot) -> None:
    organization_id = plot.customers["saas"].organization_id
    made = [
        plot.gateway.interaction(organization_id, Sample(0, text, "no", application="filtered"))
        for text in _TEXTS
    ]
    for number, one in enumerate(made):
        one.prompt_tokens = number
        one.api_key_kind = interactions_pb2.API_KEY_KIND_TRIAL
    assert {one.outcome for one in plot.record(made)} == {ingest_pb2.OUTCOME_STORED}
    ids = [one.record_id for one in made]

    scope = grants_pb2.DataScope(
        organization_id=organization_id, detail=grants_pb2.DETAIL_METADATA, budget=100
    )
    getattr(scope, "from").FromDatetime(created_at(ids[0]))
    request = plot.asking("which of these were cut off", timedelta(minutes=30), data=scope)
    request.purpose = grants_pb2.PURPOSE_ENGINEERING_SUPPORT
    request.ticket = "SUP-1042"
    grant = plot.grant("emma", "elias", request)
    reading = plot.stage.staff("emma").stub(read_pb2_grpc.ReadServiceStub)

    def listed(**wanted: Any) -> list[read_pb2.InteractionRecord]:
        asked = read_pb2.ListInteractionsRequest(
            grant_id=grant.grant_id,
            organization_id=organization_id,
            filter=read_pb2.RecordFilter(application="filtered", **wanted),
        )
        return list(reading.ListInteractions(asked).records)

    everything = listed()
    assert [one.record_id for one in everything] == ids
    assert {one.api_key_kind for one in everything} == {interactions_pb2.API_KEY_KIND_TRIAL}
    assert not any(one.HasField("content") for one in everything)
    assert [one.record_id for one in listed(min_prompt_tokens=1)] == ids[1:]
    assert listed(model="another") == []
    # Screened, flagged, put into a case, held by retention, kept by logging: some seconds.
    held = plot.poll("the hold of what was flagged", lambda: listed(flagged=True))
    assert [one.record_id for one in held] == [ids[1]]
