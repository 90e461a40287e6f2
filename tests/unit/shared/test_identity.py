"""Tokens: only one that is whole, ours, for us and in time names anybody."""

import base64
import hmac
import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread
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
NEXT = ECKey.generate_key("P-256", parameters={"kid": "k2"})
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
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
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


def _times(now: datetime, **offsets: int) -> dict[str, Any]:
    return {name: int(now.timestamp()) + seconds for name, seconds in offsets.items()}


# What is wrong -> the word for it, and such a token.
BAD: dict[str, tuple[str, Callable[[datetime], Secret]]] = {
    "another issuer": ("UNKNOWN_ISSUER", lambda now: token(now, iss="https://elsewhere.test")),
    "no issuer": ("UNKNOWN_ISSUER", lambda now: token(now, iss=None)),
    "another audience": ("AUDIENCE", lambda now: token(now, aud="kept:settings")),
    "several audiences": ("AUDIENCE", lambda now: token(now, aud=[AUDIENCE, "kept:settings"])),
    "no audience": ("AUDIENCE", lambda now: token(now, aud=None)),
    "expired this second": ("EXPIRED", lambda now: token(now, **_times(now, exp=0))),
    "expired a second ago": ("EXPIRED", lambda now: token(now, **_times(now, exp=-1))),
    "never expires": ("TIMES", lambda now: token(now, exp=None)),
    "expiry as text": ("TIMES", lambda now: token(now, exp="tomorrow")),
    "not valid yet": ("NOT_YET_VALID", lambda now: token(now, **_times(now, nbf=6))),
    "issued in the future": ("NOT_YET_VALID", lambda now: token(now, **_times(now, iat=6))),
    "signed by another key": ("SIGNATURE", lambda now: token(now, key=OTHER)),
    "changed after it was signed": ("SIGNATURE", lambda now: _altered(token(now))),
    "an unlisted key id": ("UNKNOWN_KEY", lambda now: token(now, header={"kid": "k2"})),
    "no key id": ("UNKNOWN_KEY", lambda now: token(now, header={"kid": ""})),
    # What the library raises something else for than its own errors.
    "headers that are no list of names": ("SIGNATURE", lambda now: _with_header(now, {"crit": 5})),
    "headers that are numbers": ("SIGNATURE", lambda now: _with_header(now, {"crit": [1]})),
    "expires after all time": ("TIMES", lambda now: token(now, exp=10**400)),
    "expires at no number": ("TIMES", lambda now: token(now, exp=float("nan"))),
    "expires at infinity": ("TIMES", lambda now: token(now, exp=float("inf"))),
    "nobody": ("NOBODY", lambda now: token(now, sub=None)),
    "algorithm none": ("ALGORITHM", unsigned),
    "the public key as a shared secret": ("ALGORITHM", lambda now: _by_public_key(now)),
    "empty": ("MALFORMED", lambda _: Secret("")),
    "no token": ("MALFORMED", lambda _: Secret("hello")),
    "not json": ("MALFORMED", lambda _: Secret("YQ.YQ.YQ")),
    "enormous": ("MALFORMED", lambda _: Secret("a" * 100_000)),
}


def _altered(shown: Secret) -> Secret:
    header, claims, signature = shown.reveal().split(".")
    body = json.loads(base64.urlsafe_b64decode(claims + "=="))
    changed = base64.urlsafe_b64encode(json.dumps({**body, "sub": "eve"}).encode()).decode().rstrip("=")
    return Secret(f"{header}.{changed}.{signature}")


def _with_header(now: datetime, more: dict[str, Any]) -> Secret:
    """With a signature of nothing."""
    _, claims, signature = token(now).reveal().split(".")
    whole = json.dumps({"alg": "ES256", "kid": "k1", **more}).encode()
    header = base64.urlsafe_b64encode(whole).decode().rstrip("=")
    return Secret(f"{header}.{claims}.{signature}")


def _by_public_key(now: datetime) -> Secret:
    """HS256, keyed with what everybody can read: RFC 8725 §2.1."""
    claims = {"iss": "https://issuer.test", "sub": "sam", "aud": AUDIENCE, **_times(now, iat=0, exp=900)}
    parts = ({"alg": "HS256", "kid": "k1"}, claims)
    signed = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )
    signature = hmac.digest(KEY.as_pem(private=False), signed.encode(), "sha256")
    return Secret(f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}")


@pytest.mark.parametrize("kind", list(BAD))
def test_anything_else_is_refused_by_name(kind: str, verifier: tuple[TokenVerifier, ManualClock]) -> None:
    verify, clock = verifier
    problem, made = BAD[kind]
    shown = made(clock.now())
    with pytest.raises(KeptError) as refused:
        verify.verify(shown, AUDIENCE)
    assert refused.value.reason == Reason.REASON_UNAUTHENTICATED
    assert refused.value.metadata == {"problem": problem}
    assert not shown.reveal() or shown.reveal() not in str(refused.value)


def test_a_second_before_its_end_and_within_the_leeway_a_token_is_good(
    verifier: tuple[TokenVerifier, ManualClock],
) -> None:
    verify, clock = verifier
    verify.verify(token(clock.now(), **_times(clock.now(), exp=1)), AUDIENCE)
    verify.verify(token(clock.now(), **_times(clock.now(), nbf=5, iat=5)), AUDIENCE)


class _Source:
    """An issuer's address that a test changes. asked: how often it was."""

    def __init__(self) -> None:
        self.asked = 0
        self.keys: list[ECKey] | None = [KEY]
        self.others: list[Any] = []
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                source.asked += 1
                self.send_response(200 if source.keys is not None else 500)
                self.end_headers()
                listed = [key.as_dict(private=False) for key in source.keys or ()]
                self.wfile.write(json.dumps({"keys": [*source.others, *listed]}).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def source() -> Iterator[_Source]:
    made = _Source()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def remote(source: _Source) -> tuple[Callable[..., str], ManualClock]:
    """Says what comes of a token: its subject, what is wrong with it, or the reason."""
    clock = ManualClock()
    url = f"http://127.0.0.1:{source.server.server_address[1]}/jwks.json"
    verify = TokenVerifier([Issuer(kind="workforce", issuer="https://issuer.test", jwks_url=url)], clock)

    def outcome(**claims: Any) -> str:
        try:
            return verify.verify(token(clock.now(), **claims), AUDIENCE).subject
        except KeptError as error:
            return error.metadata.get("problem") or error.name

    return outcome, clock


def test_an_issuer_that_is_down_is_trusted_until_its_keys_time_is_over_and_then_no_more(
    source: _Source, remote: tuple[Callable[..., str], ManualClock]
) -> None:
    outcome, clock = remote
    assert outcome() == "sam"
    source.keys = None
    clock.advance(timedelta(seconds=3600))
    assert outcome() == "sam"
    clock.advance(timedelta(seconds=1))
    assert outcome() == "PEER_UNAVAILABLE"
    source.keys = [KEY]
    clock.advance(timedelta(seconds=3))
    assert outcome() == "sam"


def test_a_key_that_is_listed_no_more_opens_nothing_once_the_list_is_fetched_again(
    source: _Source, remote: tuple[Callable[..., str], ManualClock]
) -> None:
    outcome, clock = remote
    assert outcome() == "sam"
    source.keys = [NEXT]
    clock.advance(timedelta(seconds=11))
    # A token of the new key has the list fetched; the old one's time is over with that.
    assert outcome(key=NEXT, header={"kid": "k2"}) == "sam"
    assert outcome() == "UNKNOWN_KEY"


def test_an_issuer_that_lists_no_key_has_withdrawn_all(
    source: _Source, remote: tuple[Callable[..., str], ManualClock]
) -> None:
    outcome, clock = remote
    assert outcome() == "sam"
    source.keys = []
    clock.advance(timedelta(seconds=11))
    assert outcome(header={"kid": "k2"}) == "UNKNOWN_KEY"
    assert outcome() == "UNKNOWN_KEY"


@pytest.mark.parametrize(
    "other",
    [
        {"kty": "AKP", "kid": "other", "alg": "ML-DSA-44", "pub": "AAAA"},
        {"kty": "EC", "kid": "other", "crv": "P-999", "x": "AA", "y": "AA"},
        {"kty": "EC", "kid": "other", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {"kty": "RSA", "kid": "other", "use": "enc", "n": "AQAB", "e": "AQAB"},
        {"kty": "OKP", "kid": "other", "crv": "X999", "x": "AA"},
        {"kty": ["EC"], "kid": "other"},
        {name: value for name, value in NEXT.as_dict(private=False).items() if name != "kid"},
        {},
        "other",
        None,
    ],
)
def test_a_key_that_we_do_not_understand_is_nothing_to_the_others(
    source: _Source, remote: tuple[Callable[..., str], ManualClock], other: Any
) -> None:
    outcome, clock = remote
    source.others = [other]
    assert outcome() == "sam"
    for named in ("other", "None"):
        clock.advance(timedelta(seconds=11))
        assert outcome(header={"kid": named}) == "UNKNOWN_KEY"
    assert outcome() == "sam"


def test_made_up_key_ids_do_not_make_us_ask_the_issuer_again_and_again(
    source: _Source, remote: tuple[Callable[..., str], ManualClock]
) -> None:
    outcome, clock = remote
    assert outcome() == "sam"
    clock.advance(timedelta(seconds=11))
    for number in range(20):
        assert outcome(header={"kid": f"made-up-{number}"}) == "UNKNOWN_KEY"
    assert source.asked == 2
    source.keys = None
    clock.advance(timedelta(seconds=11))
    for number in range(20):
        assert outcome(header={"kid": f"made-up-{number}"}) == "UNKNOWN_KEY"
    assert source.asked == 3
    assert outcome() == "sam"


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
def test_an_issuer_that_breaks_off_is_one_that_cannot_be_reached(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)

        Thread(target=answer).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/jwks.json"
        clock = ManualClock()
        verify = TokenVerifier([Issuer(kind="workforce", issuer="https://issuer.test", jwks_url=url)], clock)
        with pytest.raises(KeptError) as refused:
            verify.verify(token(clock.now()), AUDIENCE)
    assert refused.value.reason == Reason.REASON_PEER_UNAVAILABLE


def test_who_shows_a_listed_key_does_not_wait_for_an_issuer_that_is_slow(
    remote: tuple[Callable[..., str], ManualClock], source: _Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, clock = remote
    assert outcome() == "sam"
    clock.advance(timedelta(seconds=11))
    fetching, answered = Event(), Event()

    def slow(*_: Any, **__: Any) -> Any:
        fetching.set()
        answered.wait(10)
        raise OSError

    monkeypatch.setattr("urllib.request.urlopen", slow)
    other = Thread(target=outcome, kwargs={"header": {"kid": "made-up"}})
    other.start()
    assert fetching.wait(10)
    assert outcome() == "sam"
    answered.set()
    other.join(10)


def test_an_issuer_that_never_answered_fails_closed() -> None:
    clock = ManualClock(datetime.fromtimestamp(time.time(), UTC))
    issuer = Issuer(kind="workforce", issuer="https://issuer.test", jwks_url="http://127.0.0.1:1/jwks.json")
    with pytest.raises(KeptError) as refused:
        TokenVerifier([issuer], clock).verify(token(clock.now()), AUDIENCE)
    assert refused.value.reason == Reason.REASON_PEER_UNAVAILABLE


def test_a_token_that_was_good_is_looked_at_again_each_time(
    source: _Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its signature is verified once, as long as the issuer's keys are the same; nothing else is remembered."""
    clock, verified = ManualClock(), []
    url = f"http://127.0.0.1:{source.server.server_address[1]}/jwks.json"
    verify = TokenVerifier([Issuer(kind="workforce", issuer="https://issuer.test", jwks_url=url)], clock)
    shown = token(clock.now(), **_times(clock.now(), exp=86_400))
    decode = jwt.decode

    def decoding(*args: Any, **kwargs: Any) -> Any:
        verified.append(args)
        return decode(*args, **kwargs)

    def problem(audience: str = AUDIENCE) -> str:
        try:
            verify.verify(shown, audience)
        except KeptError as error:
            return error.metadata["problem"]
        return ""

    def an_hour_later(*keys: ECKey) -> str:
        source.keys = list(keys)
        clock.advance(timedelta(seconds=3601))
        return problem()

    monkeypatch.setattr(jwt, "decode", decoding)
    assert [problem(), problem(), len(verified)] == ["", "", 1]
    assert problem("kept:settings") == "AUDIENCE"
    assert [an_hour_later(KEY), len(verified)] == ["", 2]  # the keys are fetched again, and are the same
    assert an_hour_later(OTHER) == "SIGNATURE"  # another key by the same name
    assert an_hour_later(KEY) == ""
    assert an_hour_later() == "UNKNOWN_KEY"  # withdrawn
    assert an_hour_later(KEY) == ""
    clock.advance(timedelta(seconds=86_400 - 5 * 3601 - 1))
    assert problem() == ""
    clock.advance(timedelta(seconds=1))
    assert problem() == "EXPIRED"


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
