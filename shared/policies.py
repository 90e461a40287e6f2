"""Settings' policies as a leased replica. Each receiver says what it reads out of a policy; the rest is the same for all."""

from collections.abc import Callable, Sequence
from datetime import UTC, timedelta
from typing import Final, TypeVar

from kept.replica.v1 import lease_pb2
from kept.settings.v1 import policies_pb2, policies_pb2_grpc
from shared.clock import Clock
from shared.replica import POLL_SECONDS, ReceivedChange, Replica

_PAGE: Final = 1000
P = TypeVar("P")


def organization_subject(organization_id: str) -> str:
    """What an organization's policy is found under: its id as it is, for that is looked up for every record."""
    return organization_id


def gateway_subject(name: str) -> str:
    """What a gateway's registration is found under."""
    return "gateway:" + name


def policy_replica(
    stub: policies_pb2_grpc.PolicyServiceStub,
    clock: Clock,
    read_organization: Callable[[policies_pb2.OrganizationPolicy], P],
    read_gateway: Callable[[policies_pb2.GatewayPolicy], P] | None = None,
    *,
    window: timedelta,
) -> Replica[P]:
    """A replica of what is read out of policies; those that nobody reads, and kinds to come, are left out. window: see Replica."""

    def received(change: policies_pb2.PolicyChange) -> ReceivedChange[P] | None:
        match change.WhichOneof("policy"):
            case "organization":
                policy = read_organization(change.organization)
                subject = organization_subject(change.organization.organization_id)
            case "gateway" if read_gateway is not None:
                policy = read_gateway(change.gateway)
                subject = gateway_subject(change.gateway.name)
            case _:
                return None
        return ReceivedChange(change.version, subject, change.effective_at.ToDatetime(tzinfo=UTC), policy)

    def poll(since: int) -> tuple[Sequence[ReceivedChange[P]], lease_pb2.Lease]:
        answer = stub.ListPolicyChanges(
            policies_pb2.ListPolicyChangesRequest(since_version=since, page_size=_PAGE), timeout=POLL_SECONDS
        )
        return [one for change in answer.changes if (one := received(change)) is not None], answer.lease

    return Replica("policies", poll, clock, window=window)
