"""API keys: production or trial, whose, and until when. The key itself never comes here, only its SHA-256.

The kind of a key says which terms its data fall under (C27); what is stored of a call is the organization's policy, whatever the key. Keys
ride no policy feed: a gateway asks for each, keeps the answer for a stated time, and a revocation says from when no kept answer counts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from kept.logging.v1 import interactions_pb2
from kept.settings.v1 import api_keys_pb2, organizations_pb2
from services.settings.accounts.admins import lock_for_act
from services.settings.store import Tx, gateways, organizations
from services.settings.store import api_keys as store
from services.settings.store.api_keys import ApiKey
from services.settings.store.organizations import Organization
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, invalid, limit_reached, not_found
from shared.identity import Caller
from shared.ids import new_id
from shared.outbox import Outbox
from shared.pages import page

# Keys of one organization: in use, and with those that are revoked.
MOST_IN_USE: Final = 1_000
MOST_ALTOGETHER: Final = 10_000
_LIST: Final = "api_keys"


@dataclass(frozen=True)
class Registration:
    """What an admin asks for."""

    request_id: str
    name: str
    kind: "interactions_pb2.ApiKeyKind.ValueType"
    fingerprint: bytes


@dataclass(frozen=True)
class Resolved:
    """Whose key it is. revoked: the call is to be refused."""

    key: ApiKey
    terms: "api_keys_pb2.TermsKind.ValueType"
    revoked: bool


def terms_of(
    kind: "interactions_pb2.ApiKeyKind.ValueType", tier: "organizations_pb2.Tier.ValueType"
) -> "api_keys_pb2.TermsKind.ValueType":
    """The enterprise commitments cover production keys of paying organizations, and nothing else."""
    if kind == interactions_pb2.API_KEY_KIND_PRODUCTION and tier == organizations_pb2.TIER_PAYING:
        return api_keys_pb2.TERMS_KIND_ENTERPRISE
    return api_keys_pb2.TERMS_KIND_GENERAL


class ApiKeys:
    """The keys of all organizations. keep_for: how long a gateway may keep an answer."""

    def __init__(self, database: Database, clock: Clock, outbox: Outbox, *, keep_for: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self.keep_for = keep_for

    def register(
        self, caller: Caller, organization_id: str, wanted: Registration
    ) -> tuple[ApiKey, Organization]:
        """Registers a key, or finds the one that this request registered. Raises REQUEST_ID_REUSED, ALREADY_EXISTS, LIMIT_REACHED,
        ADMIN_REQUIRED, CLOSED, NOT_FOUND; INVALID_ARGUMENT for a name that is the key."""
        if hashlib.sha256(wanted.name.encode()).digest() == wanted.fingerprint:
            raise invalid("name", "is the key itself, which belongs nowhere but in your own hands")
        with self._database.transaction() as tx:
            organization = lock_for_act(tx, caller, organization_id)
            known = store.find_by_request(tx, organization_id, wanted.request_id)
            if known is not None:
                if (known.name, known.kind, known.fingerprint) != (
                    wanted.name,
                    wanted.kind,
                    wanted.fingerprint,
                ):
                    raise KeptError(
                        Reason.REASON_REQUEST_ID_REUSED,
                        "This request id came before with another content; use a new one.",
                    )
                return known, organization
            _require_room(tx, organization_id)
            now = self._clock.now()
            key = store.add(
                tx,
                ApiKey(
                    api_key_id=new_id("apikey"),
                    number=0,
                    organization_id=organization_id,
                    request_id=wanted.request_id,
                    name=wanted.name,
                    kind=wanted.kind,
                    fingerprint=wanted.fingerprint,
                    registered_by=caller.actor,
                    registered_at=now,
                ),
            )
            if key is None:
                # Whosever it is: who has the fingerprint has the key, and could ask a gateway.
                raise KeptError(
                    Reason.REASON_ALREADY_EXISTS,
                    "This fingerprint is registered already; make another key.",
                    metadata={"kind": "api_key"},
                )
            self._audit(tx, "api_key.registered", caller, key, now)
            return key, organization

    def revoke(self, caller: Caller, api_key_id: str) -> tuple[ApiKey, Organization, datetime]:
        """Ends a key of the caller's organization; from when no gateway answers by what it kept. Revoking again changes nothing. Raises
        NOT_FOUND, ADMIN_REQUIRED, CLOSED."""
        with self._database.transaction() as tx:
            organization = lock_for_act(tx, caller, caller.organization_id)
            key = store.find(tx, api_key_id)
            if key is None or key.organization_id != caller.organization_id:
                raise not_found("api_key")
            if key.revoked_at is None:
                # Whoever was told that the key counts asked before this instant; whoever asks after it is told that it does not.
                store.lock(tx, key.fingerprint)
                now = self._clock.now()
                store.revoke(tx, api_key_id, caller.actor, now)
                self._audit(tx, "api_key.revoked", caller, key, now)
                key = store.find(tx, api_key_id) or key
            return key, organization, (key.revoked_at or self._clock.now()) + self.keep_for

    def page(
        self, organization_id: str, page_size: int, page_token: str
    ) -> tuple[Organization, Sequence[ApiKey], str]:
        """A page in order of registration, and the token of the next; "" on the last. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            organization = organizations.find(tx, organization_id)
            if organization is None:
                raise not_found("organization")
            read = partial(store.list_after, tx, organization_id)
            found, next_page = page(_LIST, page_size, page_token, read, lambda key: key.number)
            return organization, found, next_page

    def resolve(self, gateway: str, fingerprint: bytes) -> Resolved:
        """Whose key this is. Raises NOT_FOUND, in the same words, for what nobody registered and for keys of organizations that the
        gateway is not registered for."""
        with self._database.transaction() as tx:
            registration = gateways.find(tx, gateway)
            store.lock(tx, fingerprint, shared=True)
            key = store.find_by_fingerprint(tx, fingerprint)
            if (
                key is None
                or registration is None
                or not (
                    registration.all_organizations or key.organization_id in registration.organization_ids
                )
            ):
                raise not_found("api_key")
            organization = organizations.find(tx, key.organization_id)
            if organization is None:
                raise not_found("api_key")
            closed = organization.state != organizations_pb2.ORGANIZATION_STATE_ACTIVE
            return Resolved(key, terms_of(key.kind, organization.tier), closed or key.revoked_at is not None)

    def _audit(self, tx: Tx, kind: str, caller: Caller, key: ApiKey, now: datetime) -> None:
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=caller.actor,
                at=now,
                organization_id=key.organization_id,
                subjects=[key.api_key_id],
                facts={"key_kind": interactions_pb2.ApiKeyKind.Name(key.kind)},
            ),
        )


def _require_room(tx: Tx, organization_id: str) -> None:
    in_use, altogether = store.counts(tx, organization_id)
    if in_use >= MOST_IN_USE or altogether >= MOST_ALTOGETHER:
        limit = MOST_IN_USE if in_use >= MOST_IN_USE else MOST_ALTOGETHER
        raise limit_reached("There are as many keys as an organization may have.", "api_key", limit)
