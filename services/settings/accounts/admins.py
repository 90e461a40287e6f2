"""Who is an admin of an organization, where that decides whether somebody may act."""

from typing import Final

from kept.options.v1 import roles_pb2
from services.settings.store import Tx
from services.settings.store import members as store
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


def require_admin_still(tx: Tx, caller: Caller) -> None:
    """The organization's row is locked. Raises ADMIN_REQUIRED for a caller who was removed, or is an admin no more, since it was decided
    that this one may: by whoever had the lock."""
    own = store.find(tx, caller.member_id)
    if own is None or own.role != roles_pb2.CUSTOMER_ROLE_ADMIN:
        raise admin_required(tx, caller.organization_id, "")
