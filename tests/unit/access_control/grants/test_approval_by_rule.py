"""Requests that a policy approves at once, and what services may open again because people approved it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kept.access_control.v1 import authz_pb2, grants_pb2
from kept.options.v1 import roles_pb2
from kept.policies import PolicyFolder
from services.access_control.authorization.policy import SHIPPED, shipped_schema
from shared.ids import new_record_id
from tests.support.postgres import FreshDatabase
from tests.unit.access_control.world import (
    ENGINEER,
    MINUTE,
    OPERATOR,
    ORG,
    SAFETY,
    World,
    migrated_vault,
    refusal,
    world,
)

__all__ = ["migrated_vault", "world"]

APPROVED, REQUESTED = grants_pb2.GRANT_STATE_APPROVED, grants_pb2.GRANT_STATE_REQUESTED
SMALL: dict[str, Any] = {"detail": grants_pb2.DETAIL_METADATA, "duration": 15 * MINUTE}


def test_a_small_request_is_active_at_once_and_names_the_policy(world: World) -> None:
    world.person("eve", ENGINEER)
    grant = world.request("eve", **SMALL)

    assert (grant.state, list(grant.approvals)) == (APPROVED, [])
    assert list(grant.approved_by_rule) == ["by_rule.log_data_for_a_ticket"]
    world.open("eve", grant.grant_id, new_record_id(world.clock.now()))
    (entry,) = world.entries("grant.approved")
    assert entry["facts"]["rules"] == "by_rule.log_data_for_a_ticket"
    assert entry["actor"] == "service:access_control"


@pytest.mark.parametrize(
    "changes",
    [
        {"detail": grants_pb2.DETAIL_MASKED},
        {"duration": 16 * MINUTE},
        {"budget": 101},
    ],
)
def test_what_is_more_waits_for_a_colleague(world: World, changes: dict[str, Any]) -> None:
    world.person("eve", ENGINEER)

    assert world.request("eve", **{**SMALL, **changes}).state == REQUESTED


def test_the_customer_who_asked_for_it_is_asked(world: World) -> None:
    world.person("eve", ENGINEER)
    world.customer_approval.add(ORG)
    world.renew()

    grant = world.request("eve", **SMALL)
    assert (grant.state, grant.missing_customer_approval) == (REQUESTED, True)


def test_it_gets_more_time_from_a_colleague_alone(world: World) -> None:
    world.person("eve", ENGINEER)
    world.person("ada", ENGINEER)
    grant = world.request("eve", **SMALL)
    request = grants_pb2.ExtendGrantRequest(grant_id=grant.grant_id, reason="not found yet")
    request.duration.FromTimedelta(MINUTE)

    assert world.grants("eve").ExtendGrant(request).grant.missing_staff_approvals == 1
    longer = world.approve("ada", grant)
    assert list(longer.approved_by_rule) == []
    assert [one.approved_by for one in longer.approvals] != []


# --- what no policy can waive


@pytest.fixture
def lax(fresh_database: FreshDatabase, migrated_vault: str, tmp_path: Path) -> Iterator[World]:
    """An installation whose operator lets a policy approve everything."""
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    folder.joinpath("by_rule.cedar").write_text(
        '@id("own.everything") permit (principal is Person, action == Action::"ApproveByRule", resource is Grant);\n'
    )
    PolicyFolder(folder).write_seal(PolicyFolder(folder).load(shipped_schema()))
    url = fresh_database("access_control", template=migrated_vault)
    made = World(url, tmp_path / "keys", policies=folder)
    yield made
    made.database.close()


def test_a_policy_approves_what_it_may(lax: World) -> None:
    lax.person("eve", ENGINEER)

    assert lax.request("eve", detail=grants_pb2.DETAIL_MASKED).approved_by_rule == ["own.everything"]


@pytest.mark.parametrize(
    ("role", "changes"),
    [
        pytest.param(ENGINEER, {"detail": grants_pb2.DETAIL_FULL}, id="content as it is"),
        pytest.param(
            SAFETY,
            {
                "purpose": grants_pb2.PURPOSE_SAFETY_AND_SECURITY,
                "permission": grants_pb2.SERVICE_PERMISSION_SCREENING,
                "detail": grants_pb2.DETAIL_FULL,
            },
            id="a service's permission",
        ),
        pytest.param(OPERATOR, {"power": roles_pb2.POWER_ROLE_ASSIGNMENT}, id="a power"),
    ],
)
def test_no_policy_approves_what_needs_a_person(
    lax: World, role: "roles_pb2.StaffRole.ValueType", changes: dict[str, Any]
) -> None:
    lax.person("eve", role)

    grant = lax.request("eve", **changes)
    assert (grant.state, list(grant.approved_by_rule)) == (REQUESTED, [])


def test_no_policy_approves_for_the_customer(lax: World) -> None:
    lax.person("eve", ENGINEER)
    lax.customer_approval.add(ORG)
    lax.renew()

    grant = lax.request("eve", **SMALL)
    assert (grant.state, grant.missing_customer_approval) == (REQUESTED, True)


# --- what screening may read again


@pytest.fixture
def safety(world: World) -> World:
    """Sam asks, Sue approves, Eve is an engineer."""
    world.person("sam", SAFETY)
    world.person("sue", SAFETY)
    world.person("eve", ENGINEER)
    return world


def rescreening(world: World, **changes: Any) -> grants_pb2.Grant:
    """Sam's request that screening reads ORG again."""
    scope = {
        "detail": grants_pb2.DETAIL_FULL,
        "permission": grants_pb2.SERVICE_PERMISSION_SCREENING,
        "budget": 2,
    }
    return world.request("sam", purpose=grants_pb2.PURPOSE_SAFETY_AND_SECURITY, **{**scope, **changes})


def reopen(world: World, grant_id: str, *record_ids: bytes, organization_id: str = ORG) -> str:
    """What screening asks; the audit entry's id."""
    return world.authz.OpenRecords(
        authz_pb2.OpenRecordsRequest(
            permission=grants_pb2.SERVICE_PERMISSION_SCREENING,
            grant_id=grant_id,
            organization_id=organization_id,
            detail=grants_pb2.DETAIL_FULL,
            records=[authz_pb2.RecordReference(record_id=record_id) for record_id in record_ids],
        )
    ).audit_entry_id


def test_screening_reads_again_what_people_approved_and_no_more(safety: World) -> None:
    grant = rescreening(safety)
    records = [new_record_id(safety.clock.now()) for _ in range(3)]
    assert grant.missing_staff_approvals == 1
    assert refusal(lambda: reopen(safety, grant.grant_id, records[0])) == "GRANT_NOT_ACTIVE"
    safety.approve("sue", grant)

    reopen(safety, grant.grant_id, *records[:2])
    reopen(safety, grant.grant_id, records[0])  # counted once
    assert refusal(lambda: reopen(safety, grant.grant_id, records[2])) == "BUDGET_EXHAUSTED"
    assert refusal(lambda: reopen(safety, grant.grant_id, records[0], organization_id="org_" + "b" * 26)) == (
        "OUTSIDE_SCOPE"
    )
    safety.advance(30 * MINUTE)
    assert refusal(lambda: reopen(safety, grant.grant_id, records[0])) == "GRANT_EXPIRED"
    assert [entry["facts"]["permission"] for entry in safety.entries("records.opened")] == ["screening"] * 2


def test_it_opens_nothing_to_the_person_who_asked_for_it(safety: World) -> None:
    grant = safety.approve("sue", rescreening(safety))

    assert refusal(lambda: safety.authorize("sam", grant.grant_id)) == "GRANT_REQUIRED"
    assert (
        refusal(lambda: safety.open("sam", grant.grant_id, new_record_id(safety.clock.now())))
        == "GRANT_REQUIRED"
    )


def test_a_persons_grant_is_none_for_screening(safety: World) -> None:
    grant = safety.approve(
        "sue",
        safety.request(
            "sam",
            purpose=grants_pb2.PURPOSE_SAFETY_AND_SECURITY,
            detail=3,
            budget=2,
            record_ids=[new_record_id(safety.clock.now())],
        ),
    )

    assert (
        refusal(lambda: reopen(safety, grant.grant_id, new_record_id(safety.clock.now()))) == "GRANT_REQUIRED"
    )


@pytest.mark.parametrize(
    "changes",
    [{"detail": grants_pb2.DETAIL_MASKED}, {"purpose": grants_pb2.PURPOSE_ENGINEERING_SUPPORT}],
)
def test_screening_is_asked_for_in_full_and_for_safety(safety: World, changes: dict[str, Any]) -> None:
    changes = {"purpose": grants_pb2.PURPOSE_SAFETY_AND_SECURITY, **changes}
    scope = {
        "detail": grants_pb2.DETAIL_FULL,
        "permission": grants_pb2.SERVICE_PERMISSION_SCREENING,
        "budget": 2,
    }

    assert refusal(lambda: safety.request("sam", **{**scope, **changes})) in (
        "INVALID_ARGUMENT",
        "NOT_AUTHORIZED",
    )
