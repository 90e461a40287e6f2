"""What goes into an evaluation set is opened to logging under a grant for that: of an upheld case, masked, approved by somebody else."""

from datetime import timedelta
from typing import Any

import pytest

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc, grants_pb2, keys_pb2, keys_pb2_grpc
from shared.identity import Caller, CallerKind
from shared.ids import new_id
from tests.unit.access_control.grants.test_opening import opening, sealed
from tests.unit.access_control.vault import Sealed
from tests.unit.access_control.world import (
    MINUTE,
    ORG,
    OTHER,
    SAFETY,
    World,
    migrated_vault,
    refusal,
    world,
)

__all__ = ["migrated_vault", "world"]

MASKED = grants_pb2.DETAIL_MASKED
EVALUATION = grants_pb2.SERVICE_PERMISSION_EVALUATION


class Scene:
    """Sam asks, Sue approves; a case of two records, the first of which a hold keeps."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.people = {name: world.person(name, SAFETY) for name in ("sam", "sue")}
        self.review = authz_pb2_grpc.AuthzServiceStub(self._as("safety_review"))
        self.case_id = new_id("case")
        self.records = [sealed(world), sealed(world)]
        self.know(self.case_id)

    def _as(self, service: str) -> Any:
        return self.world.served.channel(Caller(CallerKind.SERVICE, service))

    def know(self, case_id: str, organization_id: str = ORG) -> None:
        ids = [one.record_id for one in self.records]
        request = authz_pb2.OpenCaseRequest(
            case_id=case_id, organization_id=organization_id, record_ids=ids, round=1
        )
        self.review.OpenCase(request)

    def hold(self) -> None:
        record = self.records[0]
        kept = keys_pb2.RetainedRecord(
            record_id=record.record_id, data_key_id=record.data_key_id, sealed_data_key=record.sealed
        )
        keys_pb2_grpc.KeyServiceStub(self._as("retention")).RetainRecords(
            keys_pb2.RetainRecordsRequest(hold_id=new_id("hold"), organization_id=ORG, records=[kept])
        )

    def uphold(self) -> None:
        self.hold()
        self.review.CloseCase(authz_pb2.CloseCaseRequest(case_id=self.case_id, upheld=True))

    def ask(self, **changes: Any) -> grants_pb2.Grant:
        scope = {"detail": MASKED, "permission": EVALUATION, "case_id": self.case_id, "budget": 2}
        return self.world.request("sam", purpose=grants_pb2.PURPOSE_SAFETY_AND_SECURITY, **scope | changes)

    def granted(self) -> str:
        return self.world.approve("sue", self.ask()).grant_id

    def authorize(self, grant_id: str, who: str = "sam") -> authz_pb2.AuthorizePermissionResponse:
        request = authz_pb2.AuthorizePermissionRequest(
            permission=EVALUATION, grant_id=grant_id, person_id=self.people[who]
        )
        return self.world.authz.AuthorizePermission(request)

    def open(self, grant_id: str, *records: Sealed, **changes: Any) -> authz_pb2.OpenRecordsResponse:
        fields = {"permission": EVALUATION, "grant_id": grant_id, "detail": MASKED} | changes
        return self.world.authz.OpenRecords(opening(*records, **fields))


@pytest.fixture
def scene(world: World) -> Scene:
    return Scene(world)


def test_an_upheld_cases_records_are_opened_and_each_step_is_written_down(scene: Scene) -> None:
    grant_id = scene.granted()
    scene.uphold()
    allowed = scene.authorize(grant_id)
    assert set(allowed.scope.record_ids) == {one.record_id for one in scene.records}
    assert (allowed.scope.case_id, allowed.scope.detail, allowed.remaining) == (scene.case_id, MASKED, 2)
    assert len(scene.open(grant_id, *scene.records).keys) == 2
    assert scene.authorize(grant_id).remaining == 0
    scene.open(grant_id, scene.records[0])  # counted once
    first, *_ = scene.world.entries("access.authorized")
    opened, _ = scene.world.entries("records.opened")
    for entry in (first, opened):
        assert (entry["actor"], entry["organization_id"]) == ("service:logging", ORG)
        facts = entry["facts"]
        assert (facts["permission"], facts["detail"]) == ("evaluation", "MASKED")
        assert (facts["requester"], facts["approvers"]) == (scene.people["sam"], scene.people["sue"])
        assert facts["policies"] == "records.evaluate"


def test_a_case_that_is_not_upheld_opens_nothing(scene: Scene) -> None:
    grant_id = scene.granted()
    for act in (lambda: scene.authorize(grant_id), lambda: scene.open(grant_id, scene.records[0])):
        assert refusal(act) == "NOT_UPHELD", "it is open"
    scene.review.CloseCase(authz_pb2.CloseCaseRequest(case_id=scene.case_id, upheld=True))
    for act in (lambda: scene.authorize(grant_id), lambda: scene.open(grant_id, scene.records[0])):
        assert refusal(act) == "NOT_UPHELD", "no hold keeps anything of it"
    scene.hold()
    assert len(scene.open(grant_id, scene.records[0]).keys) == 1
    denied = [entry["facts"]["permission"] for entry in scene.world.entries("access.denied")]
    assert denied == ["evaluation"] * 4


def test_only_what_was_approved_and_only_for_who_asked(scene: Scene) -> None:
    scene.uphold()
    waits = scene.ask().grant_id
    assert refusal(lambda: scene.authorize(waits)) == "GRANT_NOT_ACTIVE"
    grant_id = scene.granted()
    assert refusal(lambda: scene.authorize(grant_id, "sue")) == "GRANT_REQUIRED", "another's is none"
    *_, denied = scene.world.entries("access.denied")
    assert denied["subjects"] == [grant_id, scene.people["sue"]], "who tried is written down"
    assert refusal(lambda: scene.authorize(new_id("grant"))) == "GRANT_REQUIRED"
    outside = sealed(scene.world)
    assert refusal(lambda: scene.open(grant_id, outside)) == "OUTSIDE_SCOPE"
    assert refusal(lambda: scene.open("", scene.records[0])) == "OUTSIDE_SCOPE", "no permission by itself"
    full = {"detail": grants_pb2.DETAIL_FULL}
    assert refusal(lambda: scene.open(grant_id, scene.records[0], **full)) == "DETAIL_NOT_GRANTED"
    screening = {"permission": grants_pb2.SERVICE_PERMISSION_SCREENING}
    assert refusal(lambda: scene.open(grant_id, scene.records[0], **screening)) == "GRANT_REQUIRED"
    assert refusal(lambda: scene.world.authorize("sam", grant_id)) == "GRANT_REQUIRED", (
        "it opens nothing to Sam"
    )
    scene.world.advance(timedelta(hours=8) + MINUTE)
    assert refusal(lambda: scene.authorize(grant_id)) == "GRANT_EXPIRED"


def test_a_persons_grant_for_the_case_is_none_for_a_set(scene: Scene) -> None:
    scene.uphold()
    mine = scene.world.approve(
        "sue", scene.ask(permission=grants_pb2.SERVICE_PERMISSION_UNSPECIFIED)
    ).grant_id
    assert refusal(lambda: scene.authorize(mine)) == "GRANT_REQUIRED"
    assert refusal(lambda: scene.open(mine, scene.records[0])) == "GRANT_REQUIRED"


@pytest.mark.parametrize(
    "changes",
    [
        {"detail": grants_pb2.DETAIL_FULL},
        {"detail": grants_pb2.DETAIL_METADATA},
        {"case_id": ""},
        {"purpose": grants_pb2.PURPOSE_LEGAL_COMPLIANCE},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(scene: Scene, changes: dict[str, Any]) -> None:
    purpose = {"purpose": grants_pb2.PURPOSE_SAFETY_AND_SECURITY}
    scope = {"detail": MASKED, "permission": EVALUATION, "case_id": scene.case_id, "budget": 2}
    asked = purpose | scope | changes
    assert refusal(lambda: scene.world.request("sam", **asked)) in ("INVALID_ARGUMENT", "NOT_AUTHORIZED")


def test_a_case_of_another_customer_is_none(scene: Scene) -> None:
    other = new_id("case")
    scene.know(other, OTHER)
    assert refusal(lambda: scene.ask(case_id=other)) == "CASE_NOT_OPEN"
