"""Who is an admin of an organization, where that decides whether somebody may act.

Whatever a customer's admin changes takes the lock of the organization's row by `lock_for_act`, and so does the removal of an admin: what
was decided before the removal, and comes to the lock after it, is refused.
"""

from typing import Final

from kept.options.v1 import roles_pb2
from services.settings.organizations.lifecycle import active
from services.settings.store import Tx, organizations
from services.settings.store import members as store
from services.settings.store.organizations import Organization
from shared.errors import KeptError, Reason
from shared.identity import Caller

# What fits into one metadata value of an error.
_LONGEST_NAMES: Final = 200


def admin_required(tx: Tx, organization_id: str, support: str) -> KeptError:
    """The refusal that names who may: the organization's admins, or whom to ask where there is none."""
    names: list[str] = []
    for name in store.admin_names(tx, organization_id, limit=50):
        if len(", ".join([*names, name])) > _LONGEST_NAMES:
            break
        names.append(name)
    return KeptError(
        Reason.REASON_ADMIN_REQUIRED,
        "Only an admin of your organization may do this.",
        metadata={"admins": ", ".join(names)} if names else {"support": support},
    )


def lock_for_act(tx: Tx, caller: Caller, organization_id: str, *, shared: bool = False) -> Organization:
    """The organization, locked for a change by one of its admins, or by one of the vendor's people where they may make it too. shared: see
    `organizations.lock`. Raises NOT_FOUND, CLOSED; ADMIN_REQUIRED for a customer's person who was removed, or is an admin no more, since it
    was decided that this one may: by whoever had the lock."""
    organization = active(organizations.lock(tx, organization_id, shared=shared))
    if caller.is_customer:
        own = store.find(tx, caller.member_id)
        if own is None or own.organization_id != organization_id or own.role != roles_pb2.CUSTOMER_ROLE_ADMIN:
            raise admin_required(tx, organization_id, "")
    return organization
