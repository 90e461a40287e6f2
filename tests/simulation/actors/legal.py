"""Legal staff: Lena places holds and lets them go, Luca confirms."""

from datetime import timedelta

from kept.options.v1 import roles_pb2
from kept.retention.v1 import holds_pb2, holds_pb2_grpc
from shared.ids import new_id
from tests.simulation.model import Hold
from tests.simulation.scene import Scene, stamp


class Legal:
    """Both of them."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seed = scene.world.seed

    def places_hold(self) -> None:
        """Lena holds some records of somebody's, mostly young ones, Luca confirms."""
        candidates = [sent for sent in self._scene.model.records.values() if sent.stored]
        if not candidates:
            return
        candidates = self._seed.choice((candidates, candidates[-20:]))
        organization_id = self._seed.choice(candidates).organization_id
        chosen = [sent.record_id for sent in candidates if sent.organization_id == organization_id]
        records = self._seed.sample(chosen, k=min(len(chosen), self._seed.randint(1, 3)))
        request = holds_pb2.PlaceHoldRequest(
            request_id=new_id("request"),
            kind=holds_pb2.HOLD_KIND_LEGAL,
            organization_id=organization_id,
            record_ids=records,
            reference="matter",
            review_at=stamp(self._scene.now + timedelta(days=365)),
        )

        def placed() -> holds_pb2.Hold:
            self._empowered()
            hold = self._holds("lena").PlaceHold(request).hold
            return self._holds("luca").ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold.hold_id)).hold

        self._scene.world.leases("access_control", "access_control_2")
        hold = self._scene.world.attempt(placed)
        if isinstance(hold, holds_pb2.Hold):
            lost = set(hold.lost)
            self._scene.model.holds[hold.hold_id] = Hold(
                hold.hold_id,
                organization_id,
                [record_id for record_id in records if record_id not in lost],
                is_active=hold.state == holds_pb2.HOLD_STATE_ACTIVE,
            )

    def releases_hold(self) -> None:
        """Lena lets a hold go."""
        standing = [hold for hold in self._scene.model.holds.values() if not hold.releasing]
        if not standing:
            return
        hold = self._seed.choice(standing)
        hold.releasing = True  # from the moment it is asked for, nothing relies on it any more

        def release() -> holds_pb2.ReleaseHoldResponse:
            self._empowered()
            return self._holds("lena").ReleaseHold(
                holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="matter closed")
            )

        self._scene.world.leases("access_control", "access_control_2")
        hold.released = isinstance(self._scene.world.attempt(release), holds_pb2.ReleaseHoldResponse)

    def _empowered(self) -> None:
        self._scene.power("lena", "luca", roles_pb2.POWER_LEGAL)
        self._scene.power("luca", "lena", roles_pb2.POWER_LEGAL)

    def _holds(self, name: str) -> holds_pb2_grpc.HoldServiceStub:
        return holds_pb2_grpc.HoldServiceStub(self._scene.world.person(name)("retention"))
