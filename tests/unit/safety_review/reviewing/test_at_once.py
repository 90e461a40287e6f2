"""Two people, or one with two windows, at the same moment: each case to one, and no budget twice. cases.md D4."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from kept.safety_review.v1 import cases_pb2
from shared.errors import KeptError
from tests.unit.safety_review.conftest import migrated, url, world
from tests.unit.safety_review.world import ACME, BETA, CANARY, World

__all__ = ["migrated", "url", "world"]


def _outcomes(*acts: Callable[[], object]) -> list[str]:
    """What came of acts that begin together, in any order."""

    def outcome(act: Callable[[], object]) -> str:
        try:
            act()
        except KeptError as error:
            return error.name
        return "done"

    with ThreadPoolExecutor(len(acts)) as pool:
        return sorted(pool.map(outcome, acts))


def _next(world: World, who: int) -> Callable[[], object]:
    return lambda: world.reviewer(who).ClaimNextCase(cases_pb2.ClaimNextCaseRequest())


def test_a_case_is_claimed_once(world: World) -> None:
    world.screen(world.record(CANARY))
    (case,) = world.cases()
    acts = [lambda who=who: world.claim(case.case_id, who) for who in (1, 2, 3)]
    assert _outcomes(*acts) == ["WRONG_STATE", "WRONG_STATE", "done"]
    assert world.kinds().count("case.claimed") == 1


def test_the_queue_gives_each_case_to_one(world: World) -> None:
    for organization_id in (ACME, BETA):
        world.screen(world.record(CANARY, organization_id))
    assert _outcomes(*(_next(world, who) for who in (1, 2, 3))) == ["NOT_FOUND", "done", "done"]
    assert len({case.claimed_by for case in world.cases()}) == 2


def test_confirmed_and_sent_back_at_once_is_one_of_both(world: World) -> None:
    world.screen(world.record(CANARY))
    (case,) = world.cases()
    world.claim(case.case_id)
    etag = world.decide(case.case_id).etag
    outcomes = _outcomes(
        lambda: world.confirm(case.case_id, who=2, etag=etag),
        lambda: world.confirm(case.case_id, confirm=False, who=3, etag=etag),
    )
    assert outcomes == ["WRONG_STATE", "done"]


def test_two_windows_have_one_budget(url: str) -> None:
    world = World(url, cases_a_day=1)
    for organization_id in (ACME, BETA):
        world.screen(world.record(CANARY, organization_id))
    assert _outcomes(_next(world, 1), _next(world, 1)) == ["REVIEW_BUDGET_EXHAUSTED", "done"]
    assert len(world.cases(cases_pb2.CASE_STATE_CLAIMED)) == 1
    world.close()


def test_two_reports_at_once_are_one_case(world: World) -> None:
    def report(number: int) -> Callable[[], object]:
        request = cases_pb2.OpenCaseRequest(
            request_id=f"request-{number}",
            organization_id=ACME,
            category="fraud",
            severity=cases_pb2.SEVERITY_HIGH,
            record_ids=[world.record().record_id],
            reason="Seen in a support case.",
        )
        return lambda: world.reviewer(number).OpenCase(request)

    world.run_jobs()  # its gate is open
    assert _outcomes(report(1), report(2), report(3)) == ["done"] * 3
    (case,) = world.cases()
    assert len(case.flags) == 3
