"""Who asks, who approves, and who comes second: through the contracts, on a real database."""

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kept.access_control.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    authz_pb2,
    authz_pb2_grpc,
    directory_pb2,
    grants_pb2,
    grants_pb2_grpc,
)
from kept.options.v1 import roles_pb2
from services.access_control.people.person import Identity
from services.access_control.store import cases as case_store
from services.access_control.store import identities
from shared.errors import KeptError
from shared.identity import Caller, CallerKind
from shared.ids import new_id, new_record_id
from tests.unit.access_control.world import (
    DAY,
    ENGINEER,
    LEGAL,
    MINUTE,
    OPERATOR,
    ORG,
    OTHER,
    SAFETY,
    WORKFORCE,
    World,
    migrated_vault,
    refusal,
    world,
)

__all__ = ["migrated_vault", "world"]

REQUESTED, APPROVED = grants_pb2.GRANT_STATE_REQUESTED, grants_pb2.GRANT_STATE_APPROVED
EXPIRED, REVOKED = grants_pb2.GRANT_STATE_EXPIRED, grants_pb2.GRANT_STATE_REVOKED


def in_parallel(*calls: Callable[[], object]) -> list[str]:
    """Outcomes of calls made at once: "" or the reason."""
    outcomes, start = [""] * len(calls), threading.Barrier(len(calls))

    def run(place: int) -> None:
        start.wait()
        try:
            calls[place]()
        except KeptError as error:
            outcomes[place] = error.name

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_time_counts_from_the_last_approval_and_is_over_at_its_end(world: World) -> None:
    world.person("eve", ENGINEER)
    world.person("colin", ENGINEER)
    grant = world.request("eve")
    assert (grant.state, grant.missing_staff_approvals) == (REQUESTED, 1)
    assert refusal(lambda: world.authorize("eve", grant.grant_id)) == "GRANT_NOT_ACTIVE"
    world.advance(2 * timedelta(hours=1))
    approved = world.approve("colin", grant)
    assert approved.expires_at.ToDatetime() == world.clock.now().replace(tzinfo=None) + 30 * MINUTE
    world.advance(30 * MINUTE - timedelta(microseconds=1000))
    assert world.authorize("eve", grant.grant_id).remaining == 10
    world.advance(timedelta(microseconds=1000))
    assert refusal(lambda: world.authorize("eve", grant.grant_id)) == "GRANT_EXPIRED"
    shown = world.grants("eve").GetGrant(grants_pb2.GetGrantRequest(grant_id=grant.grant_id)).grant
    assert shown.state == EXPIRED


def test_a_start_ahead_begins_then(world: World) -> None:
    world.person("eve", ENGINEER)
    world.person("colin", ENGINEER)
    grant = world.request("eve", start_at=world.clock.now() + DAY)
    approved = world.approve("colin", grant)
    assert (approved.expires_at.ToDatetime() - approved.valid_from.ToDatetime()) == 30 * MINUTE
    assert refusal(lambda: world.authorize("eve", grant.grant_id)) == "GRANT_NOT_ACTIVE"
    world.advance(DAY)
    assert world.authorize("eve", grant.grant_id).person_id == grant.requested_by


def test_a_request_lapses_after_a_day(world: World) -> None:
    world.person("eve", ENGINEER)
    world.person("colin", ENGINEER)
    grant = world.request("eve")
    world.advance(DAY)
    with pytest.raises(KeptError) as caught:
        world.approve("colin", grant)
    assert (caught.value.name, caught.value.metadata) == ("WRONG_STATE", {"state": "EXPIRED"})


def test_nobody_approves_their_own_by_any_identity(world: World) -> None:
    person_id = world.person("eve", ENGINEER, OPERATOR)
    with world.database.transaction() as tx:
        further = Identity(new_id("identity"), person_id, WORKFORCE, "eve-admin", "x", world.clock.now(), "y")
        assert identities.add_identity(tx, further)
        # A larger letter is no second person.
        again = replace(further, identity_id=new_id("identity"), subject="EVE")
        assert not identities.add_identity(tx, again)
    grant = world.request("eve")
    assert refusal(lambda: world.approve("eve", grant)) == "SECOND_PERSON_REQUIRED"
    assert refusal(lambda: world.approve("eve-admin", grant)) == "SECOND_PERSON_REQUIRED"
    refused = world.entries("grant.refused")
    assert [entry["facts"]["refused"] for entry in refused] == ["SECOND_PERSON_REQUIRED"] * 2
    assert {entry["actor"] for entry in refused} == {person_id}


def test_a_request_is_idempotent_and_its_id_is_not_reused(world: World) -> None:
    world.person("eve", ENGINEER)
    first = world.request("eve", request_id="request-1")
    assert world.request("eve", request_id="request-1").grant_id == first.grant_id
    assert refusal(lambda: world.request("eve", request_id="request-1", budget=11)) == "REQUEST_ID_REUSED"
    assert len(world.entries("grant.requested")) == 1


def test_of_parallel_repeats_of_a_request_one_is_made(world: World) -> None:
    world.person("eve", ENGINEER)
    assert in_parallel(*[lambda: world.request("eve", request_id="request-1")] * 4) == [""] * 4
    assert len(world.entries("grant.requested")) == 1


@pytest.mark.parametrize("_", range(5))
def test_of_two_deciders_the_second_finds_the_first(world: World, _: int) -> None:
    for subject in ("eve", "colin", "dora"):
        world.person(subject, ENGINEER)
    grant = world.request("eve")
    deny = grants_pb2.DenyGrantRequest(grant_id=grant.grant_id, reason="not now")
    outcomes = in_parallel(
        lambda: world.approve("colin", grant), lambda: world.grants("dora").DenyGrant(deny)
    )
    assert sorted(outcomes) == ["", "WRONG_STATE"]
    decided = world.entries("grant.approved") + world.entries("grant.denied")
    assert len(decided) == 1


def test_two_approvals_at_once_activate_once(world: World) -> None:
    for subject in ("eve", "colin", "dora"):
        world.person(subject, ENGINEER)
    grant = world.request("eve")
    outcomes = in_parallel(lambda: world.approve("colin", grant), lambda: world.approve("dora", grant))
    assert sorted(outcomes) == ["", "WRONG_STATE"]


def test_everything_in_full_takes_two_different_people(world: World) -> None:
    for subject in ("eve", "colin", "dora"):
        world.person(subject, ENGINEER)
    grant = world.request("eve", detail=grants_pb2.DETAIL_FULL)
    assert world.approve("colin", grant).missing_staff_approvals == 1
    assert world.approve("colin", grant).state == REQUESTED
    assert world.approve("dora", grant).state == APPROVED


def test_a_vote_of_who_lost_the_right_does_not_count(world: World) -> None:
    world.person("eve", ENGINEER)
    world.person("colin", ENGINEER, days=1)
    for subject in ("dora", "emil"):
        world.person(subject, ENGINEER)
    grant = world.request("eve", detail=grants_pb2.DETAIL_FULL)
    world.advance(DAY - MINUTE)
    world.approve("colin", grant)
    world.advance(MINUTE / 2)
    assert world.approve("dora", grant).state == APPROVED
    world.advance(MINUTE / 2)  # Colin's agreement ends, and with it what he carried
    assert refusal(lambda: world.authorize("eve", grant.grant_id)) == "GRANT_REVOKED"


def test_an_agreement_that_ends_ends_what_its_person_holds(world: World) -> None:
    world.person("eve", ENGINEER, days=1)
    world.person("colin", ENGINEER)
    world.advance(DAY - MINUTE)
    grant = world.request("eve")
    world.approve("colin", grant)
    world.advance(MINUTE)
    assert refusal(lambda: world.authorize("eve", grant.grant_id)) == "NOT_AUTHORIZED"


@pytest.fixture
def governed(world: World) -> World:
    """Ada and Bob are operators, and Ada may change roles; Eve holds a grant that Colin approved."""
    world.person("ada", OPERATOR)
    world.person("bob", OPERATOR)
    world.person("eve", ENGINEER)
    world.person("colin", ENGINEER)
    world.approve(
        "bob", world.request("ada", power=roles_pb2.POWER_ROLE_ASSIGNMENT, duration=timedelta(hours=8))
    )
    return world


def role_id(world: World, subject: str) -> str:
    people = world.directory("ada").ListPeople(directory_pb2.ListPeopleRequest()).people
    return next(p for p in people if p.display_name == subject.title()).roles[0].role_assignment_id


@pytest.mark.parametrize("loser", ["eve", "colin"])
@pytest.mark.parametrize("act", ["end the role", "disable"])
def test_who_loses_authority_loses_grants_in_the_same_act(governed: World, loser: str, act: str) -> None:
    world = governed
    grant = world.request("eve")
    world.approve("colin", grant)
    unrelated = world.request("eve" if loser == "colin" else "colin")
    if act == "disable":
        people = world.directory("ada").ListPeople(directory_pb2.ListPeopleRequest()).people
        person_id = next(p.person_id for p in people if p.display_name == loser.title())
        ended = (
            world.directory("ada")
            .DisablePerson(directory_pb2.DisablePersonRequest(person_id=person_id))
            .ended_grants
        )
    else:
        request = directory_pb2.EndRoleRequest(role_assignment_id=role_id(world, loser))
        ended = world.directory("ada").EndRole(request).ended_grants
    assert ended == 1
    assert refusal(lambda: world.authorize("eve", grant.grant_id)) in ("GRANT_REVOKED", "NOT_AUTHORIZED")
    assert [e["subjects"] for e in world.entries("grant.revoked")] == [[grant.grant_id]]
    assert unrelated.grant_id != grant.grant_id


def test_an_approval_of_more_time_ends_with_its_givers_role_and_does_not_return_with_it(
    governed: World,
) -> None:
    world, dora = governed, governed.person("dora", ENGINEER)
    world.person("finn", ENGINEER)
    world.approve(
        "ada", world.request("bob", power=roles_pb2.POWER_ROLE_ASSIGNMENT, duration=timedelta(hours=8))
    )
    grant = world.request("eve", detail=grants_pb2.DETAIL_FULL)
    for name in ("colin", "finn"):
        grant = world.approve(name, grant)
    more = grants_pb2.ExtendGrantRequest(grant_id=grant.grant_id, reason="not found yet")
    more.duration.FromTimedelta(30 * MINUTE)
    world.grants("eve").ExtendGrant(more)
    world.approve("dora", grant)

    end = directory_pb2.EndRoleRequest(role_assignment_id=role_id(world, "dora"))
    assert world.directory("ada").EndRole(end).ended_grants == 0
    seen = world.grants("eve").GetGrant(grants_pb2.GetGrantRequest(grant_id=grant.grant_id)).grant
    assert (seen.state, seen.expires_at, seen.HasField("extension")) == (APPROVED, grant.expires_at, False)
    (denied,) = world.entries("grant.extension_denied")
    assert denied["facts"]["why"] == "the approver's authority ended: a role ended"

    assign = directory_pb2.AssignRoleRequest(person_id=dora, role=ENGINEER)
    role = world.directory("ada").AssignRole(assign).role_assignment
    confirm = directory_pb2.ConfirmRoleRequest(role_assignment_id=role.role_assignment_id)
    world.directory("bob").ConfirmRole(confirm)
    world.grants("eve").ExtendGrant(more)
    assert world.approve("finn", grant).missing_staff_approvals == 1


def test_powers_are_needed_and_end(governed: World) -> None:
    world = governed
    create = directory_pb2.CreatePersonRequest(display_name="Zoe", email="zoe@vendor.test", subject="zoe")
    assert refusal(lambda: world.directory("bob").CreatePerson(create)) == "POWER_REQUIRED"
    person = world.directory("ada").CreatePerson(create).person
    folded = [
        directory_pb2.CreatePersonRequest(display_name="Zoe", email="ZOE@vendor.test", subject="z2"),
        directory_pb2.CreatePersonRequest(display_name="Zoe", email="z2@vendor.test", subject="Zoe"),
    ]
    assert refusal(lambda: world.directory("ada").CreatePerson(folded[0])) == "ALREADY_EXISTS"
    assert refusal(lambda: world.directory("ada").CreatePerson(folded[1])) == "ALREADY_EXISTS"
    assign = directory_pb2.AssignRoleRequest(person_id=person.person_id, role=LEGAL)
    role = world.directory("ada").AssignRole(assign).role_assignment
    confirm = directory_pb2.ConfirmRoleRequest(role_assignment_id=role.role_assignment_id)
    assert refusal(lambda: world.directory("ada").ConfirmRole(confirm)) == "SECOND_PERSON_REQUIRED"
    world.approve("ada", world.request("bob", power=roles_pb2.POWER_ROLE_ASSIGNMENT))
    assert world.directory("bob").ConfirmRole(confirm).role_assignment.confirmed_by
    world.advance(timedelta(hours=8))
    assert refusal(lambda: world.directory("ada").AssignRole(assign)) == "POWER_REQUIRED"


def test_nobody_gives_themselves_a_role(governed: World) -> None:
    me = governed.directory("ada").GetMe(directory_pb2.GetMeRequest()).person
    assign = directory_pb2.AssignRoleRequest(person_id=me.person_id, role=LEGAL)
    assert refusal(lambda: governed.directory("ada").AssignRole(assign)) == "SECOND_PERSON_REQUIRED"


def test_a_customer_that_asked_to_approves_denies_and_sees_its_own_alone(world: World) -> None:
    world.person("eve", ENGINEER)
    world.person("colin", ENGINEER)
    world.customer_approval.add(ORG)
    world.renew()
    admin = grants_pb2_grpc.GrantServiceStub(world.customer(world.member()))
    stranger = grants_pb2_grpc.GrantServiceStub(world.customer(world.member(org=OTHER), OTHER))
    grant = world.request("eve")
    half = world.approve("colin", grant)
    assert (half.state, half.missing_customer_approval) == (REQUESTED, True)
    approve = grants_pb2.ApproveGrantRequest(grant_id=grant.grant_id)
    assert refusal(lambda: stranger.ApproveGrant(approve)) == "NOT_FOUND"
    assert list(stranger.ListGrants(grants_pb2.ListGrantsRequest()).grants) == []
    assert admin.ApproveGrant(approve).grant.state == APPROVED
    assert world.authorize("eve", grant.grant_id).remaining == 10
    assert [g.grant_id for g in admin.ListGrants(grants_pb2.ListGrantsRequest()).grants] == [grant.grant_id]
    revoke = grants_pb2.RevokeGrantRequest(grant_id=grant.grant_id, reason="enough")
    assert admin.RevokeGrant(revoke).grant.state == REVOKED
    assert refusal(lambda: world.authorize("eve", grant.grant_id)) == "GRANT_REVOKED"


def test_what_waits_for_a_customer_alone_who_asks_no_more_is_active_with_a_repeated_approval(
    world: World,
) -> None:
    for name in ("eve", "colin"):
        world.person(name, ENGINEER)
    world.customer_approval.add(ORG)
    world.renew()
    grant = world.request("eve")
    for _ in range(2):
        half = world.approve("colin", grant)
        assert (half.state, half.missing_customer_approval) == (REQUESTED, True)
    world.customer_approval.clear()
    world.advance(MINUTE)
    whole = world.approve("colin", grant)
    assert whole.state == APPROVED
    assert whole.valid_from.ToDatetime(world.clock.now().tzinfo) == world.clock.now()
    assert [e["facts"]["activated"] for e in world.entries("grant.approved")] == ["false", "true"]

    world.customer_approval.add(ORG)
    world.renew()
    more = grants_pb2.ExtendGrantRequest(grant_id=grant.grant_id, reason="not found yet")
    more.duration.FromTimedelta(30 * MINUTE)
    world.grants("eve").ExtendGrant(more)
    assert world.approve("colin", grant).expires_at == whole.expires_at
    world.customer_approval.clear()
    world.advance(MINUTE)
    longer = world.approve("colin", grant)
    assert longer.expires_at.seconds - whole.expires_at.seconds == 1800
    assert len(world.entries("grant.extended")) == 1


def test_a_grant_from_before_the_customer_asked_is_worth_nothing_after(world: World) -> None:
    world.person("eve", ENGINEER)
    world.person("colin", ENGINEER)
    grant = world.request("eve")
    world.approve("colin", grant)
    world.customer_approval.add(ORG)
    world.renew()
    assert refusal(lambda: world.authorize("eve", grant.grant_id)) == "CUSTOMER_APPROVAL_REQUIRED"


def test_without_a_lease_nothing_is_decided(world: World) -> None:
    world.person("eve", ENGINEER)
    world.person("colin", ENGINEER)
    grant = world.request("eve")
    world.approve("colin", grant)
    world.clock.advance(timedelta(seconds=2))
    assert refusal(lambda: world.authorize("eve", grant.grant_id)) == "LEASE_LAPSED"
    assert (
        refusal(lambda: world.open("eve", grant.grant_id, new_record_id(world.clock.now()))) == "LEASE_LAPSED"
    )


def test_staff_sees_what_it_could_decide_and_nothing_else(world: World) -> None:
    world.person("eve", ENGINEER)
    world.person("colin", ENGINEER)
    world.person("lena", LEGAL)
    grant = world.request("eve")
    get = grants_pb2.GetGrantRequest(grant_id=grant.grant_id)
    assert world.grants("colin").GetGrant(get).grant.grant_id == grant.grant_id
    assert refusal(lambda: world.grants("lena").GetGrant(get)) == "NOT_FOUND"
    assert list(world.grants("lena").ListGrants(grants_pb2.ListGrantsRequest()).grants) == []
    assert len(world.grants("colin").ListGrants(grants_pb2.ListGrantsRequest(state=REQUESTED)).grants) == 1
    world.advance(DAY)
    assert list(world.grants("colin").ListGrants(grants_pb2.ListGrantsRequest(state=REQUESTED)).grants) == []
    assert len(world.grants("colin").ListGrants(grants_pb2.ListGrantsRequest(state=EXPIRED)).grants) == 1


def test_lists_page_through_everything_once(world: World) -> None:
    world.person("eve", ENGINEER)
    made = [world.request("eve").grant_id for _ in range(5)]
    seen, page_token = [], ""
    while True:
        page = world.grants("eve").ListGrants(
            grants_pb2.ListGrantsRequest(page_size=2, page_token=page_token)
        )
        seen += [grant.grant_id for grant in page.grants]
        page_token = page.next_page_token
        if not page_token:
            break
    assert seen == made[::-1]


def test_a_case_grant_is_the_cases_alone_and_ends_with_it(world: World) -> None:
    world.person("sam", SAFETY)
    world.person("sue", SAFETY)
    review = authz_pb2_grpc.AuthzServiceStub(
        world.served.channel(Caller(CallerKind.SERVICE, "safety_review"))
    )
    case_id, mine, other = new_id("case"), new_record_id(world.clock.now()), new_record_id(world.clock.now())
    case = {
        "purpose": grants_pb2.PURPOSE_SAFETY_AND_SECURITY,
        "case_id": case_id,
        "detail": grants_pb2.DETAIL_FULL,
    }
    assert refusal(lambda: world.request("sam", **case)) == "CASE_NOT_OPEN"
    review.OpenCase(authz_pb2.OpenCaseRequest(case_id=case_id, organization_id=ORG, record_ids=[mine]))
    assert refusal(lambda: world.request("sam", **case, record_ids=[other])) == "CASE_NOT_OPEN"
    grant = world.request("sam", **case)
    assert world.approve("sue", grant).state == APPROVED
    assert list(world.authorize("sam", grant.grant_id).scope.record_ids) == [mine]
    world.open("sam", grant.grant_id, mine)
    assert refusal(lambda: world.open("sam", grant.grant_id, other)) == "OUTSIDE_SCOPE"
    review.CloseCase(authz_pb2.CloseCaseRequest(case_id=case_id, upheld=False))
    assert refusal(lambda: world.open("sam", grant.grant_id, mine)) == "GRANT_REVOKED"
    assert refusal(lambda: world.request("sam", **case)) == "CASE_NOT_OPEN"
    late = authz_pb2.OpenCaseRequest(case_id=case_id, organization_id=ORG, record_ids=[mine])
    review.OpenCase(late)
    assert refusal(lambda: world.request("sam", **case)) == "CASE_NOT_OPEN", "it was closed since"
    late.round = 2
    review.OpenCase(late)
    again = world.request("sam", **case)
    assert world.approve("sue", again).state == APPROVED
    review.CloseCase(authz_pb2.CloseCaseRequest(case_id=case_id, upheld=False))
    review.OpenCase(late)
    assert refusal(lambda: world.open("sam", again.grant_id, mine)) == "GRANT_REVOKED"


def granted_for_a_case(world: World) -> tuple[authz_pb2_grpc.AuthzServiceStub, str, bytes, str]:
    """What safety review calls; its case, the case's record, and Sam's grant for it, by their ids."""
    world.person("sam", SAFETY)
    world.person("sue", SAFETY)
    review = authz_pb2_grpc.AuthzServiceStub(
        world.served.channel(Caller(CallerKind.SERVICE, "safety_review"))
    )
    case_id, mine = new_id("case"), new_record_id(world.clock.now())
    review.OpenCase(authz_pb2.OpenCaseRequest(case_id=case_id, organization_id=ORG, record_ids=[mine]))
    grant = world.request("sam", purpose=grants_pb2.PURPOSE_SAFETY_AND_SECURITY, case_id=case_id)
    world.approve("sue", grant)
    return review, case_id, mine, grant.grant_id


def test_an_upheld_case_admits_nothing_once_no_hold_keeps_it(world: World) -> None:
    review, case_id, mine, grant_id = granted_for_a_case(world)
    review.CloseCase(authz_pb2.CloseCaseRequest(case_id=case_id, upheld=True))
    assert refusal(lambda: world.open("sam", grant_id, mine)) == "CASE_NOT_OPEN"


@pytest.mark.parametrize("upheld", [True, False])
def test_of_a_case_that_is_gone_no_record_is_known_and_nothing_is_admitted(
    world: World, upheld: bool
) -> None:
    review, case_id, _, grant_id = granted_for_a_case(world)
    review.CloseCase(authz_pb2.CloseCaseRequest(case_id=case_id, upheld=upheld))
    review.OpenCase(authz_pb2.OpenCaseRequest(case_id=case_id, organization_id=ORG))
    with world.database.transaction() as tx:
        assert not case_store.records_of_case(tx, case_id)
        found = case_store.case(tx, case_id)
    assert found is not None
    assert found.state == ("upheld" if upheld else "closed")
    wanted = "CASE_NOT_OPEN" if upheld else "GRANT_REVOKED"
    assert refusal(lambda: world.authorize("sam", grant_id)) == wanted
    asked = {"purpose": grants_pb2.PURPOSE_SAFETY_AND_SECURITY, "case_id": case_id}
    assert refusal(lambda: world.request("sam", **asked)) == "CASE_NOT_OPEN"


@pytest.mark.parametrize("upheld", [True, False])
def test_the_customers_own_log_says_nothing_of_a_case(world: World, upheld: bool) -> None:
    review = authz_pb2_grpc.AuthzServiceStub(
        world.served.channel(Caller(CallerKind.SERVICE, "safety_review"))
    )
    case_id, mine = new_id("case"), new_record_id(world.clock.now())
    review.OpenCase(authz_pb2.OpenCaseRequest(case_id=case_id, organization_id=ORG, record_ids=[mine]))
    review.CloseCase(authz_pb2.CloseCaseRequest(case_id=case_id, upheld=upheld))
    for kind in ("case.known", "case.closed"):
        (entry,) = world.entries(kind)
        assert (entry["organization_id"], entry["subjects"]) == ("", [case_id, ORG])
    own = audit_pb2_grpc.AuditServiceStub(world.customer(world.member()))
    assert not own.ListEntries(audit_pb2.ListEntriesRequest(organization_id=ORG)).entries


def test_a_grant_for_a_case_is_shown_to_the_customer_without_the_case(world: World) -> None:
    review, case_id, _, grant_id = granted_for_a_case(world)
    less = world.request("sam", purpose=grants_pb2.PURPOSE_SAFETY_AND_SECURITY, case_id=case_id)
    narrowed = grants_pb2.ApproveGrantRequest(grant_id=less.grant_id)
    narrowed.narrowing.budget = 1
    world.grants("sue").ApproveGrant(narrowed)
    review.CloseCase(authz_pb2.CloseCaseRequest(case_id=case_id, upheld=False))
    assert {one.data.case_id for one in seen_by(world.grants("sam"))} == {case_id}
    admin = world.member()
    shown = seen_by(grants_pb2_grpc.GrantServiceStub(world.customer(admin)))
    assert {(one.grant_id, one.HasField("asked")) for one in shown} == {
        (grant_id, False),
        (less.grant_id, True),
    }
    own = audit_pb2_grpc.AuditServiceStub(world.customer(admin))
    entries = own.ListEntries(audit_pb2.ListEntriesRequest(organization_id=ORG)).entries
    said = " ".join(map(str, [*shown, *(entry.body for entry in entries)]))
    assert "grant.requested" in said
    assert case_id not in said
    assert not re.search(r"\bcase\b", said)
    assert [e["subjects"] for e in world.entries("case.named")] == [
        [case_id, ORG, grant_id],
        [case_id, ORG, less.grant_id],
    ]


def seen_by(stub: grants_pb2_grpc.GrantServiceStub) -> list[grants_pb2.Grant]:
    """All that somebody is shown, both ways."""
    listed = stub.ListGrants(grants_pb2.ListGrantsRequest()).grants
    return [
        *listed,
        *(stub.GetGrant(grants_pb2.GetGrantRequest(grant_id=one.grant_id)).grant for one in listed),
    ]


def test_streams_tell_of_what_ended(world: World) -> None:
    world.person("eve", ENGINEER)
    world.person("colin", ENGINEER)
    grant = world.request("eve")
    watched = world.grants("eve").WatchGrant(grants_pb2.WatchGrantRequest(grant_id=grant.grant_id))
    beating = world.authz.WatchEndedGrants(authz_pb2.WatchEndedGrantsRequest())
    watch, heartbeats = iter(watched), iter(beating)
    assert next(watch).grant.state == REQUESTED
    assert list(next(heartbeats).grant_ids) == []
    world.approve("colin", grant)
    assert next(watch).grant.state == APPROVED
    world.grants("eve").RevokeGrant(grants_pb2.RevokeGrantRequest(grant_id=grant.grant_id, reason="done"))
    assert list(next(heartbeats).grant_ids) == [grant.grant_id]
    assert list(next(heartbeats).grant_ids) == []
    assert next(watch).grant.state == REVOKED
    assert list(watch) == []
    beating.cancel()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"budget": 0}, "data.budget"),
        ({"duration": timedelta(days=3650)}, "duration"),
        ({"record_ids": [bytes(14) + n.to_bytes(2) for n in range(1001)]}, "data.record_ids"),
        ({"organization_id": "org_\u0430" + "a" * 25}, "data.organization_id"),
    ],
)
def test_what_the_contract_does_not_allow_is_in_the_audit_log_with_its_fields_and_no_more(
    world: World, changes: dict[str, Any], field: str
) -> None:
    eve = world.person("eve", ENGINEER)

    assert refusal(lambda: world.request("eve", **changes)) == "INVALID_ARGUMENT"
    (entry,) = world.entries("request.refused")
    assert (entry["actor"], entry["facts"]["refused"]) == (eve, "INVALID_ARGUMENT")
    assert entry["facts"]["fields"] == field
    assert entry["facts"]["method"] == "/kept.access_control.v1.GrantService/RequestGrant"
    assert world.entries("grant.requested") == []
