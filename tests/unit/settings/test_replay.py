"""A settings database that was restored to an older state: what was withdrawn since is not in force, whoever was removed is not back, and
until that is so nobody gets an answer."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from kept.access_control.v1 import audit_pb2
from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import interactions_pb2
from kept.options.v1 import roles_pb2
from kept.settings.v1 import (
    account_pb2,
    api_keys_pb2,
    data_controls_pb2,
    gateways_pb2,
    lifecycle_pb2,
    members_pb2,
    organizations_pb2,
    policies_pb2,
    zero_data_retention_pb2,
)
from services.settings import store
from services.settings.store import zero_data_retention
from services.settings.store.tables import zero_data_retention_requests
from shared import audit
from shared.errors import KeptError
from shared.outbox import AUDIT
from tests.support.postgres import FreshDatabase
from tests.support.restores import backups
from tests.unit.settings.test_account_deletion import ask as ask_to_delete
from tests.unit.settings.test_account_deletion import confirm
from tests.unit.settings.test_invitations import invite, invite_first_admin
from tests.unit.settings.test_roles import remove, set_role
from tests.unit.settings.test_sign_in_pace import SECOND
from tests.unit.settings.test_sign_ins import session
from tests.unit.settings.test_zero_data_retention import ask, decide, end
from tests.unit.settings.test_zero_data_retention_erasure import approved_with_erasure, shown
from tests.unit.settings.world import ERASURE, PASSWORD, World, person, refused

Restore = Callable[[], World]


@pytest.fixture
def back_up(world: World, url: str, fresh_database: FreshDatabase) -> Iterator[Callable[[], Restore]]:
    """Takes a copy of the database now; what that gives starts a service on it later, beside the same audit log."""
    with backups(world, url, fresh_database, lambda backup: World(backup, beside=world)) as copy:
        yield copy


def policies_of(world: World) -> dict[str, policies_pb2.OrganizationPolicy]:
    """What is in force for each organization."""
    answer = world.peer("logging").policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest())
    return {change.organization.organization_id: change.organization for change in answer.changes}


def controls_of(world: World, admin: members_pb2.Member) -> data_controls_pb2.DataControls:
    request = data_controls_pb2.GetDataControlsRequest(organization_id=admin.organization_id)
    return world.customer(admin).controls.GetDataControls(request).controls


def sign_in(world: World, email: str) -> members_pb2.Member:
    request = members_pb2.AuthenticateMemberRequest(email=email, password=PASSWORD)
    return world.peer("issuer").members.AuthenticateMember(request).member


def test_controls_and_zero_data_retention_are_as_they_were_and_since_when(
    world: World, back_up: Callable[[], Restore]
) -> None:
    admin = world.admin()
    restore = back_up()
    world.clock.advance(timedelta(hours=1))
    controls = controls_of(world, admin)
    world.customer(admin).controls.UpdateDataControls(
        data_controls_pb2.UpdateDataControlsRequest(
            organization_id=admin.organization_id,
            etag=controls.etag,
            training_allowed=False,
            require_customer_approval=True,
        )
    )
    request = ask(world, admin)
    decide(world, 2, request)
    decided = decide(world, 3, request)
    world.clock.advance(timedelta(hours=3))
    restored = restore()
    again = controls_of(restored, admin)
    assert again == controls_of(world, admin)
    assert not again.training_allowed
    [policy] = policies_of(restored).values()
    assert policy.zero_data_retention
    assert policy.require_customer_approval
    answer = restored.peer("logging").policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest())
    assert (
        answer.changes[-1].effective_at == decided.effective_at
    )  # a late record of then keeps no content either
    consent = policies_pb2.GetConsentHistoryRequest(organization_id=admin.organization_id)
    assert restored.peer("training").policies.GetConsentHistory(consent) == world.peer(
        "training"
    ).policies.GetConsentHistory(consent)


def test_what_was_logged_before_goes_and_the_end_is_where_it_was(
    world: World, back_up: Callable[[], Restore]
) -> None:
    admin = world.admin()
    restore = back_up()
    request = approved_with_erasure(world, admin)
    world.run_jobs()
    end(world, admin, request)  # announced for the next day: the keys of this one are gone
    world.run_jobs()
    before = shown(world, admin)
    assert before.HasField("ends_at")
    ordered = list(world.peers.contents)
    restored = restore()
    after = shown(restored, admin)
    restored.run_jobs()
    assert (after.erase_logged_before, after.ends_at, after.end_cause) == (
        True,
        before.ends_at,
        before.end_cause,
    )
    assert after.effective_at == before.effective_at
    assert policies_of(restored)[admin.organization_id].content_erased_before == before.effective_at
    assert restored.peers.contents[-1] == ordered[-1], "retention is asked once more for the same"
    restored.clock.advance(timedelta(days=1))
    restored.run_jobs()
    ended = policies_of(restored)[admin.organization_id]
    assert (ended.zero_data_retention, ended.content_erased_before) == (False, before.effective_at)


def test_voices_count_as_long_as_they_did(world: World, back_up: Callable[[], Restore]) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    waiting, in_force = ask(world, admin), ask(world, other)
    decide(world, 2, in_force)
    decide(world, 3, in_force)
    decide(world, 2, waiting)
    end(world, 2, in_force)
    world.clock.advance(timedelta(hours=72))
    restore = back_up()
    decide(world, 2, waiting)  # again: the first time counts no more
    end(world, 4, in_force)
    world.clock.advance(timedelta(hours=71))
    restored = restore()
    assert list(shown(restored, other).end_approved_by) == [person(4)]
    assert decide(restored, 3, waiting).state == zero_data_retention_pb2.ZERO_DATA_RETENTION_STATE_APPROVED
    restored.clock.advance(timedelta(hours=1))
    assert not end(restored, 5, in_force).HasField("ends_at"), "one voice of two"


def test_a_voice_counts_from_its_own_instant_though_its_entry_came_later(
    world: World, back_up: Callable[[], Restore], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    waiting, in_force = ask(world, admin), ask(world, other)
    decide(world, 2, in_force)
    decide(world, 3, in_force)
    restore = back_up()
    spoken = world.clock.now()
    with monkeypatch.context() as patched:  # as if the database took its time to store a voice
        for name in ("add_decision", "change"):
            real = getattr(zero_data_retention, name)

            def late(*args: Any, real: Callable[..., None] = real) -> None:
                real(*args)
                world.clock.advance(timedelta(minutes=1))

            patched.setattr(zero_data_retention, name, late)
        end(world, 2, in_force)
        world.clock.step(spoken - world.clock.now())
        decide(world, 2, waiting)
    world.clock.advance(spoken + timedelta(hours=72) - world.clock.now())
    decide(world, 2, waiting)  # again: the first time counts no more
    world.clock.advance(timedelta(seconds=1))
    restored = restore()
    assert not end(restored, 4, in_force).HasField("ends_at"), "one voice of two"
    restored.clock.advance(timedelta(hours=1))
    assert decide(restored, 3, waiting).state == zero_data_retention_pb2.ZERO_DATA_RETENTION_STATE_APPROVED


@pytest.mark.parametrize("is_over", [False, True], ids=["announced", "over, and asked for again"])
def test_an_announced_end_is_where_it_was_though_the_first_voice_is_dated_later(
    world: World, back_up: Callable[[], Restore], is_over: bool
) -> None:
    """As migration 0019 dates it in a backup from before: with its own instant, which is after the restoring."""
    admin = world.admin()
    request = ask(world, admin)
    decide(world, 2, request)
    decide(world, 3, request)
    end(world, 2, request)
    with world.database.transaction() as tx:
        migrated_at = world.clock.now() + timedelta(hours=4)
        tx.execute(update(zero_data_retention_requests).values(end_approved_at=[migrated_at]))
    restore = back_up()
    world.clock.advance(timedelta(hours=1))
    announced = end(world, 4, request)
    assert announced.HasField("ends_at")
    if is_over:
        end(world, admin, request)
        again = ask(world, admin)
        decide(world, 2, again)
        decide(world, 3, again)
    world.clock.advance(timedelta(hours=3))
    restored = restore()
    before, after = shown(world, admin), shown(restored, admin)
    assert (after.state, after.ends_at, after.end_cause) == (before.state, before.ends_at, before.end_cause)
    assert list(after.end_approved_by) == list(before.end_approved_by)
    restored.clock.advance(timedelta(days=31))
    restored.run_jobs()
    assert policies_of(restored)[admin.organization_id].zero_data_retention is is_over


def test_an_announced_end_that_comes_again_changes_nothing_of_what_came_after(world: World) -> None:
    admin = world.admin()
    request = approved_with_erasure(world, admin)
    world.run_jobs()
    end(world, 2, request)
    end(world, 4, request)
    end(world, admin, request)  # earlier than the vendor's, and on the next day only
    world.run_jobs()
    before = shown(world, admin)
    assert before.end_cause == zero_data_retention_pb2.ZERO_DATA_RETENTION_END_ADMIN
    again = [one for one in world.peers.entries if one.kind == "zero_data_retention.end_approved"]
    world.peers.entries[:] = again
    with world.database.transaction() as tx:
        tx.execute(update(store.audit_position).values(position=0))
    [replay] = [job for job in world.service.jobs if job.name == "replay"]
    replay.step()
    assert len(again) == 2
    assert shown(world, admin) == before


def test_receivers_get_the_whole_table_again(world: World, back_up: Callable[[], Restore]) -> None:
    admin = world.admin()
    restore = back_up()
    ask(world, admin)
    seen = world.peer("logging").policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest()).lease
    assert (
        not world.peer("logging")
        .policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest(since_version=seen.version))
        .lease.reset
    )
    answer = (
        restore()
        .peer("logging")
        .policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest(since_version=seen.version))
    )
    assert answer.lease.reset
    assert answer.lease.complete


def test_people_keys_and_gateways_that_were_ended_are_not_back(
    world: World, back_up: Callable[[], Restore]
) -> None:
    admin = world.admin()
    colleague, other = world.colleague(admin), world.admin("other")
    key = (
        world.customer(admin)
        .keys.RegisterApiKey(
            api_keys_pb2.RegisterApiKeyRequest(
                request_id="register-key",
                organization_id=admin.organization_id,
                name="bot",
                kind=interactions_pb2.API_KEY_KIND_PRODUCTION,
                fingerprint=b"f" * 32,
            )
        )
        .api_key
    )
    world.staff().gateways.RegisterGateway(
        gateways_pb2.RegisterGatewayRequest(name="edge", all_organizations=True)
    )
    restore = back_up()
    world.clock.advance(timedelta(minutes=1))
    world.customer(admin).members.RemoveMember(
        members_pb2.RemoveMemberRequest(member_id=colleague.member_id, etag=colleague.etag)
    )
    world.customer(other).members.ChangePassword(
        members_pb2.ChangePasswordRequest(current_password=PASSWORD, new_password="quite another passphrase")
    )
    world.customer(admin).keys.RevokeApiKey(api_keys_pb2.RevokeApiKeyRequest(api_key_id=key.api_key_id))
    world.staff().gateways.RevokeGateway(gateways_pb2.RevokeGatewayRequest(name="edge"))
    restored = restore()
    assert sign_in(restored, admin.email).member_id == admin.member_id
    for email in (colleague.email, other.email):  # one is gone, the other's old password opens nothing
        with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
            sign_in(restored, email)
    listed = restored.customer(admin).keys.ListApiKeys(
        api_keys_pb2.ListApiKeysRequest(organization_id=admin.organization_id)
    )
    assert [one.HasField("revoked_at") for one in listed.api_keys] == [True]
    assert not restored.staff().gateways.ListGateways(gateways_pb2.ListGatewaysRequest()).gateways
    restored.run_jobs()
    assert [each.member_id for each in world.peers.members][-1] == colleague.member_id


@pytest.mark.parametrize("kind", ["password.changed", "password.reset", "email.changed"])
def test_a_session_from_before_is_over_in_a_restored_database_too_whichever_clock_is_ahead(
    world: World, back_up: Callable[[], Restore], kind: str
) -> None:
    admin = world.admin()
    world.clock.step(5 * SECOND)  # another replica's is
    before = session(world, admin.email)
    world.clock.step(-5 * SECOND)
    restore = back_up()
    world.clock.advance(SECOND)
    world.peers.entries.append(
        audit.entry(
            kind,
            actor=admin.member_id,
            at=world.clock.now(),
            organization_id=admin.organization_id,
            subjects=[admin.member_id],
        )
    )
    restored = restore()
    with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
        restored.peer("issuer").members.RenewSignIn(before)


def test_what_was_taken_from_a_gateway_is_not_back_where_both_count_from_the_same_instant(
    world: World, back_up: Callable[[], Restore]
) -> None:
    kept, taken = world.admin("acme").organization_id, world.admin("other").organization_id
    restore = back_up()

    def register(*organization_ids: str) -> None:
        request = gateways_pb2.RegisterGatewayRequest(name="main", organization_ids=organization_ids)
        world.staff().gateways.RegisterGateway(request)

    register(kept, taken)
    world.clock.step(timedelta(seconds=-1))
    register(kept)
    world.clock.advance(timedelta(seconds=1))
    listed = gateways_pb2.ListGatewaysRequest()
    before = world.staff().gateways.ListGateways(listed)
    assert restore().staff().gateways.ListGateways(listed) == before


def test_what_was_agreed_last_is_so_though_the_clock_was_set_back(
    world: World, back_up: Callable[[], Restore]
) -> None:
    organization_id = world.admin().organization_id
    restore = back_up()

    def shown_by(one: World) -> organizations_pb2.Organization:
        request = organizations_pb2.GetOrganizationRequest(organization_id=organization_id)
        return one.staff().organizations.GetOrganization(request).organization

    for days in (30, 10):
        world.clock.advance(timedelta(seconds=10))
        world.staff().organizations.UpdateOrganization(
            organizations_pb2.UpdateOrganizationRequest(
                organization_id=organization_id, training_retention_days=days, etag=shown_by(world).etag
            )
        )
        world.clock.step(timedelta(seconds=-11))
    world.clock.advance(timedelta(minutes=1))
    restored = restore()
    assert shown_by(restored).training_retention_days == shown_by(world).training_retention_days == 10
    assert policies_of(restored)[organization_id].training_retention_days == 10


def test_an_operator_invites_an_admin_where_none_can_get_in_any_more(
    world: World, back_up: Callable[[], Restore]
) -> None:
    lost = world.admin("acme")
    restore = back_up()
    since = world.admin("other")
    world.peers.entries.append(  # her address is another one since
        audit.entry(
            "email.changed",
            actor=lost.member_id,
            at=world.clock.now(),
            organization_id=lost.organization_id,
            subjects=[lost.member_id],
        )
    )
    restored = restore()
    for gone, email in ((lost, "ada@acme.test"), (since, "ada@other.test")):
        invited = invite_first_admin(restored, gone.organization_id, email)
        admin = restored.register(invited.invitation_token)
        assert (admin.organization_id, admin.role) == (
            gone.organization_id,
            roles_pb2.CUSTOMER_ROLE_ADMIN,
        )
        with refused(reasons_pb2.REASON_WRONG_STATE):
            invite_first_admin(restored, gone.organization_id, "another@mail.test")


def test_an_organization_that_was_erased_is_erased_again(
    world: World, back_up: Callable[[], Restore]
) -> None:
    admin = world.admin()
    restore = back_up()
    retention = world.peer("retention").lifecycle
    retention.CloseOrganization(
        lifecycle_pb2.CloseOrganizationRequest(organization_id=admin.organization_id, erasure_id=ERASURE)
    )
    world.clock.advance(timedelta(seconds=3))
    retention.EraseOrganization(
        lifecycle_pb2.EraseOrganizationRequest(organization_id=admin.organization_id, erasure_id=ERASURE)
    )
    restored = restore()
    found = restored.staff().organizations.GetOrganization(
        organizations_pb2.GetOrganizationRequest(organization_id=admin.organization_id)
    )
    assert found.organization.state == organizations_pb2.ORGANIZATION_STATE_ERASED
    assert not found.organization.display_name
    with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
        sign_in(restored, admin.email)
    assert policies_of(restored)[admin.organization_id].closed


def test_a_deletion_that_was_taken_back_is_not_handed_over(
    world: World, back_up: Callable[[], Restore]
) -> None:
    admin = world.admin()
    account = world.customer(admin).account
    asked = account.RequestAccountDeletion(
        account_pb2.RequestAccountDeletionRequest(organization_id=admin.organization_id)
    ).deletion
    account.ConfirmAccountDeletion(
        account_pb2.ConfirmAccountDeletionRequest(
            account_deletion_id=asked.account_deletion_id, confirmation_sentence=asked.confirmation_sentence
        )
    )
    restore = back_up()
    account.CancelAccountDeletion(
        account_pb2.CancelAccountDeletionRequest(account_deletion_id=asked.account_deletion_id)
    )
    restored = restore()
    world.clock.advance(timedelta(days=15))
    restored.run_jobs()
    assert world.peers.erasures == []


@pytest.mark.parametrize("backed_up", ["requested", "confirmed"])
@pytest.mark.parametrize("is_handed_over", [False, True], ids=["in grace", "handed over"])
def test_a_deletion_that_was_confirmed_is_carried_out(
    world: World, back_up: Callable[[], Restore], backed_up: str, is_handed_over: bool
) -> None:
    admin = world.admin()
    deletion = ask_to_delete(world, admin)
    restore = back_up()
    claim = confirm(world, admin, deletion).claim
    if backed_up == "confirmed":
        restore = back_up()
    if is_handed_over:
        world.clock.advance(timedelta(days=14))
        world.run_jobs()
        assert len(world.peers.erasures) == 1
    restored = restore()
    assert restored.peers.erasures == world.peers.erasures
    world.peers.erasures.clear()  # as if the message had been lost on its way
    world.clock.advance(timedelta(days=14))
    restored.run_jobs()
    [order] = world.peers.erasures
    assert (order.organization_id, order.account_deletion_id, order.confirmed_by) == (
        admin.organization_id,
        deletion.account_deletion_id,
        admin.member_id,
    )
    is_claims = order.claim_sha256 == hashlib.sha256(claim.encode()).digest()
    assert (len(order.claim_sha256), is_claims) == (32, backed_up == "confirmed")
    shown = restored.customer(admin).account.GetAccountDeletion(
        account_pb2.GetAccountDeletionRequest(organization_id=admin.organization_id)
    )
    assert (shown.deletion.state, shown.deletion.erasure_id) == (
        account_pb2.ACCOUNT_DELETION_STATE_ERASING,
        ERASURE,
    )


def test_a_customer_that_was_entered_since_is_known_by_its_id(
    world: World, back_up: Callable[[], Restore]
) -> None:
    restore = back_up()
    admin = world.admin(deployment=organizations_pb2.DEPLOYMENT_PRIVATE)
    restored = restore()
    assert policies_of(restored) == policies_of(world)
    with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
        sign_in(restored, admin.email)


def test_nobody_gets_an_answer_before_and_no_job_runs(world: World, back_up: Callable[[], Restore]) -> None:
    restore = back_up()
    admin = world.admin()
    restored = restore()
    world.peers.is_log_down = True
    for _ in range(2):
        with refused(reasons_pb2.REASON_CATCHING_UP):
            policies_of(restored)
        with refused(reasons_pb2.REASON_CATCHING_UP):
            controls_of(restored, admin)
    for job in restored.service.jobs:
        with pytest.raises(KeptError):
            job.step()
    assert restored.service.gate is not None
    assert not restored.service.gate.is_open()
    world.peers.is_log_down = False
    world.clock.advance(timedelta(seconds=2))
    assert policies_of(restored) == policies_of(world)
    assert restored.service.gate.is_open()
    restored.run_jobs()
    [said] = [one for one in world.peers.entries if one.kind == "database.caught_up"]
    assert said.facts["service"] == "settings"
    assert int(said.facts["replayed"]) == 2  # the organization, and its admin's registration
    # Once is enough, and a service that is as new as the log says nothing.
    restored.run_jobs()
    assert [one.kind for one in world.peers.entries].count("database.caught_up") == 1


def test_role_changes_are_followed_and_others_hear_of_them(
    world: World, back_up: Callable[[], Restore]
) -> None:
    admin = world.admin()
    colleague = world.colleague(admin)
    restore = back_up()
    world.customer(admin).members.SetMemberRole(
        members_pb2.SetMemberRoleRequest(
            member_id=colleague.member_id, role=roles_pb2.CUSTOMER_ROLE_ADMIN, etag=colleague.etag
        )
    )
    restored = restore()
    assert sign_in(restored, colleague.email).role == roles_pb2.CUSTOMER_ROLE_ADMIN


@pytest.mark.parametrize("role", [None, roles_pb2.CUSTOMER_ROLE_MEMBER], ids=["removed", "demoted"])
def test_what_an_admin_of_then_invited_is_not_open_again(
    world: World, back_up: Callable[[], Restore], role: "roles_pb2.CustomerRole.ValueType | None"
) -> None:
    admin = world.admin()
    gone = set_role(world, admin, world.colleague(admin), roles_pb2.CUSTOMER_ROLE_ADMIN)
    token = invite(world, gone, "friend@mail.test")
    restore = back_up()
    if role is None:
        remove(world, admin, gone)
    else:
        set_role(world, admin, gone, role)
    world.run_jobs()
    # As a log from before these had entries of their own.
    world.peers.entries[:] = [one for one in world.peers.entries if one.kind != "member.invitation_revoked"]
    with refused(reasons_pb2.REASON_INVITATION_INVALID):
        restore().register(token)


def test_an_invitation_that_was_used_or_replaced_is_over(
    world: World, back_up: Callable[[], Restore]
) -> None:
    admin = world.admin()
    used, replaced, open_still = (
        invite(world, admin, f"{name}@mail.test") for name in ("one", "three", "two")
    )
    restore = back_up()
    world.register(used)
    invite(world, admin, "THREE@mail.test")
    restored = restore()
    for token in (used, replaced):
        with refused(reasons_pb2.REASON_INVITATION_INVALID):
            restored.register(token)
    assert restored.register(open_still).email == "two@mail.test"


def test_an_entry_whose_delivery_was_not_noted_is_known(world: World, url: str) -> None:
    """A process died between the audit log's answer and its own commit: the entry is in both, and nothing is older than anything."""
    world.admin()
    with world.database.transaction() as tx:
        waiting = (
            tx.execute(select(store.outbox.c.payload).where(store.outbox.c.kind == AUDIT)).scalars().all()
        )
    world.peers.entries += [audit_pb2.AuditEntry.FromString(payload) for payload in waiting]
    another = World(url, beside=world)
    assert policies_of(another) == policies_of(world)
    another.run_jobs()
    assert waiting
    assert "database.caught_up" not in {one.kind for one in world.peers.entries}
    another.database.close()


def test_a_database_that_is_put_back_under_a_running_service_closes_it(
    world: World, back_up: Callable[[], Restore]
) -> None:
    admin = world.admin()
    back_up()
    [replay] = [job for job in world.service.jobs if job.name == "replay"]
    ask(world, admin)
    world.run_jobs()
    with world.database.transaction() as tx:  # as if it were the backup, which knows neither
        tx.execute(update(store.audit_position).values(position=1))
    world.peers.is_log_down = True
    with pytest.raises(KeptError):
        replay.step()
    with refused(reasons_pb2.REASON_CATCHING_UP):
        policies_of(world)
    world.peers.is_log_down = False
    replay.step()
    assert policies_of(world)
