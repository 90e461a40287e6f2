"""kept.safety_review.v1.CaseService."""

from datetime import timedelta

import grpc

from kept.safety_review.v1 import cases_pb2, cases_pb2_grpc
from services.safety_review.reviewing.appeals import Appeals, Told
from services.safety_review.reviewing.case_acts import Review
from services.safety_review.reviewing.cases import DISMISSED, UPHELD
from services.safety_review.reviewing.reopening import Reopening
from services.safety_review.reviewing.reports import Reports
from services.safety_review.reviewing.reviewers import Reviewer
from services.safety_review.reviewing.reviews import Reviews
from services.safety_review.servicers.detectors import severity
from shared.pipeline import caller_of


class CaseServicer(cases_pb2_grpc.CaseServiceServicer):
    """Cases for reviewers, and for the customers that they are about."""

    def __init__(self, reviews: Reviews, reports: Reports, appeals: Appeals, reopening: Reopening) -> None:
        self._reviews = reviews
        self._reports = reports
        self._appeals = appeals
        self._reopening = reopening

    def ListCases(
        self, request: cases_pb2.ListCasesRequest, context: grpc.ServicerContext
    ) -> cases_pb2.ListCasesResponse:
        """See the contract."""
        reviews, token = self._reviews.list_page(
            _reviewer(context), request.state, request.page_size, request.page_token
        )
        return cases_pb2.ListCasesResponse(cases=[_case(review) for review in reviews], next_page_token=token)

    def GetCase(
        self, request: cases_pb2.GetCaseRequest, context: grpc.ServicerContext
    ) -> cases_pb2.GetCaseResponse:
        """See the contract."""
        return cases_pb2.GetCaseResponse(case=_case(self._reviews.get(_reviewer(context), request.case_id)))

    def OpenCase(
        self, request: cases_pb2.OpenCaseRequest, context: grpc.ServicerContext
    ) -> cases_pb2.OpenCaseResponse:
        """See the contract."""
        return cases_pb2.OpenCaseResponse(case=_case(self._reports.open(_reviewer(context), request)))

    def ClaimCase(
        self, request: cases_pb2.ClaimCaseRequest, context: grpc.ServicerContext
    ) -> cases_pb2.ClaimCaseResponse:
        """See the contract."""
        review = self._reviews.claim(_reviewer(context), request.case_id)
        return cases_pb2.ClaimCaseResponse(case=_case(review))

    def ClaimNextCase(
        self, request: cases_pb2.ClaimNextCaseRequest, context: grpc.ServicerContext
    ) -> cases_pb2.ClaimNextCaseResponse:
        """See the contract."""
        return cases_pb2.ClaimNextCaseResponse(case=_case(self._reviews.claim_next(_reviewer(context))))

    def DecideCase(
        self, request: cases_pb2.DecideCaseRequest, context: grpc.ServicerContext
    ) -> cases_pb2.DecideCaseResponse:
        """See the contract."""
        review = self._reviews.decide(
            _reviewer(context), request.case_id, request.etag, request.decision, request.reason
        )
        return cases_pb2.DecideCaseResponse(case=_case(review))

    def ConfirmDecision(
        self, request: cases_pb2.ConfirmDecisionRequest, context: grpc.ServicerContext
    ) -> cases_pb2.ConfirmDecisionResponse:
        """See the contract."""
        review = self._reviews.confirm(_reviewer(context), request.case_id, request.etag, request.confirm)
        return cases_pb2.ConfirmDecisionResponse(case=_case(review))

    def EscalateCase(
        self, request: cases_pb2.EscalateCaseRequest, context: grpc.ServicerContext
    ) -> cases_pb2.EscalateCaseResponse:
        """See the contract."""
        review = self._reviews.hand_on(
            _reviewer(context), request.case_id, request.etag, request.desk, request.reason
        )
        return cases_pb2.EscalateCaseResponse(case=_case(review))

    def ReopenCase(
        self, request: cases_pb2.ReopenCaseRequest, context: grpc.ServicerContext
    ) -> cases_pb2.ReopenCaseResponse:
        """See the contract."""
        review = self._reopening.reopen(_reviewer(context), request.case_id, request.etag, request.reason)
        return cases_pb2.ReopenCaseResponse(case=_case(review))

    def AppealCase(
        self, request: cases_pb2.AppealCaseRequest, context: grpc.ServicerContext
    ) -> cases_pb2.AppealCaseResponse:
        """See the contract."""
        told = self._appeals.appeal(caller_of(context), request.case_id, request.reason)
        return cases_pb2.AppealCaseResponse(case=_own_case(told))

    def ListOwnCases(
        self, request: cases_pb2.ListOwnCasesRequest, context: grpc.ServicerContext
    ) -> cases_pb2.ListOwnCasesResponse:
        """See the contract."""
        listed, token = self._appeals.list_page(caller_of(context), request.page_size, request.page_token)
        return cases_pb2.ListOwnCasesResponse(cases=map(_own_case, listed), next_page_token=token)


def _reviewer(context: grpc.ServicerContext) -> Reviewer:
    return Reviewer.of(caller_of(context))


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
        desk=cases_pb2.DESK_LEGAL if case.referred else cases_pb2.DESK_SAFETY,
        round=case.round,
        note=case.note,
        earlier_reviewers=case.earlier_reviewers,
        appeal_reason=case.appeal_reason,
    )
    message.opened_at.FromDatetime(case.opened_at)
    for field, instant in (
        (message.claimed_until, case.claimed_until),
        (message.closed_at, case.closed_at),
        (message.due_at, case.due_at),
        (message.appealed_at, case.appealed_at),
        (message.told_at, case.told_at),
    ):
        if instant is not None:
            field.FromDatetime(instant)
    for rate in case.rates:
        shown = message.rates.add(flags=rate.flags, one_end_user=rate.one_end_user)
        shown.window.FromTimedelta(timedelta(seconds=rate.window_seconds))
    for flag in review.flags:
        added = message.flags.add(record_id=flag.record_id, rule_ids=flag.rule_ids)
        added.flagged_at.FromDatetime(flag.flagged_at)
        added.without_content = not flag.hold_request_id
    message.records_without_content = sum(one.without_content for one in message.flags)
    for found, records in review.log_findings:
        finding = message.log_findings.add(
            rule_id=found.rule_id,
            rules_version=found.rules_version,
            counted=found.counted,
            threshold=found.threshold,
            records=records,
        )
        getattr(finding, "from").FromDatetime(found.window_from)
        finding.until.FromDatetime(found.window_until)
        finding.found_at.FromDatetime(found.found_at)
    return message


def _own_case(told: Told) -> cases_pb2.OwnCase:
    case = told.case
    state = {
        UPHELD: cases_pb2.OWN_CASE_STATE_UPHELD,
        DISMISSED: cases_pb2.OWN_CASE_STATE_OVERTURNED,
    }.get(case.state, cases_pb2.OWN_CASE_STATE_UNDER_REVIEW)
    message = cases_pb2.OwnCase(
        case_id=case.case_id, category=case.category, state=state, records=case.flag_count
    )
    for field, instant in (
        (message.decided_at, case.closed_at),
        (message.appeal_until, told.appeal_until),
        (message.appealed_at, case.appealed_at),
    ):
        if instant is not None:
            field.FromDatetime(instant)
    return message
