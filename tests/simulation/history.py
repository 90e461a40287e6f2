"""One history: actors who do what people and gateways do, in an order that the seed decides, and what came of it.

Actors act through the contracts alone. What they are told goes into the model; whether it is true is for the invariants.
"""

import hashlib
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from kept.access_control.v1 import directory_pb2, directory_pb2_grpc, grants_pb2, grants_pb2_grpc
from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc, interactions_pb2, read_pb2, read_pb2_grpc
from kept.options.v1 import roles_pb2
from kept.retention.v1 import erasures_pb2, erasures_pb2_grpc, holds_pb2, holds_pb2_grpc
from kept.settings.v1 import (
    account_pb2,
    account_pb2_grpc,
    gateways_pb2,
    gateways_pb2_grpc,
    members_pb2,
    members_pb2_grpc,
    organizations_pb2,
    organizations_pb2_grpc,
    zero_data_retention_pb2,
    zero_data_retention_pb2_grpc,
)
from shared.ids import new_id, new_record_id
from tests.simulation.invariants import Broken, Looks, check
from tests.simulation.model import Grant, Hold, Model, Organization, SentRecord
from tests.simulation.world import World

_STAFF = {
    "emma": roles_pb2.STAFF_ROLE_ENGINEER,
    "elias": roles_pb2.STAFF_ROLE_ENGINEER,
    "lena": roles_pb2.STAFF_ROLE_LEGAL,
    "luca": roles_pb2.STAFF_ROLE_LEGAL,
    "carla": roles_pb2.STAFF_ROLE_COMPLIANCE,
    "chen": roles_pb2.STAFF_ROLE_COMPLIANCE,
}
_CLOCK_STEPS = (0.0, 0.0, 0.5, -0.5, 2.0, -2.0, 20.0, -20.0)


def stamp(moment: datetime) -> Timestamp:
    """A protobuf timestamp."""
    made = Timestamp()
    made.FromDatetime(moment)
    return made


class History:
    """A world, its actors, and what they know."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seed: random.Random = world.seed
        self.model = Model()
        self.looks = Looks(world.urls)
        self.done: dict[str, int] = {}
        self._begin()

    # the beginning, in which nothing goes wrong

    def _begin(self) -> None:
        self.world.bootstrap()
        self.world.leases()
        self._powers()
        directory = directory_pb2_grpc.DirectoryServiceStub(self.world.person("olga")("access_control"))
        confirming = directory_pb2_grpc.DirectoryServiceStub(self.world.person("omar")("access_control"))
        for name, role in _STAFF.items():
            person = directory.CreatePerson(
                directory_pb2.CreatePersonRequest(
                    display_name=name.title(), email=f"{name}@vendor.example", subject=name
                )
            ).person
            proposed = directory.AssignRole(
                directory_pb2.AssignRoleRequest(person_id=person.person_id, role=role)
            )
            confirming.ConfirmRole(
                directory_pb2.ConfirmRoleRequest(
                    role_assignment_id=proposed.role_assignment.role_assignment_id
                )
            )
            directory.RecordAgreement(
                directory_pb2.RecordAgreementRequest(
                    person_id=person.person_id,
                    document_sha256=hashlib.sha256(b"agreement").digest(),
                    signed_at=stamp(self.world.time.now),
                    expires_at=stamp(self.world.time.now + timedelta(days=365)),
                )
            )
        gateways = gateways_pb2_grpc.GatewayServiceStub(self.world.person("olga")("settings"))
        gateways.RegisterGateway(gateways_pb2.RegisterGatewayRequest(name="sim", all_organizations=True))
        for number, deployment in enumerate(("SAAS", "SAAS", "PRIVATE")):
            self._organization(f"Customer {number}", deployment)
        self.world.settle()

    def _organization(self, name: str, deployment: str) -> None:
        created = organizations_pb2_grpc.OrganizationServiceStub(
            self.world.person("olga")("settings")
        ).CreateOrganization(
            organizations_pb2.CreateOrganizationRequest(
                request_id=new_id("request"),
                display_name=name,
                tier=organizations_pb2.TIER_PAYING,
                deployment=organizations_pb2.Deployment.Value(f"DEPLOYMENT_{deployment}"),
                admin_email=f"{new_id('mail')}@example.org",
                training_allowed=True,
            )
        )
        member = members_pb2_grpc.MemberServiceStub(self.world.public("settings")).RegisterMember(
            members_pb2.RegisterMemberRequest(
                invitation_token=created.invitation_token,
                first_name="Alex",
                last_name="Admin",
                password="a long enough passphrase",
            )
        )
        organization_id = created.organization.organization_id
        self.model.organizations[organization_id] = Organization(
            organization_id, deployment, member.member.member_id, created.effective_at.ToDatetime(tzinfo=UTC)
        )

    def _powers(self) -> None:
        for asks, approves, power in (
            ("olga", "omar", roles_pb2.POWER_ROLE_ASSIGNMENT),
            ("omar", "olga", roles_pb2.POWER_ROLE_ASSIGNMENT),
            ("olga", "omar", roles_pb2.POWER_OPERATOR),
        ):
            self._power(asks, approves, power)

    def _power(self, asks: str, approves: str, power: "roles_pb2.Power.ValueType") -> None:
        request = grants_pb2.RequestGrantRequest(
            request_id=new_id("request"), reason="a day's work", power=power
        )
        request.duration.FromTimedelta(timedelta(hours=8))
        grant = self._grants(asks).RequestGrant(request).grant
        self._grants(approves).ApproveGrant(grants_pb2.ApproveGrantRequest(grant_id=grant.grant_id))

    def _grants(self, name: str) -> grants_pb2_grpc.GrantServiceStub:
        return grants_pb2_grpc.GrantServiceStub(self.world.person(name)("access_control"))

    # what happens

    def day(self) -> None:
        """One day: a few acts with time between them, things going wrong, then a quiet moment in which all that is due gets done."""
        self.world.faults.off = False
        acts: list[tuple[int, Callable[[], None]]] = [
            (10, self.records),
            (3, self.sends_again),
            (3, self.asks_for_access),
            (4, self.reads),
            (1, self.revokes),
            (2, self.places_hold),
            (1, self.releases_hold),
            (1, self.zero_data_retention),
            (2, self.steps_clock),
            (4, self.jobs),
        ]
        if len(self.model.organizations) < 5 and self.seed.random() < 0.1:
            acts.append((3, self.joins))
        if self.seed.random() < 0.03:
            acts.append((10, self.leaves))
        for _ in range(self.seed.randint(3, 6)):
            (act,) = self.seed.choices([act for _, act in acts], weights=[weight for weight, _ in acts])
            self.done[act.__name__] = self.done.get(act.__name__, 0) + 1
            act()
            check(self.world, self.model, self.looks, settled=False)
            self.world.time.advance(timedelta(seconds=self.seed.choice((0.1, 1, 30, 600, 7200))))
        self.world.faults.off = True
        midnight = self.world.time.now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        self.world.time.advance(midnight - self.world.time.now + timedelta(minutes=self.seed.randint(0, 600)))
        self.world.settle()
        self._erasures()
        check(self.world, self.model, self.looks, settled=True)

    def steps_clock(self) -> None:
        """Some process's clock is set a little wrong, or very."""
        process = self.seed.choice(list(self.world.processes.values()))
        process.clock.skew = timedelta(seconds=self.seed.choice(_CLOCK_STEPS))

    def jobs(self) -> None:
        """Processes do what they do by themselves."""
        self.world.step_jobs()

    def joins(self) -> None:
        """A customer comes."""
        self.world.faults.off = True  # the beginning of a customer is not what this is about
        self._powers()
        self._organization(
            f"Customer {len(self.model.organizations)}", self.seed.choice(("SAAS", "SAAS", "PRIVATE"))
        )
        self.world.faults.off = False

    # the gateway

    def records(self) -> None:
        """A batch of new records for anybody: on time, late, much too late, from the future."""
        self.world.leases()
        batch = []
        for _ in range(self.seed.randint(1, 6)):
            organization = self.seed.choice(list(self.model.organizations.values()))
            age = self.seed.choice((0, 0, 0, 1, 60, 3600, 80_000, 100_000, 40 * 86_400, -4, -60))
            created = self.world.time.now - timedelta(seconds=age)
            record_id = new_record_id(created)
            text = "zebracanary" if self.seed.random() < 0.05 else record_id.hex()
            sent = SentRecord(record_id, organization.organization_id, created, text)
            self.model.records[record_id] = sent
            batch.append(sent)
        self._send(batch)

    def sends_again(self) -> None:
        """Records that were sent before come again: nothing may be stored twice or anew."""
        if self.model.records:
            self.world.leases()
            self._send(self.seed.choices(list(self.model.records.values()), k=self.seed.randint(1, 4)))

    def _send(self, batch: list[SentRecord]) -> None:
        request = ingest_pb2.RecordInteractionsRequest(
            interactions=[
                interactions_pb2.Interaction(
                    record_id=sent.record_id,
                    organization_id=sent.organization_id,
                    application="simulation",
                    content=interactions_pb2.InteractionContent(
                        prompt=[interactions_pb2.Message(parts=[interactions_pb2.Part(text=sent.text)])]
                    ),
                )
                for sent in batch
            ]
        )
        process = self.seed.choice(("logging", "logging_2"))
        stub = ingest_pb2_grpc.IngestServiceStub(self.world.gateway(process))

        def answers() -> list[Any]:
            return list(stub.RecordInteractions(iter([request])))

        came = self.world.attempt(answers)
        for answer in came if isinstance(came, list) else []:
            for receipt in answer.receipts:
                self._acknowledged(receipt)

    def _acknowledged(self, receipt: ingest_pb2.Receipt) -> None:
        sent = self.model.records[receipt.record_id]
        organization = self.model.organizations[sent.organization_id]
        if receipt.outcome in (ingest_pb2.OUTCOME_STORED, ingest_pb2.OUTCOME_STORED_WITHOUT_CONTENT):
            if sent.stored and not organization.closed_at:
                raise Broken(f"8: {sent.record_id.hex()} was stored twice")
            if organization.closed_at is not None and sent.created_at >= organization.closed_at:
                raise Broken(f"10: {sent.record_id.hex()} was stored for a closed organization")
            sent.stored = True
            sent.with_content = receipt.outcome == ingest_pb2.OUTCOME_STORED
            sent.due_at = receipt.due_at.ToDatetime(tzinfo=UTC)

    # engineers

    def asks_for_access(self) -> None:
        """Emma asks for a span of somebody's records, Elias approves."""
        organization = self.seed.choice(list(self.model.organizations.values()))
        now = self.world.time.now
        scope = grants_pb2.DataScope(
            organization_id=organization.organization_id,
            detail=self.seed.choice(
                (grants_pb2.DETAIL_METADATA, grants_pb2.DETAIL_MASKED, grants_pb2.DETAIL_FULL)
            ),
            budget=self.seed.choice((1, 3, 100)),
        )
        getattr(scope, "from").FromDatetime(now - timedelta(days=self.seed.randint(0, 40)))
        scope.until.FromDatetime(now - timedelta(days=self.seed.randint(0, 3)) + timedelta(hours=1))
        if getattr(scope, "from").ToDatetime() >= scope.until.ToDatetime():
            return
        request = grants_pb2.RequestGrantRequest(
            request_id=new_id("request"),
            reason="answers are cut off",
            data=scope,
            purpose=grants_pb2.PURPOSE_ENGINEERING_SUPPORT,
        )
        request.duration.FromTimedelta(timedelta(minutes=self.seed.choice((1, 30, 480))))

        def approved() -> Any:
            asked = self._grants("emma").RequestGrant(request).grant
            return (
                self._grants("elias")
                .ApproveGrant(grants_pb2.ApproveGrantRequest(grant_id=asked.grant_id))
                .grant
            )

        grant = self.world.attempt(approved)
        if isinstance(grant, grants_pb2.Grant):
            self.model.grants[grant.grant_id] = Grant(grant, "emma")

    def reads(self) -> None:
        """Emma reads what a grant of hers covers, or tries to read more."""
        if not self.model.grants:
            return
        known = self.seed.choice(list(self.model.grants.values()))
        scope = known.grant.data
        detail = self.seed.choice(
            (grants_pb2.DETAIL_METADATA, grants_pb2.DETAIL_MASKED, grants_pb2.DETAIL_FULL)
        )
        reading = read_pb2_grpc.ReadServiceStub(self.world.person("emma")("logging"))
        request = read_pb2.ReadInteractionsRequest(
            grant_id=known.grant.grant_id, organization_id=scope.organization_id, detail=detail
        )
        self.world.leases()
        before = self.world.time.now
        answers = self.world.attempt(lambda: [answer.record for answer in reading.ReadInteractions(request)])
        if not isinstance(answers, list):
            return
        self._check_read(known, answers, detail, before)

    def _check_read(self, known: Grant, records: list[Any], detail: Any, at: datetime) -> None:
        scope = known.grant.data
        tolerance = timedelta(seconds=21)  # the most that a process's clock is off in this world
        if known.revoked_at is not None:
            raise Broken(f"5: a read under {known.grant.grant_id}, which was revoked")
        if known.grant.expires_at.ToDatetime(tzinfo=UTC) + tolerance <= at:
            raise Broken(f"5: a read under {known.grant.grant_id}, which had expired")
        if detail > scope.detail:
            raise Broken(f"5: more detail than {known.grant.grant_id} gives")
        if len({record.record_id for record in records}) > scope.budget:
            raise Broken(f"5: more records than the budget of {known.grant.grant_id}")
        held = self.model.held()
        for record in records:
            sent = self.model.records.get(record.record_id)
            if sent is None or sent.organization_id != scope.organization_id:
                raise Broken("11: a record of another organization was read")
            # A millisecond is what an id resolves.
            if not (
                getattr(scope, "from").ToDatetime(tzinfo=UTC) - timedelta(milliseconds=1)
                <= sent.created_at
                < scope.until.ToDatetime(tzinfo=UTC)
            ):
                raise Broken(f"5: a record outside the span of {known.grant.grant_id}")
            kept = record.record_id in held or sent.text == "zebracanary"
            if sent.due_at is not None and sent.due_at + tolerance <= at and not kept:
                raise Broken("3: a record was read that was due and that nothing holds")
            self._check_content(sent, record, detail)

    def _check_content(self, sent: SentRecord, record: Any, detail: Any) -> None:
        if detail == grants_pb2.DETAIL_METADATA:
            if record.HasField("content"):
                raise Broken("5: content where only metadata was granted")
            return
        if record.HasField("content"):
            text = record.content.prompt[0].parts[0].text
            if detail == grants_pb2.DETAIL_FULL and text != sent.text:
                raise Broken("8: other content came back than was sent")
        audited = self.looks.rows(
            "access_control",
            "SELECT 1 FROM audit_entries WHERE kind = 'records.opened' AND "
            f"position('{_uuid_text(sent.record_id)}' in convert_from(body, 'UTF8')) > 0 LIMIT 1",
        )
        if not audited:
            raise Broken("4: a record was opened that no audit entry names")

    def revokes(self) -> None:
        """Emma gives a grant back."""
        if not self.model.grants:
            return
        known = self.seed.choice(list(self.model.grants.values()))
        request = grants_pb2.RevokeGrantRequest(grant_id=known.grant.grant_id, reason="no longer needed")
        answer = self.world.attempt(lambda: self._grants("emma").RevokeGrant(request))
        if isinstance(answer, grants_pb2.RevokeGrantResponse) and known.revoked_at is None:
            known.revoked_at = self.world.time.now

    # legal staff

    def places_hold(self) -> None:
        """Lena holds some records, Luca confirms."""
        candidates = [sent for sent in self.model.records.values() if sent.stored]
        if not candidates:
            return
        organization_id = self.seed.choice(candidates).organization_id
        chosen = [sent.record_id for sent in candidates if sent.organization_id == organization_id]
        records = self.seed.sample(chosen, k=min(len(chosen), self.seed.randint(1, 3)))
        request = holds_pb2.PlaceHoldRequest(
            request_id=new_id("request"),
            kind=holds_pb2.HOLD_KIND_LEGAL,
            organization_id=organization_id,
            record_ids=records,
            reference="matter",
            review_at=stamp(self.world.time.now + timedelta(days=365)),
        )

        def placed() -> Any:
            self._power("lena", "luca", roles_pb2.POWER_LEGAL)
            self._power("luca", "lena", roles_pb2.POWER_LEGAL)
            hold = self._holds("lena").PlaceHold(request).hold
            return self._holds("luca").ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold.hold_id)).hold

        hold = self.world.attempt(placed)
        if isinstance(hold, holds_pb2.Hold):
            lost = set(hold.lost)
            self.model.holds[hold.hold_id] = Hold(
                hold.hold_id,
                organization_id,
                [record_id for record_id in records if record_id not in lost],
                active=hold.state == holds_pb2.HOLD_STATE_ACTIVE,
            )

    def releases_hold(self) -> None:
        """Lena lets a hold go."""
        standing = [hold for hold in self.model.holds.values() if hold.active and not hold.released]
        if not standing:
            return
        hold = self.seed.choice(standing)
        hold.released = True  # from the moment it is asked for, nothing relies on it any more

        def release() -> Any:
            self._power("lena", "luca", roles_pb2.POWER_LEGAL)
            return self._holds("lena").ReleaseHold(
                holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="matter closed")
            )

        was, self.world.faults.off = self.world.faults.off, True
        self.world.attempt(release)
        self.world.faults.off = was

    def _holds(self, name: str) -> holds_pb2_grpc.HoldServiceStub:
        return holds_pb2_grpc.HoldServiceStub(self.world.person(name)("retention"))

    # customers

    def _admin(self, organization: Organization, room: str) -> Any:
        return self.world.person(organization.admin_id, organization.organization_id)(room)

    def zero_data_retention(self) -> None:
        """An admin asks for zero data retention, two people approve."""
        choices = [
            organization
            for organization in self.model.organizations.values()
            if organization.deployment == "SAAS"
            and organization.zdr_from is None
            and organization.closed_at is None
        ]
        if len(choices) < 2:  # somebody's content should be left to look at
            return
        organization = self.seed.choice(choices)
        asking = zero_data_retention_pb2_grpc.ZeroDataRetentionServiceStub(
            self._admin(organization, "settings")
        )

        def decided() -> Any:
            current = asking.GetAdditionalCommitments(
                zero_data_retention_pb2.GetAdditionalCommitmentsRequest()
            )
            asked = asking.RequestZeroDataRetention(
                zero_data_retention_pb2.RequestZeroDataRetentionRequest(
                    organization_id=organization.organization_id,
                    commitments_version=current.version,
                    accepted_commitments=[commitment.name for commitment in current.commitments],
                )
            ).request
            answer = None
            for name in ("carla", "chen"):
                deciding = zero_data_retention_pb2_grpc.ZeroDataRetentionServiceStub(
                    self.world.person(name)("settings")
                )
                answer = deciding.DecideZeroDataRetention(
                    zero_data_retention_pb2.DecideZeroDataRetentionRequest(
                        zero_data_retention_request_id=asked.zero_data_retention_request_id,
                        approve=True,
                        reason="fine",
                    )
                ).request
            return answer

        request = self.world.attempt(decided)
        if isinstance(request, zero_data_retention_pb2.ZeroDataRetentionRequest) and request.HasField(
            "effective_at"
        ):
            organization.zdr_from = request.effective_at.ToDatetime(tzinfo=UTC)

    def leaves(self) -> None:
        """An admin deletes the account."""
        choices = [
            organization
            for organization in self.model.organizations.values()
            if organization.deployment == "SAAS" and organization.closed_at is None
        ]
        if len(choices) < 2:
            return
        organization = self.seed.choice(choices)
        account = account_pb2_grpc.AccountServiceStub(self._admin(organization, "settings"))

        def confirmed() -> Any:
            deletion = account.RequestAccountDeletion(
                account_pb2.RequestAccountDeletionRequest(organization_id=organization.organization_id)
            ).deletion
            return account.ConfirmAccountDeletion(
                account_pb2.ConfirmAccountDeletionRequest(
                    account_deletion_id=deletion.account_deletion_id,
                    confirmation_sentence=deletion.confirmation_sentence,
                )
            )

        was, self.world.faults.off = (
            self.world.faults.off,
            True,
        )  # a lost claim would only mean a lost witness
        answer = self.world.attempt(confirmed)
        self.world.faults.off = was
        if isinstance(answer, account_pb2.ConfirmAccountDeletionResponse):
            organization.claim = answer.claim
            organization.closed_at = self.world.time.now

    def _erasures(self) -> None:
        for organization in self.model.organizations.values():
            if organization.claim and not organization.erased:
                erasing = erasures_pb2_grpc.ErasureServiceStub(self.world.public("retention"))
                request = erasures_pb2.GetErasureByClaimRequest(claim=organization.claim)
                answer = self.world.attempt(partial(erasing.GetErasureByClaim, request))
                done = getattr(getattr(answer, "erasure", None), "state", None)
                organization.erased = done == erasures_pb2.ERASURE_STATE_DONE


def _uuid_text(record_id: bytes) -> str:
    text = record_id.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
