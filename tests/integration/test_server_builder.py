"""What the server builder promises, over real sockets and TLS."""

import io
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from deploy.local.ports import free_ports
from kept.options.v1 import callers_pb2
from kept.safety_review.v1 import detectors_pb2, detectors_pb2_grpc
from shared import callers
from shared.call_threads import CALLS_PER_WORKER
from shared.errors import KeptError, Reason, from_rpc_error
from shared.identity import Caller, CallerKind, CertificateIdentity
from shared.silence import LONGEST_SILENCE
from tests.support.server import TRUST_DOMAIN, Running, running

pytestmark = pytest.mark.integration
CANARY = "zebracanary-in-an-exception"
OK = grpc.StatusCode.OK
WORKERS = 2
MOST = WORKERS * CALLS_PER_WORKER
METHOD = "/kept.safety_review.v1.DetectorService/ListRules"


def staff(subject: str = "sam") -> Any:
    return lambda _context: Caller(CallerKind.STAFF, issuer="test", subject=subject)


def people_channel(server: Running) -> grpc.Channel:
    return grpc.secure_channel(
        server.address, grpc.ssl_channel_credentials(server.config.tls.authority.read_bytes())
    )


def refusal(error: grpc.RpcError) -> KeptError:
    return from_rpc_error(error, "safety_review")


def answer(_context: Any) -> detectors_pb2.ListRulesResponse:
    return detectors_pb2.ListRulesResponse(rules_version="7")


def test_declared_staff_are_served_and_a_service_that_is_not_declared_is_refused(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running(tmp_path, answer, port=port, identify=staff()) as server, people_channel(server) as channel:
        stub = detectors_pb2_grpc.DetectorServiceStub(channel)
        assert stub.ListRules(detectors_pb2.ListRulesRequest(), timeout=10).rules_version == "7"
    (port,) = free_ports(1)
    with running(tmp_path, answer, port=port) as server:
        channels = server.channels("logging")
        with pytest.raises(KeptError) as refused:
            detectors_pb2_grpc.DetectorServiceStub(channels.connect("safety_review")).ListRules(
                detectors_pb2.ListRulesRequest()
            )
        channels.close()
        assert refused.value.reason == Reason.REASON_CALLER_NOT_ALLOWED


def test_a_client_without_certificate_does_not_reach_the_port_for_services(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running(tmp_path, answer, port=port) as server, people_channel(server) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            detectors_pb2_grpc.DetectorServiceStub(channel).ListRules(
                detectors_pb2.ListRulesRequest(), timeout=10
            )
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_message_that_cannot_be_parsed_is_the_callers_fault(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running(tmp_path, answer, port=port, identify=staff()) as server, people_channel(server) as channel:
        raw = channel.unary_unary(METHOD, lambda data: data, lambda data: data)
        with pytest.raises(grpc.RpcError) as refused:
            raw(b"\xff\xff\xff", timeout=10)
        assert refusal(refused.value).reason == Reason.REASON_MALFORMED_MESSAGE
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


class _Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError(CANARY)


@pytest.mark.parametrize("failure", [ValueError(CANARY), _Unprintable(), KeyError(CANARY * 2000)])
def test_an_exceptions_text_never_leaves_the_process(
    tmp_path: Path, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(file=written), cache_logger_on_first_use=False
    )

    def fail(_context: Any) -> detectors_pb2.ListRulesResponse:
        raise failure

    (port,) = free_ports(1)
    with running(tmp_path, fail, port=port, identify=staff()) as server, people_channel(server) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            detectors_pb2_grpc.DetectorServiceStub(channel).ListRules(
                detectors_pb2.ListRulesRequest(), timeout=10
            )
        structlog.reset_defaults()
        failed: Any = refused.value
        status = rpc_status.from_call(failed)
        assert refused.value.code() is grpc.StatusCode.INTERNAL
        for shown in (str(status), str(refused.value.details()), written.getvalue()):
            assert CANARY not in shown
        assert "call_" in str(refused.value.details()), "the correlation id leads to our own log line"


def test_calls_in_progress_end_well_when_the_server_stops(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def wait(_context: Any) -> detectors_pb2.ListRulesResponse:
        entered.set()
        leave.wait(10)
        return detectors_pb2.ListRulesResponse(rules_version="late")

    (port,) = free_ports(1)
    with running(tmp_path, wait, port=port, identify=staff()) as server, people_channel(server) as channel:
        stub = detectors_pb2_grpc.DetectorServiceStub(channel)
        call = stub.ListRules.future(detectors_pb2.ListRulesRequest(), timeout=20)
        assert entered.wait(10)
        stopped = server.server.stop(10)
        with pytest.raises(grpc.RpcError):
            stub.ListRules(detectors_pb2.ListRulesRequest(), timeout=5)
        leave.set()
        assert call.result().rules_version == "late"
        stopped.wait()


def test_a_new_certificate_is_used_without_a_restart_on_both_sides(tmp_path: Path) -> None:
    """The server follows its files at the next handshake; a client's channel is made again. cases.md F1."""
    seen: list[str] = []

    def remember(context: Any) -> detectors_pb2.ListRulesResponse:
        seen.append(context.auth_context()["x509_pem_cert"][0].decode())
        raise KeptError(Reason.REASON_WRONG_STATE, "seen")

    def as_staff(context: Any) -> Caller:
        assert CertificateIdentity(TRUST_DOMAIN).identify(context).name == "logging"
        return Caller(CallerKind.STAFF, issuer="test", subject="sam")

    (port,) = free_ports(1)
    with running(tmp_path, remember, port=port, identify=as_staff, client_certificates=True) as server:
        channels = server.channels("logging")
        stub = detectors_pb2_grpc.DetectorServiceStub(channels.connect("safety_review"))
        for _ in range(2):
            with pytest.raises(KeptError, match="seen"):
                stub.ListRules(detectors_pb2.ListRulesRequest())
        assert seen[0] == seen[1]
        identity = server.authority.issue("logging", serves=False)
        identity.certificate.unlink()
        server.authority.issue("logging", serves=False)
        with pytest.raises(KeptError, match="seen"):
            stub.ListRules(detectors_pb2.ListRulesRequest())
        assert seen[2] != seen[0], "the channel was made again with the new certificate"
        channels.close()


def test_a_server_that_is_not_who_was_called_gets_no_call(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running(tmp_path, answer, port=port) as server:
        channels = server.channels("settings")
        misled = detectors_pb2_grpc.DetectorServiceStub(channels.connect("logging"))
        with pytest.raises(KeptError) as refused:
            misled.ListRules(detectors_pb2.ListRulesRequest(), timeout=3)
        channels.close()
        assert refused.value.reason == Reason.REASON_PEER_UNAVAILABLE


@pytest.fixture
def leave() -> Iterator[threading.Event]:
    """Lets everything that waits for it end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def busy(tmp_path: Path, leave: threading.Event) -> Iterator[grpc.Channel]:
    """To a server on which no call ends before it may, so that a few of them are too many."""

    def wait(_context: Any) -> detectors_pb2.ListRulesResponse:
        leave.wait(60)
        return detectors_pb2.ListRulesResponse(rules_version="late")

    (port,) = free_ports(1)
    with (
        running(tmp_path, wait, port=port, identify=staff(), worker_threads=WORKERS) as server,
        people_channel(server) as channel,
    ):
        yield channel


def begin(channel: grpc.Channel, count: int, refused: threading.Semaphore) -> list[Any]:
    """So many calls. `refused` is released for each that fails."""
    stub = detectors_pb2_grpc.DetectorServiceStub(channel)
    calls: list[Any] = [stub.ListRules.future(detectors_pb2.ListRulesRequest()) for _ in range(count)]
    for call in calls:
        call.add_done_callback(lambda ended: refused.release() if ended.code() is not OK else None)
    return calls


def test_calls_beyond_those_that_may_wait_are_told_when_to_come_again(
    busy: grpc.Channel, leave: threading.Event
) -> None:
    refused = threading.Semaphore(0)
    calls = begin(busy, MOST + 8, refused)
    for _ in range(8):
        assert refused.acquire(timeout=20)
    ended = [call for call in calls if call.done()]
    assert len(ended) == 8
    for call in ended:
        failure = refusal(call.exception())
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert failure.reason == Reason.REASON_OVERLOADED
        assert failure.retry_after is not None
    leave.set()
    assert {call.result(20).rules_version for call in calls if call not in ended} == {"late"}
    (after,) = begin(busy, 1, refused)
    assert after.result(20).rules_version == "late", "there is room again"


def test_a_call_is_refused_though_it_sends_no_message(busy: grpc.Channel, leave: threading.Event) -> None:
    """A thread that waited for one would wait as long as the caller likes; a few such callers, and nobody would be told anything."""
    refused = threading.Semaphore(0)
    begin(busy, MOST + 1, refused)
    assert refused.acquire(timeout=20)

    def silent() -> Iterator[bytes]:
        leave.wait(60)
        yield b""

    call: Any = busy.stream_unary(METHOD, bytes, bytes)
    silences = [call.future(silent()) for _ in range(8)]
    assert {refusal(each.exception(20)).reason for each in silences} == {Reason.REASON_OVERLOADED}


@pytest.mark.parametrize("is_public", [False, True])
def test_strangers_who_send_nothing_hold_no_thread_for_long(
    tmp_path: Path, leave: threading.Event, monkeypatch: pytest.MonkeyPatch, is_public: bool
) -> None:
    """Who may not call is refused before a thread waits for his message; who may has as long as a message may take."""
    if is_public:
        monkeypatch.setitem(callers._cache, METHOD, callers_pb2.Callers(public=True))

    def silent() -> Iterator[bytes]:
        leave.wait(60)
        yield b""

    def identify(context: Any) -> Caller:
        is_named = "caller" in dict(context.invocation_metadata())
        return staff()(context) if is_named else Caller(CallerKind.PUBLIC)

    (port,) = free_ports(1)
    with (
        running(
            tmp_path,
            answer,
            port=port,
            identify=identify,
            worker_threads=WORKERS,
            longest_silence=timedelta(milliseconds=300) if is_public else LONGEST_SILENCE,
        ) as server,
        people_channel(server) as channel,
    ):
        call: Any = channel.stream_unary(METHOD, bytes, bytes)
        silences = [call.future(silent()) for _ in range(3 * WORKERS)]
        stub = detectors_pb2_grpc.DetectorServiceStub(channel)
        answered = stub.ListRules(detectors_pb2.ListRulesRequest(), timeout=20, metadata=(("caller", "sam"),))
        assert answered.rules_version == "7"
        expected = grpc.StatusCode.CANCELLED if is_public else grpc.StatusCode.UNAUTHENTICATED
        assert {each.exception(20).code() for each in silences} == {expected}


def test_a_full_server_still_says_whether_it_serves(busy: grpc.Channel) -> None:
    refused = threading.Semaphore(0)
    begin(busy, MOST + 1, refused)
    assert refused.acquire(timeout=20)
    stub: Any = health_pb2_grpc.HealthStub(busy)
    answered = stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert answered.status == health_pb2.HealthCheckResponse.SERVING
