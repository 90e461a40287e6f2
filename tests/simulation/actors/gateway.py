"""The model gateway: records interactions, late and doubled ones too."""

from datetime import UTC, timedelta
from typing import Any

from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc, interactions_pb2
from shared.ids import new_record_id
from tests.simulation.faults import Broken
from tests.simulation.model import APPLICATIONS, END_USERS, FLAGGED_TEXT, Organization, SentRecord
from tests.simulation.scene import Scene

# Seconds between a record's creation and its sending: on time, late, much too late, from a clock that is ahead a little or very.
_AGES = (0, 0, 0, 0, 0, 0, 0, 0, 1, 60, 600, 3600, 80_000, 100_000, 40 * 86_400, -4, -60)
_FLAGGED = 0.08
_THERE = (
    ingest_pb2.OUTCOME_STORED,
    ingest_pb2.OUTCOME_STORED_WITHOUT_CONTENT,
    ingest_pb2.OUTCOME_DUPLICATE,
)


class Gateway:
    """The one gateway of a history."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seed = scene.world.seed

    def records(self) -> None:
        """A batch of new records for anybody."""
        self._send([self._new(self._scene.some_organization()) for _ in range(self._seed.randint(1, 12))])

    def records_of(self, organization: Organization, process: str) -> list[SentRecord]:
        """Some new records of one customer, through one process of logging."""
        batch = [self._new(organization) for _ in range(3)]
        self._send(batch, process)
        return batch

    def sends_one(self, organization: Organization) -> SentRecord:
        """One record of this moment, through one process of logging; it is stored."""
        now = self._scene.now
        sent = SentRecord(new_record_id(now), organization.organization_id, now, now, "a text", END_USERS[0])
        self._scene.model.records[sent.record_id] = sent
        self._scene.world.leases()
        self._send([sent], "logging")
        assert sent.stored
        return sent

    def repeats(self, batch: list[SentRecord]) -> None:
        """The same records once more."""
        self._send(batch)

    def _new(self, organization: Organization) -> SentRecord:
        now = self._scene.now
        created = now - timedelta(seconds=self._seed.choice(_AGES))
        record_id = new_record_id(created)
        text = FLAGGED_TEXT if self._seed.random() < _FLAGGED else record_id.hex()
        # What an id carries, to the millisecond.
        created = created.replace(microsecond=created.microsecond // 1000 * 1000)
        end_user = self._seed.choice(END_USERS)
        application = self._seed.choice(APPLICATIONS)
        sent = SentRecord(
            record_id, organization.organization_id, created, now, text, end_user, application=application
        )
        self._scene.model.records[record_id] = sent
        return sent

    def sends_again(self) -> None:
        """Records that were sent before come again: nothing may be stored twice or anew."""
        known = list(self._scene.model.records.values())
        if known:
            recent = self._seed.choice((known, known[-12:]))
            self._send(self._seed.choices(recent, k=self._seed.randint(1, 4)))

    def _send(self, batch: list[SentRecord], process: str = "") -> None:
        world = self._scene.world
        process = process or self._seed.choice(("logging", "logging_2"))
        if self._seed.random() < 0.8:  # else with what it knows, however old that is
            world.leases(process, "access_control", "access_control_2")
        request = ingest_pb2.RecordInteractionsRequest(
            interactions=[
                interactions_pb2.Interaction(
                    record_id=sent.record_id,
                    organization_id=sent.organization_id,
                    application=sent.application,
                    end_user=sent.end_user,
                    content=interactions_pb2.InteractionContent(
                        prompt=[interactions_pb2.Message(parts=[interactions_pb2.Part(text=sent.text)])]
                    ),
                )
                for sent in batch
            ]
        )
        stub = ingest_pb2_grpc.IngestServiceStub(world.gateway(process))

        def answers() -> list[Any]:
            return list(stub.RecordInteractions(iter([request])))

        came = world.attempt(answers)
        for answer in came if isinstance(came, list) else []:
            for receipt in answer.receipts:
                self._acknowledged(receipt)

    def _acknowledged(self, receipt: ingest_pb2.Receipt) -> None:
        sent = self._scene.model.records[receipt.record_id]
        self._scene.world.note("receipt", receipt.outcome, receipt.reason)
        if receipt.outcome not in _THERE:
            return
        if receipt.outcome != ingest_pb2.OUTCOME_DUPLICATE:
            organization = self._scene.model.organizations[sent.organization_id]
            if organization.erased:
                raise Broken(f"10: {sent.record_id.hex()} was stored for an erased organization")
            if any(one.fenced_at is not None and one.covers(sent) for one in self._scene.model.subjects):
                raise Broken(f"10: {sent.record_id.hex()} was stored behind its end user's erasure")
            if sent.stored:
                raise Broken(f"8: {sent.record_id.hex()} was stored twice")
            sent.stored_at = self._scene.now
            sent.with_content = receipt.outcome == ingest_pb2.OUTCOME_STORED
        sent.stored = True
        sent.due_at = receipt.due_at.ToDatetime(tzinfo=UTC)
