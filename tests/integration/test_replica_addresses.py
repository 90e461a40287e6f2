"""Several replicas behind one peer, over real sockets and TLS: one that is gone is not felt, and certificates are replaced under way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from deploy.local.ports import free_ports
from kept.client.connection import channel_options, target
from kept.client.errors import KeptError as ClientError
from kept.client.gateway_channel import GatewayChannel, GatewayFiles
from kept.safety_review.v1 import detectors_pb2, detectors_pb2_grpc
from shared.channels import Channels
from shared.config import Tls
from shared.errors import KeptError
from shared.identity import Caller, CallerKind, CertificateIdentity
from tests.support.server import TRUST_DOMAIN, Running, running

pytestmark = pytest.mark.integration
_REQUEST = detectors_pb2.ListRulesRequest()


def _answer(name: str) -> Callable[[Any], detectors_pb2.ListRulesResponse]:
    return lambda _context: detectors_pb2.ListRulesResponse(rules_version=name)


def _staff(_context: Any) -> Caller:
    return Caller(CallerKind.STAFF, issuer="test", subject="sam")


def _service_as_staff(context: Any) -> Caller:
    CertificateIdentity(TRUST_DOMAIN).identify(context)
    return _staff(context)


def _channels(server: Running, address: str) -> Channels:
    identity = server.authority.issue("logging", serves=False)
    tls = Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)
    return Channels(tls, {"safety_review": address}, TRUST_DOMAIN)


def test_services_and_people_are_answered_by_whichever_replica_is_there(tmp_path: Path) -> None:
    one, two = free_ports(2)
    both = f"127.0.0.1:{one},127.0.0.1:{two}"
    with (
        running(
            tmp_path, _answer("1"), port=one, identify=_service_as_staff, client_certificates=True
        ) as first,
        running(tmp_path, _answer("2"), port=two, identify=_service_as_staff, client_certificates=True),
    ):
        channels = _channels(first, both)
        stub = detectors_pb2_grpc.DetectorServiceStub(channels.connect("safety_review"))
        seen = {stub.ListRules(_REQUEST).rules_version for _ in range(50)}
        assert seen == {"1", "2"}
        first.server.stop(None).wait()
        assert {stub.ListRules(_REQUEST).rules_version for _ in range(50)} == {"2"}
        channels.close()
    with (
        running(tmp_path, _answer("1"), port=one, identify=_staff) as first,
        running(tmp_path, _answer("2"), port=two, identify=_staff),
    ):
        credentials = grpc.ssl_channel_credentials(first.config.tls.authority.read_bytes())
        options = channel_options("safety_review", both)
        with grpc.secure_channel(target(both), credentials, options=options) as channel:
            people = detectors_pb2_grpc.DetectorServiceStub(channel)
            assert {people.ListRules(_REQUEST, timeout=10).rules_version for _ in range(50)} == {"1", "2"}


def test_a_server_whose_files_are_being_replaced_goes_on_with_the_last_good_ones(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running(tmp_path, _answer("1"), port=port, identify=_staff) as server:
        credentials = grpc.ssl_channel_credentials(server.config.tls.authority.read_bytes())

        def ask() -> str:
            with grpc.secure_channel(server.address, credentials) as channel:
                answer: Any = detectors_pb2_grpc.DetectorServiceStub(channel).ListRules(_REQUEST, timeout=10)
                return str(answer.rules_version)

        held = server.config.tls.certificate.read_bytes()
        server.config.tls.certificate.unlink()
        assert ask() == "1", "it is missing for a moment"
        server.config.tls.certificate.write_bytes(held[:-200])
        assert ask() == "1", "it is half there"


def test_a_caller_whose_files_are_being_replaced_goes_on_with_the_last_good_ones(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running(
        tmp_path, _answer("1"), port=port, identify=_service_as_staff, client_certificates=True
    ) as server:
        identity = server.authority.issue("logging", serves=False)
        other = server.authority.issue("retention", serves=False)
        channels = _channels(server, server.address)
        service = detectors_pb2_grpc.DetectorServiceStub(channels.connect("safety_review"))
        files = GatewayFiles(identity.certificate, identity.key, identity.authority)
        gateway = GatewayChannel("safety_review", server.address, files)

        def both() -> list[str]:
            own = detectors_pb2_grpc.DetectorServiceStub(gateway.current())
            return [service.ListRules(_REQUEST).rules_version, own.ListRules(_REQUEST).rules_version]

        assert both() == ["1", "1"]
        identity.key.write_bytes(other.key.read_bytes())
        assert both() == ["1", "1"], "the key is new, the certificate is not yet"
        identity.certificate.unlink()
        assert both() == ["1", "1"], "the certificate is missing for a moment"
        fresh = GatewayChannel("safety_review", server.address, files)
        with pytest.raises(ClientError):
            fresh.current()
        gateway.close()
        channels.close()


def test_two_trust_domains_do_not_talk(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running(tmp_path, _answer("1"), port=port) as server:
        identity = server.authority.issue("logging", serves=False)
        tls = Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)
        elsewhere = Channels(tls, {"safety_review": server.address}, "elsewhere.example")
        with pytest.raises(KeptError):
            detectors_pb2_grpc.DetectorServiceStub(elsewhere.connect("safety_review")).ListRules(_REQUEST)
        elsewhere.close()
