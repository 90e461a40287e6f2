"""Whose voice still counts: asked of the first of two people, when the second acts."""

from collections.abc import Callable

import pytest

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc
from kept.options.v1 import roles_pb2
from services.access_control.store import Connection
from shared.errors import KeptError
from shared.identity import Caller, CallerKind
from tests.unit.access_control.authorization.test_checks import (
    agreements_gone,
    disabled,
    role_ends,
    role_lapsed,
)
from tests.unit.access_control.workforce import Workforce, workforce
from tests.unit.access_control.world import LEGAL, OPERATOR, World, migrated_vault, world

__all__ = ["migrated_vault", "workforce", "world"]

COMPLIANCE = roles_pb2.STAFF_ROLE_COMPLIANCE
DECIDING = "/kept.settings.v1.ZeroDataRetentionService/DecideZeroDataRetention"

PLACING = "/kept.retention.v1.HoldService/PlaceHold"


def counting(world: World, *people: str, method: str = DECIDING, service: str = "settings") -> list[str]:
    channel = world.served.channel(Caller(CallerKind.SERVICE, service))
    request = authz_pb2.CheckVoicesRequest(person_ids=people, method=method)
    return list(authz_pb2_grpc.AuthzServiceStub(channel).CheckVoices(request).person_ids)


@pytest.mark.parametrize("ends", [role_ends, role_lapsed, disabled, agreements_gone])
def test_a_voice_counts_while_its_person_could_act(
    world: World, ends: Callable[[World, Connection, str], None]
) -> None:
    one, other = world.person("one", COMPLIANCE), world.person("other", COMPLIANCE)
    assert counting(world, other, one) == [other, one]
    with world.database.transaction() as tx:
        ends(world, tx, one)
    assert counting(world, other, one) == [other]


def test_a_power_that_ended_takes_nothing_from_what_was_done_with_it(world: World) -> None:
    """A hold is placed within hours, and confirmed within three days."""
    lena = world.person("lena", LEGAL)
    assert counting(world, lena, method=PLACING, service="retention") == [lena]
    with world.database.transaction() as tx:
        role_ends(world, tx, lena)
    assert counting(world, lena, method=PLACING, service="retention") == []


def test_who_could_not_hold_the_power_has_no_voice(workforce: Workforce) -> None:
    """Whose provider is off the published list gets no grant of a power: what she proposed before counts for nothing either."""
    w = workforce
    provider_id = w.provider()
    w.create("ada", "vera", provider_id=provider_id)
    w.sign("ada", w.ids["vera"])
    w.give("vera", LEGAL)
    w.give("vera", COMPLIANCE)
    assert counting(w.world, w.ids["vera"], method=PLACING, service="retention") == [w.ids["vera"]]
    w.world.publish("Globex")
    assert counting(w.world, w.ids["vera"], method=PLACING, service="retention") == []
    assert counting(w.world, w.ids["vera"]) == [w.ids["vera"]], "this one takes no power"


def test_nobody_else_has_a_voice(world: World) -> None:
    assert counting(world, world.person("olga", OPERATOR), "person_" + "0" * 26) == []


@pytest.mark.parametrize(
    ("method", "service"),
    [
        ("/kept.retention.v1.RunService/ListRuns", "settings"),
        (DECIDING, "retention"),
        (DECIDING, "safety_review"),
        (DECIDING, "logging"),
    ],
)
def test_a_service_asks_about_its_own_methods_and_logging_not_at_all(
    world: World, method: str, service: str
) -> None:
    with pytest.raises(KeptError) as refused:
        counting(world, world.person("one", COMPLIANCE), method=method, service=service)
    assert refused.value.name == "CALLER_NOT_ALLOWED"
