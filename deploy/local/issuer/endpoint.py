"""The issuer's HTTP: discovery, public keys, and the token endpoint (RFC 6749 §4.3, §6 and §5.2).

The password grant is there for the command line of a local stack; a company's own provider has better ways.
Nothing that a request holds is logged: a line says method, known route and status.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from deploy.local.issuer.customers import CannotTell, TooSoon
from deploy.local.issuer.tokens import ACCESS_LIFE, Subject, TokenIssuer

_LARGEST_BODY = 8 * 1024
_log = logging.getLogger("issuer")

# Name, password, where the call comes from.
Verify = Callable[[str, str, str], Subject | None]
# Whom a session is of → as they are now, or None where it has ended.
Renew = Callable[[Subject], Subject | None]


@dataclass(frozen=True)
class Realm:
    """One of the two issuers: how it knows people, and how it signs for them."""

    tokens: TokenIssuer
    verify: Verify
    renew: Renew = lambda subject: subject


class TokenError(Exception):
    """A refusal as RFC 6749 §5.2 words it; the text is fixed and never repeats what was sent."""

    def __init__(self, error: str, description: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


def answer(realm: Realm, form: Mapping[str, str], audiences: tuple[str, ...], source: str) -> dict[str, Any]:
    """What the token endpoint answers to a form; raises TokenError."""
    audience = form.get("audience", "")
    if audience not in audiences:
        raise TokenError("invalid_target", f"Ask for one audience of: {', '.join(audiences)}.")  # RFC 8707 §2
    kind = form.get("grant_type")
    if kind == "password":
        subject = _signed_in(realm, form, source)
        refresh = realm.tokens.refresh_token(subject)
    elif kind == "refresh_token":
        refresh = form.get("refresh_token", "")
        subject = _renewed(realm, refresh)
    else:
        raise TokenError("unsupported_grant_type", "Use grant_type password or refresh_token.")
    return {
        "access_token": realm.tokens.access_token(subject, audience),
        "token_type": "Bearer",
        "expires_in": int(ACCESS_LIFE.total_seconds()),
        "refresh_token": refresh,
    }


def _renewed(realm: Realm, refresh: str) -> Subject:
    redeemed = realm.tokens.redeem(refresh)
    try:
        subject = None if redeemed is None else realm.renew(redeemed)
    except CannotTell:
        raise _no_answer() from None
    if subject is None:
        realm.tokens.forget(refresh)
        raise TokenError("invalid_grant", "The session has ended: sign in again.")
    return subject


def _no_answer() -> TokenError:
    return TokenError(
        "temporarily_unavailable",
        "Settings, which knows customers' people, gives no answer: try again in a moment.",
        HTTPStatus.SERVICE_UNAVAILABLE,
    )


def _signed_in(realm: Realm, form: Mapping[str, str], source: str) -> Subject:
    username, password = form.get("username"), form.get("password")
    if not username or not password:
        raise TokenError("invalid_request", "username and password are needed.")
    try:
        subject = realm.verify(username, password, source)
    except TooSoon as error:
        raise TokenError(
            "invalid_grant", f"There were too many failed sign-ins: wait {error.seconds} s before the next."
        ) from None
    except CannotTell:
        raise _no_answer() from None
    if subject is None:
        raise TokenError("invalid_grant", "The name or the password is wrong.")
    return subject


class Endpoint(ThreadingHTTPServer):
    """Serves both realms, `/workforce/…` and `/customer/…`, on the loopback interface."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, realms: Mapping[str, Realm], audiences: tuple[str, ...]) -> None:
        self.realms = realms
        self.audiences = audiences
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"
    server_version = "kept-development-issuer"
    sys_version = ""
    timeout = 10  # seconds that a connection may be silent

    def do_GET(self) -> None:
        realm, route = self._route()
        if realm is not None and route == "jwks.json":
            self._send(HTTPStatus.OK, {"keys": [realm.tokens.key.public()]})
        elif realm is not None and route == ".well-known/openid-configuration":
            self._send(HTTPStatus.OK, _discovery(realm.tokens.issuer))
        else:
            self._send(HTTPStatus.NOT_FOUND, {"error": "not_found"})

    def do_POST(self) -> None:
        realm, route = self._route()
        if realm is None or route != "token":
            self.close_connection = True  # whatever body follows is not read
            self._send(HTTPStatus.NOT_FOUND, {"error": "not_found"})
            return
        try:
            self._send(
                HTTPStatus.OK, answer(realm, self._form(), self.server.audiences, self.client_address[0])
            )
        except TokenError as refused:
            self._send(refused.status, {"error": refused.error, "error_description": refused.description})

    def _route(self) -> tuple[Realm | None, str]:
        # A page in a browser can make it call 127.0.0.1 under a name of its own (DNS rebinding); such calls
        # end here.
        name = self.headers.get("Host", "").rpartition(":")[0]
        if name not in ("127.0.0.1", "localhost"):
            return None, ""
        _, _, path = self.path.partition("/")
        kind, _, route = path.partition("/")
        return self.server.realms.get(kind), route

    def _form(self) -> dict[str, str]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 8):
            self.close_connection = True
            raise TokenError("invalid_request", "Content-Length is needed.", HTTPStatus.LENGTH_REQUIRED)
        if int(length) > _LARGEST_BODY:
            self.close_connection = True
            raise TokenError(
                "invalid_request", "The form is larger than 8 KiB.", HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            )
        body = self.rfile.read(int(length))
        if self.headers.get_content_type() != "application/x-www-form-urlencoded":
            raise TokenError("invalid_request", "Send a form (application/x-www-form-urlencoded).")
        try:
            pairs = parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=20, errors="strict")
        except ValueError:
            raise TokenError("invalid_request", "The form cannot be read.") from None
        form = dict(pairs)
        if len(form) != len(pairs):
            raise TokenError("invalid_request", "A field is there twice.")
        return form

    def _send(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        realm, route = self._route() if hasattr(self, "headers") else (None, "")
        known = route if realm is not None and route in ("token", "jwks.json") else "other"
        _log.info("%s %s %s", self.command, known, int(code) if isinstance(code, int) else code)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """The base class would write request lines as they came."""


def _discovery(issuer: str) -> dict[str, Any]:
    """OpenID Connect Discovery 1.0 §3, as far as there is something to discover."""
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks.json",
        "grant_types_supported": ["password", "refresh_token"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }
