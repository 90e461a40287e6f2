"""What CloudNativePG makes of the Cluster objects: databases, roles, passwords, an authority a cluster, and TLS alone.

One embedded PostgreSQL holds them all. It knows no TLS, so that each cluster's address is a front that does: it takes who asks for TLS
first, refuses everybody else, and passes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from psycopg import sql

from deploy.check.kustomize import Resource
from deploy.local import ports
from deploy.local.authority import Authority
from deploy.local.postgres import Postgres
from deploy.proof.network import Network

_PORT: Final = 5432
_SERVER: Final = 54_320
# PostgreSQL's frontend/backend protocol: SSLRequest.
_ASKS_FOR_TLS: Final = bytes.fromhex("0000000804d2162f")
_CHUNK: Final = 64 * 1024
_FIRST_ADDRESS: Final = 10


class Databases:
    """The clusters. addresses: by DNS name. secrets: what the operator leaves, by the Secret's name."""

    def __init__(self, home: Path, network: Network, clusters: Sequence[Resource]) -> None:
        self.addresses: dict[str, str] = {}
        self.secrets: dict[str, Mapping[str, bytes]] = {}
        self._home = home
        self._network = network
        self._clusters = clusters
        self._loop = asyncio.new_event_loop()
        self._server = Postgres(
            home / "data", port=_SERVER, password=secrets.token_urlsafe(24), log=home / "postgres.log"
        )

    def start(self) -> None:
        """Raises LocalStackError."""
        self._server.start()
        self._configure()
        threading.Thread(target=self._loop.run_forever, name="databases", daemon=True).start()
        for number, cluster in enumerate(self._clusters):
            self._make(cluster, self._network.address(_FIRST_ADDRESS + number))

    def stop(self) -> None:
        """Ends the server; nobody wants its data."""
        self._server.stop(at_once=True)

    def _configure(self) -> None:
        """Every parameter of the clusters; of the numbers, their sum, for one server stands for all."""
        parameters: dict[str, str] = {}
        for cluster in self._clusters:
            for name, value in cluster.value["spec"].get("postgresql", {}).get("parameters", {}).items():
                before = parameters.get(name, "0")
                parameters[name] = str(int(before) + int(value)) if value.isdecimal() else value
        with self._server.administration() as connection:
            for name, value in parameters.items():
                connection.execute(
                    sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
                )
        self._server.stop()
        self._server.start()

    def _make(self, cluster: Resource, address: str) -> None:
        name, first = cluster.value["metadata"]["name"], cluster.value["spec"]["bootstrap"]["initdb"]
        if first["database"] != first["owner"]:
            raise ValueError(f"{cluster}: the embedded server's databases are called as their owners")
        password = secrets.token_urlsafe(32)
        self._server.ensure_database(first["database"], password)
        with self._server.administration(first["database"]) as connection:
            for statement in first.get("postInitApplicationSQL", ()):
                connection.execute(statement.encode())
        namespace = cluster.value["metadata"]["namespace"]
        service = f"{name}-rw.{namespace}.svc"
        self.addresses[f"{service}.cluster.local"] = address
        authority = Authority(self._home / name, trust_domain=name, environment="local")
        names = [f"{name}-rw", f"{name}-rw.{namespace}", service, f"{service}.cluster.local"]
        certificate, key = authority.sign(
            name, [x509.DNSName(one) for one in names], [ExtendedKeyUsageOID.SERVER_AUTH], timedelta(days=1)
        )
        self.secrets[f"{name}-app"] = {"username": first["owner"].encode(), "password": password.encode()}
        self.secrets[f"{name}-ca"] = {"ca.crt": authority.certificate.read_bytes()}
        context = server_context(self._home / name / "server.pem", certificate + key)
        asyncio.run_coroutine_threadsafe(self._listen(address, context), self._loop).result(10)

    async def _listen(self, address: str, context: ssl.SSLContext) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                if await reader.readexactly(len(_ASKS_FOR_TLS)) == _ASKS_FOR_TLS:
                    writer.write(b"S")
                    await writer.start_tls(context)
                    there, back = await asyncio.open_connection(ports.LOOPBACK, _SERVER)
                    await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
            writer.close()

        await asyncio.start_server(serve, address, _PORT)


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
    target.close()


def server_context(file: Path, chain: bytes) -> ssl.SSLContext:
    """A server's TLS with this certificate and key, which are left in `file`."""
    file.write_bytes(chain)
    file.chmod(0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
