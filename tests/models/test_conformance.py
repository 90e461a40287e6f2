"""What the model says of a receiver, the code does: the lease that an answer gives, and what becomes of a record."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import product
from types import SimpleNamespace
from typing import Final, cast

from kept.replica.v1 import lease_pb2
from kept.retention.v1 import rules_pb2_grpc
from kept.settings.v1 import organizations_pb2, policies_pb2, policies_pb2_grpc
from services.logging.policies import Policies
from services.logging.recording.admission import STORE, STORE_WITHOUT_CONTENT, BatchAdmission, GatewayPolicy
from shared.clock import CLOCK_TOLERANCE
from shared.ids import new_id, new_record_id
from shared.replica import ReceivedChange, Replica
from tests.models.leases import ANSWERED, TOLERANCE, Leases, Poll, Size
from tests.support.clocks import ManualClock

# A tick of the model is the code's tolerance; leases are as many ticks long.
_TICK: Final = CLOCK_TOLERANCE / TOLERANCE
_SIZE: Final = Size(lease=3, spread=2)
_NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
_ALL: Final = GatewayPolicy(all_organizations=True, organization_ids=frozenset())


@dataclass
class _Way:
    """A poll, in ticks: how long it is on its way there and back, how far ahead settings' clock is, and whether the answer is complete."""

    there: int
    back: int
    ahead: int
    complete: bool

    def poll(
        self, true: ManualClock, own: ManualClock, since: int
    ) -> tuple[list[ReceivedChange[str]], lease_pb2.Lease]:
        """The answer, with both clocks moved on."""
        _advance(true, own, by=self.there)
        answer = lease_pb2.Lease(version=1, complete=self.complete, reset=True)
        answer.answered_at.FromDatetime(true.now() + self.ahead * _TICK)
        answer.duration.FromTimedelta(_SIZE.lease * _TICK)
        _advance(true, own, by=self.back)
        return [], answer

    def seen(self) -> Poll:
        """The same, as it is when the answer is there, in the model."""
        return Poll(ANSWERED, -(self.there + self.back), 1, self.complete, self.ahead - self.back)


def test_an_answer_gives_the_lease_that_the_model_says() -> None:
    model, leased = Leases(_SIZE), 0
    ways = [_Way(*way) for way in product(range(3), range(3), range(_SIZE.spread + 1), (True, False))]
    for way, off, later in product(ways, range(-4, 5), range(4)):
        true, own = ManualClock(_NOW), ManualClock(_NOW + off * _TICK)
        replica = Replica("test", partial(way.poll, true, own), own, window=_TICK)
        replica.poll_once()
        _advance(true, own, by=later)
        lease = model.leased(way.seen(), records=True)
        expected = lease is not None and lease.until > later and lease.low <= off <= lease.high

        assert replica.has_lease() is expected, (way, off, later)
        leased += expected
    assert leased > 20, "hardly any had one"


def test_a_record_is_stored_where_the_model_says() -> None:
    model, organization_id, stored = Leases(_SIZE), new_id("org"), 0
    for table in _tables():
        policies = _policies(organization_id, table)
        for created, received in product(range(-6, 3), range(-3, 2)):
            received_at = _NOW + received * _TICK
            admission = BatchAdmission(received_at, [_ALL], policies.organization_throughout)
            decided = admission.decide(organization_id, new_record_id(_NOW + created * _TICK))
            expected = model.is_stored(table, created, received)

            assert (decided is STORE) is expected, (table, created, received)
            assert decided is STORE or created > received + TOLERANCE or decided is STORE_WITHOUT_CONTENT
            stored += expected
    assert stored > 100, "hardly any was"


def _tables() -> Iterator[list[tuple[int, bool]]]:
    """An old policy and up to three changes of it, in order."""
    for forbids in (False, True):
        yield [(-20, forbids)]
        for first in range(-5, 4):
            yield [(-20, forbids), (first, not forbids)]
            for second in range(first, 4):
                yield [(-20, forbids), (first, not forbids), (second, forbids)]
                yield [(-20, forbids), (first, not forbids), (second, forbids), (second + 1, not forbids)]


def _policies(organization_id: str, table: list[tuple[int, bool]]) -> Policies:
    answer = policies_pb2.ListPolicyChangesResponse()
    for version, (at, forbids) in enumerate(table, 1):
        change = answer.changes.add(version=version)
        change.effective_at.FromDatetime(_NOW + at * _TICK)
        change.organization.organization_id = organization_id
        change.organization.deployment = organizations_pb2.DEPLOYMENT_SAAS
        change.organization.zero_data_retention = forbids
    answer.lease.version, answer.lease.complete, answer.lease.reset = len(table), True, True
    stub = SimpleNamespace(ListPolicyChanges=lambda _, timeout: answer)
    policies = Policies(
        cast(policies_pb2_grpc.PolicyServiceStub, stub),
        cast(rules_pb2_grpc.RuleServiceStub, None),
        ManualClock(_NOW),
    )
    policies.jobs[0].step()
    return policies


def _advance(*clocks: ManualClock, by: int) -> None:
    for clock in clocks:
        clock.advance(by * _TICK)
