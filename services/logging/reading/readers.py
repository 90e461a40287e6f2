"""Who reads under a grant, and how access control is asked for them: a person by the token, safety review for an evaluation set by a
permission that people approved."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc, grants_pb2
from shared.redaction import Secret


@dataclass(frozen=True)
class Allowed:
    """A read that access control allowed. without_held: what is due and only a hold keeps is not shown."""

    scope: grants_pb2.DataScope
    expires_at: datetime
    without_held: bool


class Reader(Protocol):
    """Somebody who reads under a grant."""

    def authorize(
        self,
        authz: authz_pb2_grpc.AuthzServiceStub,
        grant_id: str,
        organization_id: str,
        detail: "grants_pb2.Detail.ValueType",
    ) -> Allowed:
        """Has access control decide on the whole read, and write it down. Raises what its decision raises."""

    @property
    def principal(self) -> Mapping[str, Any]:
        """Who opens records: the fields of an OpenRecordsRequest that say so."""


@dataclass(frozen=True)
class TokenReader:
    """A person. token: passed on; access control verifies it itself."""

    token: Secret

    def authorize(
        self,
        authz: authz_pb2_grpc.AuthzServiceStub,
        grant_id: str,
        organization_id: str,
        detail: "grants_pb2.Detail.ValueType",
    ) -> Allowed:
        """See Reader."""
        decision = authz.Authorize(
            authz_pb2.AuthorizeRequest(
                token=self.token.reveal(), grant_id=grant_id, organization_id=organization_id, detail=detail
            )
        )
        return Allowed(decision.scope, decision.expires_at.ToDatetime(UTC), decision.without_held)

    @property
    def principal(self) -> Mapping[str, Any]:
        """See Reader."""
        return {"token": self.token.reveal()}


@dataclass
class EvaluationReader:
    """Safety review, for a set that a person asked for. allowed: decided before the read begins, for the grant says whose records it is
    for; the read takes it as its first decision, and asks for each later one."""

    person_id: str
    allowed: Allowed | None = None

    def decide(self, authz: authz_pb2_grpc.AuthzServiceStub, grant_id: str) -> Allowed:
        """Has access control decide, and write it down. Raises what its decision raises."""
        decision = authz.AuthorizePermission(
            authz_pb2.AuthorizePermissionRequest(
                permission=grants_pb2.SERVICE_PERMISSION_EVALUATION,
                grant_id=grant_id,
                person_id=self.person_id,
            )
        )
        self.allowed = Allowed(decision.scope, decision.expires_at.ToDatetime(UTC), without_held=False)
        return self.allowed

    def authorize(
        self,
        authz: authz_pb2_grpc.AuthzServiceStub,
        grant_id: str,
        organization_id: str,
        detail: "grants_pb2.Detail.ValueType",
    ) -> Allowed:
        """See Reader."""
        decided, self.allowed = self.allowed or self.decide(authz, grant_id), None
        return decided

    @property
    def principal(self) -> Mapping[str, Any]:
        """See Reader."""
        return {"permission": grants_pb2.SERVICE_PERMISSION_EVALUATION}
