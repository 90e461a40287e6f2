"""What the chapters hand on to each other."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from deploy.local.story.gateway import Gateway
from deploy.local.story.interactions import Sample
from deploy.local.story.stage import Actor, Stage
from deploy.local.story.telling import Narrator
from kept.access_control.v1 import grants_pb2, grants_pb2_grpc
from kept.client.record_ids import RecordIds
from kept.logging.v1 import ingest_pb2, interactions_pb2
from kept.options.v1 import roles_pb2


@dataclass
class Customer:
    """One organization of the story, with its admin and, where there is one, a member who is none."""

    organization_id: str
    name: str
    admin_email: str
    admin_password: str
    admin_id: str
    member_email: str = ""
    member_password: str = ""


@dataclass(frozen=True)
class Sent:
    """A record that the gateway sent, and when logging had answered for it."""

    record_id: bytes
    sample: Sample
    answered_at: datetime


@dataclass
class Plot:
    """The story so far."""

    stage: Stage
    tell: Narrator
    samples: list[Sample]
    people: dict[str, str] = field(default_factory=dict)  # username -> person id
    customers: dict[str, Customer] = field(default_factory=dict)  # "saas", "zdr", "private"
    sent: list[Sent] = field(default_factory=list)  # to the SaaS organization
    planted: Sent | None = None  # the record that the story itself planted to be flagged
    later: Sent | None = None  # recorded after training was turned off
    flagged: list[bytes] = field(default_factory=list)
    held: bytes = b""
    gateway: Gateway = field(init=False)

    def __post_init__(self) -> None:
        self.gateway = Gateway(self.stage)

    @property
    def ids(self) -> RecordIds:
        """Fresh ids, for records and for requests."""
        return self.gateway.ids

    def record(self, interactions: list[interactions_pb2.Interaction]) -> list[ingest_pb2.Receipt]:
        """Has the gateway record these."""
        return self.gateway.record(interactions, self.poll)

    def admin(self, which: str) -> Actor:
        """The admin of a customer, signed in."""
        customer = self.customers[which]
        return self.stage.customer(customer.admin_email, customer.admin_password)

    def grant(
        self, requester: str, approver: str, request: grants_pb2.RequestGrantRequest
    ) -> grants_pb2.Grant:
        """Requests as one person and approves as another."""
        asked = self.stage.staff(requester).stub(grants_pb2_grpc.GrantServiceStub).RequestGrant(request).grant
        approving = self.stage.staff(approver).stub(grants_pb2_grpc.GrantServiceStub)
        approved: grants_pb2.Grant = approving.ApproveGrant(
            grants_pb2.ApproveGrantRequest(grant_id=asked.grant_id)
        ).grant
        return approved

    def power(self, requester: str, approver: str, power: "roles_pb2.Power.ValueType", reason: str) -> None:
        """Gives somebody a power for a working day, approved by somebody else."""
        self.grant(requester, approver, self.asking(reason, timedelta(hours=8), power=power))

    def asking(self, reason: str, duration: timedelta, **scope: Any) -> grants_pb2.RequestGrantRequest:
        """A request for a grant with an id of its own."""
        request = grants_pb2.RequestGrantRequest(request_id=self.ids.mint().hex(), reason=reason, **scope)
        request.duration.FromTimedelta(duration)
        return request

    def poll(self, what: str, ready: Callable[[], Any], patience: float = 30.0) -> Any:
        """Waits for something that the stack does by itself."""
        return self.tell.until(what, ready, patience)
