"""One record, all the way: two people give one of them a power, a customer and a gateway are made, and the gateway's record is sealed and
stored once. Settings, access control with its key store, retention and logging take part, each asked through the doors of one pod."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import grpc
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from deploy.local.authority import Authority
from deploy.proof import calls
from kept.access_control.v1 import grants_pb2, grants_pb2_grpc
from kept.client.record_ids import RecordIds
from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc, interactions_pb2
from kept.options.v1 import roles_pb2
from kept.settings.v1 import gateways_pb2, gateways_pb2_grpc, organizations_pb2, organizations_pb2_grpc
from shared.channels import server_name

_GATEWAY: Final = "proof"
_LOGGING: Final = "logging.kept.svc.cluster.local"
_PATIENCE: Final = 60.0
# What a gateway sends again: nobody knows of it yet, or nobody can answer at the moment.
_LATER: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED})


class Doors:
    """Where one pod of each service is reached. address: of a service's "people" or "services" door. token: somebody's, for a service."""

    def __init__(
        self,
        address: Callable[[str, str], str],
        token: Callable[[str, str], str],
        domain: str,
        authority: Authority,
    ) -> None:
        self._address, self._token, self._domain, self._authority = address, token, domain, authority
        self._trusted = {"ca.crt": authority.certificate.read_bytes()}

    @contextmanager
    def person(self, who: str, service: str) -> Iterator[tuple[grpc.Channel, tuple[tuple[str, str], ...]]]:
        """A channel, and the metadata that says who calls."""
        metadata = (("authorization", f"Bearer {self._token(who, service)}"),)
        name = server_name(service, self._domain)
        with calls.door(self._address(service, "people"), name, self._trusted) as channel:
            yield channel, metadata

    @contextmanager
    def gateway(self, name: str) -> Iterator[grpc.Channel]:
        """A channel of a gateway's to logging, by the name that it has in the cluster."""
        uri = x509.UniformResourceIdentifier(f"spiffe://{self._domain}/gateway/{name}")
        pem, key = self._authority.sign(name, [uri], [ExtendedKeyUsageOID.CLIENT_AUTH], timedelta(hours=1))
        identity: Mapping[str, bytes] = self._trusted | {"tls.crt": pem, "tls.key": key}
        with calls.door(self._address("logging", "services"), _LOGGING, identity) as channel:
            yield channel


def record_twice(doors: Doors) -> list[str]:
    """The outcomes of a record that is sent twice, by name. Raises grpc.RpcError."""
    _empower(doors)
    organization = _customer(doors)
    record = interactions_pb2.Interaction(
        record_id=RecordIds(lambda: datetime.now(UTC)).mint(), organization_id=organization,
        application="proof", model="m-1",
    )  # fmt: skip
    record.content.prompt.add().parts.add(text=secrets.token_hex(16))
    request = ingest_pb2.RecordInteractionRequest(interaction=record)
    with doors.gateway(_GATEWAY) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        return [_sent(stub, request) for _ in range(2)]


def _empower(doors: Doors) -> None:
    asked = grants_pb2.RequestGrantRequest(
        request_id=secrets.token_hex(8), power=roles_pb2.POWER_OPERATOR, reason="a proof"
    )
    asked.duration.FromTimedelta(timedelta(hours=1))
    with doors.person("olga", "access_control") as (channel, metadata):
        grant = grants_pb2_grpc.GrantServiceStub(channel).RequestGrant(asked, metadata=metadata).grant
    with doors.person("omar", "access_control") as (channel, metadata):
        approval = grants_pb2.ApproveGrantRequest(grant_id=grant.grant_id)
        grants_pb2_grpc.GrantServiceStub(channel).ApproveGrant(approval, metadata=metadata)


def _customer(doors: Doors) -> str:
    """An organization, from when on it and the gateway are known to every process."""
    with doors.person("olga", "settings") as (channel, metadata):
        created = organizations_pb2_grpc.OrganizationServiceStub(channel).CreateOrganization(
            organizations_pb2.CreateOrganizationRequest(
                request_id=secrets.token_hex(8), display_name="Proof", tier=organizations_pb2.TIER_PAYING,
                deployment=organizations_pb2.DEPLOYMENT_SAAS, admin_email="admin@kept.example",
            ),
            metadata=metadata,
        )  # fmt: skip
        gateway = gateways_pb2.RegisterGatewayRequest(name=_GATEWAY, all_organizations=True)
        registered = gateways_pb2_grpc.GatewayServiceStub(channel).RegisterGateway(gateway, metadata=metadata)
    in_force = max(created.effective_at.ToDatetime(UTC), registered.gateway.effective_at.ToDatetime(UTC))
    # What was created before is refused for good.
    time.sleep(max(0.0, (in_force - datetime.now(UTC)).total_seconds()) + 0.05)
    return str(created.organization.organization_id)


def _sent(stub: ingest_pb2_grpc.IngestServiceStub, request: ingest_pb2.RecordInteractionRequest) -> str:
    """The outcome, of as many tries as a gateway makes until settings' changes are in force."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            receipt = stub.RecordInteraction(request, timeout=10).receipt
        except grpc.RpcError as error:
            if error.code() not in _LATER or time.monotonic() > deadline:
                raise
        else:
            if not receipt.retryable or time.monotonic() > deadline:
                return ingest_pb2.Outcome.Name(receipt.outcome)
        time.sleep(0.5)
