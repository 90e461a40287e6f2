"""Arize Phoenix from PyPI, installed into an environment of its own under build/ and run as it comes, on an embedded PostgreSQL of its own
with durable commits. (On SQLite, its default, it sets `synchronous = OFF`: what it acknowledged would not survive the machine.)"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import grpc
import psycopg

from deploy.local import ports
from deploy.local.postgres import Postgres

VERSION: Final = "20.26.1"
_ROOT: Final = Path(__file__).parents[1]
_ENVIRONMENT: Final = _ROOT / "build" / f"phoenix-{VERSION}"
_PYTHON: Final = _ENVIRONMENT / "bin" / "python"
_PATIENCE: Final = 120.0


class Phoenix:
    """A Phoenix that runs. Its database is looked at directly: it answers an export before it has stored anything."""

    def __init__(self, address: str, connection: psycopg.Connection) -> None:
        self._address = address
        self._connection = connection

    def channel(self) -> grpc.Channel:
        """A channel to its collector: without TLS, as it comes."""
        return grpc.insecure_channel(self._address)

    def stored(self) -> int:
        """How many spans lie in its tables, committed."""
        row = self._connection.execute("SELECT count(*) FROM spans").fetchone()
        assert row is not None
        return int(row[0])

    def wait_for(self, spans: int) -> None:
        """Until so many are stored. Raises RuntimeError when none is added for a minute."""
        found, since = self.stored(), time.monotonic()
        while found < spans:
            if time.monotonic() - since > _PATIENCE / 2:
                raise RuntimeError(f"Phoenix stored {found} of {spans} spans and no more")
            time.sleep(0.1)  # looking costs it time too
            before, found = found, self.stored()
            since = since if found == before else time.monotonic()


@contextmanager
def phoenix_running() -> Iterator[Phoenix]:
    """Phoenix as long as the block runs, installed before if it is not yet."""
    _install()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kept-bench-phoenix-")))
        http, otlp, database = ports.free_ports(3)
        postgres = Postgres(home / "data", port=database, password="bench", log=home / "postgres.log")
        postgres.start()
        stack.callback(postgres.stop)
        url = postgres.ensure_database("phoenix", "bench").replace("+psycopg", "")
        log = home / "phoenix.log"
        process = stack.enter_context(_process(home, http, otlp, url, log))
        connection = stack.enter_context(postgres.administration("phoenix"))
        until = time.monotonic() + _PATIENCE
        while ports.is_free(otlp) or ports.is_free(http):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("Phoenix did not start:\n" + log.read_text()[-2000:])
            time.sleep(0.1)
        yield Phoenix(f"{ports.LOOPBACK}:{otlp}", connection)


@contextmanager
def _process(home: Path, http: int, otlp: int, url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "HOME": str(home),
        "PATH": str(_PYTHON.parent),
        "PHOENIX_HOST": ports.LOOPBACK,
        "PHOENIX_PORT": str(http),
        "PHOENIX_GRPC_PORT": str(otlp),
        "PHOENIX_SQL_DATABASE_URL": url,
        "PHOENIX_WORKING_DIR": str(home),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(_PYTHON), "-P", str(_ROOT / "bench" / "phoenix_server.py")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=home,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=30)


def _install() -> None:
    if (_ENVIRONMENT / "installed").exists():
        return
    sys.stderr.write(
        f"bench: installing arize-phoenix {VERSION} into {_ENVIRONMENT.relative_to(_ROOT)} (some 700 MB)\n"
    )
    uv = Path(sys.executable).with_name("uv")
    for arguments in (
        ["venv", "--quiet", "--clear", "--python", sys.executable, str(_ENVIRONMENT)],
        ["pip", "install", "--quiet", "--python", str(_PYTHON), f"arize-phoenix[pg]=={VERSION}"],
    ):
        subprocess.run([str(uv), *arguments], check=True)
    (_ENVIRONMENT / "installed").touch()
