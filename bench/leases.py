"""Settings and retention, as far as others ask them: every poll of their feeds gets a lease on everything. One organization is known to
settings, with a gateway that may record for all, and all records are kept for thirty days."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, Final

import grpc

from deploy.local.authority import Authority
from deploy.local.ports import free_ports
from kept.retention.v1 import rules_pb2, rules_pb2_grpc
from kept.settings.v1 import organizations_pb2, policies_pb2, policies_pb2_grpc
from shared.clock import SystemClock
from shared.config import Tls
from shared.server import server_credentials

GATEWAY: Final = "bench"
_TERM_DAYS: Final = 30
_CLOCK: Final = SystemClock()


class _Policies(policies_pb2_grpc.PolicyServiceServicer):
    def __init__(self, organization_id: str) -> None:
        self._organization_id = organization_id

    def ListPolicyChanges(self, request: Any, context: Any) -> policies_pb2.ListPolicyChangesResponse:
        answer = policies_pb2.ListPolicyChangesResponse()
        change = answer.changes.add(version=1)
        change.effective_at.FromDatetime(_CLOCK.now() - timedelta(days=90))
        change.organization.organization_id = self._organization_id
        change.organization.deployment = organizations_pb2.DEPLOYMENT_SAAS
        gateway = answer.changes.add(version=1)
        gateway.effective_at.CopyFrom(change.effective_at)
        gateway.gateway.name, gateway.gateway.all_organizations = GATEWAY, True
        _lease(answer)
        return answer

    def GetConsentHistory(self, request: Any, context: Any) -> policies_pb2.GetConsentHistoryResponse:
        return policies_pb2.GetConsentHistoryResponse()


class _Rules(rules_pb2_grpc.RuleServiceServicer):
    def ListRuleChanges(self, request: Any, context: Any) -> rules_pb2.ListRuleChangesResponse:
        answer = rules_pb2.ListRuleChangesResponse()
        change = answer.changes.add(version=1)
        change.effective_at.FromDatetime(_CLOCK.now() - timedelta(days=90))
        change.term.kind, change.term.days = rules_pb2.TERM_KIND_AT_MOST, _TERM_DAYS
        change.run_window.FromTimedelta(timedelta(hours=2))
        _lease(answer)
        return answer


def _lease(answer: Any) -> None:
    answer.lease.version, answer.lease.complete, answer.lease.reset = 1, True, True
    answer.lease.answered_at.FromDatetime(_CLOCK.now())
    answer.lease.duration.FromTimedelta(timedelta(seconds=2))


def leases_on(organization_id: str) -> Callable[[Authority], AbstractContextManager[Mapping[str, str]]]:
    """`leases` for bench.access_control.running, with settings knowing one organization."""

    @contextmanager
    def leases(authority: Authority) -> Iterator[Mapping[str, str]]:
        addresses, servers = {}, []
        for name, port in zip(("settings", "retention"), free_ports(2), strict=True):
            identity = authority.issue(name, serves=True)
            tls = Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)
            server = grpc.server(ThreadPoolExecutor(2))
            policies_pb2_grpc.add_PolicyServiceServicer_to_server(_Policies(organization_id), server)
            rules_pb2_grpc.add_RuleServiceServicer_to_server(_Rules(), server)
            addresses[name] = f"127.0.0.1:{port}"
            server.add_secure_port(addresses[name], server_credentials(tls, client_certificates=True))
            server.start()
            servers.append(server)
        try:
            yield addresses
        finally:
            for server in servers:
                server.stop(1).wait()

    return leases
