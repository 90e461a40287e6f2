"""The one server builder: every service is a configuration, a wiring and this.

A service listens on two ports, because gRPC in Python asks all clients of a port for a certificate or none: services by mTLS, people
by TLS and token. Health (plaintext, for probes that bring no certificate) and metrics have ports of their own. On SIGTERM the service
reports NOT_SERVING, waits until balancers have seen it, takes no more calls, ends streams that would go on, lets calls in progress end, and
goes.
"""

import argparse
import ctypes
import gc
import resource
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from shared import tracing
from shared.call_threads import CALLS_PER_WORKER, StreamPool, Workers
from shared.channels import MAX_MESSAGE_BYTES, Channels, matching_pair, version_of
from shared.clock import Clock, SystemClock, TravellingClock
from shared.config import ConfigError, ServiceConfig, Tls, load, render
from shared.database import Database, await_schema, migrate, require_schema
from shared.errors import KeptError
from shared.identity import BearerIdentity, CertificateIdentity, TokenVerifier
from shared.jobs import JobRunner
from shared.pipeline import Identify, Pipeline
from shared.preconditions import listening, require_usable
from shared.readiness import Readiness
from shared.service import Connect, Service
from shared.silence import LONGEST_SILENCE, Silence
from shared.telemetry import SERVING, configure_logging, serve_metrics

C = TypeVar("C", bound=ServiceConfig)
Wire = Callable[[C, Clock, Database, Connect], Service]

# Asked for by name, these say that the process lives; the empty name says that it can serve.
LIVENESS: Final = "liveness"
_TELLING_INTERVAL: Final = timedelta(seconds=0.1)
_PR_SET_DUMPABLE: Final = 4
_COLLECTED_AFTER: Final = 50_000
# gRPC's own limit of calls at once, in multiples of ours.
_LAST_RESORT: Final = 16
_SERVER_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # or a second server binds the same port silently
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Our clients ping every 30 s; a server's default closes connections of clients that ping more often than every 5 minutes.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Connections are renewed, so that load spreads over new replicas; streams in progress get five minutes to end.
    ("grpc.max_connection_age_ms", 1_800_000),
    ("grpc.max_connection_age_grace_ms", 300_000),
)
_log = structlog.get_logger(__name__)


def main(
    name: str, config_class: type[C], wire: Wire[C], *, migrations: Path, arguments: list[str] | None = None
) -> int:
    """Runs a service until SIGTERM. Returns the process's exit code; what stops the start is one sentence on stderr."""
    parser = argparse.ArgumentParser(prog=f"python -m services.{name}")
    parser.add_argument("--config", type=Path, required=True, help="TOML file")
    parser.add_argument(
        "--print-config", action="store_true", help="print what counts, secrets hidden, and exit"
    )
    parser.add_argument(
        "--migrate", action="store_true", help="bring the database to the newest schema, and exit"
    )
    parser.add_argument(
        "--await-schema",
        type=float,
        metavar="SECONDS",
        help="wait until the database has the schema that this version needs, at most this long, and exit",
    )
    options = parser.parse_args(arguments)
    try:
        config = load(config_class, name, options.config)
        if options.print_config:
            sys.stdout.write(render(config) + "\n")
            return 0
        protect_memory()
        configure_logging(name, config.log_level)
        database = Database.configured(config)
        if options.migrate or config.migrate_at_start:
            migrate(database, migrations)
        if options.migrate:
            return 0
        if options.await_schema is not None:
            await_schema(database, migrations, timedelta(seconds=options.await_schema))
            return 0
        require_usable(config, name)
        tracing.configure(name, config.traces)
        require_schema(database, migrations)
        _serve(name, config, wire, database, migrations)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeptError as error:
        sys.stderr.write(f"{name}: {error.text} [{error.name}]\n")
        return 1
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"{name}: cannot start: {error}\n")
        return 1
    return 0


def protect_memory() -> None:
    """No core files, and no other process of the same user may look into this one's memory (prctl(2), PR_SET_DUMPABLE)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def clock_for(config: ServiceConfig) -> Clock:
    """The machine's clock, or the local stack's travelling one."""
    return SystemClock() if config.travelling_clock is None else TravellingClock(config.travelling_clock)


def _serve(name: str, config: C, wire: Wire[C], database: Database, migrations: Path) -> None:
    clock = clock_for(config)
    channels = Channels(config.tls, config.peers, config.trust_domain)
    service = wire(config, clock, database, channels.connect)
    statuses = health.HealthServicer(
        experimental_non_blocking=True, experimental_thread_pool=ThreadPoolExecutor(2)
    )
    readiness = Readiness(service, database, migrations, SystemClock())
    parts = dict(readiness.found())
    for part in parts:
        statuses.set(part, health_pb2.HealthCheckResponse.NOT_SERVING)
    statuses.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)

    bearer = BearerIdentity(TokenVerifier(config.issuers, clock), config.audience)
    certificates = CertificateIdentity(config.trust_domain)
    # Each door has its own: people take no place of a service's. And it takes four of them to take all.
    streams = StreamPool(config.stream_threads), StreamPool(config.stream_threads, shares=4)
    servers = [
        build(
            config,
            service,
            statuses,
            certificates.identify,
            streams[0],
            config.services_address,
            client_certificates=True,
        ),
        build(
            config,
            service,
            statuses,
            bearer.identify,
            streams[1],
            config.people_address,
            client_certificates=False,
        ),
        _health_server(statuses, config.health_address),
    ]
    with listening("metrics_address", config.metrics_address):
        serve_metrics(config.metrics_address)

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    jobs = JobRunner(list(service.jobs))
    jobs.start()
    # What is there now stays; and a batch makes ten thousand objects that die with it, not in cycles. To look through all of them again and
    # again for garbage took a seventh of logging's time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_AFTER)
    for server in servers:
        server.start()
    readiness.start()
    _log.info("service.started")

    # Nothing here may wait for anybody, nor fail: this thread acts on signals, and what ends it ends the process.
    while not stopping.wait(_TELLING_INTERVAL.total_seconds()):
        for part, serving in readiness.found().items():
            SERVING.labels(part or "readiness").set(serving)
            if serving is not parts[part]:
                parts[part] = serving
                statuses.set(
                    part,
                    health_pb2.HealthCheckResponse.SERVING
                    if serving
                    else health_pb2.HealthCheckResponse.NOT_SERVING,
                )
                _log.info("service.health", part=part or "readiness", serving=serving)

    _log.info("service.draining")
    statuses.enter_graceful_shutdown()
    threading.Event().wait(config.drain_seconds)  # balancers take a moment to see NOT_SERVING
    stopped = [server.stop(config.grace_seconds) for server in servers]
    # Only now: whoever is told to ask again finds that this process takes no more calls, and asks another.
    for pool in streams:
        pool.drain()
    for ended in stopped:
        ended.wait()
    jobs.stop(timedelta(seconds=5))
    readiness.close()
    channels.close()
    database.close()
    tracing.close()
    _log.info("service.stopped")


def build(
    config: ServiceConfig,
    service: Service,
    statuses: health.HealthServicer,
    identify: Identify,
    streams: StreamPool,
    address: str,
    *,
    client_certificates: bool,
    longest_silence: timedelta = LONGEST_SILENCE,
) -> grpc.Server:
    """A server on one port, not started. longest_silence: how long a call's one message may be waited for. Raises ConfigError when the
    port is taken."""
    workers = Workers(config.worker_threads)
    pipeline = Pipeline(
        identify,
        service.authority,
        streams,
        service.refused,
        service.gate,
        workers,
        Silence(longest_silence),
    )
    server = grpc.server(
        workers,
        interceptors=[pipeline],
        options=_SERVER_OPTIONS,
        # Only where calls come faster than they are refused: gRPC itself gives no delay to retry after.
        maximum_concurrent_rpcs=_LAST_RESORT
        * (config.worker_threads * CALLS_PER_WORKER + config.stream_threads),
    )
    names = _Names(server)
    service.register(names)
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    reflection.enable_server_reflection((*names.seen, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    credentials = server_credentials(config.tls, client_certificates=client_certificates)
    with listening("services_address" if client_certificates else "people_address", address):
        server.add_secure_port(address, credentials)
    return server


def _health_server(statuses: health.HealthServicer, address: str) -> grpc.Server:
    server = grpc.server(
        ThreadPoolExecutor(2, thread_name_prefix="health"), options=(("grpc.so_reuseport", 0),)
    )
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    with listening("health_address", address):
        server.add_insecure_port(address)
    return server


class _Names:
    """Passes registrations on and remembers the services' names, for reflection."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.seen: list[str] = []

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        self._server.add_generic_rpc_handlers(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Any) -> None:
        self.seen.append(service_name)
        self._server.add_registered_method_handlers(service_name, method_handlers)


def server_credentials(tls: Tls, *, client_certificates: bool) -> grpc.ServerCredentials:
    """Credentials that follow the files: looked at on every handshake, read when they changed. A pair that does not match leaves
    the last good one in use."""
    seen: list[tuple[int, ...]] = []

    def current(*, first: bool) -> grpc.ServerCertificateConfiguration | None:
        try:
            version = version_of(tls)
            if not first and seen and seen[-1] == version:
                return None
            certificate, key = matching_pair(tls.certificate, tls.key)
            authority = tls.authority.read_bytes()
        except (OSError, ValueError) as error:
            if first:
                raise
            _log.error("certificate.rejected", error=type(error).__name__)
            return None
        seen[:] = [version]
        return grpc.ssl_server_certificate_configuration(
            [(key, certificate)], authority if client_certificates else None
        )

    initial = current(first=True)
    assert initial is not None
    # The fetcher may answer None for "no change", which the published types leave out.
    fetch: Any = partial(current, first=False)
    return grpc.dynamic_ssl_server_credentials(
        initial, fetch, require_client_authentication=client_certificates
    )
