"""Access control as wiring builds it, called through its contracts, with settings and retention played by the test."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import grpc
import pytest

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc, directory_pb2_grpc, grants_pb2, grants_pb2_grpc
from kept.options.v1 import roles_pb2
from kept.retention.v1 import rules_pb2
from kept.settings.v1 import policies_pb2, trust_pb2
from services.access_control.config import AccessControlConfig
from services.access_control.people.directory import add_person
from services.access_control.people.person import Identity, Member, Person, RoleAssignment
from services.access_control.people.standing import AGREEMENTS_NEEDED, Agreement, Kinds
from services.access_control.store import directory, standing
from services.access_control.wiring import wire
from shared.database import Database
from shared.errors import KeptError, Reason, peer_unavailable
from shared.identity import Caller, CallerKind
from shared.ids import new_id
from shared.inprocess import InProcess
from shared.redaction import Secret
from tests.support.clocks import ManualClock
from tests.support.postgres import FreshDatabase
from tests.unit.access_control.vault import migrated_vault

__all__ = ["migrated_vault", "world"]

WORKFORCE = "http://127.0.0.1:1/workforce"
CUSTOMERS = "http://127.0.0.1:1/customer"
ORG = "org_" + "a" * 26
OTHER = "org_" + "b" * 26
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
OPERATOR, ENGINEER = roles_pb2.STAFF_ROLE_OPERATOR, roles_pb2.STAFF_ROLE_ENGINEER
SAFETY, LEGAL = roles_pb2.STAFF_ROLE_SAFETY, roles_pb2.STAFF_ROLE_LEGAL


def refusal(call: Callable[[], object]) -> str:
    """The name of the reason that a call fails for."""
    with pytest.raises(KeptError) as caught:
        call()
    return caught.value.name


class _Peer(grpc.Channel):
    """Settings or retention: answers a poll of its feed."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self._answer = answer

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Any:
        return lambda request, *_, **__: self._answer(request)

    def unary_stream(self, *_: Any, **__: Any) -> Any: ...
    def stream_unary(self, *_: Any, **__: Any) -> Any: ...
    def stream_stream(self, *_: Any, **__: Any) -> Any: ...
    def subscribe(self, *_: Any, **__: Any) -> None: ...
    def unsubscribe(self, *_: Any, **__: Any) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class World:
    """`staff` and `admin` give stubs as people have them; `logging` is the service; `token` is what people show to logging. settings: of
    the configuration, beside what all tests need."""

    def __init__(self, url: str, keys: Path, **settings: Any) -> None:
        self.clock = ManualClock()
        self.database = Database(url, pool=12)
        self.customer_approval: set[str] = set()
        self.closed: set[str] = set()
        self.term_days = 30
        self.own_terms: dict[str, int] = {}  # by lot (shared.terms)
        # What settings publishes; None where it cannot be reached.
        self.subprocessors: trust_pb2.ListSubprocessorsResponse | None = trust_pb2.ListSubprocessorsResponse()
        self.config = AccessControlConfig.model_validate(
            {
                "environment": "local",
                "trust_domain": "kept.test",
                "services_address": "127.0.0.1:1",
                "people_address": "127.0.0.1:1",
                "health_address": "127.0.0.1:1",
                "metrics_address": "127.0.0.1:1",
                "database_url": url,
                "tls": {"certificate": "c", "key": "k", "authority": "a"},
                "issuers": [
                    {"kind": "workforce", "issuer": WORKFORCE, "jwks_url": WORKFORCE},
                    {"kind": "customer", "issuer": CUSTOMERS, "jwks_url": CUSTOMERS},
                ],
                "audience": "kept:access_control",
                "key_store": keys,
                **settings,
            }
        )
        self.service = wire(self.config, self.clock, self.database, self._connect, self._verify)
        self.served = InProcess(self.service)
        self.renew()
        self.authz = authz_pb2_grpc.AuthzServiceStub(
            self.served.channel(Caller(CallerKind.SERVICE, "logging"))
        )

    def _connect(self, name: str) -> grpc.Channel:
        return _Peer(self._settings if name == "settings" else self._rules)

    def _settings(self, request: Any) -> Any:
        return (
            self._list(request)
            if isinstance(request, trust_pb2.ListSubprocessorsRequest)
            else self._policies(request)
        )

    def _list(self, _: Any) -> Any:
        if self.subprocessors is None:
            raise peer_unavailable("settings")
        return self.subprocessors

    def publish(self, *names: str) -> None:
        """A list of sub-processors that counts at once, and that is looked at."""
        self.subprocessors = trust_pb2.ListSubprocessorsResponse()
        self.subprocessors.current.version = 1
        self.subprocessors.current.subprocessors.extend(trust_pb2.Subprocessor(name=name) for name in names)
        self.look()

    def look(self) -> None:
        """The service looks at the list."""
        (job,) = (job for job in self.service.jobs if job.name == "listed_providers")
        job.step()

    def _lease(self, answer: Any, version: int) -> Any:
        answer.lease.version, answer.lease.complete, answer.lease.reset = version, True, True
        answer.lease.answered_at.FromDatetime(self.clock.now())
        answer.lease.duration.FromTimedelta(timedelta(seconds=2))
        return answer

    def _policies(self, _: Any) -> Any:
        answer = policies_pb2.ListPolicyChangesResponse()
        for version, organization_id in enumerate((ORG, OTHER), 1):
            change = answer.changes.add(version=version)
            change.effective_at.FromDatetime(self.clock.now() - timedelta(days=90))
            change.organization.organization_id = organization_id
            change.organization.require_customer_approval = organization_id in self.customer_approval
            change.organization.closed = organization_id in self.closed
        return self._lease(answer, 2)

    def _rules(self, _: Any) -> Any:
        answer = rules_pb2.ListRuleChangesResponse()
        change = answer.changes.add(version=1)
        change.effective_at.FromDatetime(self.clock.now() - timedelta(days=90))
        change.term.kind, change.term.days = rules_pb2.TERM_KIND_AT_MOST, self.term_days
        change.run_window.FromTimedelta(timedelta(hours=2))
        for version, (lot, days) in enumerate(self.own_terms.items(), 2):
            own = answer.changes.add(version=version, organization_id=lot, effective_at=change.effective_at)
            own.term.kind, own.term.days = rules_pb2.TERM_KIND_AT_MOST, days
            own.run_window.FromTimedelta(timedelta(hours=2))
        return self._lease(answer, 1 + len(self.own_terms))

    def _verify(self, token: Secret, audience: str) -> Caller:
        kind, subject, organization_id, named = token.reveal().split("|")
        if named != audience:
            raise KeptError(Reason.REASON_UNAUTHENTICATED, "The token is for another service.")
        if kind == "staff":
            return Caller(CallerKind.STAFF, issuer=WORKFORCE, subject=subject, token=token)
        return Caller(
            CallerKind.CUSTOMER,
            issuer=CUSTOMERS,
            subject=subject,
            token=token,
            organization_id=organization_id,
        )

    def renew(self) -> None:
        """Polls both feeds, so that there are leases."""
        for job in self.service.jobs[:2]:
            job.step()

    def advance(self, by: timedelta) -> None:
        """Time passes, with polls."""
        self.clock.advance(by)
        self.renew()
        if self.subprocessors is not None:
            self.look()

    def token(self, subject: str, audience: str = "kept:logging") -> str:
        """A workforce token, as logging gets it."""
        return f"staff|{subject}||{audience}"

    def person(self, subject: str, *roles: "roles_pb2.StaffRole.ValueType", days: int = 365) -> str:
        """A person in good standing; returns the id."""
        now = self.clock.now()
        made = Person(new_id("person"), subject.title(), f"{subject}@vendor.test")
        with self.database.transaction() as tx:
            identity = Identity(
                new_id("identity"), made.person_id, WORKFORCE, subject, "person_x", now, "person_y"
            )
            add_person(tx, made, identity, now)
            for role in roles:
                directory.add_assignment(
                    tx, RoleAssignment(new_id("role"), made.person_id, role, "person_x", now, "person_y")
                )
            if days:
                standing.add_agreement(tx, self.agreement(made.person_id, days=days))
        return made.person_id

    def agreement(self, signer_id: str, *, days: int = 365, kinds: Kinds = AGREEMENTS_NEEDED) -> Agreement:
        """What somebody signed just now."""
        now = self.clock.now()
        review = self.config.review_terms.confirmed("person_x", now)
        return Agreement(
            new_id("agreement"), signer_id, kinds, bytes(32), now, now + days * DAY, "person_x", now, review
        )

    def member(
        self, role: "roles_pb2.CustomerRole.ValueType" = roles_pb2.CUSTOMER_ROLE_ADMIN, org: str = ORG
    ) -> str:
        """A customer's member; returns the id."""
        member_id = new_id("member")
        with self.database.transaction() as tx:
            directory.sync_member(tx, Member(member_id, org, role, "Grace Hopper", 1))
        return member_id

    def staff(self, subject: str) -> grpc.Channel:
        """The channel of a person of the workforce."""
        return self.served.channel(Caller(CallerKind.STAFF, issuer=WORKFORCE, subject=subject))

    def customer(self, member_id: str, org: str = ORG) -> grpc.Channel:
        """The channel of a customer's person."""
        return self.served.channel(
            Caller(CallerKind.CUSTOMER, issuer=CUSTOMERS, subject=member_id, organization_id=org)
        )

    def grants(self, subject: str) -> grants_pb2_grpc.GrantServiceStub:
        """GrantService as a person of the workforce has it."""
        return grants_pb2_grpc.GrantServiceStub(self.staff(subject))

    def directory(self, subject: str) -> directory_pb2_grpc.DirectoryServiceStub:
        """DirectoryService as a person of the workforce has it."""
        return directory_pb2_grpc.DirectoryServiceStub(self.staff(subject))

    def request(self, subject: str, **changes: Any) -> grants_pb2.Grant:
        """A request for masked records of ORG for half an hour."""
        return self.grants(subject).RequestGrant(asked(**changes)).grant

    def approve(self, subject: str, grant: grants_pb2.Grant) -> grants_pb2.Grant:
        """An approval."""
        return (
            self.grants(subject).ApproveGrant(grants_pb2.ApproveGrantRequest(grant_id=grant.grant_id)).grant
        )

    def authorize(self, subject: str, grant_id: str, **changes: Any) -> authz_pb2.AuthorizeResponse:
        """What logging asks before it looks anything up."""
        wanted = {"organization_id": ORG, "detail": grants_pb2.DETAIL_MASKED, **changes}
        return self.authz.Authorize(
            authz_pb2.AuthorizeRequest(token=self.token(subject), grant_id=grant_id, **wanted)
        )

    def open(self, subject: str, grant_id: str, *record_ids: bytes) -> authz_pb2.OpenRecordsResponse:
        """Leave to show the log data of records."""
        return self.authz.OpenRecords(
            authz_pb2.OpenRecordsRequest(
                token=self.token(subject),
                grant_id=grant_id,
                organization_id=ORG,
                detail=grants_pb2.DETAIL_METADATA,
                records=[authz_pb2.RecordReference(record_id=record_id) for record_id in record_ids],
            )
        )

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """Bodies of audit entries of a kind, oldest first."""
        import json

        from sqlalchemy import select

        from services.access_control.store import audit

        with self.database.transaction() as tx:
            rows = tx.execute(
                select(audit.entries.c.body)
                .where(audit.entries.c.kind == kind)
                .order_by(audit.entries.c.sequence)
            )
            return [json.loads(row.body) for row in rows]


def asked(**changes: Any) -> grants_pb2.RequestGrantRequest:
    """A request for masked records of ORG; `data` fields, or fields of the request, can be changed; `power` takes the data's place."""
    request = grants_pb2.RequestGrantRequest(
        request_id=changes.pop("request_id", new_id("request")), reason="a failing request", ticket="T-1"
    )
    request.duration.FromTimedelta(changes.pop("duration", 30 * MINUTE))
    if "start_at" in changes:
        request.start_at.FromDatetime(changes.pop("start_at"))
    if "power" in changes:
        request.power = changes.pop("power")
    else:
        request.purpose = changes.pop("purpose", grants_pb2.PURPOSE_ENGINEERING_SUPPORT)
        scope: dict[str, Any] = {
            "organization_id": ORG,
            "detail": grants_pb2.DETAIL_MASKED,
            "budget": 10,
            **changes,
        }
        request.data.CopyFrom(grants_pb2.DataScope(**scope))
    return request


@pytest.fixture
def world(fresh_database: FreshDatabase, migrated_vault: str, tmp_path: Path) -> Iterator[World]:
    made = World(fresh_database("access_control", template=migrated_vault), tmp_path / "keys")
    yield made
    made.database.close()
