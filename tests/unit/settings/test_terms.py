"""What applies to an organization now: told to its admins as it is, and accepted by name."""

from datetime import timedelta

import pytest

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import (
    api_keys_pb2,
    data_controls_pb2,
    lifecycle_pb2,
    members_pb2,
    organizations_pb2,
)
from kept.settings.v1 import terms_pb2 as contract
from services.settings.trust.terms_text import load
from tests.unit.settings.test_organization_changes import contracts, get, update
from tests.unit.settings.test_zero_data_retention import CURRENT as ADDITIONAL
from tests.unit.settings.test_zero_data_retention import ask, decide, end
from tests.unit.settings.test_zero_data_retention_erasure import approved_with_erasure
from tests.unit.settings.world import ERASURE, World, refused

TEXT = load()
DUTIES = [duty.name for duty in TEXT.duties]
SAAS = organizations_pb2.DEPLOYMENT_SAAS
PRIVATE = organizations_pb2.DEPLOYMENT_PRIVATE


def terms(world: World, admin: members_pb2.Member) -> contract.GetEffectiveTermsResponse:
    return world.customer(admin).organizations.GetEffectiveTerms(
        contract.GetEffectiveTermsRequest(organization_id=admin.organization_id)
    )


def sentences(answer: contract.GetEffectiveTermsResponse) -> dict[str, str]:
    return {one.commitment_id: one.text for one in answer.sentences}


def accept(
    world: World, admin: members_pb2.Member, version: str = TEXT.version, names: list[str] | None = None
) -> contract.AcceptTermsResponse:
    return world.customer(admin).organizations.AcceptTerms(
        contract.AcceptTermsRequest(
            organization_id=admin.organization_id,
            version=version,
            accepted_duties=DUTIES if names is None else names,
        )
    )


def test_a_paying_organization_is_told_what_is_so(world: World) -> None:
    admin = world.admin(training_allowed=True)
    answer = terms(world, admin)
    said = sentences(answer)
    assert list(said) == [one.commitment_id for one in TEXT.commitments]
    assert (answer.terms, answer.version) == (api_keys_pb2.TERMS_KIND_ENTERPRISE, TEXT.version)
    assert answer.as_of.ToDatetime() == world.clock.now().replace(tzinfo=None)
    assert "is allowed now" in said["C01"]
    assert "30 days" in said["C08"]
    assert "privacy@vendor.test" in said["C31"]
    assert not any("{" in text or "}" in text for text in said.values())
    assert {one.basis for one in answer.sentences} == {
        contract.TERMS_BASIS_ENTERPRISE_COMMITMENTS,
        contract.TERMS_BASIS_PLATFORM,
    }
    assert [(one.name, one.version) for one in answer.documents] == [
        ("enterprise-commitments", TEXT.version),
        ("terms-of-use", "local"),
        ("privacy-policy", "local"),
        ("usage-policy", "local"),
    ]
    assert all(one.link.startswith("https://") for one in answer.documents)
    assert [(one.kind, one.address) for one in answer.contacts] == [
        (contract.CONTACT_KIND_ADMIN, "Ada Admin"),
        (contract.CONTACT_KIND_SUPPORT, "help@vendor.test"),
        (contract.CONTACT_KIND_PRIVACY, "privacy@vendor.test"),
        (contract.CONTACT_KIND_SALES_REPRESENTATIVE, "sally@vendor.test"),
    ]
    assert [(one.name, one.accepted_version) for one in answer.duties] == [(name, "") for name in DUTIES]


def test_a_trial_is_told_that_it_is_one(world: World) -> None:
    answer = terms(world, world.admin(tier=organizations_pb2.TIER_TRIAL))
    assert answer.terms == api_keys_pb2.TERMS_KIND_GENERAL
    assert "is a trial" in sentences(answer)["C27"]
    assert contract.TERMS_BASIS_ENTERPRISE_COMMITMENTS not in {one.basis for one in answer.sentences}
    assert "enterprise-commitments" not in [one.name for one in answer.documents]


@pytest.mark.parametrize("tier", [organizations_pb2.TIER_PAYING, organizations_pb2.TIER_TRIAL])
def test_everybody_is_told_what_a_trial_key_means(
    world: World, tier: organizations_pb2.Tier.ValueType
) -> None:
    for number, deployment in enumerate((SAAS, PRIVATE)):
        said = sentences(terms(world, world.admin(f"org{number}", tier=tier, deployment=deployment)))
        assert "Terms of Use (https://kept.local/terms-of-use)" in said["C27"]
        assert ("trial key" in said["C27"]) is (tier == organizations_pb2.TIER_PAYING)


def test_another_deployment_is_told_that_nothing_of_it_is_there(world: World) -> None:
    admin = world.admin(deployment=PRIVATE)
    said = sentences(terms(world, admin))
    assert "receives neither prompts nor generations" in said["C03"]
    assert "none are taken" in said["C04"]
    assert said["C29"].startswith("No data processing addendum is required")
    update(world, get(world, admin.organization_id), usage_agreed=True)
    assert "may send usage counts" in sentences(terms(world, admin))["C04"]


def test_what_changes_is_said_from_then_on(world: World) -> None:
    admin = world.admin(training_allowed=False)
    before = sentences(terms(world, admin))
    update(
        world,
        get(world, admin.organization_id),
        contract_references=contracts("C-2026-17"),
        training_retention_days=730,
        privacy_contact="dpo@acme.test",
    )
    world.customer(admin).controls.UpdateDataControls(
        data_controls_pb2.UpdateDataControlsRequest(
            organization_id=admin.organization_id,
            etag="controls-1",
            training_allowed=True,
            require_customer_approval=True,
        )
    )
    answer = terms(world, admin)
    after = sentences(answer)
    assert {name for name, text in after.items() if text != before[name]} == {
        "C01",
        "C02",
        "C06",
        "C10",
        "C12",
        "C13",
        "C19",
        "C33",
    }
    assert "C-2026-17" in after["C10"]
    assert "730 days" in after["C12"]
    assert ("contract", "C-2026-17") in [(one.name, one.version) for one in answer.documents]
    assert (contract.CONTACT_KIND_CUSTOMER_PRIVACY, "dpo@acme.test") in [
        (one.kind, one.address) for one in answer.contacts
    ]


def test_zero_data_retention_is_said_with_its_instant_and_the_version_accepted(world: World) -> None:
    admin = world.admin()
    request = ask(world, admin)
    decide(world, 2, request)
    assert "not in force" in sentences(terms(world, admin))["C14"]
    decided = decide(world, 3, request)
    answer = terms(world, admin)
    since = decided.effective_at.ToDatetime().strftime("%Y-%m-%d %H:%M:%S UTC")
    assert since in sentences(answer)["C14"]
    assert "whatever key" in sentences(answer)["C14"]
    assert answer.documents[-1] == contract.AppliedDocument(
        name="zero-data-retention-commitments", version=ADDITIONAL.version, since=decided.effective_at
    )


def test_an_erasure_is_said_while_the_request_that_asked_for_it_is_in_force(world: World) -> None:
    admin = world.admin()
    first = approved_with_erasure(world, admin)
    said = sentences(terms(world, admin))
    assert "is erased, as your request says" in said["C08"]
    assert "holds keep" in said["C30"]
    world.clock.advance(timedelta(days=1))
    end(world, admin, first)
    world.clock.advance(timedelta(days=1))
    second = ask(world, admin)
    decide(world, 2, second)
    decide(world, 3, second)
    said = sentences(terms(world, admin))
    assert "at the end of its term of 30 days" in said["C08"]
    assert "until their term ends" in said["C30"]


def test_duties_are_accepted_once_by_name_and_kept_with_who_and_when(world: World) -> None:
    admin = world.admin()
    for version, names in (
        ("2020-01", DUTIES),
        (TEXT.version, DUTIES[:-1]),
        (TEXT.version, [*DUTIES, "more"]),
    ):
        with refused(reasons_pb2.REASON_TERMS_NOT_ACCEPTED) as caught:
            accept(world, admin, version, names)
        assert caught[0].metadata == {"version": TEXT.version}
    accepted = accept(world, admin)
    assert {(one.accepted_version, one.accepted_by) for one in accepted.duties} == {
        (TEXT.version, admin.member_id)
    }
    assert accept(world, admin) == accepted
    assert list(terms(world, admin).duties) == list(accepted.duties)
    assert world.kinds(admin.organization_id).count("terms.accepted") == 1


def test_an_acceptance_of_an_earlier_version_is_shown_as_that(world: World) -> None:
    admin = world.admin()
    with world.database.transaction() as tx:
        tx.exec_driver_sql(
            "INSERT INTO terms_acceptances (organization_id, version, duty, accepted_by, accepted_at) "
            f"VALUES ('{admin.organization_id}', '2025-12', 'business-use', 'member_1', '2025-12-05')"
        )
    duties = {one.name: one.accepted_version for one in terms(world, admin).duties}
    assert duties["business-use"] == "2025-12"
    accept(world, admin)
    assert {one.accepted_version for one in terms(world, admin).duties} == {TEXT.version}


def test_only_the_own_admins_are_told(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    request = contract.GetEffectiveTermsRequest(organization_id=admin.organization_id)
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(other).organizations.GetEffectiveTerms(request)
    with refused(reasons_pb2.REASON_ADMIN_REQUIRED):
        world.customer(world.colleague(admin)).organizations.GetEffectiveTerms(request)
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(other).organizations.AcceptTerms(
            contract.AcceptTermsRequest(
                organization_id=admin.organization_id, version=TEXT.version, accepted_duties=DUTIES
            )
        )


def test_acceptances_go_with_the_organization(world: World) -> None:
    admin = world.admin()
    accept(world, admin)
    retention = world.peer("retention").lifecycle
    retention.CloseOrganization(
        lifecycle_pb2.CloseOrganizationRequest(organization_id=admin.organization_id, erasure_id=ERASURE)
    )
    with refused(reasons_pb2.REASON_CLOSED):
        accept(world, admin)
    assert terms(world, admin).terms == api_keys_pb2.TERMS_KIND_ENTERPRISE, "until it is erased"
    receipt = retention.EraseOrganization(
        lifecycle_pb2.EraseOrganizationRequest(organization_id=admin.organization_id, erasure_id=ERASURE)
    )
    assert receipt.removed["terms_acceptances"] == len(DUTIES)
