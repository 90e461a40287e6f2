"""What safety review is given for an evaluation set: what logging itself read and masked, after access control has decided."""

from datetime import timedelta
from typing import Any

import pytest

from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import evaluation_texts_pb2, evaluation_texts_pb2_grpc
from services.logging.reading import evaluation_texts
from shared.errors import KeptError, Reason
from shared.identity import Caller, CallerKind
from tests.unit.logging.peers import ENGINEER, GATEWAY, GRANT, ORG, OTHER, RETENTION
from tests.unit.logging.test_reading import fill, reason_of
from tests.unit.logging.world import World

CASE, SAM = "case_" + "c" * 26, "person_" + "s" * 26
REVIEW = Caller(CallerKind.SERVICE, name="safety_review")


def given(world: World, grant_id: str = GRANT, caller: Caller = REVIEW) -> list[Any]:
    stub = evaluation_texts_pb2_grpc.EvaluationTextServiceStub(world._channel(caller))
    request = evaluation_texts_pb2.ReadMaskedRequest(grant_id=grant_id, person_id=SAM)
    return list(stub.ReadMasked(request))


def test_the_cases_records_are_read_and_masked_here(world: World) -> None:
    first, middle, last, _ = fill(
        world, "call +49 30 1234567", "plain", "mail ada@example.org", "another case's"
    )
    fill(world, "another's", organization_id=OTHER)
    world.peers.scope.case_id = CASE
    world.peers.scope.record_ids.extend([first, middle, last])
    (answer,) = given(world)
    assert (answer.organization_id, answer.case_id) == (ORG, CASE)
    shown = [(one.record_id, one.content.prompt[0].parts[0].text) for one in answer.records]
    assert shown == [(first, "call [PHONE]"), (middle, "plain"), (last, "mail [EMAIL]")]
    assert world.peers.calls.index("AuthorizePermission") < world.peers.calls.index("OpenRecords")
    assert world.peers.opened == {first, middle, last}
    (asked,) = world.peers.opened_by
    assert (asked.permission, asked.token) == (grants_pb2.SERVICE_PERMISSION_EVALUATION, "")
    assert (asked.detail, asked.grant_id) == (grants_pb2.DETAIL_MASKED, GRANT)
    assert world.peers.asked_for == [(GRANT, SAM)]


def test_nothing_is_looked_up_before_access_control_has_decided(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, "one")

    def nobody_may(*_: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(world.database, "transaction", nobody_may)
    world.peers.denial = KeptError(Reason.REASON_NOT_UPHELD, "It is open.")
    assert reason_of(lambda: given(world)) == "NOT_UPHELD"
    world.peers.denial = None
    assert reason_of(lambda: given(world, "grant_" + "x" * 26)) == "GRANT_REQUIRED"


def test_without_content_and_without_records_there_is_nothing(world: World) -> None:
    empty = world.interaction()
    empty.ClearField("content")
    world.record(empty)
    assert given(world) == []
    world.peers.scope.case_id = CASE
    fill(world, "of no case")
    assert given(world) == [], "a case without records covers none"


def test_a_budget_that_is_too_small_and_a_grant_that_ended_end_it(world: World) -> None:
    fill(world, "1", "2", "3")
    world.peers.budget = 2
    assert reason_of(lambda: given(world)) == "BUDGET_EXHAUSTED"
    world.peers.budget = 1000
    world.peers.ended.append(GRANT)
    world.jobs["ended_grants"].step()
    assert reason_of(lambda: given(world)) == "GRANT_REVOKED"


def test_a_grant_that_was_extended_carries_a_set_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_texts, "_AT_ONCE", 1)
    ids = fill(world, "1", "2", "3")
    world.peers.scope.record_ids.extend(ids)
    stub = evaluation_texts_pb2_grpc.EvaluationTextServiceStub(world._channel(REVIEW))
    stream = stub.ReadMasked(evaluation_texts_pb2.ReadMaskedRequest(grant_id=GRANT, person_id=SAM))
    assert next(stream).records[0].record_id == ids[0]
    world.peers.expires_at += timedelta(hours=1)  # a colleague approved more time
    world.travel(timedelta(hours=1))
    assert next(stream).records[0].record_id == ids[1]
    assert world.peers.asked_for == [(GRANT, SAM)] * 2, (
        "what was decided once is not asked again before it ends"
    )
    world.travel(timedelta(hours=1))
    assert reason_of(lambda: next(stream)) == "GRANT_EXPIRED"


@pytest.mark.parametrize("caller", [GATEWAY, ENGINEER, RETENTION])
def test_nobody_but_safety_review_asks(world: World, caller: Caller) -> None:
    fill(world, "one")
    assert reason_of(lambda: given(world, caller=caller)) in (
        "CALLER_NOT_ALLOWED",
        "GATEWAY_NOT_REGISTERED",
        "NOT_AUTHORIZED",
    )
    assert "AuthorizePermission" not in world.peers.calls
