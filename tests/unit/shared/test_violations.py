"""What a request's contract forbids: all of it is told of a small request; of a large one no more than costs nothing."""

from unittest import mock

import grpc
import protovalidate
import pytest

from kept.logging.v1 import ingest_pb2
from shared.errors import KeptError, Reason
from shared.identity import Caller, CallerKind
from shared.inprocess import InProcess
from shared.service import Service

SERVICE, NAME = "kept.logging.v1.IngestService", "ReportUsage"


def faults(counts: int, monkeypatch: pytest.MonkeyPatch) -> tuple[KeptError, int]:
    """How a report with so many counts that say nothing is refused, and how many violations were made for that."""
    made = 0
    collect = protovalidate.collect_violations

    def counted(*args: object, **kwargs: object) -> list[protovalidate.Violation]:
        nonlocal made
        found = collect(*args, **kwargs)  # type: ignore[arg-type]
        made += len(found)
        return found

    monkeypatch.setattr(protovalidate, "collect_violations", counted)
    handler = grpc.unary_unary_rpc_method_handler(
        lambda *_: ingest_pb2.ReportUsageResponse(),
        ingest_pb2.ReportUsageRequest.FromString,
        ingest_pb2.ReportUsageResponse.SerializeToString,
    )
    handlers = grpc.method_handlers_generic_handler(SERVICE, {NAME: handler})
    authority = mock.Mock()
    authority.authorize_gateway = lambda caller, _method: caller
    service = Service(
        register=lambda registrar: registrar.add_generic_rpc_handlers((handlers,)),
        jobs=[],
        authority=authority,
    )
    call = (
        InProcess(service)
        .channel(Caller(CallerKind.GATEWAY, name="demo"))
        .unary_unary(
            f"/{SERVICE}/{NAME}",
            ingest_pb2.ReportUsageRequest.SerializeToString,
            ingest_pb2.ReportUsageResponse.FromString,
        )
    )
    request = ingest_pb2.ReportUsageRequest(request_id="request-1", organization_id="org_" + "1" * 26)
    for _ in range(counts):
        request.counts.add()
    with pytest.raises(KeptError) as refused:
        call(request)
    return refused.value, made


def test_of_a_small_request_all_faults_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    refused, _ = faults(3, monkeypatch)
    assert refused.reason == Reason.REASON_INVALID_ARGUMENT
    assert {path.partition(".")[0] for path, _ in refused.fields} == {"counts[0]", "counts[1]", "counts[2]"}


def test_of_a_large_request_no_more_faults_are_looked_for_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    refused, made = faults(20_000, monkeypatch)
    assert refused.reason == Reason.REASON_INVALID_ARGUMENT
    assert len(refused.fields) == made == 1
