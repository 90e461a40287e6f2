"""Chapter 5: machines flag, people review, a second person confirms."""

from datetime import timedelta

from deploy.local.story.chapters.access import text_of
from deploy.local.story.plot import Plot
from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import read_pb2, read_pb2_grpc
from kept.retention.v1 import holds_pb2, holds_pb2_grpc
from kept.safety_review.v1 import cases_pb2, cases_pb2_grpc


def play(plot: Plot) -> None:
    """See the module."""
    tell, organization_id = plot.tell, plot.customers["saas"].organization_id
    planted = plot.planted
    assert planted is not None
    sara = plot.stage.staff("sara")
    reviewing = sara.stub(cases_pb2_grpc.CaseServiceStub)

    def listed() -> list[cases_pb2.Case]:
        return list(reviewing.ListCases(cases_pb2.ListCasesRequest(page_size=1000)).cases)

    def found() -> list[cases_pb2.Case]:
        return [case for case in listed() if any(flag.record_id == planted.record_id for flag in case.flags)]

    (case,) = plot.poll("screening", found, patience=60)
    # What is flagged last may still be on its way: all of it is there when every flag is held.
    holding = sara.stub(holds_pb2_grpc.HoldServiceStub)

    def held() -> set[bytes]:
        holds = holding.ListHolds(
            holds_pb2.ListHoldsRequest(organization_id=organization_id, page_size=1000)
        ).holds
        return {
            record_id
            for hold in holds
            if hold.kind == holds_pb2.HOLD_KIND_FLAGGED and hold.state == holds_pb2.HOLD_STATE_ACTIVE
            for record_id in hold.record_ids
        }

    def flagged() -> set[bytes]:
        return {
            flag.record_id for one in listed() for flag in one.flags if one.organization_id == organization_id
        }

    plot.poll("flagged records are being held", lambda: flagged() and flagged() <= held(), patience=60)
    plot.flagged = sorted(flagged())
    tell.expect(
        f"{len(plot.flagged)} of {len(plot.sent) + 1} records are flagged and held, in {len(listed())} case(s)",
        planted.record_id in plot.flagged and len(plot.flagged) < len(plot.sent) + 1,
    )
    case = reviewing.ClaimCase(cases_pb2.ClaimCaseRequest(case_id=case.case_id)).case
    tell.say(f"Sara claims the case of category {case.category}; it holds ids, and no content.")
    _read_under_case(plot, case)
    seen = reviewing.GetCase(cases_pb2.GetCaseRequest(case_id=case.case_id)).case
    decided = reviewing.DecideCase(
        cases_pb2.DecideCaseRequest(
            case_id=case.case_id,
            decision=cases_pb2.DECISION_VIOLATION,
            reason="the test word was asked for",
            etag=seen.etag,
        )
    ).case
    tell.expect("Sara decides: a violation", decided.state == cases_pb2.CASE_STATE_DECIDED)
    confirm = cases_pb2.ConfirmDecisionRequest(case_id=case.case_id, confirm=True, etag=decided.etag)
    tell.refused(
        "she cannot confirm it herself", lambda: reviewing.ConfirmDecision(confirm), "SECOND_PERSON_REQUIRED"
    )
    confirmed = plot.stage.staff("samir").stub(cases_pb2_grpc.CaseServiceStub).ConfirmDecision(confirm).case
    tell.expect("Samir confirms: upheld", confirmed.state == cases_pb2.CASE_STATE_UPHELD)


def _read_under_case(plot: Plot, case: cases_pb2.Case) -> None:
    scope = grants_pb2.DataScope(
        organization_id=case.organization_id, detail=grants_pb2.DETAIL_FULL, budget=100, case_id=case.case_id
    )
    request = plot.asking("review of a flagged case", timedelta(minutes=30), data=scope)
    request.purpose = grants_pb2.PURPOSE_SAFETY_AND_SECURITY
    grant = plot.grant("sara", "samir", request)
    reading = plot.stage.staff("sara").stub(read_pb2_grpc.ReadServiceStub)
    read = read_pb2.ReadInteractionsRequest(
        grant_id=grant.grant_id, organization_id=case.organization_id, detail=grants_pb2.DETAIL_FULL
    )
    records = [answer.record for answer in reading.ReadInteractions(read)]
    sent = {one.record_id: one.sample for one in plot.sent}
    plot.tell.expect(
        "under a grant for that case alone she reads its records in full, letter for letter",
        sorted(record.record_id for record in records) == sorted(flag.record_id for flag in case.flags)
        and all(
            text_of(record.content) == text_of(sent[record.record_id].content())
            for record in records
            if record.record_id in sent
        ),
        f"{len(records)} records read, {len(case.flags)} flagged in the case",
    )
    other = next(one for one in plot.sent if one.record_id not in {flag.record_id for flag in case.flags})
    read.filter.record_ids.append(other.record_id)
    plot.tell.refused("and no other record", lambda: list(reading.ReadInteractions(read)), "OUTSIDE_SCOPE")
