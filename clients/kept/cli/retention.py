"""`kept retention` and `kept erasures`: what is due goes, and how far that is."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kept.cli import contract_terms
from kept.cli.arguments import Limit
from kept.cli.exits import Exit
from kept.cli.invocation import Invocation, group, verb
from kept.cli.signing_in import secret
from kept.client.errors import KeptError

if TYPE_CHECKING:
    from kept.retention.v1 import runs_pb2_grpc

_POLL_SECONDS = 1.0


def add_to(app: typer.Typer) -> None:
    """Adds both groups."""
    retention = group(app, "retention", "Retention runs: keys first, rows after, certificates last.")
    verb(retention, "plan")(plan)
    verb(retention, "run")(run)
    verb(retention, "runs")(runs)
    verb(retention, "show")(show)
    contract_terms.add_to(retention)
    erasures = group(app, "erasures", "The end of an organization's data.")
    verb(erasures, "show")(show_erasure)


def _stub(call: Invocation) -> "runs_pb2_grpc.RunServiceStub":
    from kept.retention.v1 import runs_pb2_grpc

    return runs_pb2_grpc.RunServiceStub(call.channel("retention"))


def _show(call: Invocation, response: Any) -> None:
    from kept.cli.output import sheet

    call.show(response, lambda: sheet(response.run))


def plan(call: Invocation) -> None:
    """What a run would do now, what holds and longer terms keep, and why. Changes nothing. Needs the power operator."""
    from kept.cli.output import table
    from kept.retention.v1 import runs_pb2

    response = _stub(call).PlanRun(runs_pb2.PlanRunRequest())
    columns = ["organization_id", "application", "day", "term", "records", "held", "holds"]
    longer = ["organization_id", "application", "day", "term", "records", "held", "due_at"]
    call.show(
        response,
        lambda: [
            f"Due by the default rule up to and including {response.through_day or 'no day'}",
            table(response.days, columns, "Nothing is due."),
            *(
                [table(response.kept_longer, longer, ""), "The last lines stay by their terms."]
                if response.kept_longer
                else []
            ),
            "There is more than is shown." if response.truncated else "",
        ],
    )


def run(
    call: Invocation,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it has ended; exit code 1 if nothing was certified.")
    ] = False,
) -> None:
    """Start a run, or show the one that is going on. Needs the power operator. The service also starts them by itself."""
    from kept.retention.v1 import runs_pb2

    stub = _stub(call)
    response = stub.StartRun(runs_pb2.StartRunRequest())
    ended = (runs_pb2.RUN_STATE_DONE, runs_pb2.RUN_STATE_NOT_CERTIFIED)
    while wait and response.run.state not in ended:
        time.sleep(_POLL_SECONDS)
        found = stub.GetRun(runs_pb2.GetRunRequest(run_id=response.run.run_id))
        response.run.CopyFrom(found.run)
    _show(call, response)
    if wait and response.run.state == runs_pb2.RUN_STATE_NOT_CERTIFIED:
        raise typer.Exit(Exit.REFUSED)


def runs(call: Invocation, limit: Limit = 100) -> None:
    """Runs, newest first."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.retention.v1 import runs_pb2

    response = pages(_stub(call).ListRuns, runs_pb2.ListRunsRequest(), limit)
    columns = [
        "run_id",
        "state",
        "through_day",
        "started_at",
        "ended_at",
        "days",
        ("gone", "days_dropped"),
        ("epochs", "epochs_destroyed"),
        ("removed", "records_removed"),
        ("held", "records_held"),
        "certificates",
    ]
    call.show(response, lambda: table(response.runs, columns, "There was no run."))


def show(
    call: Invocation, run_id: Annotated[str, typer.Argument(metavar="RUN", help="Run id, run_….")]
) -> None:
    """One run."""
    from kept.retention.v1 import runs_pb2

    _show(call, _stub(call).GetRun(runs_pb2.GetRunRequest(run_id=run_id)))


def show_erasure(
    call: Invocation,
    erasure: Annotated[
        str, typer.Argument(metavar="[ERASURE]", help="Erasure id, erasure_…. For operators and auditors.")
    ] = "",
    claim: Annotated[
        str,
        typer.Option(
            "--claim", metavar="CLAIM", help="The claim shown at confirmation; - to be asked for it."
        ),
    ] = "",
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="With --claim: write the certificate there."),
    ] = None,
) -> None:
    """Where an erasure is. With the claim that was shown when the deletion was confirmed, no sign-in is needed.

    With --claim -, the claim is asked for, or taken from $KEPT_CLAIM. Check the certificate with `kept certificates verify FILE`.
    """
    from kept.cli.output import sheet
    from kept.retention.v1 import erasures_pb2, erasures_pb2_grpc

    if bool(erasure) == bool(claim):
        raise typer.BadParameter("name the erasure (ERASURE), or give the claim (--claim CLAIM).")
    if erasure:
        if certificate is not None:
            raise typer.BadParameter("--certificate goes with --claim; by id: kept certificates get ID.")
        stub = erasures_pb2_grpc.ErasureServiceStub(call.channel("retention"))
        response = stub.GetErasure(erasures_pb2.GetErasureRequest(erasure_id=erasure))
        call.show(response, lambda: sheet(response.erasure))
        return
    claim = secret("KEPT_CLAIM", "Claim").strip() if claim == "-" else claim
    stub = erasures_pb2_grpc.ErasureServiceStub(call.public_channel("retention"))
    claimed = stub.GetErasureByClaim(erasures_pb2.GetErasureByClaimRequest(claim=claim))
    call.show(claimed, lambda: sheet(claimed.erasure))
    if certificate is not None:
        if not claimed.certificate:
            raise KeptError("WRONG_STATE", "The certificate is not signed yet.")
        write_file(call, certificate, claimed.certificate)


def write_file(call: Invocation, file: Path, content: bytes) -> None:
    """Writes what was asked for; "-" is stdout."""
    if str(file) == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        file.write_bytes(content)
    except OSError as error:
        raise KeptError("UNREADABLE", f"{file} cannot be written: {error.strerror}.") from None
    call.note(f"Written to {file}.")
