"""Safety staff: whoever is there looks at cases and decides them, others confirm; customers appeal, staff opens cases again."""

from collections.abc import Callable

from kept.safety_review.v1 import cases_pb2, cases_pb2_grpc
from tests.simulation.scene import Scene

_CREW = ("sara", "samir", "carla", "chen")
_WAITING = (cases_pb2.CASE_STATE_OPEN, cases_pb2.CASE_STATE_DECIDED)
_CLOSED = (cases_pb2.CASE_STATE_UPHELD, cases_pb2.CASE_STATE_DISMISSED)
_REASON = "It is what it looks like."


class Reviewers:
    """All of them, and the customers who do not agree."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seed = scene.world.seed

    def looks_at_case(self) -> None:
        """One claims what waits and decides it or hands it on; what was decided is confirmed or sent back, by whoever may."""
        who = self._seed.choice(_CREW)
        case = self._some(who, _WAITING)
        if case is None:
            return
        cases = self._cases(who)
        if case.state == cases_pb2.CASE_STATE_DECIDED:
            agreed = self._seed.random() < 0.8
            self._try(
                lambda: cases.ConfirmDecision(
                    cases_pb2.ConfirmDecisionRequest(case_id=case.case_id, confirm=agreed, etag=case.etag)
                )
            )
            return
        ending = self._seed.random()
        decision = cases_pb2.DECISION_VIOLATION if ending < 0.6 else cases_pb2.DECISION_NO_VIOLATION

        def decided() -> object:
            mine = cases.ClaimCase(cases_pb2.ClaimCaseRequest(case_id=case.case_id)).case
            if ending > 0.9:
                return cases.EscalateCase(
                    cases_pb2.EscalateCaseRequest(
                        case_id=case.case_id, desk=cases_pb2.DESK_SAFETY, reason=_REASON, etag=mine.etag
                    )
                )
            return cases.DecideCase(
                cases_pb2.DecideCaseRequest(
                    case_id=case.case_id, decision=decision, reason=_REASON, etag=mine.etag
                )
            )

        self._try(decided)

    def appeals(self) -> None:
        """A customer appeals what it was told of."""
        organization = self._scene.some_organization()
        admin = self._scene.world.person(organization.admin_id, organization.organization_id)
        cases = cases_pb2_grpc.CaseServiceStub(admin("safety_review"))
        told = self._try(lambda: cases.ListOwnCases(cases_pb2.ListOwnCasesRequest()))
        if isinstance(told, cases_pb2.ListOwnCasesResponse) and told.cases:
            case_id = self._seed.choice(list(told.cases)).case_id
            self._try(lambda: cases.AppealCase(cases_pb2.AppealCaseRequest(case_id=case_id, reason=_REASON)))

    def reopens_case(self) -> None:
        """Somebody opens a closed case again."""
        who = self._seed.choice(_CREW)
        case = self._some(who, _CLOSED)
        if case is not None:
            request = cases_pb2.ReopenCaseRequest(case_id=case.case_id, reason=_REASON, etag=case.etag)
            self._try(lambda: self._cases(who).ReopenCase(request))

    def _some(self, who: str, states: tuple["cases_pb2.CaseState.ValueType", ...]) -> cases_pb2.Case | None:
        listed = self._try(lambda: self._cases(who).ListCases(cases_pb2.ListCasesRequest()))
        if not isinstance(listed, cases_pb2.ListCasesResponse):
            return None
        found = [case for case in listed.cases if case.state in states]
        return self._seed.choice(found) if found else None

    def _try(self, act: Callable[[], object]) -> object:
        self._scene.world.leases("access_control")
        answer: object = self._scene.world.attempt(act)
        return answer

    def _cases(self, who: str) -> cases_pb2_grpc.CaseServiceStub:
        return cases_pb2_grpc.CaseServiceStub(self._scene.world.person(who)("safety_review"))
