"""Chapter 7: what nothing holds is made unreadable everywhere, removed, and certified."""

import json
import re
from datetime import timedelta
from typing import Any

from deploy.local.story.plot import Plot
from kept.access_control.v1 import grants_pb2
from kept.client.errors import KeptError
from kept.logging.v1 import read_pb2, read_pb2_grpc
from kept.options.v1 import roles_pb2
from kept.retention.v1 import certificates_pb2, certificates_pb2_grpc, runs_pb2, runs_pb2_grpc


def play(plot: Plot) -> None:
    """See the module."""
    tell, stack = plot.tell, plot.stage.stack
    with tell.working("copying the databases as they are now"):
        copy = stack.back_up_databases("before-the-run")
    with tell.working("starting the copy beside the stack"), stack.serving_copy(copy) as serving:
        opened, total = try_open(plot, serving.url("access_control"), serving.password("access_control"))
    tell.require(
        f"before the run a copy of access control's database opens {opened} of {total} keys",
        opened == total > 0,
    )

    stack.travel(timedelta(days=31))
    tell.say("The clock travels 31 days; leases drop, and everybody signs in again.")
    plot.poll("operators can act again", lambda: _powers(plot), patience=30)
    run = _run(plot)
    tell.require(
        f"the run ends: {run.records_removed} records removed, {run.records_held} held, "
        f"{run.epochs_destroyed} days' keys destroyed",
        run.state == runs_pb2.RUN_STATE_DONE and run.epochs_destroyed > 0 and run.records_removed > 0,
        runs_pb2.RunState.Name(run.state),
    )
    with tell.working("starting the copy beside the stack"), stack.serving_copy(copy) as serving:
        opened, total = try_open(plot, serving.url("access_control"), serving.password("access_control"))
    tell.expect(f"after the run the same copy opens {opened} of {total}", opened == 0 and total > 0)
    opened, total = try_open(plot, "", {})
    tell.expect(f"while the live database opens every survivor: {opened} of {total}", opened == total > 0)
    _survivors(plot)
    _certificate(plot)


def try_open(plot: Plot, url: str, environment: dict[str, str]) -> tuple[int, int]:
    """How many of the wrapped keys in a copy of access control's database (or the live one) the live key store opens."""
    arguments = ["try-open", "--database", url] if url else ["try-open"]
    printed = plot.stage.stack.command("access_control", *arguments, environment=environment)
    found = re.search(r"(\d+)/(\d+)", printed)
    if found is None:
        raise KeptError("INTERNAL", "try-open printed no numbers")
    return int(found[1]), int(found[2])


def _powers(plot: Plot) -> bool:
    try:
        plot.power("olga", "omar", roles_pb2.POWER_OPERATOR, "monthly look at retention")
    except KeptError as error:
        if error.unreachable:
            return False
        raise
    return True


def _run(plot: Plot) -> Any:
    """The run that makes the story's records go: started by the operator, or already by the service's own scheduler."""
    operating = plot.stage.staff("olga").stub(runs_pb2_grpc.RunServiceStub)
    ended = (runs_pb2.RUN_STATE_DONE, runs_pb2.RUN_STATE_NOT_CERTIFIED)

    def finished() -> Any:
        try:
            operating.StartRun(runs_pb2.StartRunRequest())
            runs = operating.ListRuns(runs_pb2.ListRunsRequest()).runs
        except KeptError as error:
            if error.unreachable:
                return None
            raise
        return next((run for run in runs if run.state in ended and run.epochs_destroyed), None)

    return plot.poll("the retention run", finished, patience=60)


def _survivors(plot: Plot) -> None:
    customer = plot.customers["saas"]
    scope = grants_pb2.DataScope(
        organization_id=customer.organization_id, detail=grants_pb2.DETAIL_MASKED, budget=len(plot.sent) + 1
    )
    request = plot.asking("what is left after the term", timedelta(minutes=30), data=scope)
    request.purpose = grants_pb2.PURPOSE_ENGINEERING_SUPPORT
    grant = plot.grant("emma", "elias", request)
    reading = plot.stage.staff("emma").stub(read_pb2_grpc.ReadServiceStub)
    read = read_pb2.ReadInteractionsRequest(
        grant_id=grant.grant_id, organization_id=customer.organization_id, detail=grants_pb2.DETAIL_MASKED
    )
    records = [answer.record for answer in reading.ReadInteractions(read)]
    survivors = sorted({*plot.flagged, plot.held})
    plot.tell.expect(
        f"the {len(survivors)} flagged and held records, and nothing else, can be read under a grant",
        sorted(record.record_id for record in records) == survivors
        and all(record.HasField("content") and not record.unreadable for record in records),
        f"{len(records)} read",
    )
    gone = next(one.record_id for one in plot.sent if one.record_id not in survivors)
    read.filter.record_ids.append(gone)
    plot.tell.refused("a record that is gone", lambda: list(reading.ReadInteractions(read)), "OUTSIDE_SCOPE")


def _certificate(plot: Plot) -> None:
    customer = plot.customers["saas"]
    reading = plot.admin("saas").stub(certificates_pb2_grpc.CertificateServiceStub)
    listed = plot.poll(
        "the certificate",
        lambda: list(
            reading.ListCertificates(
                certificates_pb2.ListCertificatesRequest(organization_id=customer.organization_id)
            ).certificates
        ),
    )
    got = reading.GetCertificate(
        certificates_pb2.GetCertificateRequest(certificate_id=listed[0].certificate_id)
    )
    file = plot.stage.stack.layout.directory / "certificate-of-deletion.json"
    file.write_bytes(got.envelope)
    plot.tell.expect(
        "the customer's certificate verifies offline: kept certificates verify FILE",
        plot.stage.kept("certificates", "verify", str(file)).returncode == 0,
    )
    changed = plot.stage.stack.layout.directory / "certificate-changed.json"
    envelope = json.loads(got.envelope)
    name = envelope["body"]["certificate_id"]
    envelope["body"]["certificate_id"] = name[:-1] + ("1" if name.endswith("0") else "0")
    changed.write_text(json.dumps(envelope))
    plot.tell.expect(
        "a copy with one character changed does not",
        plot.stage.kept("certificates", "verify", str(changed)).returncode == 4,
    )
