"""Chapter 3: a customer's admin turns training use off; what came before is eligible, what comes after is not."""

from datetime import datetime, timedelta

from deploy.local.story.chapters.recording import record_one
from deploy.local.story.plot import Plot, Sent
from kept.client.record_ids import created_at
from kept.settings.v1 import data_controls_pb2, data_controls_pb2_grpc, policies_pb2, policies_pb2_grpc

# How far two healthy clocks may be apart: consent has to cover a record's creation and receipt with this to spare.
_TOLERANCE = timedelta(seconds=5)


def play(plot: Plot) -> None:
    """See the module."""
    customer = plot.customers["saas"]
    which = data_controls_pb2.GetDataControlsRequest(organization_id=customer.organization_id)
    plot.stage.stack.travel(timedelta(minutes=1))
    earlier = record_one(plot, "saas", plot.samples[0])
    plot.sent.append(earlier)
    plot.stage.stack.travel(timedelta(minutes=1))
    controlling = plot.admin("saas").stub(data_controls_pb2_grpc.DataControlsServiceStub)
    controls = controlling.GetDataControls(which).controls
    change = data_controls_pb2.UpdateDataControlsRequest(
        organization_id=customer.organization_id, etag=controls.etag, training_allowed=False
    )
    member = plot.stage.customer(customer.member_email, customer.member_password)
    refusal = plot.tell.refused(
        "a member who is no admin cannot turn it off",
        lambda: member.stub(data_controls_pb2_grpc.DataControlsServiceStub).UpdateDataControls(change),
        "ADMIN_REQUIRED",
    )
    plot.tell.expect(
        "and is told who the admins are",
        refusal is not None and "Alex" in refusal.metadata.get("admins", ""),
    )
    accepted = controlling.UpdateDataControls(change).change
    plot.tell.expect("the admin turns training use off", not accepted.controls.training_allowed)
    plot.tell.refused(
        "an etag from before is refused", lambda: controlling.UpdateDataControls(change), "CONFLICT"
    )
    plot.stage.stack.travel(timedelta(minutes=1))
    plot.later = record_one(plot, "saas", plot.samples[0])
    history = (
        plot.admin("saas")
        .stub(policies_pb2_grpc.PolicyServiceStub)
        .GetConsentHistory(policies_pb2.GetConsentHistoryRequest(organization_id=customer.organization_id))
    )
    intervals = list(history.intervals)
    plot.tell.expect(
        "her consent history shows both: allowed until then, not allowed since",
        [interval.training_allowed for interval in intervals] == [True, False]
        and getattr(intervals[1], "from") == accepted.accepted_at,
    )
    plot.tell.expect("a record created before is eligible", _eligible(intervals, earlier))
    plot.tell.expect("a record created after is not", not _eligible(intervals, plot.later))


def _eligible(intervals: list[policies_pb2.ConsentInterval], sent: Sent) -> bool:
    """Whether training was allowed throughout the record's creation and receipt."""
    begins, ends = created_at(sent.record_id) - _TOLERANCE, sent.answered_at + _TOLERANCE

    def covers(interval: policies_pb2.ConsentInterval) -> bool:
        since: datetime = getattr(interval, "from").ToDatetime(tzinfo=begins.tzinfo)
        until = interval.until.ToDatetime(tzinfo=begins.tzinfo) if interval.HasField("until") else None
        return since <= begins and (until is None or ends < until)

    return any(interval.training_allowed and covers(interval) for interval in intervals)
