"""An engineer and two colleagues who approve: grants to read one organization's records, as they come about."""

from datetime import timedelta
from typing import Final

from bench.access_control import Running, add_staff
from kept.access_control.v1 import grants_pb2, grants_pb2_grpc
from kept.options.v1 import roles_pb2
from shared.ids import new_id

_ASKS: Final = "eve"
# Everything of an organization in full takes two.
_APPROVE: Final = ("colin", "carol")


class Engineers:
    """All three, known to access control."""

    def __init__(self, there: Running) -> None:
        self._there = there
        holds = roles_pb2.STAFF_ROLE_ENGINEER
        add_staff(there.database_url, there.workforce_issuer, [_ASKS, *_APPROVE], holds)

    def token(self, service: str) -> str:
        """The asking one's token, for a service to be shown."""
        return self._there.token(service, _ASKS)

    def granted(self, organization_id: str, detail: "grants_pb2.Detail.ValueType", budget: int) -> str:
        """A new grant over all of an organization's records; its id."""
        request = grants_pb2.RequestGrantRequest(
            request_id=new_id("request"),
            reason="measuring",
            ticket="BENCH-1",
            purpose=grants_pb2.PURPOSE_ENGINEERING_SUPPORT,
            data=grants_pb2.DataScope(organization_id=organization_id, detail=detail, budget=budget),
        )
        request.duration.FromTimedelta(timedelta(hours=1))
        with self._there.people_channel() as channel:
            stub = grants_pb2_grpc.GrantServiceStub(channel)
            grant = stub.RequestGrant(request, metadata=self._as(_ASKS), timeout=30).grant
            for subject in _APPROVE:
                if grant.state == grants_pb2.GRANT_STATE_REQUESTED:
                    approval = grants_pb2.ApproveGrantRequest(grant_id=grant.grant_id)
                    grant = stub.ApproveGrant(approval, metadata=self._as(subject), timeout=30).grant
        return str(grant.grant_id)

    def _as(self, subject: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._there.token('access_control', subject)}"),)
