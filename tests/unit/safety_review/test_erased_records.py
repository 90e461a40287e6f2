"""The records of an erased end user: nothing is known about them any more, and nothing is learnt again."""

from datetime import timedelta

import pytest

from kept.safety_review.v1 import cases_pb2, lifecycle_pb2, screening_pb2
from shared.errors import Reason
from tests.unit.safety_review.world import ACME, BETA, CANARY, ERASURE, PHISHING, World, refused

CLEAN = "Good morning."


def _erase(
    world: World, *records: screening_pb2.ScreenedInteraction, organization_id: str = ACME
) -> dict[str, int]:
    request = lifecycle_pb2.EraseRecordsRequest(
        organization_id=organization_id,
        erasure_id=ERASURE,
        record_ids=[one.record_id for one in records],
    )
    return dict(world.peer("retention").lifecycle.EraseRecords(request).removed)


def test_verdicts_flags_and_closed_cases_go_and_others_stay(world: World) -> None:
    gone = [world.record(CANARY), world.record(CLEAN)]
    others = [world.record(PHISHING), world.record(CLEAN), world.record(CLEAN, BETA)]
    world.screen(*gone, *others)
    cases = {case.category: case.case_id for case in world.cases()}
    world.dismiss(cases["test"])
    assert _erase(world, *gone) == {"verdicts": 2, "flags": 1, "cases": 1}
    assert [case.case_id for case in world.cases()] == [cases["fraud"]]
    assert (world.count("verdicts"), world.count("flags")) == (3, 1)
    # The same again, and a question with no records, add nothing; another page adds up.
    assert _erase(world, *gone) == {"verdicts": 2, "flags": 1, "cases": 1}
    assert _erase(world) == {"verdicts": 2, "flags": 1, "cases": 1}
    assert _erase(world, others[1]) == {"verdicts": 3, "flags": 1, "cases": 1}
    # Another organization's record of the same id is another record.
    assert _erase(world, others[2])["verdicts"] == 3
    assert world.kinds(ACME).count("records.erased") == 2
    assert world.kinds(ACME)[-1] == "records.erased"


def test_what_is_screened_too_late_is_not_remembered(world: World) -> None:
    late, other = world.record(CANARY), world.record(CLEAN)
    assert _erase(world, late, other) == {"verdicts": 0, "flags": 0, "cases": 0}
    assert world.screen(late, other, world.record(CLEAN)) == ["INCOMPLETE", "INCOMPLETE", "CLEAN"]
    assert (world.count("verdicts"), world.count("flags"), world.count("cases")) == (1, 0, 0)
    assert world.screen(late) == ["INCOMPLETE"]


def test_a_tombstone_goes_when_nobody_can_screen_the_record_any_more(world: World) -> None:
    record = world.record(CANARY)
    _erase(world, record)
    world.clock.advance(timedelta(days=7))
    world.run_jobs()
    assert world.count("erased_records") == 1
    world.clock.advance(timedelta(seconds=1))
    world.run_jobs()
    assert world.count("erased_records") == 0
    _erase(world, record)
    assert world.count("erased_records") == 0


def test_an_open_case_waits_for_its_decision_without_the_flag(world: World) -> None:
    gone, stays = world.record(CANARY), world.record(CANARY)
    world.screen(gone, stays)
    (case,) = world.cases()
    before = world.claim(case.case_id).etag
    _erase(world, gone)
    after = world.reviewer().GetCase(cases_pb2.GetCaseRequest(case_id=case.case_id)).case
    assert [flag.record_id for flag in after.flags] == [stays.record_id]
    with refused(Reason.REASON_CONFLICT):
        world.decide(case.case_id, etag=before)  # it was read with a record that is gone
    assert _erase(world, stays) == {"verdicts": 2, "flags": 2, "cases": 0}
    assert world.decide(case.case_id, cases_pb2.DECISION_NO_VIOLATION).state == cases_pb2.CASE_STATE_DISMISSED


@pytest.mark.parametrize("caller", ["logging", "settings"])
def test_only_retention_may_ask(world: World, caller: str) -> None:
    request = lifecycle_pb2.EraseRecordsRequest(organization_id=ACME, erasure_id=ERASURE)
    with refused(Reason.REASON_CALLER_NOT_ALLOWED):
        world.peer(caller).lifecycle.EraseRecords(request)
