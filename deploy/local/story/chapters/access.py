"""Chapter 4: an engineer asks, a colleague approves, and she sees exactly what was approved, while it lasts."""

import re
from datetime import timedelta
from typing import Any

from deploy.local.story.plot import Plot
from kept.access_control.v1 import grants_pb2, grants_pb2_grpc
from kept.client.errors import KeptError
from kept.client.record_ids import created_at
from kept.logging.v1 import interactions_pb2, read_pb2, read_pb2_grpc

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z]{2,}")


def play(plot: Plot) -> None:
    """See the module."""
    tell, organization_id = plot.tell, plot.customers["saas"].organization_id
    emma = plot.stage.staff("emma")
    reading, asking = emma.stub(read_pb2_grpc.ReadServiceStub), emma.stub(grants_pb2_grpc.GrantServiceStub)
    without = read_pb2.ReadInteractionsRequest(
        organization_id=organization_id, detail=grants_pb2.DETAIL_MASKED
    )
    tell.refused(
        "she reads without a grant", lambda: list(reading.ReadInteractions(without)), "GRANT_REQUIRED"
    )

    grant = asking.RequestGrant(_request(plot)).grant
    tell.refused(
        "she cannot approve it herself",
        lambda: asking.ApproveGrant(grants_pb2.ApproveGrantRequest(grant_id=grant.grant_id)),
        "SECOND_PERSON_REQUIRED",
    )
    read = read_pb2.ReadInteractionsRequest(
        grant_id=grant.grant_id, organization_id=organization_id, detail=grants_pb2.DETAIL_MASKED
    )
    tell.refused(
        "nor read before anybody did", lambda: list(reading.ReadInteractions(read)), "GRANT_NOT_ACTIVE"
    )
    approving = plot.stage.staff("elias").stub(grants_pb2_grpc.GrantServiceStub)
    approved = approving.ApproveGrant(grants_pb2.ApproveGrantRequest(grant_id=grant.grant_id)).grant
    tell.require(
        f"Elias approves: {approved.duration.seconds // 60} minutes, masked",
        approved.state == grants_pb2.GRANT_STATE_APPROVED,
    )
    with tell.working("reading"):
        records = [answer.record for answer in reading.ReadInteractions(read)]
    _check_masked(plot, records)
    assert plot.later is not None
    outside = read_pb2.ReadInteractionsRequest(
        grant_id=grant.grant_id,
        organization_id=organization_id,
        detail=grants_pb2.DETAIL_MASKED,
        filter=read_pb2.RecordFilter(record_ids=[plot.later.record_id]),
    )
    tell.refused("one record outside it", lambda: list(reading.ReadInteractions(outside)), "OUTSIDE_SCOPE")
    full = read_pb2.ReadInteractionsRequest(
        grant_id=grant.grant_id, organization_id=organization_id, detail=grants_pb2.DETAIL_FULL
    )
    tell.refused(
        "more detail than was granted", lambda: list(reading.ReadInteractions(full)), "DETAIL_NOT_GRANTED"
    )
    _revoked(plot, reading, asking, grant.grant_id, len(records))
    _expired(plot)


def _request(plot: Plot) -> grants_pb2.RequestGrantRequest:
    """Thirty minutes, masked, for the records of chapter 2 and none that came later."""
    scope = grants_pb2.DataScope(
        organization_id=plot.customers["saas"].organization_id,
        detail=grants_pb2.DETAIL_MASKED,
        budget=len(plot.sent),
    )
    getattr(scope, "from").FromDatetime(created_at(plot.sent[0].record_id))
    scope.until.FromDatetime(created_at(plot.sent[-1].record_id) + timedelta(milliseconds=1))
    request = plot.asking("answers are cut off in the middle", timedelta(minutes=30), data=scope)
    request.purpose = grants_pb2.PURPOSE_ENGINEERING_SUPPORT
    request.ticket = "SUP-1042"
    return request


def text_of(content: interactions_pb2.InteractionContent) -> str:
    """All text of a record's content."""
    return "\n".join(
        part.text for message in (*content.prompt, *content.generations) for part in message.parts
    )


def _check_masked(plot: Plot, records: list[read_pb2.InteractionRecord]) -> None:
    sent = {one.record_id: one.sample for one in plot.sent}
    plot.tell.require(
        f"she reads exactly the {len(sent)} records that the span covers",
        sorted(record.record_id for record in records) == sorted(sent),
        f"{len(records)} read",
    )
    originals = {record_id: text_of(sample.content()) for record_id, sample in sent.items()}
    with_mail = [record for record in records if _EMAIL.search(originals[record.record_id])]
    plot.tell.expect(
        f"masked: the e-mail addresses of {len(with_mail)} records are replaced",
        all(_EMAIL.search(text_of(record.content)) is None for record in records)
        and all("[EMAIL]" in text_of(record.content) for record in with_mail),
    )
    untouched = [record for record in records if text_of(record.content) == originals[record.record_id]]
    plot.tell.expect(
        f"{len(untouched)} records without personal data come back letter for letter",
        all(
            text_of(record.content) == originals[record.record_id]
            for record in records
            if "[" not in text_of(record.content)
        ),
    )


def _revoked(plot: Plot, reading: Any, asking: Any, grant_id: str, count: int) -> None:
    follow = read_pb2.ReadInteractionsRequest(
        grant_id=grant_id,
        organization_id=plot.customers["saas"].organization_id,
        detail=grants_pb2.DETAIL_MASKED,
        follow=True,
    )
    stream = reading.ReadInteractions(follow)
    for _ in range(count):
        next(stream)
    revoked_at = plot.stage.now()
    asking.RevokeGrant(grants_pb2.RevokeGrantRequest(grant_id=grant_id, reason="found the cause"))
    plot.tell.refused(
        "she gives it back, and the stream in progress ends", lambda: next(stream), "GRANT_REVOKED"
    )
    took = (plot.stage.now() - revoked_at).total_seconds()
    plot.tell.expect(f"within {took:.1f} s", took < 3)
    plot.tell.refused(
        "a revoked grant opens nothing", lambda: list(reading.ReadInteractions(follow)), "GRANT_REVOKED"
    )


def _expired(plot: Plot) -> None:
    grant = plot.grant("emma", "elias", _request(plot))
    plot.stage.stack.travel(timedelta(minutes=30))
    reading = plot.stage.staff("emma").stub(read_pb2_grpc.ReadServiceStub)
    read = read_pb2.ReadInteractionsRequest(
        grant_id=grant.grant_id,
        organization_id=plot.customers["saas"].organization_id,
        detail=grants_pb2.DETAIL_MASKED,
    )

    def attempt() -> str:
        try:
            list(reading.ReadInteractions(read))
        except KeptError as error:
            return "" if error.reason in ("LEASE_LAPSED", "PEER_UNAVAILABLE") else error.reason
        return "OK"

    reason = plot.poll("processes meet again after travel", attempt)
    plot.tell.expect(f"thirty minutes later a grant is worth nothing: {reason}", reason == "GRANT_EXPIRED")
