"""What other services need to know of the settings, as changes of a leased feed.

Subjects of the feed are "org:<organization id>" and "gateway:<name>"; a change's payload is the whole policy of its subject from
`effective_at` on. A change takes the feed's lock, which holds up polls: it is made after everything that can be done before it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from kept.replica.v1 import lease_pb2
from kept.settings.v1 import organizations_pb2, policies_pb2
from services.settings.store import Tx
from services.settings.store.organizations import Organization
from shared.change_feed import Change, ChangeFeed

_ORGANIZATION: Final = "org:"
_GATEWAY: Final = "gateway:"
_PAGE: Final = 1000


def organization_policy(
    organization: Organization, require_customer_approval: bool
) -> policies_pb2.OrganizationPolicy:
    """What applies to an organization's data."""
    policy = policies_pb2.OrganizationPolicy(
        organization_id=organization.organization_id,
        deployment=organization.deployment,
        tier=organization.tier,
        zero_data_retention=organization.zero_data_retention,
        require_customer_approval=require_customer_approval,
        closed=organization.state != organizations_pb2.ORGANIZATION_STATE_ACTIVE,
        usage_agreed=organization.usage_agreed,
        training_retention_days=organization.training_retention_days,
    )
    if organization.content_erased_before is not None:
        policy.content_erased_before.FromDatetime(organization.content_erased_before)
    return policy


def policy_change(change: Change) -> policies_pb2.PolicyChange:
    """A change of the feed as the contract has it."""
    made = policies_pb2.PolicyChange(version=change.version)
    made.effective_at.FromDatetime(change.effective_at)
    if change.subject.startswith(_ORGANIZATION):
        made.organization.ParseFromString(change.payload)
    elif change.subject.startswith(_GATEWAY):
        made.gateway.ParseFromString(change.payload)
    else:  # a receiver that was not told what changed would hold a lease on a lie
        raise ValueError("the feed holds a change of a kind that this version does not know")
    return made


class Policies:
    """The feed of policies."""

    def __init__(self, feed: ChangeFeed) -> None:
        self._feed = feed

    def publish_organization(
        self,
        tx: Tx,
        organization: Organization,
        require_customer_approval: bool,
        since: datetime | None = None,
    ) -> datetime:
        """Puts an organization's policy into force; returns the instant from which it counts everywhere. since: see ChangeFeed.append."""
        policy = organization_policy(organization, require_customer_approval)
        change = self._feed.append(
            tx,
            _ORGANIZATION + organization.organization_id,
            policy.SerializeToString(deterministic=True),
            since,
        )
        return change.effective_at

    def publish_gateway(
        self,
        tx: Tx,
        name: str,
        *,
        all_organizations: bool,
        organization_ids: Sequence[str],
        since: datetime | None = None,
    ) -> datetime:
        """Puts a gateway's registration into force; neither all nor any organizations is a revocation. since: see ChangeFeed.append."""
        policy = policies_pb2.GatewayPolicy(
            name=name, all_organizations=all_organizations, organization_ids=organization_ids
        )
        return self._feed.append(
            tx, _GATEWAY + name, policy.SerializeToString(deterministic=True), since
        ).effective_at

    def begin_anew(self, tx: Tx) -> None:
        """See ChangeFeed.begin_anew."""
        self._feed.begin_anew(tx)

    def poll(
        self, since_version: int, page_size: int
    ) -> tuple[list[policies_pb2.PolicyChange], lease_pb2.Lease]:
        """Changes after a version, at most `page_size` (0: 1,000), and the lease that comes with them."""
        changes, lease = self._feed.poll(since_version, page_size or _PAGE)
        return [policy_change(change) for change in changes], lease
