"""Usage data over a running stack: counted as records are stored, reported where it is agreed, shown to whom it belongs."""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from typing import Any

import pytest

from deploy.local.processes import wait_until
from deploy.local.story.interactions import Sample
from deploy.local.story.plot import Plot
from kept.client.errors import KeptError
from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc, usage_pb2, usage_pb2_grpc
from kept.settings.v1 import organizations_pb2, organizations_pb2_grpc

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]


def _asked(plot: Plot, organization_id: str, application: str) -> usage_pb2.QueryUsageRequest:
    asked = usage_pb2.QueryUsageRequest(organization_id=organization_id, application=application)
    hour = plot.stage.now().replace(minute=0, second=0, microsecond=0)
    asked.from_hour.FromDatetime(hour - timedelta(hours=1))
    asked.until_hour.FromDatetime(hour + timedelta(hours=2))
    return asked


def _calls(answer: usage_pb2.QueryUsageResponse) -> int:
    return sum(one.figures.calls for one in answer.counts)


def _refused(act: Any) -> str:
    with pytest.raises(KeptError) as refused:
        act()
    return refused.value.reason


@pytest.mark.parametrize("which", ["saas", "zdr"])
def test_what_is_recorded_is_counted_once_and_shown_to_its_admin(plot: Plot, which: str) -> None:
    organization_id = plot.customers[which].organization_id
    made = [
        plot.gateway.interaction(organization_id, Sample(0, "good morning", "hello", application="counted"))
        for _ in range(3)
    ]
    plot.record(made)
    plot.record(made)
    asked = _asked(plot, organization_id, "counted")
    admin = plot.admin(which).stub(usage_pb2_grpc.UsageServiceStub)
    # What is stored is counted about a second later.
    assert wait_until(lambda: _calls(admin.QueryUsage(asked)) >= 3, patience=10)
    answer = admin.QueryUsage(asked)
    counts = answer.counts
    assert _calls(answer) == 3
    assert sum(one.figures.prompt_tokens for one in counts) == 9
    assert sum(one.figures.durations[2] for one in counts) == 3  # 300 ms each
    operator = plot.stage.staff("olga").stub(usage_pb2_grpc.UsageServiceStub)
    assert operator.QueryUsage(asked).counts == counts
    other = plot.customers["saas" if which == "zdr" else "zdr"]
    asked.organization_id = other.organization_id
    assert _refused(lambda: admin.QueryUsage(asked)) == "WRONG_ORGANIZATION"
    analytics = usage_pb2.QueryAnalyticsRequest(from_hour=asked.from_hour, until_hour=asked.until_hour)
    assert _refused(lambda: admin.QueryAnalytics(analytics)) == "CALLER_NOT_ALLOWED"
    assert operator.QueryAnalytics(analytics).cells == []  # the day goes on, and the group is small


def test_another_deployment_sends_counts_if_its_agreement_says_so(plot: Plot) -> None:
    organization_id = plot.customers["private"].organization_id
    gateway = plot.stage.service("gateway/demo").stub(ingest_pb2_grpc.IngestServiceStub)
    report = ingest_pb2.ReportUsageRequest(request_id=plot.ids.mint().hex(), organization_id=organization_id)
    counts = report.counts.add(application="desk", model="own-1")
    counts.hour.FromDatetime(plot.stage.now().replace(minute=0, second=0, microsecond=0))
    counts.figures.calls = 12
    assert _refused(lambda: gateway.ReportUsage(report)) == "USAGE_NOT_AGREED"

    operating = plot.stage.staff("olga").stub(organizations_pb2_grpc.OrganizationServiceStub)
    found = operating.GetOrganization(
        organizations_pb2.GetOrganizationRequest(organization_id=organization_id)
    )
    agreed = operating.UpdateOrganization(
        organizations_pb2.UpdateOrganizationRequest(
            organization_id=organization_id, etag=found.organization.etag, usage_agreed=True
        )
    )
    # From then on everywhere, whatever the clocks: the tolerance has passed too.
    plot.stage.wait_until(agreed.effective_at.ToDatetime(tzinfo=UTC) + timedelta(seconds=5.1))
    assert gateway.ReportUsage(report).duplicate is False
    assert gateway.ReportUsage(report).duplicate is True

    admin = plot.customers["private"]
    plot.admin("private")
    shown = plot.stage.kept("usage", "show", "--as", admin.admin_email, "--application", "desk", "--json")
    assert shown.returncode == 0, shown.stderr
    [row] = json.loads(shown.stdout)["counts"]
    assert (row["model"], row["figures"]["calls"]) == ("own-1", "12")
    history = plot.stage.kept("settings", "organizations", "agreements", "--as", admin.admin_email, "--json")
    assert [one["usage_agreed"] for one in json.loads(history.stdout)["agreements"]] == [False, True]
