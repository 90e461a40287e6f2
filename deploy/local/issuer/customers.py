"""Customers' people: settings knows them, compares the password and says when a session has ended; the issuer only asks."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import grpc
from google.rpc import code_pb2, error_details_pb2
from grpc_status import rpc_status

from deploy.local.issuer.config import IssuerConfig
from deploy.local.issuer.tokens import Subject
from kept.settings.v1 import members_pb2, members_pb2_grpc

_PATIENCE = 5.0


class CannotTell(Exception):
    """Settings gave no answer: neither right nor wrong."""


class TooSoon(Exception):
    """Settings looks at no password before `seconds` have passed."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Customers:
    """Verifies customers' passwords over mTLS, as `spiffe://…/issuer`."""

    def __init__(self, config: IssuerConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._shown = 0

    def verify(self, email: str, password: str, source: str) -> Subject | None:
        """The person, or None if the e-mail or the password is wrong. Raises TooSoon, CannotTell."""
        try:
            request = members_pb2.AuthenticateMemberRequest(email=email, password=password, source=source)
        except ValueError:  # not encodable as UTF-8
            return None
        stub = members_pb2_grpc.MemberServiceStub(self._connected())
        try:
            answer = stub.AuthenticateMember(request, timeout=_PATIENCE)
        except grpc.RpcError as error:
            if _is_wrong(error):
                return None
            raise CannotTell from None
        return _subject(answer.member, answer.signed_in_at.ToDatetime(UTC))

    def renew(self, subject: Subject) -> Subject | None:
        """The person as settings knows them now; None once the account is gone or has another password. Raises CannotTell."""
        request = members_pb2.RenewSignInRequest(member_id=subject.subject)
        assert subject.signed_in_at is not None  # whoever is verified here has it
        request.signed_in_at.FromDatetime(subject.signed_in_at)
        stub = members_pb2_grpc.MemberServiceStub(self._connected())
        try:
            member = stub.RenewSignIn(request, timeout=_PATIENCE).member
        except grpc.RpcError as error:
            if _is_wrong(error):
                return None
            raise CannotTell from None
        return _subject(member, subject.signed_in_at)

    def _connected(self) -> grpc.Channel:
        """The channel; made anew once the certificate is replaced, for a channel keeps its first one."""
        written = Path(self._config.certificate).stat().st_mtime_ns
        with self._lock:
            if self._channel is None or written != self._shown:
                credentials = grpc.ssl_channel_credentials(
                    Path(self._config.authority).read_bytes(),
                    Path(self._config.key).read_bytes(),
                    Path(self._config.certificate).read_bytes(),
                )
                self._channel = grpc.secure_channel(
                    self._config.settings_address,
                    credentials,
                    # Every service's certificate says localhost: this asks for the one that is settings'.
                    options=[("grpc.ssl_target_name_override", self._config.settings_name)],
                )
                self._shown = written
            return self._channel


def _subject(member: members_pb2.Member, signed_in_at: datetime) -> Subject:
    name = f"{member.first_name} {member.last_name}"
    return Subject(member.member_id, name, member.email, member.organization_id, signed_in_at)


def _is_wrong(error: grpc.RpcError) -> bool:
    """True if settings said that the e-mail or the password is wrong, or that they cannot even be one. Raises TooSoon."""
    status = rpc_status.from_call(cast("grpc.Call", error))  # what a stub raises is a call as well
    if status is None:
        return False
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    reasons = [info.reason for detail in status.details if detail.Unpack(info)]
    if "SIGN_IN_FAILED" in reasons and any(detail.Unpack(retry) for detail in status.details):
        raise TooSoon(math.ceil(retry.retry_delay.ToTimedelta().total_seconds())) from None
    return "SIGN_IN_FAILED" in reasons or status.code == code_pb2.INVALID_ARGUMENT
