"""A customer's own export: its admin asks, somebody else approves, she reads her own organization's records and nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kept.access_control.v1 import (
    authz_pb2,
    directory_pb2,
    directory_pb2_grpc,
    grants_pb2,
    grants_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
)
from kept.options.v1 import roles_pb2
from shared.identity import Caller, CallerKind
from shared.ids import new_record_id
from shared.terms import lot_of
from tests.unit.access_control.grants.test_opening import opening, sealed
from tests.unit.access_control.world import (
    ENGINEER,
    LEGAL,
    MINUTE,
    OPERATOR,
    ORG,
    OTHER,
    World,
    asked,
    migrated_vault,
    refusal,
    world,
)

__all__ = ["migrated_vault", "world"]

FULL, MASKED, METADATA = grants_pb2.DETAIL_FULL, grants_pb2.DETAIL_MASKED, grants_pb2.DETAIL_METADATA
EXPORT = grants_pb2.PURPOSE_CUSTOMER_EXPORT
ADMIN, MEMBER = roles_pb2.CUSTOMER_ROLE_ADMIN, roles_pb2.CUSTOMER_ROLE_MEMBER


class Customers:
    """What customers' people do. grace: the admin who asks."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.grace = world.member()

    def grants(self, member_id: str, org: str = ORG) -> grants_pb2_grpc.GrantServiceStub:
        return grants_pb2_grpc.GrantServiceStub(self.world.customer(member_id, org))

    def ask(self, member_id: str = "", org: str = ORG, **changes: Any) -> grants_pb2.Grant:
        request = asked(**{"purpose": EXPORT, "detail": FULL, **changes})
        return self.grants(member_id or self.grace, org).RequestGrant(request).grant

    def approve(self, member_id: str, grant: grants_pb2.Grant, org: str = ORG) -> grants_pb2.Grant:
        request = grants_pb2.ApproveGrantRequest(grant_id=grant.grant_id)
        return self.grants(member_id, org).ApproveGrant(request).grant

    def granted(self, **changes: Any) -> str:
        """A grant of Grace's that another admin approved."""
        return self.approve(self.world.member(), self.ask(**changes)).grant_id

    def authorize(self, grant_id: str, member_id: str = "", org: str = ORG, of: str = ORG) -> Any:
        token = self.token(member_id or self.grace, org)
        return self.world.authz.Authorize(
            authz_pb2.AuthorizeRequest(token=token, grant_id=grant_id, organization_id=of, detail=FULL)
        )

    def open(self, grant_id: str, *record_ids: bytes, member_id: str = "", org: str = ORG) -> Any:
        return self.world.authz.OpenRecords(
            authz_pb2.OpenRecordsRequest(
                token=self.token(member_id or self.grace, org),
                grant_id=grant_id,
                organization_id=ORG,
                detail=METADATA,
                records=[authz_pb2.RecordReference(record_id=record_id) for record_id in record_ids],
            )
        )

    def token(self, member_id: str, org: str = ORG) -> str:
        return f"customer|{member_id}|{org}|kept:logging"

    def sync(self, member_id: str, role: "roles_pb2.CustomerRole.ValueType") -> None:
        """Settings says that somebody is something else now."""
        settings = directory_pb2_grpc.DirectoryServiceStub(
            self.world.served.channel(Caller(CallerKind.SERVICE, "settings"))
        )
        settings.SyncMember(
            directory_pb2.SyncMemberRequest(
                member_id=member_id, organization_id=ORG, role=role, display_name="G", revision=9
            )
        )


@pytest.fixture
def customers(world: World) -> Customers:
    """Eve is an engineer, Olga an operator, Lena a lawyer; Grace the one admin of ORG."""
    for subject, role in (("eve", ENGINEER), ("olga", OPERATOR), ("lena", LEGAL)):
        world.person(subject, role)
    return Customers(world)


def test_another_admin_approves_and_every_page_is_written_down(customers: Customers, world: World) -> None:
    hedy = world.member()
    grant = customers.ask()
    assert (grant.missing_customer_approval, grant.missing_staff_approvals) == (True, 0)
    grant = customers.approve(hedy, grant)
    assert (grant.state, grant.requested_by) == (grants_pb2.GRANT_STATE_APPROVED, customers.grace)
    answer = customers.authorize(grant.grant_id)
    assert (answer.person_id, answer.without_held, answer.remaining) == (customers.grace, True, 10)
    record = sealed(world)
    request = opening(record, token=customers.token(customers.grace), grant_id=grant.grant_id, detail=FULL)
    assert [key.record_id for key in world.authz.OpenRecords(request).keys] == [record.record_id]
    (entry,) = world.entries("records.opened")
    assert (entry["actor"], entry["organization_id"]) == (customers.grace, ORG)
    facts = {name: entry["facts"][name] for name in ("purpose", "requester", "approvers", "policies")}
    assert facts == {
        "purpose": "CUSTOMER_EXPORT",
        "requester": customers.grace,
        "approvers": hedy,
        "policies": "customer_export.read",
    }


def test_an_approval_of_each_access_is_not_asked_for_twice(customers: Customers, world: World) -> None:
    world.customer_approval.add(ORG)
    world.renew()
    assert customers.authorize(customers.granted()).remaining == 10


@pytest.mark.parametrize("subject", ["olga", "lena"])
def test_the_only_admin_has_one_of_the_vendors_people_approve(
    customers: Customers, world: World, subject: str
) -> None:
    grant = customers.ask()
    assert (grant.missing_customer_approval, grant.missing_staff_approvals) == (False, 1)
    assert refusal(lambda: world.approve("eve", grant)) == "NOT_FOUND"
    assert world.approve(subject, grant).state == grants_pb2.GRANT_STATE_APPROVED
    assert customers.authorize(grant.grant_id).remaining == 10


def test_where_there_is_another_admin_the_vendor_decides_nothing(customers: Customers, world: World) -> None:
    world.member()
    grant = customers.ask()
    denial = grants_pb2.DenyGrantRequest(grant_id=grant.grant_id, reason="no")
    assert refusal(lambda: world.approve("olga", grant)) == "CUSTOMER_DECIDES"
    assert refusal(lambda: world.grants("olga").DenyGrant(denial)) == "CUSTOMER_DECIDES"
    assert [entry["facts"]["refused"] for entry in world.entries("grant.refused")] == ["CUSTOMER_DECIDES"] * 2


def test_nobody_approves_what_they_asked_for(customers: Customers) -> None:
    grant = customers.ask()
    assert refusal(lambda: customers.approve(customers.grace, grant)) == "SECOND_PERSON_REQUIRED"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"organization_id": OTHER}, "WRONG_ORGANIZATION"),
        ({"purpose": grants_pb2.PURPOSE_ENGINEERING_SUPPORT}, "NOT_AUTHORIZED"),
        ({"purpose": grants_pb2.PURPOSE_LEGAL_COMPLIANCE}, "NOT_AUTHORIZED"),
        ({"power": roles_pb2.POWER_OPERATOR}, "NOT_AUTHORIZED"),
        ({"duration": 61 * MINUTE}, "INVALID_ARGUMENT"),
        ({"case_id": "case_" + "c" * 26}, "INVALID_ARGUMENT"),
        ({"permission": grants_pb2.SERVICE_PERMISSION_SCREENING}, "INVALID_ARGUMENT"),
        ({"budget": 10_000_001}, "INVALID_ARGUMENT"),
    ],
)
def test_what_an_admin_cannot_ask_for(
    customers: Customers, world: World, changes: dict[str, Any], reason: str
) -> None:
    assert refusal(lambda: customers.ask(**changes)) == reason
    assert world.entries("grant.requested") == []
    # What was refused is told to nobody but the own organization.
    refused = [*world.entries("grant.refused"), *world.entries("request.refused")]
    assert {entry["organization_id"] for entry in refused} == {ORG}


def test_the_workforce_does_not_ask_for_it_and_its_own_budgets_stay_small(
    customers: Customers, world: World
) -> None:
    for subject in ("eve", "olga", "lena"):
        assert refusal(lambda: world.request(subject, purpose=EXPORT)) == "NOT_AUTHORIZED"  # noqa: B023
    assert refusal(lambda: world.request("eve", budget=100_001)) == "INVALID_ARGUMENT"
    assert customers.ask(budget=100_001).data.budget == 100_001


def test_everybody_else_is_refused_by_name(customers: Customers, world: World) -> None:
    grant_id = customers.granted()
    hedy, plain, globex = world.member(), world.member(MEMBER), world.member(org=OTHER)
    record = new_record_id(world.clock.now())
    # Another admin of hers, and one of another organization, whichever organization they name.
    assert refusal(lambda: customers.authorize(grant_id, hedy)) == "GRANT_REQUIRED"
    assert refusal(lambda: customers.open(grant_id, record, member_id=hedy)) == "GRANT_REQUIRED"
    assert refusal(lambda: customers.authorize(grant_id, globex, OTHER)) == "WRONG_ORGANIZATION"
    assert refusal(lambda: customers.authorize(grant_id, globex, OTHER, OTHER)) == "GRANT_REQUIRED"
    assert (
        refusal(lambda: customers.open(grant_id, record, member_id=globex, org=OTHER)) == "WRONG_ORGANIZATION"
    )
    # A token that says another organization than the member's is no member's.
    assert refusal(lambda: customers.authorize(grant_id, customers.grace, OTHER)) == "NOT_AUTHORIZED"
    assert refusal(lambda: customers.authorize(grant_id, of=OTHER)) == "WRONG_ORGANIZATION"
    assert refusal(lambda: customers.ask(plain)) == "ADMIN_REQUIRED"
    assert refusal(lambda: world.authorize("eve", grant_id)) == "GRANT_REQUIRED"
    # Who tried in vain reads it in the own log; nothing of it is in the other's.
    tried = {entry["actor"]: entry["organization_id"] for entry in world.entries("access.denied")}
    assert (tried[hedy], tried[globex]) == (ORG, OTHER)


@pytest.mark.parametrize(
    ("role", "reason"),
    [(MEMBER, "GRANT_REVOKED"), (roles_pb2.CUSTOMER_ROLE_UNSPECIFIED, "NOT_AUTHORIZED")],
)
def test_with_her_role_her_grants_end(
    customers: Customers, world: World, role: "roles_pb2.CustomerRole.ValueType", reason: str
) -> None:
    grant_id = customers.granted()
    customers.sync(customers.grace, role)
    assert [entry["subjects"] for entry in world.entries("grant.revoked")] == [[grant_id]]
    # Logging hears of it, and ends what is being read.
    heartbeat = next(iter(world.authz.WatchEndedGrants(authz_pb2.WatchEndedGrantsRequest())))
    assert list(heartbeat.grant_ids) == [grant_id]
    record = new_record_id(world.clock.now())
    assert refusal(lambda: customers.authorize(grant_id)) == reason
    assert refusal(lambda: customers.open(grant_id, record)) == reason


def test_with_an_approvers_role_what_rests_on_it_ends(customers: Customers, world: World) -> None:
    hedy = world.member()
    grant = customers.approve(hedy, customers.ask())
    customers.sync(hedy, MEMBER)
    assert refusal(lambda: customers.authorize(grant.grant_id)) == "GRANT_REVOKED"


def more_time(customers: Customers, grant: grants_pb2.Grant) -> None:
    """Grace asks for more of it."""
    request = grants_pb2.ExtendGrantRequest(grant_id=grant.grant_id, reason="it is more than I thought")
    request.duration.FromTimedelta(30 * MINUTE)
    customers.grants(customers.grace).ExtendGrant(request)


def test_who_approved_it_before_others_did_anew_takes_nothing_along(
    customers: Customers, world: World
) -> None:
    hedy, ida = world.member(), world.member()
    grant = customers.approve(hedy, customers.ask())
    more_time(customers, grant)
    grant = customers.approve(ida, grant)
    customers.sync(hedy, MEMBER)
    assert customers.authorize(grant.grant_id).remaining == 10
    customers.sync(ida, MEMBER)
    assert refusal(lambda: customers.authorize(grant.grant_id)) == "GRANT_REVOKED"


def test_an_approval_of_more_time_ends_with_the_admins_role(customers: Customers, world: World) -> None:
    """Of a grant of the vendor's people, whose extension needs others as well."""
    world.person("ada", ENGINEER)
    world.customer_approval.add(ORG)
    world.renew()
    hedy, ida = world.member(), world.member()
    grant = world.request("eve")
    world.approve("ada", grant)
    grant = customers.approve(hedy, grant)
    request = grants_pb2.ExtendGrantRequest(grant_id=grant.grant_id, reason="not found yet")
    request.duration.FromTimedelta(30 * MINUTE)
    world.grants("eve").ExtendGrant(request)
    customers.approve(ida, grant)
    customers.sync(ida, MEMBER)
    seen = world.grants("eve").GetGrant(grants_pb2.GetGrantRequest(grant_id=grant.grant_id)).grant
    assert (seen.state, seen.HasField("extension")) == (grants_pb2.GRANT_STATE_APPROVED, False)
    assert world.entries("grant.extension_denied")[-1]["actor"] == "service:settings"


def test_time_budget_and_revocation_count_as_for_everybody(customers: Customers, world: World) -> None:
    records = [new_record_id(world.clock.now()) for _ in range(3)]
    grant_id = customers.granted(budget=2, duration=5 * MINUTE)
    customers.open(grant_id, *records[:2])
    customers.open(grant_id, *records[:2])
    assert refusal(lambda: customers.open(grant_id, records[2])) == "BUDGET_EXHAUSTED"
    world.advance(5 * MINUTE)
    assert refusal(lambda: customers.open(grant_id, records[0])) == "GRANT_EXPIRED"
    another = customers.granted()
    end = grants_pb2.RevokeGrantRequest(grant_id=another, reason="done")
    assert customers.grants(customers.grace).RevokeGrant(end).grant.state == grants_pb2.GRANT_STATE_REVOKED
    assert refusal(lambda: customers.open(another, records[0])) == "GRANT_REVOKED"


def test_she_takes_a_request_back_and_asks_for_more_time(customers: Customers, world: World) -> None:
    hedy = world.member()
    mine = customers.grants(customers.grace)
    grant = customers.ask()
    back = grants_pb2.CancelGrantRequest(grant_id=grant.grant_id)
    assert refusal(lambda: customers.grants(hedy).CancelGrant(back)) == "NOT_FOUND"
    assert mine.CancelGrant(back).grant.state == grants_pb2.GRANT_STATE_CANCELLED
    (watched,) = mine.WatchGrant(grants_pb2.WatchGrantRequest(grant_id=grant.grant_id))
    assert watched.grant.state == grants_pb2.GRANT_STATE_CANCELLED
    grant = customers.approve(hedy, customers.ask())
    more = grants_pb2.ExtendGrantRequest(grant_id=grant.grant_id, reason="it is more than I thought")
    more.duration.FromTimedelta(30 * MINUTE)
    assert mine.ExtendGrant(more).grant.missing_customer_approval
    longer = customers.approve(hedy, grant).expires_at.ToDatetime(tzinfo=UTC)
    assert longer - grant.expires_at.ToDatetime(tzinfo=UTC) == 30 * MINUTE


def test_what_is_due_is_not_hers_even_where_a_hold_keeps_it(customers: Customers, world: World) -> None:
    """There are holds that the law forbids to tell a customer of; staff reads what they keep."""
    record = sealed(world)
    retention = keys_pb2_grpc.KeyServiceStub(world.served.channel(Caller(CallerKind.SERVICE, "retention")))
    retention.RetainRecords(
        keys_pb2.RetainRecordsRequest(
            hold_id="hold_" + "h" * 26,
            organization_id=ORG,
            records=[
                keys_pb2.RetainedRecord(
                    record_id=record.record_id,
                    data_key_id=record.data_key_id,
                    sealed_data_key=record.sealed,
                )
            ],
        )
    )
    world.person("colin", ENGINEER)
    assert customers.open(customers.granted(), record.record_id).audit_entry_id
    due = datetime.combine(world.clock.now().date(), datetime.min.time(), UTC) + timedelta(days=30)
    world.advance(due - world.clock.now())
    grant = world.request("eve")
    world.approve("colin", grant)
    assert world.open("eve", grant.grant_id, record.record_id).audit_entry_id
    assert refusal(lambda: customers.open(customers.granted(), record.record_id)) == "OUTSIDE_SCOPE"


def test_a_holds_key_opens_nothing_for_her_whatever_logging_says_of_the_application(
    customers: Customers, world: World
) -> None:
    """When a record is due goes by the application that logging names; a false one must not lead to what only a hold keeps."""
    world.own_terms[lot_of(ORG, "night shift")] = 5
    world.renew()
    record = sealed(world, "night shift")
    retention = keys_pb2_grpc.KeyServiceStub(world.served.channel(Caller(CallerKind.SERVICE, "retention")))
    kept = keys_pb2.RetainedRecord(
        record_id=record.record_id,
        data_key_id=record.data_key_id,
        sealed_data_key=record.sealed,
        application="night shift",
    )
    answer = retention.RetainRecords(
        keys_pb2.RetainRecordsRequest(hold_id="hold_" + "h" * 26, organization_id=ORG, records=[kept])
    )
    assert answer.retained == 1
    world.person("colin", ENGINEER)
    world.advance(timedelta(days=10))
    record.application = ""  # of an organization whose records live for 30 days
    grant = world.request("eve")
    world.approve("colin", grant)
    asked_by_staff = opening(record, token=world.token("eve"), grant_id=grant.grant_id, detail=MASKED)
    assert len(world.authz.OpenRecords(asked_by_staff).keys) == 1
    hers = opening(record, token=customers.token(customers.grace), grant_id=customers.granted(), detail=FULL)
    assert refusal(lambda: world.authz.OpenRecords(hers)) == "OUTSIDE_SCOPE"
