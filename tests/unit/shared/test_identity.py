"""Tokens: only one that is whole, ours, for us and in time names anybody."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from shared.config import Issuer
from shared.errors import KeptError, Reason
from shared.identity import CallerKind, CertificateIdentity, TokenVerifier
from shared.redaction import Secret
from tests.support.clocks import ManualClock

KEY = ECKey.generate_key("P-256", parameters={"kid": "k1"})
OTHER = ECKey.generate_key("P-256", parameters={"kid": "k1"})
AUDIENCE = "kept:logging"


@pytest.fixture(scope="module")
def jwks_url() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"keys": [KEY.as_dict(private=False)]}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/jwks.json"
    server.shutdown()


def token(now: datetime, key: ECKey = KEY, header: dict[str, Any] | None = None, **claims: Any) -> Secret:
    whole = {
        "iss": "https://issuer.test",
        "sub": "sam",
        "aud": AUDIENCE,
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + 900,
        **claims,
    }
    whole = {name: value for name, value in whole.items() if value is not None}
    return Secret(jwt.encode({"alg": "ES256", "kid": "k1"} | (header or {}), whole, key))


def unsigned(now: datetime) -> Secret:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {
        "iss": "https://issuer.test",
        "sub": "sam",
        "aud": AUDIENCE,
        "iat": 0,
        "exp": now.timestamp() + 900,
    }
    return Secret(f"{part({'alg': 'none', 'kid': 'k1'})}.{part(claims)}.")


@pytest.fixture
def verifier(jwks_url: str) -> tuple[TokenVerifier, ManualClock]:
    clock = ManualClock()
    return TokenVerifier(
        [Issuer(kind="workforce", issuer="https://issuer.test", jwks_url=jwks_url)], clock
    ), clock


def test_a_whole_token_names_its_subject_and_prints_nothing(
    verifier: tuple[TokenVerifier, ManualClock],
) -> None:
    verify, clock = verifier
    shown = token(clock.now())
    caller = verify.verify(shown, AUDIENCE)
    assert (caller.kind, caller.subject, caller.roles) == (CallerKind.STAFF, "sam", frozenset())
    assert shown.reveal() not in repr(caller)


BAD: dict[str, Any] = {
    "another issuer": lambda now: token(now, iss="https://elsewhere.test"),
    "another audience": lambda now: token(now, aud="kept:settings"),
    "several audiences": lambda now: token(now, aud=[AUDIENCE, "kept:settings"]),
    "no audience": lambda now: token(now, aud=None),
    "expired this second": lambda now: token(now, exp=int(now.timestamp())),
    "never expires": lambda now: token(now, exp=None),
    "expiry as text": lambda now: token(now, exp="tomorrow"),
    "not valid yet": lambda now: token(now, nbf=int(now.timestamp()) + 60),
    "issued in the future": lambda now: token(now, iat=int(now.timestamp()) + 60),
    "signed by another key": lambda now: token(now, key=OTHER),
    "an unlisted key id": lambda now: token(now, header={"kid": "k2"}),
    "nobody": lambda now: token(now, sub=None),
    "algorithm none": unsigned,
    "empty": lambda _: Secret(""),
    "no token": lambda _: Secret("hello"),
    "not json": lambda _: Secret("YQ.YQ.YQ"),
    "enormous": lambda _: Secret("a" * 100_000),
}


@pytest.mark.parametrize("kind", list(BAD))
def test_anything_else_is_refused(kind: str, verifier: tuple[TokenVerifier, ManualClock]) -> None:
    verify, clock = verifier
    with pytest.raises(KeptError) as refused:
        verify.verify(BAD[kind](clock.now()), AUDIENCE)
    assert refused.value.reason == Reason.REASON_UNAUTHENTICATED


def test_an_issuer_that_never_answered_fails_closed() -> None:
    clock = ManualClock(datetime.fromtimestamp(time.time(), UTC))
    issuer = Issuer(kind="workforce", issuer="https://issuer.test", jwks_url="http://127.0.0.1:1/jwks.json")
    with pytest.raises(KeptError) as refused:
        TokenVerifier([issuer], clock).verify(token(clock.now()), AUDIENCE)
    assert refused.value.reason == Reason.REASON_PEER_UNAVAILABLE


@pytest.mark.parametrize(
    ("spiffe_id", "kind", "name"),
    [
        ("spiffe://kept.local/logging", CallerKind.SERVICE, "logging"),
        ("spiffe://kept.local/gateway/chat", CallerKind.GATEWAY, "chat"),
    ],
)
def test_certificates_name_services_and_gateways(spiffe_id: str, kind: CallerKind, name: str) -> None:
    caller = CertificateIdentity("kept.local").name(spiffe_id)
    assert (caller.kind, caller.name) == (kind, name)


@pytest.mark.parametrize(
    "spiffe_id", ["spiffe://elsewhere/logging", "spiffe://kept.local/", "https://kept.local/logging"]
)
def test_another_trust_domain_names_nobody(spiffe_id: str) -> None:
    with pytest.raises(KeptError):
        CertificateIdentity("kept.local").name(spiffe_id)
