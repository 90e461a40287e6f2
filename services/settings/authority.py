"""Who decides on callers at settings: access control on the vendor's people, the own table of members on customers'."""

from collections.abc import Callable
from dataclasses import replace

from kept.options.v1 import callers_pb2
from services.settings.accounts.admins import admin_required
from services.settings.store import gateways, members
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.identity import Caller
from shared.service import CallerAuthority


class SettingsAuthority:
    """See shared.service.CallerAuthority.

    staff: decides on the vendor's people. declared: a method's declared callers. support: whom an organization without an admin is
    sent to.
    """

    def __init__(
        self,
        database: Database,
        staff: CallerAuthority,
        declared: Callable[[str], callers_pb2.Callers],
        *,
        support: str,
    ) -> None:
        self._database = database
        self._staff = staff
        self._declared = declared
        self._support = support

    def authorize_person(self, caller: Caller, method: str) -> Caller:
        """A customer's person is who the token's subject names, with the role in the table now; the token proves no role."""
        if not caller.is_customer:
            return self._staff.authorize_person(caller, method)
        allowed = self._declared(method).customers
        with self._database.transaction() as tx:
            member = members.find(tx, caller.subject)
            if member is None:
                raise KeptError(
                    Reason.REASON_UNAUTHENTICATED, "There is no such account any more; sign in again."
                )
            if member.organization_id != caller.organization_id:
                raise KeptError(
                    Reason.REASON_WRONG_ORGANIZATION, "The token is for another organization; sign in again."
                )
            if not allowed:
                raise KeptError(
                    Reason.REASON_CALLER_NOT_ALLOWED,
                    "This method is not for this kind of caller.",
                    metadata={"method": method},
                )
            if member.role not in allowed:
                raise admin_required(tx, member.organization_id, self._support)
        return replace(caller, member_id=member.member_id, customer_role=member.role)

    def authorize_gateway(self, caller: Caller, method: str) -> Caller:
        """A gateway is who is registered now; for whom it may speak is asked with each call."""
        with self._database.transaction() as tx:
            if gateways.find(tx, caller.name) is None:
                raise KeptError(Reason.REASON_GATEWAY_NOT_REGISTERED, "This gateway is not registered.")
        return caller
