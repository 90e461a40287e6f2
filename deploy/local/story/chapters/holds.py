"""Chapter 6: legal staff holds one record, and a second person confirms it."""

from datetime import timedelta

from deploy.local.story.plot import Plot
from kept.options.v1 import roles_pb2
from kept.retention.v1 import holds_pb2, holds_pb2_grpc


def play(plot: Plot) -> None:
    """See the module."""
    customer = plot.customers["saas"]
    plot.power("lena", "luca", roles_pb2.POWER_LEGAL, "matter 2026-17 has been filed")
    plot.power("luca", "lena", roles_pb2.POWER_LEGAL, "matter 2026-17 has been filed")
    plot.held = next(one.record_id for one in plot.sent if one.record_id not in plot.flagged)
    request = holds_pb2.PlaceHoldRequest(
        request_id=plot.ids.mint().hex(),
        kind=holds_pb2.HOLD_KIND_LEGAL,
        organization_id=customer.organization_id,
        record_ids=[plot.held],
        reference="matter 2026-17",
    )
    request.review_at.FromDatetime(plot.stage.now() + timedelta(days=180))
    placing = plot.stage.staff("lena").stub(holds_pb2_grpc.HoldServiceStub)
    without = holds_pb2.PlaceHoldRequest()
    without.CopyFrom(request)
    without.reference = ""
    plot.tell.refused("a hold without a matter", lambda: placing.PlaceHold(without), "INVALID_ARGUMENT")
    placed = plot.poll("placing the hold", lambda: _active(placing.PlaceHold(request).hold))
    plot.tell.require("Lena places a hold on one record; it protects at once", placed is not None)
    confirm = holds_pb2.ConfirmHoldRequest(hold_id=placed.hold_id)
    plot.tell.refused(
        "she cannot confirm it herself", lambda: placing.ConfirmHold(confirm), "SECOND_PERSON_REQUIRED"
    )
    confirmed = plot.stage.staff("luca").stub(holds_pb2_grpc.HoldServiceStub).ConfirmHold(confirm).hold
    plot.tell.expect("Luca confirms it", confirmed.confirmed_by == plot.people["luca"])


def _active(hold: holds_pb2.Hold) -> holds_pb2.Hold | None:
    return hold if hold.state == holds_pb2.HOLD_STATE_ACTIVE else None
