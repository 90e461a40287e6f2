"""What applies to an organization, as the contract says it; OrganizationService answers with it."""

from kept.settings.v1 import api_keys_pb2, organizations_pb2
from kept.settings.v1 import terms_pb2 as contract
from services.settings.servicers.instants import timestamp
from services.settings.trust.terms import DutyState, EffectiveTerms


def terms_message(terms: EffectiveTerms) -> contract.GetEffectiveTermsResponse:
    """All of it."""
    is_paying = terms.organization.tier == organizations_pb2.TIER_PAYING
    return contract.GetEffectiveTermsResponse(
        as_of=timestamp(terms.as_of),
        terms=api_keys_pb2.TERMS_KIND_ENTERPRISE if is_paying else api_keys_pb2.TERMS_KIND_GENERAL,
        version=terms.version,
        sentences=[
            contract.EffectiveTerm(
                commitment_id=one.commitment_id, group=one.group, text=one.text, basis=one.basis
            )
            for one in terms.sentences
        ],
        duties=[duty_message(one) for one in terms.duties],
        documents=[
            contract.AppliedDocument(
                name=one.name, version=one.version, since=timestamp(one.since), link=one.link
            )
            for one in terms.documents
        ],
        contacts=[contract.Contact(kind=kind, address=address) for kind, address in terms.contacts],
    )


def duty_message(duty: DutyState) -> contract.Duty:
    """One duty, with its acceptance."""
    accepted = duty.accepted
    return contract.Duty(
        name=duty.name,
        text=duty.text,
        accepted_version="" if accepted is None else accepted.version,
        accepted_by="" if accepted is None else accepted.accepted_by,
        accepted_at=timestamp(None if accepted is None else accepted.accepted_at),
    )
