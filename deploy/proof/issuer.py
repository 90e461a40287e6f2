"""Whoever signs people in: HTTPS with a key set at every host that the installation names, and tokens of the workforce."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from deploy.local.authority import Authority
from deploy.local.issuer.tokens import SigningKey, Subject, TokenIssuer
from deploy.proof.databases import server_context
from deploy.proof.network import GATEWAY
from shared.clock import SystemClock
from shared.config import Issuer

_HTTPS: Final = 443


class Issuers:
    """All issuers of an overlay, at GATEWAY. hosts: their names. authority: the certificate that stands for a public authority's."""

    def __init__(self, home: Path, issuers: tuple[Issuer, ...]) -> None:
        self.hosts = {str(urlsplit(one.jwks_url).hostname) for one in issuers}
        public = Authority(home, trust_domain="public", environment="local")
        self.authority = public.certificate
        self.authority.chmod(0o644)  # as the system's authorities are
        key = SigningKey(home / "signing.pem")
        (workforce,) = (one for one in issuers if one.kind == "workforce")
        self._workforce = TokenIssuer(workforce.issuer, key, SystemClock())
        self._keys = json.dumps({"keys": [key.public()]}).encode()
        certificate, private = public.sign(
            "issuer",
            [x509.DNSName(host) for host in sorted(self.hosts)],
            [ExtendedKeyUsageOID.SERVER_AUTH],
            timedelta(days=1),
        )
        self._context = server_context(home / "server.pem", certificate + private)

    def start(self) -> None:
        """Serves until this program ends."""
        keys = self._keys

        class Keys(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/jwk-set+json")
                self.send_header("Content-Length", str(len(keys)))
                self.end_headers()
                self.wfile.write(keys)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        server = ThreadingHTTPServer((GATEWAY, _HTTPS), Keys)
        server.socket = self._context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, name="issuers", daemon=True).start()

    def token(self, subject: str, audience: str) -> str:
        """What somebody of the workforce shows to a service."""
        who = Subject(subject, subject, f"{subject}@kept.example")
        return self._workforce.access_token(who, audience)
