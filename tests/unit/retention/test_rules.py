"""The default rule in its feed."""

from datetime import UTC, timedelta

from kept.retention.v1 import rules_pb2
from shared.errors import Reason
from shared.identity import Caller, CallerKind
from tests.unit.retention.world import SAFETY, World, refused

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
