"""Logs and metrics: structured, short, without content. Traces stay off; nothing here exports anything by itself."""

import logging
import sys
from typing import Final

import structlog
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server

from shared.redaction import redact_event

RPC_SECONDS: Final = Histogram(
    "kept_rpc_duration_seconds",
    "Time from the arrival of a call to its end.",
    ["method", "code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
RPC_REFUSED: Final = Counter(
    "kept_rpc_refused_total", "Calls that failed for a declared reason.", ["method", "reason"]
)
RPC_ACTIVE: Final = Gauge("kept_rpc_active_calls", "Calls in progress.", ["kind"])
ALERT: Final = Gauge("kept_alert_active", "1 while something needs a person: see docs/runbooks.", ["alert"])


def configure_logging(service: str, level: str) -> None:
    """JSON lines on stderr. Only what `redact_event` lets through is printed; other libraries' records lose their arguments."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format='{"logger":"%(name)s","level":"%(levelname)s"}'
    )
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
