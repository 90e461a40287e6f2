"""Who can have zero data retention."""

from kept.settings.v1 import organizations_pb2
from services.settings.store.organizations import Organization
from shared.errors import KeptError, Reason


def is_eligible(organization: Organization) -> bool:
    """Whether the organization pays and its models run on the vendor's own platform."""
    return (
        organization.tier == organizations_pb2.TIER_PAYING
        and organization.deployment == organizations_pb2.DEPLOYMENT_SAAS
    )


def require_eligible(organization: Organization) -> None:
    """Raises NOT_ELIGIBLE unless it is."""
    if not is_eligible(organization):
        raise KeptError(
            Reason.REASON_NOT_ELIGIBLE,
            "Zero data retention is for paying organizations whose models run on the vendor's own platform.",
            metadata={
                "tier": organizations_pb2.Tier.Name(organization.tier),
                "deployment": organizations_pb2.Deployment.Name(organization.deployment),
            },
        )
