"""Opening records: what lies in the scope, as often as the budget says, with a line in the audit log first; and nothing else."""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from kept.access_control.v1 import (
    authz_pb2,
    directory_pb2,
    grants_pb2,
    keys_pb2,
    keys_pb2_grpc,
    lifecycle_pb2,
    lifecycle_pb2_grpc,
)
from kept.options.v1 import roles_pb2
from services.access_control.custody import EpochKey
from services.access_control.custody.ladder import Ladder
from services.access_control.custody.try_open import try_open
from services.access_control.key_stores import KeyStoreError
from services.access_control.key_stores.files import FileKeyStore
from shared.errors import KeptError
from shared.identity import Caller, CallerKind
from shared.ids import new_id, new_record_id, record_day
from shared.terms import lot_of
from tests.unit.access_control.grants.test_granting import in_parallel
from tests.unit.access_control.vault import Sealed
from tests.unit.access_control.world import (
    DAY,
    ENGINEER,
    MINUTE,
    OPERATOR,
    ORG,
    OTHER,
    World,
    migrated_vault,
    refusal,
    world,
)

__all__ = ["migrated_vault", "world"]

FULL = grants_pb2.DETAIL_FULL


@pytest.fixture
def reading(world: World) -> World:
    """Eve is an engineer, and Colin approves."""
    world.person("eve", ENGINEER)
    world.person("colin", ENGINEER)
    return world


def granted(world: World, **changes: Any) -> str:
    grant = world.request("eve", **changes)
    world.approve("colin", grant)
    return grant.grant_id


def sealed(world: World, application: str = "") -> Sealed:
    """A record written now, with its data key as logging seals it."""
    keys = keys_pb2_grpc.KeyServiceStub(world.served.channel(Caller(CallerKind.SERVICE, "logging")))
    record_id = new_record_id(world.clock.now())
    request = keys_pb2.GetEpochKeyRequest(
        organization_id=ORG, day=record_day(record_id).isoformat(), application=application
    )
    epoch = keys.GetEpochKey(request)
    return Sealed(ORG, record_id, EpochKey(epoch.epoch_key_id, epoch.public_key), application)


def opening(*records: Sealed, **fields: Any) -> authz_pb2.OpenRecordsRequest:
    return authz_pb2.OpenRecordsRequest(
        organization_id=ORG,
        records=[
            authz_pb2.RecordReference(record_id=r.record_id, data_key_id=r.data_key_id) for r in records
        ],
        data_keys=[
            authz_pb2.SealedDataKey(data_key_id=r.data_key_id, sealed=r.sealed, application=r.application)
            for r in records
        ],
        **fields,
    )


def test_the_key_comes_with_a_line_that_says_who_why_what(reading: World) -> None:
    grant_id = granted(reading)
    record = sealed(reading)
    answer = reading.authz.OpenRecords(
        opening(record, token=reading.token("eve"), grant_id=grant_id, detail=grants_pb2.DETAIL_MASKED)
    )
    expected = hmac.digest(record.data_key, b"kept/record-key/v1\0" + record.record_id, "sha256")
    assert [(key.record_id, key.key) for key in answer.keys] == [(record.record_id, expected)]
    (entry,) = reading.entries("records.opened")
    assert entry["entry_id"] == answer.audit_entry_id
    assert entry["organization_id"] == ORG
    assert entry["subjects"][0] == grant_id
    assert bytes.fromhex(entry["subjects"][1].replace("-", "")) == record.record_id
    facts = {name: entry["facts"][name] for name in ("reason", "ticket", "detail", "purpose", "policies")}
    assert facts == {
        "reason": "a failing request",
        "ticket": "T-1",
        "detail": "MASKED",
        "purpose": "ENGINEERING_SUPPORT",
        "policies": "records.read",
    }
    assert entry["actor"] == entry["facts"]["requester"]


def test_no_line_no_key(reading: World) -> None:
    grant_id = granted(reading)
    record = sealed(reading)
    with reading.database.transaction() as tx:
        tx.execute(
            sqlalchemy.text(
                "ALTER TABLE audit_entries ADD CONSTRAINT full_disk CHECK (kind <> 'records.opened')"
            )
        )
    request = opening(record, token=reading.token("eve"), grant_id=grant_id, detail=grants_pb2.DETAIL_MASKED)
    assert refusal(lambda: reading.authz.OpenRecords(request)) == "INTERNAL"
    with reading.database.transaction() as tx:
        tx.execute(sqlalchemy.text("ALTER TABLE audit_entries DROP CONSTRAINT full_disk"))
    assert reading.authorize("eve", grant_id).remaining == 10


def test_a_key_store_that_is_away_is_no_decision(reading: World, monkeypatch: pytest.MonkeyPatch) -> None:
    grant_id = granted(reading)
    record = sealed(reading)
    request = opening(record, token=reading.token("eve"), grant_id=grant_id, detail=grants_pb2.DETAIL_MASKED)
    with monkeypatch.context() as away:
        away.setattr(FileKeyStore, "unwrap", raising(KeyStoreError("the token secret-label refused")))
        with pytest.raises(KeptError) as caught:
            reading.authz.OpenRecords(request)
    assert caught.value.name == "KEY_STORE_UNAVAILABLE"
    assert caught.value.retry_after is not None
    assert "secret-label" not in caught.value.text
    assert reading.entries("access.denied") == []
    assert reading.authorize("eve", grant_id).remaining == 10  # nothing was counted
    assert reading.authz.OpenRecords(request).keys


def raising(error: Exception) -> Any:
    def call(*_: object) -> None:
        raise error

    return call


def test_a_refusal_that_cannot_be_written_down_is_not_told(reading: World) -> None:
    with reading.database.transaction() as tx:
        tx.execute(
            sqlalchemy.text(
                "ALTER TABLE audit_entries ADD CONSTRAINT full_disk CHECK (kind <> 'access.denied')"
            )
        )
    assert refusal(lambda: reading.authorize("eve", "")) == "INTERNAL"


@pytest.mark.parametrize(
    ("audience", "outcome"),
    [
        ("kept:logging", "GRANT_REQUIRED"),
        ("kept:access_control", "UNAUTHENTICATED"),
        ("kept:settings", "UNAUTHENTICATED"),
    ],
)
def test_only_a_token_for_the_service_that_shows_it_counts(
    reading: World, audience: str, outcome: str
) -> None:
    request = authz_pb2.AuthorizeRequest(
        token=reading.token("eve", audience), organization_id=ORG, detail=grants_pb2.DETAIL_METADATA
    )
    assert refusal(lambda: reading.authz.Authorize(request)) == outcome
    assert [entry["facts"]["refused"] for entry in reading.entries("access.denied")] == [outcome]


@pytest.mark.parametrize(
    ("changes", "asked", "outcome"),
    [
        ({}, {}, ""),
        ({}, {"organization_id": OTHER}, "OUTSIDE_SCOPE"),
        ({}, {"detail": FULL}, "DETAIL_NOT_GRANTED"),
        ({"detail": FULL, "budget": 1}, {"detail": FULL}, "GRANT_NOT_ACTIVE"),  # takes two
    ],
)
def test_authorize_gives_the_scope_or_a_reason(
    reading: World, changes: Mapping[str, Any], asked: Mapping[str, Any], outcome: str
) -> None:
    grant_id = granted(reading, **changes)
    if outcome:
        assert refusal(lambda: reading.authorize("eve", grant_id, **asked)) == outcome
        (denied,) = reading.entries("access.denied")
        assert denied["organization_id"] == asked.get("organization_id", ORG)
        assert denied["actor"].startswith("person_")
    else:
        answer = reading.authorize("eve", grant_id, **asked)
        assert answer.scope.organization_id == ORG
        assert len(reading.entries("access.authorized")) == 1


def test_anothers_grant_is_none(reading: World) -> None:
    grant_id = granted(reading)
    assert refusal(lambda: reading.authorize("colin", grant_id)) == "GRANT_REQUIRED"
    assert refusal(lambda: reading.authorize("nobody", grant_id)) == "NOT_AUTHORIZED"


def test_a_power_opens_no_record(reading: World) -> None:
    reading.person("ada", OPERATOR)
    reading.person("bob", OPERATOR)
    grant = reading.request("ada", power=roles_pb2.POWER_OPERATOR)
    reading.approve("bob", grant)
    assert refusal(lambda: reading.authorize("ada", grant.grant_id)) == "GRANT_REQUIRED"


def test_one_record_outside_refuses_all_and_counts_none(reading: World) -> None:
    now = reading.clock.now()
    inside, outside, ghost = (new_record_id(now) for _ in range(3))
    grant_id = granted(reading, record_ids=[inside])
    assert refusal(lambda: reading.open("eve", grant_id, inside, outside)) == "OUTSIDE_SCOPE"
    assert refusal(lambda: reading.open("eve", grant_id, ghost)) == "OUTSIDE_SCOPE"
    assert reading.authorize("eve", grant_id).remaining == 10
    reading.open("eve", grant_id, inside)
    assert reading.authorize("eve", grant_id).remaining == 9


def test_the_span_is_half_open(reading: World) -> None:
    start = reading.clock.now() - DAY
    scope = grants_pb2.DataScope(organization_id=ORG, detail=grants_pb2.DETAIL_MASKED, budget=10)
    getattr(scope, "from").FromDatetime(start)
    scope.until.FromDatetime(start + MINUTE)
    from tests.unit.access_control.world import asked

    request = asked()
    request.data.CopyFrom(scope)
    grant = reading.grants("eve").RequestGrant(request).grant
    reading.approve("colin", grant)
    millisecond = timedelta(milliseconds=1)
    for at, outcome in (
        (start - millisecond, "OUTSIDE_SCOPE"),
        (start, ""),
        (start + MINUTE - millisecond, ""),
        (start + MINUTE, "OUTSIDE_SCOPE"),
    ):
        assert in_parallel(lambda at=at: reading.open("eve", grant.grant_id, new_record_id(at))) == [outcome]  # type: ignore[misc]


def test_the_budget_counts_different_records_and_two_cannot_both_have_the_last(reading: World) -> None:
    grant_id = granted(reading, budget=2)
    now = reading.clock.now()
    first, second, third = (new_record_id(now) for _ in range(3))
    for _ in range(3):
        reading.open("eve", grant_id, first)
    outcomes = in_parallel(
        lambda: reading.open("eve", grant_id, second), lambda: reading.open("eve", grant_id, third)
    )
    assert sorted(outcomes) == ["", "BUDGET_EXHAUSTED"]
    assert reading.authorize("eve", grant_id).remaining == 0
    reading.open("eve", grant_id, first)


def test_what_was_opened_before_counts_once_wherever_it_lies_among_the_others(reading: World) -> None:
    grant_id = granted(reading, budget=8)
    now = reading.clock.now()
    a, b, c, d, e, f, g = sorted(new_record_id(now) for _ in range(7))
    for page, remaining in (
        ([b, d, f], 5),
        ([c, e], 3),  # between them, and none of them
        ([a, b], 2),  # the last was there
        ([f, g], 1),  # the first was
        ([a, g], 1),  # both
        ([g, f, e, d, c, b, a], 1),
    ):
        reading.open("eve", grant_id, *page)
        assert reading.authorize("eve", grant_id).remaining == remaining


def test_two_thousand_are_opened_at_once_and_not_one_more(reading: World) -> None:
    grant_id = granted(reading, budget=2000)
    now = reading.clock.now()
    records = [new_record_id(now) for _ in range(2001)]
    assert refusal(lambda: reading.open("eve", grant_id, *records)) == "INVALID_ARGUMENT"
    reading.open("eve", grant_id, *records[:2000])
    assert reading.authorize("eve", grant_id).remaining == 0
    (entry,) = reading.entries("records.opened")
    assert len(entry["subjects"]) == 2001  # the grant, and each of them


def test_what_is_due_is_gone_whether_a_run_came_or_not(reading: World) -> None:
    record_id = new_record_id(
        reading.clock.now()
    )  # on March 1st, for 30 days: due on the 31st, less two hours
    due = datetime(2026, 3, 30, 22, tzinfo=UTC)
    reading.advance(due - reading.clock.now() - MINUTE)
    grant_id = granted(reading)
    reading.open("eve", grant_id, record_id)
    reading.advance(MINUTE)
    assert refusal(lambda: reading.open("eve", grant_id, record_id)) == "OUTSIDE_SCOPE"


def test_a_record_is_refused_from_the_due_instant_of_the_lot_to_whose_keys_it_is_sealed(
    reading: World,
) -> None:
    assert refusal(lambda: sealed(reading, "night shift")) == "INVALID_ARGUMENT"  # it never had a term
    reading.own_terms[lot_of(ORG, "night shift")] = 5
    reading.renew()
    own, other = sealed(reading, "night shift"), sealed(reading)
    due = datetime(2026, 3, 5, 22, tzinfo=UTC)  # on March 1st, for 5 days: due on the 6th, less two hours
    reading.advance(due - reading.clock.now() - MINUTE)
    grant_id = granted(reading)
    asked: dict[str, Any] = {"token": reading.token("eve"), "grant_id": grant_id}
    asked["detail"] = grants_pb2.DETAIL_MASKED
    opened = reading.authz.OpenRecords(opening(own, other, **asked))
    assert {key.record_id for key in opened.keys} == {own.record_id, other.record_id}
    reading.advance(MINUTE)
    outside = [opening(own, **asked)]
    # Nor by another name: no other epoch opens it.
    own.application = ""
    outside.append(opening(own, **asked))
    unsealed = authz_pb2.RecordReference(record_id=own.record_id, application="night shift")
    outside.append(
        authz_pb2.OpenRecordsRequest(
            organization_id=ORG, records=[unsealed], **asked | {"detail": grants_pb2.DETAIL_METADATA}
        )
    )
    for request in outside:
        assert refusal(lambda request=request: reading.authz.OpenRecords(request)) == "OUTSIDE_SCOPE"  # type: ignore[misc]
    [key] = reading.authz.OpenRecords(opening(other, **asked)).keys
    assert key.record_id == other.record_id


def test_a_record_may_be_as_far_ahead_as_two_clocks_may_differ(reading: World) -> None:
    """Logging takes an id that far ahead of its own clock, which may be that far ahead of ours."""
    grant_id = granted(reading)
    now = reading.clock.now()
    reading.open("eve", grant_id, new_record_id(now + timedelta(seconds=9.5)))
    ahead = new_record_id(now + timedelta(seconds=10.5))
    assert refusal(lambda: reading.open("eve", grant_id, ahead)) == "OUTSIDE_SCOPE"


def test_what_is_gone_is_left_out_for_who_asks_so(reading: World) -> None:
    """The due record is not shown, counted or named; one whose key does not open is opened without it."""
    due = sealed(reading)
    reading.advance(datetime(2026, 3, 30, 22, tzinfo=UTC) - reading.clock.now() + MINUTE)
    good, young = sealed(reading), sealed(reading)
    young.sealed = bytes(1168)
    grant_id = granted(reading, budget=2)
    request = opening(
        due, good, young, token=reading.token("eve"), grant_id=grant_id, detail=grants_pb2.DETAIL_MASKED
    )
    assert refusal(lambda: reading.authz.OpenRecords(request)) == "OUTSIDE_SCOPE"
    request.leave_out_gone = True
    answer = reading.authz.OpenRecords(request)
    assert list(answer.left_out_record_ids) == [due.record_id]
    assert [key.record_id for key in answer.keys] == [good.record_id]
    (entry,) = reading.entries("records.opened")
    named = {bytes.fromhex(one.replace("-", "")) for one in entry["subjects"][1:]}
    assert named == {good.record_id, young.record_id}
    assert (entry["facts"]["records"], entry["facts"]["left_out"]) == ("2", "1")
    # All of it: nothing is opened, and that is written down.
    request = opening(
        due,
        token=reading.token("eve"),
        grant_id=grant_id,
        detail=grants_pb2.DETAIL_MASKED,
        leave_out_gone=True,
    )
    answer = reading.authz.OpenRecords(request)
    assert (list(answer.left_out_record_ids), list(answer.keys)) == ([due.record_id], [])
    # The budget is used up, and what the grant does not cover is refused as ever.
    more = opening(
        sealed(reading),
        token=reading.token("eve"),
        grant_id=grant_id,
        detail=grants_pb2.DETAIL_MASKED,
        leave_out_gone=True,
    )
    assert refusal(lambda: reading.authz.OpenRecords(more)) == "BUDGET_EXHAUSTED"
    more.organization_id = OTHER
    assert refusal(lambda: reading.authz.OpenRecords(more)) == "OUTSIDE_SCOPE"


def test_what_a_hold_keeps_is_read_past_its_due_instant(reading: World) -> None:
    record = sealed(reading)
    keys = keys_pb2_grpc.KeyServiceStub(reading.served.channel(Caller(CallerKind.SERVICE, "retention")))
    retained = keys_pb2.RetainedRecord(
        record_id=record.record_id, data_key_id=record.data_key_id, sealed_data_key=record.sealed
    )
    keys.RetainRecords(
        keys_pb2.RetainRecordsRequest(hold_id=new_id("hold"), organization_id=ORG, records=[retained])
    )
    reading.advance(31 * DAY)
    grant_id = granted(reading)
    answer = reading.authz.OpenRecords(
        opening(record, token=reading.token("eve"), grant_id=grant_id, detail=grants_pb2.DETAIL_MASKED)
    )
    assert len(answer.keys) == 1


def test_what_a_dead_process_had_opened_is_opened_again_by_screening_but_not_for_ever(world: World) -> None:
    screening: dict[str, Any] = {"permission": grants_pb2.SERVICE_PERMISSION_SCREENING, "detail": FULL}
    record, other = sealed(world), sealed(world)
    for _ in range(3):
        assert len(world.authz.OpenRecords(opening(record, **screening)).keys) == 1
        assert refusal(lambda: world.authz.OpenRecords(opening(record, **screening))) == "OUTSIDE_SCOPE"
        world.advance(timedelta(minutes=5))
    assert refusal(lambda: world.authz.OpenRecords(opening(record, **screening))) == "OUTSIDE_SCOPE"
    assert len(world.authz.OpenRecords(opening(other, **screening)).keys) == 1
    assert len(world.entries("records.opened")) == 4, "each time is written down"


def test_screening_opens_each_record_once_and_only_while_it_is_young(world: World) -> None:
    screening: dict[str, Any] = {
        "permission": grants_pb2.SERVICE_PERMISSION_SCREENING,
        "detail": FULL,
    }
    young, old = sealed(world), sealed(world)
    assert len(world.authz.OpenRecords(opening(young, **screening)).keys) == 1
    assert refusal(lambda: world.authz.OpenRecords(opening(young, **screening))) == "OUTSIDE_SCOPE"
    (entry,) = world.entries("records.opened")
    assert (entry["actor"], entry["facts"]["permission"]) == ("service:logging", "screening")
    world.advance(timedelta(hours=72, milliseconds=1))
    assert refusal(lambda: world.authz.OpenRecords(opening(old, **screening))) == "OUTSIDE_SCOPE"


def test_handing_over_to_screening_is_written_down_once_an_organization(world: World) -> None:
    record_ids = [new_record_id(world.clock.now())]
    request = authz_pb2.AuthorizeScreeningRequest(
        request_id="batch-0001",
        batches=[
            authz_pb2.ScreeningBatch(organization_id=organization_id, record_ids=record_ids)
            for organization_id in (ORG, OTHER)
        ],
    )
    first = world.authz.AuthorizeScreening(request)
    assert world.authz.AuthorizeScreening(request) == first
    assert [entry["entry_id"] for entry in world.entries("records.screened")] == list(first.audit_entry_ids)


@pytest.mark.parametrize(
    ("method", "outcome"),
    [
        ("/kept.logging.v1.ReadService/ListInteractions", ""),
        ("/kept.logging.v1.IngestService/RecordInteraction", "CALLER_NOT_ALLOWED"),
        ("/kept.settings.v1.OrganizationService/CreateOrganization", "CALLER_NOT_ALLOWED"),
        ("/kept.logging.v1.NoService/NoMethod", "CALLER_NOT_ALLOWED"),
    ],
)
def test_check_answers_on_the_calling_services_methods(reading: World, method: str, outcome: str) -> None:
    request = authz_pb2.CheckRequest(token=reading.token("eve"), method=method)
    if outcome:
        assert refusal(lambda: reading.authz.Check(request)) == outcome
        assert len(reading.entries("method.denied")) == 1
    else:
        answer = reading.authz.Check(request)
        assert (list(answer.roles), list(answer.policies)) == ([ENGINEER], ["people.staff"])
        (entry,) = reading.entries("method.allowed")
        assert len(entry["facts"]["policy_set"]) == 64


def test_a_member_is_told_who_the_admins_are(world: World) -> None:
    from kept.access_control.v1 import audit_pb2, audit_pb2_grpc
    from shared.errors import KeptError

    world.member()
    member_id = world.member(roles_pb2.CUSTOMER_ROLE_MEMBER)
    audit = audit_pb2_grpc.AuditServiceStub(world.customer(member_id))
    with pytest.raises(KeptError) as caught:
        audit.ListEntries(audit_pb2.ListEntriesRequest(organization_id=ORG))
    assert (caught.value.name, caught.value.metadata) == ("ADMIN_REQUIRED", {"admins": "Grace Hopper"})
    elsewhere = audit_pb2_grpc.AuditServiceStub(world.customer(member_id, OTHER))
    assert (
        refusal(
            lambda: elsewhere.GetInclusionProof(audit_pb2.GetInclusionProofRequest(entry_id=new_id("entry")))
        )
        == "NOT_AUTHORIZED"
    )


def test_erasure_ends_grants_and_takes_names_once(reading: World) -> None:
    from kept.access_control.v1 import directory_pb2_grpc

    grant_id = granted(reading)
    member_id = reading.member()
    retention = lifecycle_pb2_grpc.LifecycleServiceStub(
        reading.served.channel(Caller(CallerKind.SERVICE, "retention"))
    )
    request = lifecycle_pb2.EraseOrganizationRequest(organization_id=ORG, erasure_id=new_id("erasure"))
    first = retention.EraseOrganization(request)
    assert dict(first.removed) == {"grants": 1, "members": 1}
    assert retention.EraseOrganization(request) == first
    assert refusal(lambda: reading.authorize("eve", grant_id)) == "GRANT_REVOKED"
    settings = directory_pb2_grpc.DirectoryServiceStub(
        reading.served.channel(Caller(CallerKind.SERVICE, "settings"))
    )
    settings.SyncMember(
        directory_pb2.SyncMemberRequest(
            member_id=member_id,
            organization_id=ORG,
            role=roles_pb2.CUSTOMER_ROLE_ADMIN,
            display_name="Grace Hopper",
            revision=9,
        )
    )
    me = directory_pb2_grpc.DirectoryServiceStub(reading.customer(member_id))
    assert refusal(lambda: me.GetMe(directory_pb2.GetMeRequest())) == "NOT_AUTHORIZED"


def test_an_older_revision_of_a_member_changes_nothing(world: World) -> None:
    from kept.access_control.v1 import directory_pb2_grpc

    settings = directory_pb2_grpc.DirectoryServiceStub(
        world.served.channel(Caller(CallerKind.SERVICE, "settings"))
    )
    member_id = new_id("member")
    for role, revision in ((roles_pb2.CUSTOMER_ROLE_MEMBER, 2), (roles_pb2.CUSTOMER_ROLE_ADMIN, 1)):
        settings.SyncMember(
            directory_pb2.SyncMemberRequest(
                member_id=member_id, organization_id=ORG, role=role, display_name="Ann", revision=revision
            )
        )
    me = directory_pb2_grpc.DirectoryServiceStub(world.customer(member_id))
    assert me.GetMe(directory_pb2.GetMeRequest()).customer_role == roles_pb2.CUSTOMER_ROLE_MEMBER


def test_try_open_counts_what_the_key_store_opens(world: World, tmp_path: Path) -> None:
    sealed(world)
    assert isinstance(world.config.key_store, Path)
    with world.database.transaction() as tx:
        assert try_open(tx, Ladder(FileKeyStore(world.config.key_store))) == (1, 1)
        assert try_open(tx, Ladder(FileKeyStore(tmp_path / "another"))) == (0, 1)
