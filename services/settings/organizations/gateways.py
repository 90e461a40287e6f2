"""Which service identity may record for which organizations."""

from collections.abc import Sequence
from datetime import datetime

from services.settings.policies import Policies
from services.settings.store import gateways as store
from services.settings.store import organizations
from services.settings.store.gateways import Gateway
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import invalid, not_found
from shared.identity import Caller
from shared.outbox import Outbox

_MOST_LISTED = 1000


class Gateways:
    """The registrations of gateways."""

    def __init__(self, database: Database, clock: Clock, policies: Policies, outbox: Outbox) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._outbox = outbox

    def register(
        self, caller: Caller, name: str, all_organizations: bool, organization_ids: Sequence[str]
    ) -> Gateway:
        """Registers a gateway, or replaces what it is registered for. Raises INVALID_ARGUMENT for an id that names no organization,
        and unless it is registered either for all organizations or for some."""
        if all_organizations == bool(organization_ids):
            raise invalid("organization_ids", "give either all_organizations or at least one id, not both")
        with self._database.transaction() as tx:
            known = organizations.known(tx, organization_ids)
            for index, organization_id in enumerate(organization_ids):
                if organization_id not in known:
                    raise invalid(f"organization_ids[{index}]", "names no organization")
            store.lock(tx, name)
            effective_at = self._policies.publish_gateway(
                tx, name, all_organizations=all_organizations, organization_ids=organization_ids
            )
            gateway = Gateway(name, all_organizations, tuple(organization_ids), effective_at)
            store.put(tx, gateway)
            self._outbox.audit(
                tx,
                audit.entry(
                    "gateway.registered",
                    actor=caller.actor,
                    at=self._clock.now(),
                    subjects=[f"gateway/{name}", *organization_ids],
                    facts={"all_organizations": all_organizations, "effective_at": effective_at.isoformat()},
                ),
            )
            return gateway

    def revoke(self, caller: Caller, name: str) -> datetime:
        """Ends a registration; returns from when. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            store.lock(tx, name)
            if store.find(tx, name) is None:
                raise not_found("gateway")
            store.remove(tx, name)
            effective_at = self._policies.publish_gateway(
                tx, name, all_organizations=False, organization_ids=()
            )
            self._outbox.audit(
                tx,
                audit.entry(
                    "gateway.revoked",
                    actor=caller.actor,
                    at=self._clock.now(),
                    subjects=[f"gateway/{name}"],
                    facts={"effective_at": effective_at.isoformat()},
                ),
            )
            return effective_at

    def list_all(self) -> list[Gateway]:
        """The registrations in force or about to be, by name."""
        with self._database.transaction() as tx:
            return store.list_all(tx, _MOST_LISTED)
