"""Against real gRPC servers: tokens, deadlines, typed failures, streams that are opened again, recording over mTLS."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from deploy.local.authority import Authority
from kept.access_control.v1 import grants_pb2, grants_pb2_grpc
from kept.client.connection import Calls, Connection, channel_options, is_public, repeatable
from kept.client.errors import KeptError
from kept.client.profile import load
from kept.client.reading import pages, read_records
from kept.client.recorder import Recorder, batches
from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc, interactions_pb2, read_pb2, read_pb2_grpc
from kept.safety_review.v1 import evaluation_pb2, evaluation_pb2_grpc
from kept.settings.v1 import zero_data_retention_pb2, zero_data_retention_pb2_grpc
from shared import errors as service_errors
from shared.channels import CHANNEL_OPTIONS
from shared.errors import Reason


@contextmanager
def serving(
    add: Callable[[grpc.Server], object], credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """A server on the loopback interface; gives its address."""
    server = grpc.server(ThreadPoolExecutor(4))
    add(server)
    port = (
        server.add_insecure_port("127.0.0.1:0")
        if credentials is None
        else server.add_secure_port("127.0.0.1:0", credentials)
    )
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def fail(context: grpc.ServicerContext, error: service_errors.KeptError) -> None:
    context.abort_with_status(service_errors.to_status(error, "correlation-1"))


class Grants(grants_pb2_grpc.GrantServiceServicer):
    """Takes the token "good" alone; remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []
        self.time_left: float | None = None
        self.error: service_errors.KeptError | None = None

    def _check(self, context: grpc.ServicerContext) -> None:
        token = dict(context.invocation_metadata()).get("authorization")
        self.seen.append(None if token is None else str(token))
        self.time_left = context.time_remaining()
        if token != "Bearer good":
            fail(context, service_errors.KeptError(Reason.REASON_UNAUTHENTICATED, "Sign in again."))
        if self.error is not None:
            fail(context, self.error)

    def GetGrant(
        self, request: grants_pb2.GetGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.GetGrantResponse:
        self._check(context)
        return grants_pb2.GetGrantResponse(grant=grants_pb2.Grant(grant_id=request.grant_id))

    def WatchGrant(
        self, request: grants_pb2.WatchGrantRequest, context: grpc.ServicerContext
    ) -> Iterator[grants_pb2.WatchGrantResponse]:
        self._check(context)
        yield grants_pb2.WatchGrantResponse(grant=grants_pb2.Grant(grant_id=request.grant_id))


@contextmanager
def grants(
    servicer: Grants, token: Callable[[bool], str], **options: float
) -> Iterator[grants_pb2_grpc.GrantServiceStub]:
    def add(server: grpc.Server) -> None:
        grants_pb2_grpc.add_GrantServiceServicer_to_server(servicer, server)

    with serving(add) as address, grpc.insecure_channel(address) as plain:
        yield grants_pb2_grpc.GrantServiceStub(
            grpc.intercept_channel(plain, Calls("access_control", token, **options))
        )


def test_a_refused_token_is_replaced_once() -> None:
    servicer = Grants()  # type: ignore[abstract] # the stubs ask for every method
    with grants(servicer, lambda fresh: "good" if fresh else "old") as stub:
        assert stub.GetGrant(grants_pb2.GetGrantRequest(grant_id="g")).grant.grant_id == "g"
        watched = [
            answer.grant.grant_id for answer in stub.WatchGrant(grants_pb2.WatchGrantRequest(grant_id="w"))
        ]
    assert watched == ["w"]
    assert servicer.seen == ["Bearer old", "Bearer good"] * 2


@pytest.mark.parametrize("method", ["GetGrant", "WatchGrant"])
def test_a_token_that_stays_refused_is_told(method: str) -> None:
    servicer = Grants()  # type: ignore[abstract] # the stubs ask for every method
    with grants(servicer, lambda _: "bad") as stub, pytest.raises(KeptError) as failed:
        answer: Any = getattr(stub, method)(grants_pb2.GetGrantRequest(grant_id="g"))
        list(answer)
    assert failed.value.reason == "UNAUTHENTICATED"
    assert len(servicer.seen) == 2


def test_a_service_failure_arrives_whole() -> None:
    servicer = Grants()  # type: ignore[abstract] # the stubs ask for every method
    servicer.error = service_errors.KeptError(
        Reason.REASON_INVALID_ARGUMENT,
        "A field is wrong.",
        metadata={"kind": "x"},
        fields=[("grant_id", "no such form")],
        retry_after=timedelta(seconds=1.5),
    )
    with grants(servicer, lambda _: "good") as stub, pytest.raises(KeptError) as failed:
        stub.GetGrant(grants_pb2.GetGrantRequest())
    error = failed.value
    assert (error.reason, error.text, error.status) == (
        "INVALID_ARGUMENT",
        "A field is wrong.",
        "INVALID_ARGUMENT",
    )
    assert (error.metadata, error.fields) == ({"kind": "x"}, (("grant_id", "no such form"),))
    assert (error.retry_after, error.correlation_id) == (timedelta(seconds=1.5), "correlation-1")
    assert error.service == "access_control"


def test_every_call_has_a_deadline_and_streams_have_none() -> None:
    servicer = Grants()  # type: ignore[abstract] # the stubs ask for every method
    with grants(servicer, lambda _: "good", deadline=7.0) as stub:
        stub.GetGrant(grants_pb2.GetGrantRequest())
        assert servicer.time_left is not None
        assert 5 < servicer.time_left < 8
        list(stub.WatchGrant(grants_pb2.WatchGrantRequest()))
        # No deadline is centuries away on the wire.
        left: Any = servicer.time_left
        assert left is None or left > 10**6


def test_public_methods_are_called_without_a_token() -> None:
    class Commitments(zero_data_retention_pb2_grpc.ZeroDataRetentionServiceServicer):
        def GetAdditionalCommitments(
            self, request: Any, context: grpc.ServicerContext
        ) -> zero_data_retention_pb2.GetAdditionalCommitmentsResponse:
            seen.append("authorization" in dict(context.invocation_metadata()))
            return zero_data_retention_pb2.GetAdditionalCommitmentsResponse()

    seen: list[bool] = []

    def add(server: grpc.Server) -> None:
        zero_data_retention_pb2_grpc.add_ZeroDataRetentionServiceServicer_to_server(
            Commitments(),  # type: ignore[abstract]
            server,
        )

    with serving(add) as address, grpc.insecure_channel(address) as plain:
        channel = grpc.intercept_channel(plain, Calls("settings", lambda _: "good"))
        zero_data_retention_pb2_grpc.ZeroDataRetentionServiceStub(channel).GetAdditionalCommitments(
            zero_data_retention_pb2.GetAdditionalCommitmentsRequest()
        )
    assert seen == [False]
    assert is_public("/grpc.health.v1.Health/Check")
    assert not is_public("/kept.access_control.v1.GrantService/GetGrant")


def test_only_what_may_be_repeated_is_retried() -> None:
    methods = {method for _, method in repeatable("access_control")}
    assert {"ListGrants", "GetMe", "GetTreeHead"} <= methods
    assert "RequestGrant" in methods, "by its request id it happens once"
    assert not {"ApproveGrant", "RevokeGrant", "WatchGrant", "DestroyEpochs"} & methods
    assert "timeout" not in dict(channel_options("access_control", "host:1"))["grpc.service_config"]


class Leaving(grants_pb2_grpc.GrantServiceServicer):
    """Says first what a server that stops says of a call that it has just taken."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self.calls = 0
        self._code = code

    def ListGrants(
        self, request: grants_pb2.ListGrantsRequest, context: grpc.ServicerContext
    ) -> grants_pb2.ListGrantsResponse:
        self.calls += 1
        if self.calls == 1:
            context.abort(self._code, "")
        return grants_pb2.ListGrantsResponse()


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
@pytest.mark.parametrize("options", ["people", "services"])
def test_a_call_that_a_stopping_server_had_just_taken_is_made_again(
    code: grpc.StatusCode, options: str
) -> None:
    servicer = Leaving(code)  # type: ignore[abstract]

    def add(server: grpc.Server) -> None:
        grants_pb2_grpc.add_GrantServiceServicer_to_server(servicer, server)

    with serving(add) as address:
        given = CHANNEL_OPTIONS if options == "services" else channel_options("access_control", address)
        with grpc.insecure_channel(address, options=given) as channel:
            grants_pb2_grpc.GrantServiceStub(channel).ListGrants(grants_pb2.ListGrantsRequest(), timeout=5)
    assert servicer.calls == 2


def test_nobody_at_the_address(profile_file: Path) -> None:
    authority = Authority(profile_file.parent / "ca", trust_domain="kept.test", environment="local")
    (profile_file.parent / "ca.crt").write_bytes(authority.certificate.read_bytes())
    stub_of = zero_data_retention_pb2_grpc.ZeroDataRetentionServiceStub
    with Connection(load(profile_file), None) as connection, pytest.raises(KeptError) as failed:
        stub_of(connection.channel("settings")).GetAdditionalCommitments(
            zero_data_retention_pb2.GetAdditionalCommitmentsRequest()
        )
    assert (failed.value.reason, failed.value.unreachable) == ("NOT_REACHABLE", True)


class Reads(read_pb2_grpc.ReadServiceServicer):
    """Ten records; the stream ends with UNAVAILABLE after every fourth."""

    def ReadInteractions(
        self, request: read_pb2.ReadInteractionsRequest, context: grpc.ServicerContext
    ) -> Iterator[read_pb2.ReadInteractionsResponse]:
        first = int(request.cursor or 0)
        for number in range(first + 1, 11):
            if number == first + 5:
                context.abort(grpc.StatusCode.UNAVAILABLE, "connection age")
            yield read_pb2.ReadInteractionsResponse(
                record=read_pb2.InteractionRecord(prompt_tokens=number), cursor=str(number)
            )


def test_a_broken_stream_is_resumed_after_its_cursor() -> None:
    def add(server: grpc.Server) -> None:
        read_pb2_grpc.add_ReadServiceServicer_to_server(
            Reads(),  # type: ignore[abstract]
            server,
        )

    waits: list[float] = []
    with serving(add) as address, grpc.insecure_channel(address) as plain:
        stub = read_pb2_grpc.ReadServiceStub(grpc.intercept_channel(plain, Calls("logging", None)))
        request = read_pb2.ReadInteractionsRequest()
        read = [
            answer.record.prompt_tokens
            for answer in read_records(stub, request, pauses=[0.25], wait=waits.append)
        ]
    assert read == list(range(1, 11))
    assert waits == [0.25, 0.25]  # each success begins the pauses anew


class Follows(read_pb2_grpc.ReadServiceServicer):
    """A following read: opened again, it begins a record before the last."""

    def ReadInteractions(
        self, request: read_pb2.ReadInteractionsRequest, context: grpc.ServicerContext
    ) -> Iterator[read_pb2.ReadInteractionsResponse]:
        first = max(0, int(request.cursor or 0) - 1)
        records = [read_pb2.InteractionRecord(record_id=bytes([0] * 15 + [number])) for number in range(1, 9)]
        size = request.batch_size or 1
        for begin in range(first, min(first + 4, 8), size):
            batch = records[begin : begin + size]
            answer = read_pb2.ReadInteractionsResponse(cursor=str(begin + len(batch)))
            if request.batch_size:
                answer.records.extend(batch)
            else:
                answer.record.CopyFrom(batch[0])
            yield answer
        if first + 4 < 8:
            context.abort(grpc.StatusCode.UNAVAILABLE, "connection age")


@pytest.mark.parametrize("batch_size", [0, 1, 2])
def test_a_following_read_that_is_opened_again_brings_nothing_twice(batch_size: int) -> None:
    def add(server: grpc.Server) -> None:
        read_pb2_grpc.add_ReadServiceServicer_to_server(
            Follows(),  # type: ignore[abstract]
            server,
        )

    with serving(add) as address, grpc.insecure_channel(address) as plain:
        stub = read_pb2_grpc.ReadServiceStub(grpc.intercept_channel(plain, Calls("logging", None)))
        request = read_pb2.ReadInteractionsRequest(follow=True, batch_size=batch_size)
        read = [
            record.record_id[-1]
            for answer in read_records(stub, request, pauses=[0.25], wait=lambda _: None)
            for record in (answer.records or [answer.record])
        ]
    assert read == list(range(1, 9))


def test_pages_are_joined_up_to_the_limit() -> None:
    asked: list[tuple[int, str]] = []

    def call(request: grants_pb2.ListGrantsRequest) -> grants_pb2.ListGrantsResponse:
        asked.append((request.page_size, request.page_token))
        first = int(request.page_token or 0)
        return grants_pb2.ListGrantsResponse(
            grants=[grants_pb2.Grant(grant_id=str(first + n)) for n in range(2)],
            next_page_token=str(first + 2) if first < 4 else "",
        )

    whole = pages(call, grants_pb2.ListGrantsRequest(), 100)
    assert ([grant.grant_id for grant in whole.grants], whole.next_page_token) == (list("012345"), "")
    assert asked == [(100, ""), (98, "2"), (96, "4")]
    assert pages(call, grants_pb2.ListGrantsRequest(), 3).next_page_token == "4"


def test_an_empty_page_is_not_the_last_unless_it_says_so() -> None:
    """A filter may leave nothing of a page; what comes behind it is still asked for, and an empty list is one of a filter that matched
    nothing."""
    page, one = read_pb2.ListInteractionsResponse, read_pb2.InteractionRecord(model="m")
    left = [
        page(next_page_token="a"),
        page(records=[one], next_page_token="b"),
        page(next_page_token="c"),
        page(),
    ]
    whole = pages(lambda _: left.pop(0), read_pb2.ListInteractionsRequest(), 100)
    assert ([record.model for record in whole.records], whole.next_page_token, left) == (["m"], "", [])
    left = [page(next_page_token="a"), page()]
    assert not pages(lambda _: left.pop(0), read_pb2.ListInteractionsRequest(), 100).records


class Ingest(ingest_pb2_grpc.IngestServiceServicer):
    """Stores; the first stream breaks after `answers` batches, the batch after that being stored and not answered."""

    def __init__(self, answers: int, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self._code = code
        self.stored: list[bytes] = []
        self.reports: list[str] = []
        self.identities: set[bytes] = set()
        self._answers = answers
        self._broken = False

    def RecordInteractions(
        self, request_iterator: Iterator[ingest_pb2.RecordInteractionsRequest], context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.RecordInteractionsResponse]:
        found: Any = context.auth_context().get("peer_spiffe_id", ())
        self.identities |= set(found)
        for count, batch in enumerate(request_iterator):
            receipts = []
            for interaction in batch.interactions:
                known = interaction.record_id in self.stored
                if not known:
                    self.stored.append(interaction.record_id)
                receipts.append(
                    ingest_pb2.Receipt(
                        record_id=interaction.record_id,
                        outcome=ingest_pb2.OUTCOME_DUPLICATE if known else ingest_pb2.OUTCOME_STORED,
                    )
                )
            if not self._broken and count == self._answers:
                self._broken = True
                context.abort(self._code, "shutting down")
            yield ingest_pb2.RecordInteractionsResponse(receipts=receipts)

    def ReportUsage(
        self, request: ingest_pb2.ReportUsageRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.ReportUsageResponse:
        self.reports.append(request.request_id)
        if len(self.reports) == self._answers or not self._answers:
            context.abort(self._code, "shutting down")
        return ingest_pb2.ReportUsageResponse(duplicate=request.request_id in self.reports[:-1])


@contextmanager
def recording(tmp_path: Path, servicer: Ingest, pauses: list[float]) -> Iterator[Recorder]:
    authority = Authority(tmp_path / "ca", trust_domain="kept.test", environment="local")
    server, gateway = authority.issue("logging", serves=True), authority.issue("gateway/chat", serves=False)
    credentials = grpc.ssl_server_credentials(
        [(server.key.read_bytes(), server.certificate.read_bytes())], server.authority.read_bytes(), True
    )

    def add(made: grpc.Server) -> None:
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(servicer, made)

    with (
        serving(add, credentials) as address,
        Recorder(
            address,
            gateway.certificate,
            gateway.key,
            gateway.authority,
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            pauses=pauses,
            wait=lambda _: None,
        ) as recorder,
    ):
        yield recorder


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_what_was_not_answered_is_sent_again_and_stored_once(tmp_path: Path, code: grpc.StatusCode) -> None:
    servicer = Ingest(answers=1, code=code)  # type: ignore[abstract]
    given = [interactions_pb2.Interaction(model=str(number)) for number in range(2400)]
    with recording(tmp_path, servicer, [0.1]) as recorder:
        receipts = recorder.record(given)
    assert (
        [receipt.record_id for receipt in receipts] == [each.record_id for each in given] == servicer.stored
    )
    outcomes = [receipt.outcome for receipt in receipts]
    assert outcomes == (
        [ingest_pb2.OUTCOME_STORED] * 1000
        + [ingest_pb2.OUTCOME_DUPLICATE] * 1000
        + [ingest_pb2.OUTCOME_STORED] * 400
    )
    assert servicer.identities == {b"spiffe://kept.test/gateway/chat"}


def test_a_report_that_was_not_answered_is_sent_again_with_its_id(tmp_path: Path) -> None:
    servicer = Ingest(answers=1)  # type: ignore[abstract]
    report = ingest_pb2.ReportUsageRequest(organization_id="org_" + "a" * 26)
    with recording(tmp_path, servicer, [0.1]) as recorder:
        assert recorder.report_usage(report) is True  # it had arrived
        assert servicer.reports == [report.request_id] * 2
        assert recorder.report_usage(report) is True
    assert len(report.request_id) == 32
    with recording(tmp_path, Ingest(answers=0), []) as recorder, pytest.raises(KeptError):  # type: ignore[abstract]
        recorder.report_usage(report)


def test_a_service_that_stays_away_is_told(tmp_path: Path) -> None:
    servicer = Ingest(answers=0)  # type: ignore[abstract]
    with recording(tmp_path, servicer, []) as recorder, pytest.raises(KeptError) as failed:
        recorder.record([interactions_pb2.Interaction()])
    assert failed.value.unreachable


def test_a_record_that_is_too_large_costs_no_other(tmp_path: Path) -> None:
    text = interactions_pb2.Part(text="x" * (6 * 1024 * 1024))
    large = interactions_pb2.Interaction(
        content=interactions_pb2.InteractionContent(prompt=[interactions_pb2.Message(parts=[text])])
    )
    servicer = Ingest(answers=99)  # type: ignore[abstract]
    with recording(tmp_path, servicer, []) as recorder:
        receipts = recorder.record([interactions_pb2.Interaction(), large, interactions_pb2.Interaction()])
    assert [receipt.outcome for receipt in receipts] == [
        ingest_pb2.OUTCOME_STORED,
        ingest_pb2.OUTCOME_REFUSED,
        ingest_pb2.OUTCOME_STORED,
    ]
    assert receipts[1].reason == reasons_pb2.REASON_TOO_LARGE


def test_batches_are_bounded_by_count_and_size() -> None:
    mebibyte = 1024 * 1024
    sizes = [(0, 3 * mebibyte), (1, 2 * mebibyte), (2, 1), (3, 5 * mebibyte), (4, 1)]
    assert list(batches(sizes)) == [[0], [1, 2], [3], [4]]
    assert [len(batch) for batch in batches((n, 10) for n in range(2200))] == [1000, 1000, 200]


class Sets(evaluation_pb2_grpc.EvaluationServiceServicer):
    """Counts what is handed in, for the token "good" alone."""

    def BuildSet(
        self, request_iterator: Iterator[evaluation_pb2.BuildSetRequest], context: grpc.ServicerContext
    ) -> evaluation_pb2.BuildSetResponse:
        if dict(context.invocation_metadata()).get("authorization") != "Bearer good":
            fail(context, service_errors.KeptError(Reason.REASON_UNAUTHENTICATED, "Sign in again."))
        handed = sum(len(request.records) for request in request_iterator)
        manifest = evaluation_pb2.SetManifest(needed_organizations=handed)
        return evaluation_pb2.BuildSetResponse(manifest=manifest)


@pytest.mark.parametrize(
    ("token", "fresh", "asked"),
    [("good", "never", [False]), ("old", "good", [False, True]), ("old", "older", [False, True])],
)
def test_many_requests_with_one_answer_bear_the_token_which_is_replaced_once(
    token: str, fresh: str, asked: list[bool]
) -> None:
    servicer = Sets()  # type: ignore[abstract]  # the stubs ask for every method
    record = evaluation_pb2.SetRecord(case_id="case_x")
    with serving(
        lambda server: evaluation_pb2_grpc.add_EvaluationServiceServicer_to_server(servicer, server)
    ) as address:
        told: list[bool] = []

        def give(anew: bool) -> str:
            told.append(anew)
            return fresh if anew else token

        channel = grpc.intercept_channel(grpc.insecure_channel(address), Calls("safety_review", give))
        stub = evaluation_pb2_grpc.EvaluationServiceStub(channel)
        messages = [evaluation_pb2.BuildSetRequest(records=[record]) for _ in range(3)]
        if "good" in (token, fresh):
            assert stub.BuildSet(iter(messages)).manifest.needed_organizations == 3
        else:
            with pytest.raises(KeptError) as refused:
                stub.BuildSet(iter(messages))
            assert refused.value.reason == "UNAUTHENTICATED"
        assert told == asked
