"""The issuer asks settings over mTLS, and only settings; no answer is not a wrong password."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from deploy.local import ports
from deploy.local.authority import Authority, Identity
from deploy.local.issuer.config import IssuerConfig
from deploy.local.issuer.customers import CannotTell, Customers, TooSoon
from deploy.local.issuer.tokens import Subject
from kept.settings.v1 import members_pb2

_SIGNED_IN = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
_PEOPLE = {("ann@acme.example", "right"): ("member_1", "org_1")}


class FakeMembers:
    """Answers like settings, and remembers who asked."""

    def __init__(self) -> None:
        self.callers: list[str] = []
        self.sources: list[str] = []
        self.ended = False

    def authenticate(
        self, request: members_pb2.AuthenticateMemberRequest, context: grpc.ServicerContext
    ) -> members_pb2.AuthenticateMemberResponse:
        spiffe_ids: Any = context.auth_context()["peer_spiffe_id"]
        self.callers += [each.decode() for each in spiffe_ids]
        self.sources.append(request.source)
        if request.email == "busy":
            context.abort(grpc.StatusCode.UNAVAILABLE, "no")
        if request.email == "refused-by-the-caller-check":
            context.abort_with_status(_status(code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED"))
        if request.email == "too-soon":
            context.abort_with_status(
                _status(code_pb2.UNAUTHENTICATED, "SIGN_IN_FAILED", timedelta(seconds=1.2))
            )
        if request.email == "too-short":
            context.abort_with_status(_status(code_pb2.INVALID_ARGUMENT, "INVALID_ARGUMENT"))
        known = _PEOPLE.get((request.email, request.password))
        if known is None:
            context.abort_with_status(_status(code_pb2.UNAUTHENTICATED, "SIGN_IN_FAILED"))
        assert known is not None
        member = members_pb2.Member(
            member_id=known[0],
            organization_id=known[1],
            first_name="Ann",
            last_name="Admin",
            email=request.email,
        )
        answer = members_pb2.AuthenticateMemberResponse(member=member)
        answer.signed_in_at.FromDatetime(_SIGNED_IN)
        return answer

    def renew(
        self, request: members_pb2.RenewSignInRequest, context: grpc.ServicerContext
    ) -> members_pb2.RenewSignInResponse:
        if self.ended or request.signed_in_at.ToDatetime(UTC) != _SIGNED_IN:
            context.abort_with_status(_status(code_pb2.UNAUTHENTICATED, "SIGN_IN_FAILED"))
        if request.member_id != "member_1":
            context.abort(grpc.StatusCode.UNAVAILABLE, "no")
        member = members_pb2.Member(
            member_id="member_1", organization_id="org_1", first_name="Ann", last_name="Else"
        )
        return members_pb2.RenewSignInResponse(member=member)


def _status(code: int, reason: str, retry_after: timedelta | None = None) -> grpc.Status:
    details = [any_pb2.Any()]
    details[0].Pack(error_details_pb2.ErrorInfo(reason=reason, domain="kept"))
    if retry_after is not None:
        delay = error_details_pb2.RetryInfo()
        delay.retry_delay.FromTimedelta(retry_after)
        details.append(any_pb2.Any())
        details[1].Pack(delay)
    return rpc_status.to_status(status_pb2.Status(code=code, message="no", details=details))


def _serve(members: FakeMembers, identity: Identity, port: int) -> grpc.Server:
    server = grpc.server(ThreadPoolExecutor(2))
    handlers = {
        "AuthenticateMember": grpc.unary_unary_rpc_method_handler(
            members.authenticate,
            request_deserializer=members_pb2.AuthenticateMemberRequest.FromString,
            response_serializer=members_pb2.AuthenticateMemberResponse.SerializeToString,
        ),
        "RenewSignIn": grpc.unary_unary_rpc_method_handler(
            members.renew,
            request_deserializer=members_pb2.RenewSignInRequest.FromString,
            response_serializer=members_pb2.RenewSignInResponse.SerializeToString,
        ),
    }
    service = grpc.method_handlers_generic_handler("kept.settings.v1.MemberService", handlers)
    server.add_generic_rpc_handlers((service,))
    credentials = grpc.ssl_server_credentials(
        [(identity.key.read_bytes(), identity.certificate.read_bytes())],
        identity.authority.read_bytes(),
        require_client_auth=True,
    )
    server.add_secure_port(f"127.0.0.1:{port}", credentials)
    server.start()
    return server


def _customers(authority: Authority, port: int) -> Customers:
    issuer = authority.issue("issuer", serves=False)
    return Customers(
        IssuerConfig(
            environment="local",
            address="127.0.0.1:1",
            people="",
            keys="",
            travelling_clock="",
            settings_address=f"127.0.0.1:{port}",
            settings_name="settings.kept.local",
            certificate=str(issuer.certificate),
            key=str(issuer.key),
            authority=str(issuer.authority),
            audiences=(),
        )
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, trust_domain="kept.local", environment="local")


@pytest.fixture
def port() -> int:
    return ports.free_ports(1)[0]


@pytest.fixture
def members(authority: Authority, port: int) -> Iterator[FakeMembers]:
    made = FakeMembers()
    server = _serve(made, authority.issue("settings", serves=True), port)
    yield made
    server.stop(None).wait()


def test_a_customers_person_is_who_settings_says(
    authority: Authority, port: int, members: FakeMembers
) -> None:
    subject = _customers(authority, port).verify("ann@acme.example", "right", "192.0.2.1")
    assert subject is not None
    assert (subject.subject, subject.organization, subject.name) == ("member_1", "org_1", "Ann Admin")
    assert members.callers == ["spiffe://kept.local/issuer"]
    assert members.sources == ["192.0.2.1"]


def test_a_session_goes_on_as_settings_knows_the_person_now_until_settings_says_that_it_has_ended(
    authority: Authority, port: int, members: FakeMembers
) -> None:
    customers = _customers(authority, port)
    subject = customers.verify("ann@acme.example", "right", "192.0.2.1")
    assert subject is not None
    renewed = customers.renew(subject)
    assert renewed is not None
    assert (renewed.subject, renewed.name, renewed.signed_in_at) == ("member_1", "Ann Else", _SIGNED_IN)
    members.ended = True
    assert customers.renew(renewed) is None


def test_no_answer_ends_no_session(authority: Authority, port: int, members: FakeMembers) -> None:
    with pytest.raises(CannotTell):
        _customers(authority, port).renew(Subject("member_2", "", "", "org_1", _SIGNED_IN))


def test_too_soon_is_neither_right_nor_wrong(authority: Authority, port: int, members: FakeMembers) -> None:
    with pytest.raises(TooSoon) as caught:
        _customers(authority, port).verify("too-soon", "right", "192.0.2.1")
    assert caught.value.seconds == 2, "rounded up: in one it would still be too soon"


@pytest.mark.parametrize("email", ["ann@acme.example", "nobody", "too-short", "\ud800"])
def test_wrong_is_wrong(authority: Authority, port: int, members: FakeMembers, email: str) -> None:
    assert _customers(authority, port).verify(email, "wrong", "192.0.2.1") is None


@pytest.mark.parametrize("email", ["busy", "refused-by-the-caller-check"])
def test_no_answer_is_not_wrong(authority: Authority, port: int, members: FakeMembers, email: str) -> None:
    with pytest.raises(CannotTell):
        _customers(authority, port).verify(email, "right", "192.0.2.1")


def test_nobody_there_is_not_wrong(authority: Authority, port: int) -> None:
    with pytest.raises(CannotTell):
        _customers(authority, port).verify("ann@acme.example", "right", "192.0.2.1")


def test_a_password_is_never_shown_to_another_service(authority: Authority, port: int) -> None:
    impostor = FakeMembers()
    server = _serve(impostor, authority.issue("logging", serves=True), port)
    try:
        with pytest.raises(CannotTell):
            _customers(authority, port).verify("ann@acme.example", "right", "192.0.2.1")
    finally:
        server.stop(None).wait()
    assert impostor.callers == []


def test_a_new_certificate_is_shown_once_it_is_there(
    authority: Authority, port: int, members: FakeMembers, tmp_path: Path
) -> None:
    customers = _customers(authority, port)
    assert customers.verify("ann@acme.example", "right", "192.0.2.1") is not None
    other = authority.issue("gateway/renamed", serves=False)
    for old, new in (("tls.key", other.key), ("tls.crt", other.certificate)):
        new.replace(tmp_path / "issuer" / old)
    assert customers.verify("ann@acme.example", "right", "192.0.2.1") is not None
    assert members.callers == ["spiffe://kept.local/issuer", "spiffe://kept.local/gateway/renamed"]
