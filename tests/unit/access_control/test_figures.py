"""What operators see of grants, keys and the audit log."""

from typing import Any

from prometheus_client import REGISTRY

from kept.access_control.v1 import grants_pb2, keys_pb2, keys_pb2_grpc
from kept.options.v1 import roles_pb2
from shared.identity import Caller, CallerKind
from tests.unit.access_control.world import (
    DAY,
    ENGINEER,
    MINUTE,
    OPERATOR,
    ORG,
    World,
    migrated_vault,
    world,
)

__all__ = ["migrated_vault", "world"]

SMALL: dict[str, Any] = {"detail": grants_pb2.DETAIL_METADATA, "duration": 15 * MINUTE}


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def take(world: World) -> None:
    jobs = {job.name: job for job in world.service.jobs}
    for name in ("audit-log", "figures", "key_figures"):
        while jobs[name].step():
            pass


def test_grants_are_open_as_long_as_they_are_good(world: World) -> None:
    for subject, role in (("eve", ENGINEER), ("olga", OPERATOR), ("omar", OPERATOR)):
        world.person(subject, role)
    take(world)
    assert value("kept_open_grants", scope="data") == value("kept_open_grants", scope="power") == 0
    world.request("eve", **SMALL)
    asked = world.request("olga", power=roles_pb2.POWER_OPERATOR)
    take(world)
    assert (value("kept_open_grants", scope="data"), value("kept_open_grants", scope="power")) == (1, 0)
    world.approve("omar", asked)
    take(world)
    assert value("kept_open_grants", scope="power") == 1
    world.advance(DAY)
    take(world)
    assert value("kept_open_grants", scope="data") == value("kept_open_grants", scope="power") == 0


def test_keys_are_counted_by_kind_and_the_log_by_its_newest_head(world: World) -> None:
    take(world)
    entries, before = value("kept_audit_log_entries"), value("kept_audit_head_timestamp_seconds")
    world.advance(MINUTE)
    keys = keys_pb2_grpc.KeyServiceStub(world.served.channel(Caller(CallerKind.SERVICE, "logging")))
    keys.GetEpochKey(
        keys_pb2.GetEpochKeyRequest(organization_id=ORG, day=world.clock.now().date().isoformat())
    )
    world.person("eve", ENGINEER)
    world.request("eve", **SMALL)
    take(world)
    assert value("kept_custody_keys", kind="epoch", state="living") == 1
    assert value("kept_custody_keys", kind="organization", state="living") == 1
    assert value("kept_custody_keys", kind="epoch", state="destroyed") == 0
    assert entries is not None
    assert before is not None
    assert (value("kept_audit_log_entries") or 0) > entries
    assert (value("kept_audit_head_timestamp_seconds") or 0) > before
