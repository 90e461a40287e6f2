"""Engineers: ask for access, take it, approve each other's, read, and try to read more. What comes back is checked as it comes."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import read_pb2, read_pb2_grpc
from shared.ids import new_id
from tests.simulation.faults import Broken
from tests.simulation.invariants import uuid_text
from tests.simulation.model import Grant, SentRecord
from tests.simulation.rules import RulesOverTime
from tests.simulation.scene import Scene

_DETAILS = (grants_pb2.DETAIL_METADATA, grants_pb2.DETAIL_MASKED, grants_pb2.DETAIL_FULL)
# The most that a process's clock is off in this world, and a moment.
TOLERANCE = timedelta(seconds=21)


class Engineers:
    """Emma, who reads and is on call; Elias and Olga, who approve."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seed = scene.world.seed

    def asks_for_access(self) -> None:
        """Emma asks for a span of somebody's records; those who have to approve do, now and then less than she asked for."""
        request = grants_pb2.RequestGrantRequest(
            request_id=new_id("request"),
            reason="answers are cut off",
            ticket=self._seed.choice(("", "T-1")),
            data=self._scope(),
            purpose=grants_pb2.PURPOSE_ENGINEERING_SUPPORT,
        )
        request.duration.FromTimedelta(timedelta(minutes=self._seed.choice((1, 30, 480))))
        approval = grants_pb2.ApproveGrantRequest()
        if self._seed.random() < 0.2:
            approval.narrowing.budget = 1
            approval.narrowing.duration.FromTimedelta(timedelta(minutes=1))

        def approved() -> grants_pb2.Grant:
            grant = self._scene.grants("emma").RequestGrant(request).grant
            for name in self._approvers(grant):
                if grant.state == grants_pb2.GRANT_STATE_REQUESTED:
                    approval.grant_id = grant.grant_id
                    grant = self._scene.grants(name).ApproveGrant(approval).grant
            return grant

        self._granted(approved)

    def takes_at_once(self) -> None:
        """Emma, who is on call, waits for nobody."""
        request = grants_pb2.BreakGlassRequest(
            request_id=new_id("request"),
            reason="everything is on fire",
            ticket="INC-1",
            data=self._scope(),
            purpose=grants_pb2.PURPOSE_ENGINEERING_SUPPORT,
        )
        request.duration.FromTimedelta(timedelta(minutes=self._seed.choice((1, 60))))
        self._granted(lambda: self._scene.grants("emma").BreakGlass(request).grant)

    def reviews(self) -> None:
        """Elias looks at what Emma took, and mostly finds it justified."""
        waiting = [known for known in self._scene.model.grants.values() if known.waits_for_review]
        if not waiting:
            return
        known = waiting[0]
        is_justified = self._seed.random() < 0.8
        request = grants_pb2.ReviewBreakGlassRequest(
            grant_id=known.grant.grant_id,
            verdict=grants_pb2.BREAK_GLASS_VERDICT_JUSTIFIED
            if is_justified
            else grants_pb2.BREAK_GLASS_VERDICT_UNJUSTIFIED,
            reason="looked at it",
        )
        known.waits_for_review = False  # from the moment it is begun, nothing relies on its being undone
        answer = self._scene.world.attempt(lambda: self._scene.grants("elias").ReviewBreakGlass(request))
        if isinstance(answer, grants_pb2.ReviewBreakGlassResponse) and not is_justified:
            known.revoked_at = known.revoked_at or self._scene.now

    def extends(self) -> None:
        """Emma asks for more time, and gets it."""
        known = self._recent()
        if known is None:
            return
        request = grants_pb2.ExtendGrantRequest(grant_id=known.grant.grant_id, reason="not found yet")
        request.duration.FromTimedelta(timedelta(minutes=30))

        def extended() -> grants_pb2.Grant:
            grant = self._scene.grants("emma").ExtendGrant(request).grant
            for name in self._approvers(grant):
                approval = grants_pb2.ApproveGrantRequest(grant_id=grant.grant_id)
                grant = self._scene.grants(name).ApproveGrant(approval).grant
            return grant

        self._scene.world.leases("access_control", "access_control_2")
        grant = self._scene.world.attempt(extended)
        if isinstance(grant, grants_pb2.Grant):
            known.grant.CopyFrom(grant)
        else:  # it may be longer, and nobody was told
            longer = known.grant.expires_at.ToDatetime(tzinfo=UTC) + timedelta(minutes=30)
            known.grant.expires_at.FromDatetime(longer)

    def _scope(self) -> grants_pb2.DataScope:
        now = self._scene.now
        scope = grants_pb2.DataScope(
            organization_id=self._scene.some_organization().organization_id,
            detail=self._seed.choice(_DETAILS),
            budget=self._seed.choice((1, 3, 100)),
        )
        begins = now - timedelta(days=self._seed.choice((1, 3, 29, 30, 31, 40)))
        ends = now - timedelta(days=self._seed.choice((0, 0, 0, 2))) + timedelta(hours=1)
        getattr(scope, "from").FromDatetime(begins)
        scope.until.FromDatetime(max(ends, begins + timedelta(hours=1)))
        return scope

    @staticmethod
    def _approvers(grant: grants_pb2.Grant) -> list[str]:
        return ["elias", "olga"] if grant.data.detail == grants_pb2.DETAIL_FULL else ["elias"]

    def _granted(self, act: Callable[[], grants_pb2.Grant]) -> None:
        overdue = any(
            known.waits_for_review
            and known.grant.broken_glass.review_due_at.ToDatetime(tzinfo=UTC) + TOLERANCE <= self._scene.now
            for known in self._scene.model.grants.values()
        )
        self._scene.world.leases("access_control", "access_control_2")
        grant = self._scene.world.attempt(act)
        if isinstance(grant, grants_pb2.Grant):
            if overdue:
                raise Broken("5: a grant for who took access that nobody looked at for a day")
            known = Grant(grant, "emma", waits_for_review=grant.HasField("broken_glass"))
            self._scene.model.grants[grant.grant_id] = known
            self.reads_under(known)

    def _recent(self) -> Grant | None:
        known = list(self._scene.model.grants.values())[-3:]
        return self._seed.choice(known) if known else None

    def reads(self) -> None:
        """Emma reads under a grant of hers, mostly a recent one."""
        known = list(self._scene.model.grants.values())
        if known:
            self.reads_under(self._seed.choice(self._seed.choice((known, known[-3:]))))

    def reads_under(self, known: Grant) -> None:
        """Emma reads what a grant covers, or tries to read in more detail, or another customer's."""
        scope = known.grant.data
        organization_id = scope.organization_id
        if self._seed.random() < 0.1:
            organization_id = self._scene.some_organization().organization_id
        detail = scope.detail if self._seed.random() < 0.7 else self._seed.choice(_DETAILS)
        world = self._scene.world
        reading = read_pb2_grpc.ReadServiceStub(world.person("emma")("logging"))
        request = read_pb2.ReadInteractionsRequest(
            grant_id=known.grant.grant_id, organization_id=organization_id, detail=detail
        )
        if self._seed.random() < 0.9:  # else with what processes know, however old that is
            world.leases("logging", "logging_2", "access_control", "access_control_2")
        before, logged = self._scene.now, self._logged()
        records: list[Any] = []

        def read() -> None:
            # What came before a stream broke off counts too.
            records.extend(answer.record for answer in reading.ReadInteractions(request))

        world.attempt(read)
        world.note("read", len(records))
        if records:
            self._check_grant(known, records, organization_id, detail, before)
            self._check_audit(known, records, logged)
            for record in records:
                self._check_record(known, record, detail, before)

    def revokes(self) -> None:
        """Emma gives a grant back."""
        chosen = self._recent()
        if chosen is None:
            return
        request = grants_pb2.RevokeGrantRequest(grant_id=chosen.grant.grant_id, reason="no longer needed")
        answer = self._scene.world.attempt(lambda: self._scene.grants("emma").RevokeGrant(request))
        if isinstance(answer, grants_pb2.RevokeGrantResponse) and chosen.revoked_at is None:
            chosen.revoked_at = self._scene.now

    @staticmethod
    def _check_grant(
        known: Grant, records: list[Any], organization_id: str, detail: Any, at: datetime
    ) -> None:
        grant_id, scope = known.grant.grant_id, known.grant.data
        known.read |= {record.record_id for record in records}
        if known.revoked_at is not None:
            raise Broken(f"5: a read under {grant_id}, which was revoked")
        if known.grant.expires_at.ToDatetime(tzinfo=UTC) + TOLERANCE <= at:
            raise Broken(f"5: a read under {grant_id}, which had expired")
        others = {approval.approved_by for approval in known.grant.approvals} - {known.grant.requested_by}
        is_taken = known.grant.HasField("broken_glass")
        if not others and not known.grant.approved_by_rule and not is_taken:
            raise Broken(f"5: a read under {grant_id}, which nobody else approved")
        if detail > scope.detail:
            raise Broken(f"5: more detail than {grant_id} gives")
        if len(known.read) > scope.budget:
            raise Broken(f"5: more records than the budget of {grant_id}")
        if organization_id != scope.organization_id:
            raise Broken(f"11: records of an organization that {grant_id} does not speak of")

    def _logged(self) -> int:
        return int(
            self._scene.world.databases.looks.rows(
                "access_control", "SELECT coalesce(max(sequence), 0) FROM audit_entries"
            )[0][0]
        )

    def _check_audit(self, known: Grant, records: list[Any], logged: int) -> None:
        bodies = self._scene.world.databases.looks.rows(
            "access_control",
            "SELECT convert_from(body, 'UTF8') FROM audit_entries "
            f"WHERE kind = 'records.opened' AND sequence > {logged}",
        )
        said = "".join(body for (body,) in bodies if known.grant.grant_id in body)
        for record in records:
            if uuid_text(record.record_id) not in said:
                raise Broken(f"4: {uuid_text(record.record_id)} was read, and no audit entry says so")

    def _check_record(self, known: Grant, record: Any, detail: Any, at: datetime) -> None:
        model, scope = self._scene.model, known.grant.data
        sent = model.records.get(record.record_id)
        if sent is None or sent.organization_id != scope.organization_id:
            raise Broken("11: a record of another organization was read")
        begins = getattr(scope, "from").ToDatetime(tzinfo=UTC) - timedelta(
            milliseconds=1
        )  # an id's precision
        if not begins <= sent.created_at < scope.until.ToDatetime(tzinfo=UTC):
            raise Broken(f"5: a record outside the span of {known.grant.grant_id}")
        is_kept = sent.is_flagged or any(sent.record_id in hold.record_ids for hold in model.holds.values())
        rules, day = RulesOverTime(self._scene.world.databases.looks), sent.created_at.date()
        # A rule that came while it was read may allow it; one that was there before decides.
        is_due = all(
            rules.due_since(self._scene.model.lot_of(sent), day, instant) + TOLERANCE <= at
            for instant in (at, self._scene.now)
        )
        if is_due and not is_kept and not self._is_held(sent):
            raise Broken("3: a record was read that was due and that nothing holds")
        self._check_content(sent, record, detail)

    def _is_held(self, sent: SentRecord) -> bool:
        """Whether a hold stands of which nobody was told."""
        return bool(
            self._scene.world.databases.looks.rows(
                "retention",
                "SELECT 1 FROM holds JOIN hold_records USING (hold_id) WHERE state NOT IN ('RELEASED', 'FAILED') "
                f"AND record_id = '\\x{sent.record_id.hex()}'",
            )
        )

    @staticmethod
    def _check_content(sent: SentRecord, record: Any, detail: Any) -> None:
        if not record.HasField("content"):
            return
        if detail == grants_pb2.DETAIL_METADATA:
            raise Broken("5: content where only metadata was granted")
        text = record.content.prompt[0].parts[0].text
        if detail == grants_pb2.DETAIL_FULL and text != sent.text:
            raise Broken("8: other content came back than was sent")
