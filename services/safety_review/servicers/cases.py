"""kept.safety_review.v1.CaseService."""

import grpc

from kept.safety_review.v1 import cases_pb2, cases_pb2_grpc
from services.safety_review.reviews import Review, Reviews
from services.safety_review.servicers.detectors import severity
from shared.pipeline import caller_of


class CaseServicer(cases_pb2_grpc.CaseServiceServicer):
    """Cases for reviewers."""

    def __init__(self, reviews: Reviews) -> None:
        self._reviews = reviews

    def ListCases(
        self, request: cases_pb2.ListCasesRequest, context: grpc.ServicerContext
    ) -> cases_pb2.ListCasesResponse:
        """See the contract."""
        reviews, token = self._reviews.list_page(request.state, request.page_size, request.page_token)
        return cases_pb2.ListCasesResponse(cases=[_case(review) for review in reviews], next_page_token=token)

    def GetCase(
        self, request: cases_pb2.GetCaseRequest, context: grpc.ServicerContext
    ) -> cases_pb2.GetCaseResponse:
        """See the contract."""
        return cases_pb2.GetCaseResponse(case=_case(self._reviews.get(request.case_id)))

    def ClaimCase(
        self, request: cases_pb2.ClaimCaseRequest, context: grpc.ServicerContext
    ) -> cases_pb2.ClaimCaseResponse:
        """See the contract."""
        return cases_pb2.ClaimCaseResponse(
            case=_case(self._reviews.claim(caller_of(context), request.case_id))
        )

    def DecideCase(
        self, request: cases_pb2.DecideCaseRequest, context: grpc.ServicerContext
    ) -> cases_pb2.DecideCaseResponse:
        """See the contract."""
        review = self._reviews.decide(
            caller_of(context), request.case_id, request.etag, request.decision, request.reason
        )
        return cases_pb2.DecideCaseResponse(case=_case(review))

    def ConfirmDecision(
        self, request: cases_pb2.ConfirmDecisionRequest, context: grpc.ServicerContext
    ) -> cases_pb2.ConfirmDecisionResponse:
        """See the contract."""
        review = self._reviews.confirm(caller_of(context), request.case_id, request.etag, request.confirm)
        return cases_pb2.ConfirmDecisionResponse(case=_case(review))


def _case(review: Review) -> cases_pb2.Case:
    case = review.case
    message = cases_pb2.Case(
        case_id=case.case_id,
        organization_id=case.organization_id,
        category=case.category,
        severity=severity(case.severity),
        state=case.state,
        claimed_by=case.claimed_by,
        decision=case.decision,
        decided_by=case.decided_by,
        decision_reason=case.decision_reason,
        confirmed_by=case.confirmed_by,
        etag=review.etag,
    )
    message.opened_at.FromDatetime(case.opened_at)
    if case.claimed_until is not None:
        message.claimed_until.FromDatetime(case.claimed_until)
    if case.closed_at is not None:
        message.closed_at.FromDatetime(case.closed_at)
    for flag in review.flags:
        added = message.flags.add(record_id=flag.record_id, rule_ids=flag.rule_ids)
        added.flagged_at.FromDatetime(flag.flagged_at)
    return message
