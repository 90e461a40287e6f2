"""Yesterday's backup of every database but access control's, put back: nothing that was certified as gone can be read, no setting that was
withdrawn is in force, and what was held is still held."""

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
import structlog

from kept.retention.v1 import holds_pb2, holds_pb2_grpc
from kept.settings.v1 import policies_pb2, policies_pb2_grpc
from shared.errors import KeptError, Reason
from tests.simulation.actors.customers import Customers
from tests.simulation.actors.gateway import Gateway
from tests.simulation.actors.legal import Legal
from tests.simulation.beginning import begin, join
from tests.simulation.clocks import WorldTime
from tests.simulation.databases import Databases
from tests.simulation.invariants import check, check_settled, uuid_text
from tests.simulation.model import Organization
from tests.simulation.scene import Scene
from tests.simulation.world import World
from tests.support.postgres import TestServer

pytestmark = pytest.mark.simulation

# Access control's is restored with its WAL to the end, or not at all (docs/backups.md).
RESTORED = ("settings", "logging", "retention", "safety_review")


@pytest.fixture
def scene(postgres_server: TestServer, tmp_path: Path) -> Iterator[Scene]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    databases = Databases(postgres_server)
    world = World(random.Random("restored"), databases, tmp_path, WorldTime())
    yield Scene(world)
    world.close()
    databases.close()
    structlog.reset_defaults()


class Story:
    """Four customers with records of three end users each: one gets a longer term and chooses zero data retention with the erasure of what
    was logged, one leaves, one has an end user erased and all of another held; records are held in secret too. All after the backup; and a
    month passes."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        begin(scene)
        with scene.world.quiet():
            join(scene, "SAAS")
        self.gateway, self.customers, self.legal = Gateway(scene), Customers(scene), Legal(scene)
        scene.world.time.advance(
            timedelta(hours=1)
        )  # all of them have been known for longer than clocks are apart
        self.silent, self.gone, self.forgets = scene.open_organizations()
        self._record(self.silent, self.gone, self.forgets)
        scene.world.settle()
        self._settled()

    def _record(self, *organizations: Organization) -> None:
        for organization in organizations:
            for process in ("logging", "logging_2", "logging"):
                self.scene.world.leases()
                self.gateway.records_of(organization, process)

    def _settled(self) -> None:
        self.scene.world.settle()
        self.customers.follow_erasures()
        self.customers.follow_subjects()
        check(self.scene)
        check_settled(self.scene)

    def _holds_all_of(self, end_user: str) -> None:
        seed = self.legal._seed
        any_of = seed.choice  # as before in all else, such as which process is asked
        with (
            mock.patch.object(self.scene, "some_organization", return_value=self.forgets),
            mock.patch.object(seed, "choice", lambda of: end_user if end_user in of else any_of(of)),
            mock.patch.object(seed, "random", return_value=1.0),
        ):
            self.legal.holds_end_user()

    def goes_on(self) -> None:
        scene, world = self.scene, self.scene.world
        world.leases()
        with mock.patch.object(self.legal, "_may_be_secret", self.legal.makes_secret):
            self.legal.places_hold()
        with mock.patch.object(self.legal, "_may_be_secret"):
            self._holds_all_of("u3")
        self.legal.keeps_longer()
        world.time.advance(timedelta(minutes=1))
        world.settle()
        world.leases()
        self.customers.chooses_zero_data_retention(self.silent, erases=True)
        world.time.advance(timedelta(minutes=1))
        world.leases()
        with mock.patch.object(self.customers, "_some_open", return_value=self.gone):
            self.customers.leaves()
        self.customers.passes_erasure_on(self.forgets, "u1")
        self._settled()
        world.time.advance(timedelta(days=32))
        for _ in range(3):
            world.settle()
            world.time.advance(timedelta(minutes=1))
        self._settled()
        assert self.gone.erased
        assert [subject.done for subject in scene.model.subjects] == [True]
        assert scene.model.certified


def test_what_is_gone_stays_gone_and_what_was_withdrawn_is_not_in_force(scene: Scene) -> None:
    story, world = Story(scene), scene.world
    copies = world.while_all_are_stopped(lambda: world.databases.back_up(*RESTORED))
    story.goes_on()
    [hold, of_end_user] = scene.model.holds.values()
    of_silent = (
        f"SELECT record_id FROM retained WHERE by_term AND organization_id = '{story.silent.organization_id}'"
    )
    # A hold keeps content as well.
    erased_of_silent = of_silent + (
        " AND content IS NOT NULL AND NOT EXISTS (SELECT 1 FROM holds WHERE holds.record_id = retained.record_id)"
    )
    of_u3 = f"SELECT record_id FROM holds WHERE hold_id = '{of_end_user.hold_id}'"
    looks = world.databases.looks
    kept_longer, held_of_u3 = looks.rows("logging", of_silent), set(looks.rows("logging", of_u3))
    assert kept_longer
    assert held_of_u3
    assert not looks.rows("logging", erased_of_silent)
    world.while_all_are_stopped(lambda: world.databases.put_back(copies))
    # The copies hold what was certified as gone; the services are not asked yet.
    looks = world.databases.looks
    assert looks.rows(
        "logging", f"SELECT 1 FROM interactions WHERE organization_id = '{story.gone.organization_id}'"
    )
    assert looks.rows("logging", "SELECT 1 FROM interactions WHERE end_user = 'u1'")
    policies = policies_pb2_grpc.PolicyServiceStub(world.service("logging", "settings"))
    no_service_reaches_another = mock.patch.object(world, "is_cut_off", lambda origin: origin is not None)
    with no_service_reaches_another, pytest.raises(KeptError) as refused:
        policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest())
    assert refused.value.reason == Reason.REASON_CATCHING_UP
    world.time.advance(timedelta(seconds=2))

    story._settled()
    assert _caught_up(scene) == set(RESTORED)
    in_force = {
        change.organization.organization_id: change.organization
        for change in policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest()).changes
    }
    assert in_force[story.silent.organization_id].zero_data_retention
    assert in_force[story.gone.organization_id].closed
    assert not world.databases.looks.rows(
        "settings", f"SELECT 1 FROM members WHERE organization_id = '{story.gone.organization_id}'"
    )
    standing = holds_pb2_grpc.HoldServiceStub(world.person("lena")("retention")).ListHolds(
        holds_pb2.ListHoldsRequest(organization_id=hold.organization_id)
    )
    assert (hold.hold_id, holds_pb2.HOLD_STATE_ACTIVE) in [(one.hold_id, one.state) for one in standing.holds]
    secret = f"SELECT record_id::text FROM confidential_rows WHERE hold_id = '{hold.hold_id}' AND content IS NOT NULL"
    kept = {row for (row,) in world.databases.looks.rows("logging", secret)}
    assert hold.with_content
    assert kept == {uuid_text(record_id) for record_id in hold.with_content}

    assert looks.rows("logging", of_silent) == kept_longer
    assert not looks.rows("logging", erased_of_silent)
    assert set(looks.rows("logging", of_u3)) >= held_of_u3
    assert in_force[story.silent.organization_id].HasField("content_erased_before")

    # And it goes on: what comes now is judged by what was in force.
    world.leases()
    story.gateway.records_of(story.silent, "logging")
    story.gateway.records_of(story.gone, "logging")
    world.time.advance(timedelta(days=1))
    story._settled()


def _caught_up(scene: Scene) -> set[str]:
    """Which services said that they have made up for something."""
    bodies = scene.world.databases.looks.rows(
        "access_control", "SELECT body FROM audit_entries WHERE kind = 'database.caught_up'"
    )
    return {json.loads(bytes(body))["facts"]["service"] for (body,) in bodies}
