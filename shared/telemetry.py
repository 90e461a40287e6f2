"""Logs and metrics: structured, short, without content. Nothing here sends anything by itself; traces are in shared/tracing.py."""

import json
import logging
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server

from shared.redaction import redact_event, where

RPC_SECONDS: Final = Histogram(
    "kept_rpc_duration_seconds",
    "Time from the arrival of a call to its end.",
    ["method", "code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
RPC_REFUSED: Final = Counter(
    "kept_rpc_refused_total", "Calls that failed for a declared reason.", ["method", "reason"]
)
# Without labels, so that it is there before the first: of a series that begins with it nobody sees an increase.
RPC_INTERNAL: Final = Counter(
    "kept_rpc_internal_errors_total", "Calls that failed for a reason that nobody foresaw."
)
RPC_ACTIVE: Final = Gauge("kept_rpc_active_calls", "Calls in progress.", ["kind"])
JOB_FAILING: Final = Gauge("kept_job_failing", "1 while a job's last step failed, by job.", ["job"])
JOB_BEGUN: Final = Gauge(
    "kept_job_step_begun_timestamp_seconds",
    "When the step that a job is in began (Unix time), by job; 0 between steps.",
    ["job"],
)
SERVING: Final = Gauge(
    "kept_health_serving",
    "1 while a part is well, by the name that health has for it; readiness by 'readiness'.",
    ["part"],
)
CERTIFICATE_EXPIRES: Final = Gauge(
    "kept_certificate_expiry_timestamp_seconds", "When the certificate that is in use ends (Unix time)."
)
ALERT: Final = Gauge("kept_alert_active", "1 while something needs a person: see docs/runbooks.", ["alert"])


@dataclass(frozen=True)
class Call:
    """A call in progress. kind: "unary" or "stream". method: its full name. begun: on the performance counter."""

    kind: str
    method: str
    begun: float


class CallCounts:
    """Counts calls and their time.

    The end of a stream may be told by a finalizer, when the collector finds a generator that nobody will ask again. That happens in the
    middle of anything, also of another count, whose lock the finalizer would wait for for ever. So a finalizer only leaves word
    (`left`: a deque's append takes no lock), and whoever counts next counts that too.
    """

    def __init__(self) -> None:
        self._left: deque[tuple[Call, float]] = deque()

    def begin(self, kind: str, method: str) -> Call:
        """A call came."""
        self._count_left()
        RPC_ACTIVE.labels(kind).inc()
        return Call(kind, method, time.perf_counter())

    def end(self, call: Call, code: str) -> None:
        """A call is over, with this status."""
        self._count_left()
        self._end(call, code, time.perf_counter())

    def left(self, call: Call) -> None:
        """A stream is not listened to any more. For finalizers."""
        self._left.append((call, time.perf_counter()))

    def _count_left(self) -> None:
        while self._left:
            try:
                call, ended = self._left.popleft()
            except IndexError:  # another thread was quicker
                return
            self._end(call, "CANCELLED", ended)

    @staticmethod
    def _end(call: Call, code: str, ended: float) -> None:
        RPC_ACTIVE.labels(call.kind).dec()
        RPC_SECONDS.labels(call.method, code).observe(ended - call.begun)
        if code == "INTERNAL":
            RPC_INTERNAL.inc()


CALLS: Final = CallCounts()


class _WithoutText(logging.Formatter):
    """Other libraries' records: whose and how bad, and of an exception what and where. Their texts may hold anything."""

    def format(self, record: logging.LogRecord) -> str:
        said = {"logger": record.name, "level": record.levelname}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            said |= {"error": type(error).__name__, "where": where(error)}
        return json.dumps(said)


def _crashed(kind: type[BaseException], error: BaseException | None) -> None:
    place = "?" if error is None else where(error, places=5)
    structlog.get_logger(__name__).error("crashed", error=kind.__name__, where=place)


def configure_logging(service: str, level: str) -> None:
    """JSON lines on stderr. Only what `redact_event` lets through is printed; other libraries' records lose their arguments, and exceptions
    that nobody catches their texts."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_WithoutText())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    threading.excepthook = lambda caught: _crashed(caught.exc_type, caught.exc_value)
    sys.unraisablehook = lambda caught: _crashed(caught.exc_type, caught.exc_value)
    sys.excepthook = lambda kind, error, _: _crashed(kind, error)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact_event,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)


def serve_metrics(address: str) -> None:
    """Prometheus text on a port of its own. Raises OSError when the port is taken."""
    host, _, port = address.rpartition(":")
    start_http_server(int(port), addr=host, registry=REGISTRY)
