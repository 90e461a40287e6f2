"""kept.retention.v1.ContractService."""

from datetime import date
from typing import Final

import grpc

from kept.retention.v1 import contracts_pb2, contracts_pb2_grpc, rules_pb2
from services.retention.store import terms as rows
from services.retention.terms.contract_term import ContractTerm, Effect, TermOrder, TermState
from services.retention.terms.keeping import TermKeeper
from shared import fields
from shared.database import Database
from shared.pages import page
from shared.pipeline import caller_of
from shared.terms import Term, TermKind

_KINDS: Final = {
    rules_pb2.TERM_KIND_AT_MOST: TermKind.AT_MOST,
    rules_pb2.TERM_KIND_AT_LEAST: TermKind.AT_LEAST,
}


class ContractServicer(contracts_pb2_grpc.ContractServiceServicer):
    """Contract terms, for legal staff; customers see their own."""

    def __init__(self, keeper: TermKeeper, database: Database) -> None:
        self._keeper = keeper
        self._database = database

    def SetTerm(
        self, request: contracts_pb2.SetTermRequest, context: grpc.ServicerContext
    ) -> contracts_pb2.SetTermResponse:
        order = TermOrder(
            request_id=request.request_id,
            organization_id=request.organization_id,
            term=Term(_KINDS[request.kind], request.days),
            reference=request.reference,
            from_day=fields.day("from_day", request.from_day) if request.from_day else None,
            until_day=fields.day("until_day", request.until_day) if request.until_day else None,
            application=request.application,
        )
        proposed = self._keeper.propose(order, caller_of(context).person_id)
        return contracts_pb2.SetTermResponse(term=_message(proposed))

    def ConfirmTerm(
        self, request: contracts_pb2.ConfirmTermRequest, context: grpc.ServicerContext
    ) -> contracts_pb2.ConfirmTermResponse:
        confirmed = self._keeper.confirm(
            request.term_id,
            caller_of(context).person_id,
            of_end=request.proposal == contracts_pb2.TERM_PROPOSAL_END,
            validate_only=request.validate_only,
        )
        return contracts_pb2.ConfirmTermResponse(term=_message(confirmed))

    def EndTerm(
        self, request: contracts_pb2.EndTermRequest, context: grpc.ServicerContext
    ) -> contracts_pb2.EndTermResponse:
        ended = self._keeper.end(request.term_id, caller_of(context).person_id, request.reason)
        return contracts_pb2.EndTermResponse(term=_message(ended))

    def ListTerms(
        self, request: contracts_pb2.ListTermsRequest, context: grpc.ServicerContext
    ) -> contracts_pb2.ListTermsResponse:
        caller_of(context).require_organization(request.organization_id)
        with self._database.transaction() as tx:
            found, token = page(
                "terms",
                request.page_size,
                request.page_token,
                lambda before, limit: rows.page(tx, request.organization_id, before or None, limit),
                lambda one: one.number,
            )
        return contracts_pb2.ListTermsResponse(terms=[_message(one) for one in found], next_page_token=token)


def _text(day: date | None) -> str:
    return "" if day is None else day.isoformat()


def _message(one: ContractTerm) -> contracts_pb2.ContractTerm:
    message = contracts_pb2.ContractTerm(
        term_id=one.term_id,
        organization_id=one.organization_id,
        term=one.term.to_message(),
        reference=one.reference,
        from_day=_text(one.from_day),
        until_day=_text(one.until_day),
        state=contracts_pb2.ContractTermState.Value(f"CONTRACT_TERM_STATE_{one.state}"),
        proposed_by=one.proposed_by,
        confirmed_by=one.confirmed_by,
        end_proposed_by=one.end_proposed_by,
        end_reason=one.end_reason,
        effect=_effect(one.effect),
        application=one.application,
    )
    message.proposed_at.FromDatetime(one.proposed_at)
    if one.state is TermState.PROPOSED:
        message.lapses_at.FromDatetime(one.lapses_at)
    if one.effective_at is not None:
        message.effective_at.FromDatetime(one.effective_at)
    if one.ended_at is not None:
        message.ended_at.FromDatetime(one.ended_at)
    return message


def _effect(effect: Effect) -> contracts_pb2.TermEffect:
    message = contracts_pb2.TermEffect(
        before=effect.before.to_message(),
        after=effect.after.to_message(),
        days_let_go=len(effect.let_go),
        first_day_let_go=_text(effect.let_go[0] if effect.let_go else None),
        last_day_let_go=_text(effect.let_go[-1] if effect.let_go else None),
        records_let_go=effect.records_let_go,
        records_held=effect.records_held,
        days_kept_longer=effect.days_kept_longer,
        records_kept_longer=effect.records_kept_longer,
        days_before=effect.days_before,
    )
    message.counted_at.FromDatetime(effect.counted_at)
    return message
