"""Whether an organization wants to approve each access to its data itself."""

from services.access_control.grants.grant import Grant
from services.access_control.organization_policies import Policies
from services.access_control.store import Connection, directory


class CustomerApproval:
    """What settings' policies say of it."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    def required(self, tx: Connection, grant: Grant) -> bool:
        """By the policy in force now; False without an organization, and for what an admin of it asks for. Raises LEASE_LAPSED,
        UNKNOWN_ORGANIZATION. Of an organization that is closed and has no admin any more nobody could ask: what a hold keeps of it is for
        staff to decide."""
        if not grant.organization_id:
            return False
        policy = self._policies.of(grant.organization_id)
        if grant.is_customers_own or not policy.require_customer_approval:
            return False
        return not policy.closed or bool(directory.admins(tx, grant.organization_id))
