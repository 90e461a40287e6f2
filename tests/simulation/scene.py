"""What all actors of a history share: the world, the model, and ways to get at each other."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from kept.access_control.v1 import grants_pb2, grants_pb2_grpc
from kept.options.v1 import roles_pb2
from shared.ids import new_id
from tests.simulation.model import Model, Organization
from tests.simulation.world import World

_POWER_LASTS = timedelta(hours=8)
_POWER_IS_RENEWED = timedelta(hours=1)
Powers = dict[tuple[str, "roles_pb2.Power.ValueType"], datetime]


def stamp(moment: datetime) -> Timestamp:
    """A protobuf timestamp."""
    made = Timestamp()
    made.FromDatetime(moment)
    return made


@dataclass
class Scene:
    """A world, and what its actors know of it. powers: until when a person has a power."""

    world: World
    model: Model = field(default_factory=Model)
    powers: Powers = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        """The true time."""
        return self.world.time.now

    def grants(self, name: str) -> grants_pb2_grpc.GrantServiceStub:
        """Somebody's way to ask for grants, and to approve them."""
        return grants_pb2_grpc.GrantServiceStub(self.world.person(name)("access_control"))

    def power(self, asks: str, approves: str, power: "roles_pb2.Power.ValueType") -> None:
        """Sees to it that somebody has a power now."""
        if self.powers.get((asks, power), self.now) > self.now + _POWER_IS_RENEWED:
            return
        request = grants_pb2.RequestGrantRequest(
            request_id=new_id("request"), reason="a day's work", power=power
        )
        request.duration.FromTimedelta(_POWER_LASTS)
        grant = self.grants(asks).RequestGrant(request).grant
        self.grants(approves).ApproveGrant(grants_pb2.ApproveGrantRequest(grant_id=grant.grant_id))
        self.powers[asks, power] = self.now + _POWER_LASTS

    def some_organization(self) -> Organization:
        """One of all customers, rather one whose content is recorded."""
        everybody = list(self.model.organizations.values())
        is_any = self.world.seed.random() < 0.2
        return self.world.seed.choice(everybody if is_any else self.open_organizations() or everybody)

    def open_organizations(self) -> list[Organization]:
        """Customers whose content is recorded and that nobody has begun to delete."""
        return [
            organization
            for organization in self.model.organizations.values()
            if organization.deployment == "SAAS" and organization.leaving_at is None
        ]
