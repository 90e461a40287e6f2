"""The default rule in its feed."""

from datetime import UTC, date, timedelta

import protovalidate
import pytest
from google.protobuf.message import Message

from kept.access_control.v1 import keys_pb2
from kept.logging.v1 import lifecycle_pb2
from kept.retention.v1 import rules_pb2
from services.retention.rules import MOST_OWN, MOST_OWN_BYTES, days_of_lots, require_room
from shared.channels import MAX_MESSAGE_BYTES
from shared.errors import Reason
from shared.identity import Caller, CallerKind
from shared.terms import lot_of, parts_of
from tests.unit.retention.world import ONE, SAFETY, World, refused

TWO_HOURS = timedelta(hours=2)


def test_the_default_rule_is_written_once_and_again_when_the_configuration_changed(world: World) -> None:
    logging = world.rules(Caller(CallerKind.SERVICE, name="logging"))
    world.wire()
    world.settle(2)
    known = logging.ListRuleChanges(rules_pb2.ListRuleChangesRequest())
    assert [(change.version, change.organization_id, change.term.days) for change in known.changes] == [
        (1, "", 30)
    ]
    assert known.changes[0].term.kind == rules_pb2.TERM_KIND_AT_MOST
    assert known.changes[0].run_window.ToTimedelta() == TWO_HOURS
    assert known.lease.complete
    assert known.lease.reset

    old = world.service
    world.term_days = 7
    world.wire()
    accepted = world.clock.now()
    world.settle(2)
    changed = logging.ListRuleChanges(rules_pb2.ListRuleChangesRequest(since_version=1))
    assert [(change.version, change.term.days) for change in changed.changes] == [(2, 7)]
    assert changed.changes[0].effective_at.ToDatetime(tzinfo=UTC) >= accepted + timedelta(seconds=2)
    facts = world.entries("rule.changed")[-1].facts
    assert facts["term"] == "AT_MOST 7 days"
    assert facts["term_before"] == "AT_MOST 30 days"

    # A process of the configuration before does not turn it back while both run.
    for job in old.jobs:
        if job.name == "rules":
            job.step()
    assert not logging.ListRuleChanges(rules_pb2.ListRuleChangesRequest(since_version=2)).changes


def test_only_logging_and_access_control_follow_the_rules(world: World) -> None:
    with refused(Reason.REASON_CALLER_NOT_ALLOWED):
        world.rules(SAFETY).ListRuleChanges(rules_pb2.ListRuleChangesRequest())


def _said_of(lots: list[str]) -> list[Message]:
    """What is said to other services of all lots with a term of their own at once."""
    due = days_of_lots(dict.fromkeys(lots, date(2026, 3, 1)))
    run_id, day = "run_" + "r" * 26, "2026-03-31"
    names = [lot for lot in lots if not parts_of(lot)[1]]
    return [
        lifecycle_pb2.ListStoredDaysRequest(through_day=day, own=due, page_token="t" * 4000),
        keys_pb2.DestroyEpochsRequest(destruction_id=run_id, through_day=day, own=due),
        lifecycle_pb2.DropExpiredRequest(run_id=run_id, day=day, applications=due),
        lifecycle_pb2.DropExpiredRequest(run_id=run_id, day=day, keep_organization_ids=names),
        lifecycle_pb2.DropExpiredRequest(run_id=run_id, day=day, only_organization_ids=names),
    ]


@pytest.mark.parametrize("number", [10_001, MOST_OWN])
def test_the_contracts_take_as_many_own_days_as_there_may_be_terms(number: int) -> None:
    lots = [f"org_{one:026}" for one in range(number)]
    require_room(number, sum(map(len, lots)))
    for said in _said_of(lots):
        assert not protovalidate.collect_violations(said)
        assert said.ByteSize() <= MAX_MESSAGE_BYTES


def test_the_contracts_take_no_more_than_that() -> None:
    for said in _said_of([f"org_{one:026}" for one in range(MOST_OWN + 1)]):
        (violation,) = protovalidate.collect_violations(said)
        assert violation.proto.rule_id == "repeated.max_items"
    with refused(Reason.REASON_LIMIT_REACHED) as caught:
        require_room(MOST_OWN + 1, 0)
    assert caught[0].metadata == {"kind": "contract_term", "limit": str(MOST_OWN)}


@pytest.mark.parametrize(
    "name", ["n", "n" * 194, "\N{NIGHT WITH STARS}" * 194], ids=["short", "long", "of many bytes"]
)
def test_a_message_has_room_for_as_many_names_as_there_may_be(name: str) -> None:
    """Names of applications are of many lengths; the bytes that they have altogether are counted as well."""
    size = len(ONE) + len(f"{name}{0:06}".encode())
    number = min(MOST_OWN, MOST_OWN_BYTES // (size + 20))
    require_room(number, number * size)
    for said in _said_of([lot_of(ONE, f"{name}{one:06}") for one in range(number)]):
        assert not protovalidate.collect_violations(said)
        assert said.ByteSize() <= MAX_MESSAGE_BYTES
    if number < MOST_OWN:
        with refused(Reason.REASON_LIMIT_REACHED) as caught:
            require_room(number + 1, (number + 1) * size)
        assert caught[0].metadata["kind"] == "contract_term_bytes"
