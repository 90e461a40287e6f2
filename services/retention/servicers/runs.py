"""kept.retention.v1.RunService."""

import grpc

from kept.retention.v1 import runs_pb2, runs_pb2_grpc
from services.retention.runs.plans import Planner
from services.retention.runs.runs import Runs
from services.retention.runs.states import Progress, Run
from services.retention.servicers import messages
from services.retention.store import runs as rows
from shared.database import Database
from shared.errors import not_found
from shared.pages import page
from shared.pipeline import caller_of


class RunServicer(runs_pb2_grpc.RunServiceServicer):
    """Retention runs, for operators and auditors."""

    def __init__(self, runs: Runs, planner: Planner, database: Database) -> None:
        self._runs = runs
        self._planner = planner
        self._database = database

    def PlanRun(
        self, request: runs_pb2.PlanRunRequest, context: grpc.ServicerContext
    ) -> runs_pb2.PlanRunResponse:
        plan = self._planner.plan()
        return runs_pb2.PlanRunResponse(
            through_day=plan.through_day.isoformat(),
            days=[messages.planned_day(each) for each in plan.days],
            kept_longer=[messages.planned_day(each) for each in plan.kept_longer],
            truncated=plan.is_truncated,
        )

    def StartRun(
        self, request: runs_pb2.StartRunRequest, context: grpc.ServicerContext
    ) -> runs_pb2.StartRunResponse:
        return runs_pb2.StartRunResponse(run=self._message(self._runs.start(caller_of(context).actor)))

    def GetRun(
        self, request: runs_pb2.GetRunRequest, context: grpc.ServicerContext
    ) -> runs_pb2.GetRunResponse:
        with self._database.transaction() as tx:
            found = rows.get(tx, request.run_id)
        if found is None:
            raise not_found("run")
        return runs_pb2.GetRunResponse(run=self._message(found))

    def _message(self, run: Run) -> runs_pb2.Run:
        with self._database.transaction() as tx:
            return messages.run(run, rows.progress(tx, [run.run_id]).get(run.run_id, Progress()))

    def ListRuns(
        self, request: runs_pb2.ListRunsRequest, context: grpc.ServicerContext
    ) -> runs_pb2.ListRunsResponse:
        with self._database.transaction() as tx:
            found, token = page(
                "runs",
                request.page_size,
                request.page_token,
                lambda before, limit: rows.page(tx, before or None, limit),
                lambda one: one.number,
            )
            so_far = rows.progress(tx, [one.run_id for one in found])
        listed = [messages.run(one, so_far.get(one.run_id, Progress())) for one in found]
        return runs_pb2.ListRunsResponse(runs=listed, next_page_token=token)
