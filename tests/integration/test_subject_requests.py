"""An end user's request over a running stack, by the command alone: found under a grant, erased by all services, proven offline."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.local.story.interactions import Sample
from deploy.local.story.plot import Plot
from kept.access_control.v1 import grants_pb2
from kept.client.record_ids import created_at
from kept.logging.v1 import ingest_pb2

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]

WHO, OTHER = "eu-5d41", "eu-7c0a"


def test_an_end_user_is_found_then_erased_and_nobody_else_is(plot: Plot, tmp_path: Path) -> None:
    customer = plot.customers["saas"]
    plot.admin("saas")
    made = [
        plot.gateway.interaction(customer.organization_id, Sample(0, "hello", "hi", end_user=end_user))
        for end_user in (WHO, OTHER, WHO)
    ]
    assert {one.outcome for one in plot.record(made)} == {ingest_pb2.OUTCOME_STORED}

    def kept(*words: str) -> Any:
        done = plot.stage.kept(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def subjects(*words: str) -> Any:
        return kept("settings", "subjects", *words, "--as", customer.admin_email)

    found = subjects("create", "find", "--end-user", WHO)
    filter_, name = found["records"]["filter"], found["request"]["subject_request_id"]

    scope = grants_pb2.DataScope(
        organization_id=customer.organization_id, detail=grants_pb2.DETAIL_METADATA, budget=50
    )
    getattr(scope, "from").FromDatetime(created_at(made[0].record_id))
    request = plot.asking("a data subject's request", timedelta(minutes=30), data=scope)
    request.purpose = grants_pb2.PURPOSE_LEGAL_COMPLIANCE
    grant = plot.grant("lena", "luca", request)

    def listed() -> list[str]:
        answer = kept("logs", "list", "--grant", grant.grant_id, "--as", "lena")
        return [record["end_user"] for record in answer["records"] if record["end_user"] in (WHO, OTHER)]

    plot.stage.staff("lena")
    shown = kept("logs", "list", "--grant", grant.grant_id, "--end-user", filter_["end_user"], "--as", "lena")
    assert [record["end_user"] for record in shown["records"]] == [WHO, WHO]
    assert subjects("complete", name)["request"]["state"] == "SUBJECT_REQUEST_STATE_DONE"

    begun = subjects("create", "erase", "--end-user", WHO, "--yes")["request"]["subject_request_id"]
    ended = plot.poll(
        "the end user's erasure",
        lambda: (
            one
            if (one := subjects("show", begun)["request"])["state"] != "SUBJECT_REQUEST_STATE_ERASING"
            else None
        ),
        patience=60.0,
    )
    assert ended["state"] == "SUBJECT_REQUEST_STATE_DONE"
    assert listed() == [OTHER]

    certificate, exported = tmp_path / "certificate.json", tmp_path / "request.json"
    for words in (
        ("certificates", "get", ended["certificate_id"], "--output", str(certificate)),
        ("settings", "subjects", "export", begun, "--output", str(exported)),
    ):
        assert plot.stage.kept(*words, "--as", customer.admin_email).returncode == 0
    verify = ("settings", "subjects", "verify", str(certificate), "--request", str(exported), "--end-user")
    good, bad = plot.stage.kept(*verify, WHO), plot.stage.kept(*verify, OTHER)
    assert (good.returncode, bad.returncode) == (0, 4), good.stderr + bad.stdout
    for word in (WHO, OTHER):
        assert word not in certificate.read_text()
