"""Who reads everything while some of it goes: what has gone is not shown, and keeps nobody from the rest. All services, as they run."""

import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from kept.access_control.v1 import grants_pb2, keys_pb2, keys_pb2_grpc
from kept.logging.v1 import read_pb2, read_pb2_grpc
from kept.options.v1 import roles_pb2
from kept.retention.v1 import holds_pb2, holds_pb2_grpc
from shared.errors import KeptError
from shared.ids import new_id
from tests.simulation.actors.customers import Customers
from tests.simulation.actors.gateway import Gateway
from tests.simulation.beginning import begin
from tests.simulation.clocks import WorldTime
from tests.simulation.databases import Databases
from tests.simulation.model import Organization
from tests.simulation.scene import Scene, stamp
from tests.simulation.world import World
from tests.support.postgres import TestServer

pytestmark = pytest.mark.simulation
FULL, METADATA = grants_pb2.DETAIL_FULL, grants_pb2.DETAIL_METADATA
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def scene(postgres_server: TestServer, tmp_path: Path) -> Iterator[Scene]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    databases = Databases(postgres_server)
    world = World(random.Random("reading"), databases, tmp_path, WorldTime())
    made = Scene(world)
    world.faults.off = True
    begin(made)
    world.time.advance(HOUR)
    yield made
    world.close()
    databases.close()
    structlog.reset_defaults()


@pytest.fixture
def organization(scene: Scene) -> Organization:
    return scene.open_organizations()[0]


class Reader:
    """Emma, with a grant for all of an organization."""

    def __init__(self, scene: Scene, organization: Organization) -> None:
        self._scene = scene
        self._organization_id = organization.organization_id
        scene.world.leases(often=1.0)
        request = grants_pb2.RequestGrantRequest(
            request_id=new_id("request"),
            reason="answers are cut off",
            data=grants_pb2.DataScope(organization_id=self._organization_id, detail=FULL, budget=1000),
            purpose=grants_pb2.PURPOSE_ENGINEERING_SUPPORT,
        )
        request.duration.FromTimedelta(timedelta(hours=8))
        made = scene.grants("emma").RequestGrant(request).grant
        for name in ("elias", "olga"):
            if made.state == grants_pb2.GRANT_STATE_REQUESTED:
                approval = grants_pb2.ApproveGrantRequest(grant_id=made.grant_id)
                made = scene.grants(name).ApproveGrant(approval).grant
        self._grant_id = made.grant_id

    def stream(
        self, detail: "grants_pb2.Detail.ValueType" = FULL, named: Sequence[bytes] = ()
    ) -> Iterator[read_pb2.ReadInteractionsResponse]:
        self._scene.world.leases(often=1.0)
        stub = read_pb2_grpc.ReadServiceStub(self._scene.world.person("emma")("logging"))
        asked = read_pb2.ReadInteractionsRequest(
            grant_id=self._grant_id, organization_id=self._organization_id, detail=detail
        )
        asked.filter.record_ids.extend(named)
        return iter(stub.ReadInteractions(asked))

    def read(
        self, detail: "grants_pb2.Detail.ValueType" = FULL, named: Sequence[bytes] = ()
    ) -> dict[bytes, bool]:
        """What is read, and whether with its content."""
        return shown(self.stream(detail, named))


def shown(answers: Iterator[read_pb2.ReadInteractionsResponse]) -> dict[bytes, bool]:
    return {answer.record.record_id: answer.record.HasField("content") for answer in answers}


def holds_of(scene: Scene, name: str) -> holds_pb2_grpc.HoldServiceStub:
    scene.power("lena", "luca", roles_pb2.POWER_LEGAL)
    scene.power("luca", "lena", roles_pb2.POWER_LEGAL)
    return holds_pb2_grpc.HoldServiceStub(scene.world.person(name)("retention"))


def held(scene: Scene, organization: Organization, record_ids: Sequence[bytes]) -> str:
    """A hold by two people on these records. Its id."""
    scene.world.leases(often=1.0)
    request = holds_pb2.PlaceHoldRequest(
        request_id=new_id("request"),
        kind=holds_pb2.HOLD_KIND_LEGAL,
        organization_id=organization.organization_id,
        record_ids=record_ids,
        reference="matter",
        review_at=stamp(scene.now + timedelta(days=365)),
    )
    hold_id = holds_of(scene, "lena").PlaceHold(request).hold.hold_id
    holds_of(scene, "luca").ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold_id))
    return hold_id


def released(scene: Scene, hold_id: str) -> None:
    request = holds_pb2.ReleaseHoldRequest(hold_id=hold_id, reason="closed")
    holds_of(scene, "lena").ReleaseHold(request)


def settle(scene: Scene, *steps: timedelta) -> None:
    for step in steps:
        scene.world.time.advance(step)
        scene.world.settle()


def test_a_hold_that_came_too_late_for_one_record(scene: Scene, organization: Organization) -> None:
    """A run had marked its key, and its row was still there."""
    gateway = Gateway(scene)
    old = gateway.sends_one(organization).record_id
    settle(scene, 10 * DAY)
    young = gateway.sends_one(organization).record_id
    due_at = scene.model.records[old].due_at
    assert due_at is not None
    settle(scene, due_at - scene.now - HOUR)
    scene.world.time.advance(HOUR + MINUTE)
    scene.world.leases(often=1.0)
    keys = keys_pb2_grpc.KeyServiceStub(scene.world.service("retention", "access_control"))
    day = scene.model.records[old].created_at.date().isoformat()
    keys.DestroyEpochs(keys_pb2.DestroyEpochsRequest(destruction_id=new_id("run"), through_day=day))
    held(scene, organization, [old, young])
    settle(scene, MINUTE, DAY)
    reader = Reader(scene, organization)
    assert reader.read() == {young: True}
    assert reader.read(METADATA) == {young: False}
    with pytest.raises(KeptError) as refused:  # who names it is told what is said of what never was
        reader.read(named=[old, young])
    assert refused.value.name == "OUTSIDE_SCOPE"


def test_an_end_user_who_is_erased_while_a_reader_takes_her_time(
    scene: Scene, organization: Organization
) -> None:
    gateway = Gateway(scene)
    sent = [gateway.sends_one(organization) for _ in range(3)]
    settle(scene, MINUTE)
    answers = Reader(scene, organization).stream()
    shown_first = next(answers).record.record_id
    customers = Customers(scene)
    customers.passes_erasure_on(organization, sent[0].end_user)
    settle(scene, *[MINUTE] * 4)
    customers.follow_subjects()
    [subject] = scene.model.subjects
    assert subject.done
    erased = {one.record_id for one in sent if one.end_user == sent[0].end_user} - {shown_first}
    assert erased
    assert not shown(answers).keys() & erased


def test_a_hold_that_ends_while_a_reader_takes_her_time(scene: Scene, organization: Organization) -> None:
    gateway = Gateway(scene)
    record_ids = [gateway.sends_one(organization).record_id for _ in range(3)]
    settle(scene, MINUTE)
    hold_id = held(scene, organization, record_ids)
    settle(scene, MINUTE, 31 * DAY, MINUTE)
    answers = Reader(scene, organization).stream()
    assert next(answers).record.record_id in record_ids
    released(scene, hold_id)
    settle(scene, MINUTE, MINUTE)
    assert shown(answers) == {}
