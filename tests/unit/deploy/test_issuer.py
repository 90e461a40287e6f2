"""The development issuer: right people get tokens by the stack's clock, wrong ones do not, nothing is logged."""

from __future__ import annotations

import http.client
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from deploy.local.issuer import people
from deploy.local.issuer.customers import CannotTell, TooSoon
from deploy.local.issuer.endpoint import Endpoint, Realm, Renew
from deploy.local.issuer.people import WORKFORCE, Workforce
from deploy.local.issuer.tokens import SigningKey, Subject, TokenIssuer

AUDIENCES = ("kept:settings", "kept:logging")


@dataclass
class FakeClock:
    instant: datetime = field(default_factory=lambda: datetime(2031, 5, 1, tzinfo=UTC))

    def now(self) -> datetime:
        return self.instant

    def boottime(self) -> float:
        return 0.0

    def generation(self) -> int:
        return 0


@dataclass
class Issuer:
    port: int
    clock: FakeClock
    passwords: dict[str, str]
    renewals: list[Renew]
    """What becomes of customers' sessions, one after the other."""

    def get(self, path: str, host: str | None = None) -> tuple[int, Any]:
        return self._send("GET", path, None, {"Host": host} if host else {})

    def post(self, path: str, body: str | bytes, **headers: str) -> tuple[int, Any]:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send(
            "POST", path, body, kind | {name.replace("_", "-"): text for name, text in headers.items()}
        )

    def sign_in(
        self, kind: str, username: str, password: str, audience: str = "kept:settings"
    ) -> tuple[int, Any]:
        form = {"grant_type": "password", "username": username, "password": password, "audience": audience}
        return self.post(f"/{kind}/token", urlencode(form))

    def refresh(self, kind: str, token: str, audience: str = "kept:settings") -> tuple[int, Any]:
        form = {"grant_type": "refresh_token", "refresh_token": token, "audience": audience}
        return self.post(f"/{kind}/token", urlencode(form))

    def claims(self, kind: str, token: str) -> dict[str, Any]:
        keys = KeySet.import_key_set(self.get(f"/{kind}/jwks.json")[1])
        return dict(jwt.decode(token, keys, algorithms=["ES256"]).claims)

    def _send(
        self, method: str, path: str, body: str | bytes | None, headers: dict[str, str]
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


def _customers(email: str, password: str, source: str) -> Subject | None:
    assert source == "127.0.0.1"
    if email == "nobody@knows.example":
        raise CannotTell
    if email == "too@soon.example":
        raise TooSoon(7)
    if (email, password) != ("ann@acme.example", "correct horse battery"):
        return None
    return Subject("member_ann", "Ann Admin", email, "org_acme")


@pytest.fixture(scope="module")
def workforce(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workforce, dict[str, str]]:
    home = tmp_path_factory.mktemp("people")
    people.create(home / "people.json", home / "passwords.json")
    return Workforce(home / "people.json"), json.loads((home / "passwords.json").read_text())


@pytest.fixture
def issuer(tmp_path: Path, workforce: tuple[Workforce, dict[str, str]]) -> Iterator[Issuer]:
    known, passwords = workforce
    clock = FakeClock()

    def employee(username: str, password: str, _source: str) -> Subject | None:
        person = known.verify(username, password)
        return None if person is None else Subject(person.username, person.name, person.email)

    renewals: list[Renew] = []

    def realm(kind: str) -> TokenIssuer:
        return TokenIssuer(f"http://issuer/{kind}", SigningKey(tmp_path / f"{kind}.pem"), clock)

    realms = {
        "workforce": Realm(realm("workforce"), employee),
        "customer": Realm(realm("customer"), _customers, lambda subject: renewals.pop(0)(subject)),
    }
    server = Endpoint(0, realms, AUDIENCES)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Issuer(server.server_address[1], clock, passwords, renewals)
    server.shutdown()
    thread.join()
    server.server_close()


def test_one_of_the_workforce_gets_a_short_token_for_one_audience(issuer: Issuer) -> None:
    status, answer = issuer.sign_in("workforce", "olga", issuer.passwords["olga"], "kept:logging")
    assert status == 200
    assert answer["expires_in"] == 900
    claims = issuer.claims("workforce", answer["access_token"])
    now = int(issuer.clock.instant.timestamp())
    assert claims.pop("jti")
    assert claims == {
        "iss": "http://issuer/workforce",
        "sub": "olga",
        "aud": "kept:logging",
        "iat": now,
        "exp": now + 900,
        "email": "olga@vendor.example",
        "name": "Olga Operator",
    }


def test_who_guesses_is_told_to_wait(issuer: Issuer) -> None:
    status, answer = issuer.sign_in("customer", "too@soon.example", "correct horse battery")
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert "wait 7 s" in answer["error_description"]


def test_a_customers_token_says_which_organization(issuer: Issuer) -> None:
    status, answer = issuer.sign_in("customer", "ann@acme.example", "correct horse battery")
    assert status == 200
    claims = issuer.claims("customer", answer["access_token"])
    assert (claims["sub"], claims["org"], claims["iss"]) == (
        "member_ann",
        "org_acme",
        "http://issuer/customer",
    )


def test_each_issuer_signs_with_a_key_of_its_own(issuer: Issuer) -> None:
    _, answer = issuer.sign_in("workforce", "olga", issuer.passwords["olga"])
    with pytest.raises(Exception, match="key"):
        issuer.claims("customer", answer["access_token"])


@pytest.mark.parametrize("kind", ["workforce", "customer"])
@pytest.mark.parametrize("username", ["olga", "nobody", "ann@acme.example", "ölga\ud800"])
def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(
    issuer: Issuer, kind: str, username: str
) -> None:
    form = urlencode(
        {"grant_type": "password", "username": username, "password": "wrong", "audience": "kept:settings"},
        errors="surrogatepass",
    )
    status, answer = issuer.post(f"/{kind}/token", form)
    assert status == 400
    assert answer["error"] in ("invalid_grant", "invalid_request")
    assert "access_token" not in answer
    if username.isascii():
        assert answer["error_description"] == "The name or the password is wrong."


def test_nobody_of_the_workforce_signs_in_as_a_customer(issuer: Issuer) -> None:
    assert issuer.sign_in("customer", "olga", issuer.passwords["olga"])[0] == 400


def test_a_refresh_token_gives_tokens_for_other_audiences_for_half_a_day(issuer: Issuer) -> None:
    _, answer = issuer.sign_in("workforce", "emma", issuer.passwords["emma"])
    issuer.clock.instant += timedelta(hours=11, minutes=59)
    status, renewed = issuer.refresh("workforce", answer["refresh_token"], "kept:logging")
    assert status == 200
    claims = issuer.claims("workforce", renewed["access_token"])
    assert (claims["aud"], claims["sub"]) == ("kept:logging", "emma")
    assert claims["iat"] == int(issuer.clock.instant.timestamp())
    issuer.clock.instant += timedelta(minutes=1)
    for _ in range(2):
        status, refused = issuer.refresh("workforce", answer["refresh_token"])
        assert (status, refused["error"]) == (400, "invalid_grant")


def test_a_customers_session_goes_on_as_settings_says_and_ends_for_good(issuer: Issuer) -> None:
    def busy(_: Subject) -> Subject | None:
        raise CannotTell

    issuer.renewals += [lambda subject: replace(subject, name="Ann Else"), busy, lambda _: None]
    _, answer = issuer.sign_in("customer", "ann@acme.example", "correct horse battery")
    token = answer["refresh_token"]
    status, renewed = issuer.refresh("customer", token)
    assert (status, issuer.claims("customer", renewed["access_token"])["name"]) == (200, "Ann Else")
    status, refused = issuer.refresh("customer", token)
    assert (status, refused["error"]) == (503, "temporarily_unavailable"), "nothing is known, nothing ends"
    for _ in range(2):
        status, refused = issuer.refresh("customer", token)
        assert (status, refused["error"]) == (400, "invalid_grant")
    assert issuer.renewals == [], "a session that has ended is not asked for again"


def test_a_refresh_token_is_worth_nothing_at_the_other_issuer(issuer: Issuer) -> None:
    _, answer = issuer.sign_in("workforce", "emma", issuer.passwords["emma"])
    assert issuer.refresh("customer", answer["refresh_token"])[0] == 400


def test_an_audience_that_is_no_services_is_refused(issuer: Issuer) -> None:
    status, answer = issuer.sign_in(
        "workforce", "olga", issuer.passwords["olga"], "https://elsewhere.example"
    )
    assert (status, answer["error"]) == (400, "invalid_target")


def test_when_settings_cannot_tell_nobody_is_called_wrong(issuer: Issuer) -> None:
    status, answer = issuer.sign_in("customer", "nobody@knows.example", "x")
    assert (status, answer["error"]) == (503, "temporarily_unavailable")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("grant_type=password&audience=kept:settings", {}, 400),
        ("grant_type=client_credentials&audience=kept:settings", {}, 400),
        ("audience=kept:settings&audience=kept:logging&grant_type=password", {}, 400),
        ("&".join(f"f{n}=1" for n in range(50)), {}, 400),
        ("%ff%fe=1", {}, 400),
        (b"\xff\x00", {}, 400),
        ("", {}, 400),
        ("{}", {"Content_Type": "application/json"}, 400),
        ("x" * 8193, {}, 413),
        ("a=1", {"Content_Length": "-1"}, 411),
        ("a=1", {"Content_Length": "99999999999"}, 411),
    ],
)
def test_forms_that_are_no_good_are_refused(
    issuer: Issuer, body: str | bytes, headers: dict[str, str], status: int
) -> None:
    got, answer = issuer.post("/workforce/token", body, **headers)
    assert got == status
    assert "error" in answer


@pytest.mark.parametrize(
    "path", ["/", "/nobody/jwks.json", "/workforce/keys", "/workforce/../customer/jwks.json"]
)
def test_there_is_nothing_else(issuer: Issuer, path: str) -> None:
    assert issuer.get(path)[0] == 404
    assert issuer.post(path, "a=1")[0] == 404


def test_a_page_that_calls_under_another_name_finds_nothing(issuer: Issuer) -> None:
    assert issuer.get("/workforce/jwks.json", host=f"evil.example:{issuer.port}")[0] == 404
    assert issuer.get("/workforce/jwks.json", host=f"localhost:{issuer.port}")[0] == 200


def test_discovery_names_the_endpoints_and_public_keys_hold_no_private_part(issuer: Issuer) -> None:
    _, discovered = issuer.get("/customer/.well-known/openid-configuration")
    assert discovered["jwks_uri"] == "http://issuer/customer/jwks.json"
    [key] = issuer.get("/customer/jwks.json")[1]["keys"]
    assert "d" not in key
    assert key["alg"] == "ES256"


def test_no_secret_is_logged(
    issuer: Issuer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    password = issuer.passwords["olga"]
    _, answer = issuer.sign_in("workforce", "olga", password)
    issuer.refresh("workforce", answer["refresh_token"])
    issuer.get(f"/workforce/token?password={password}")
    issuer.post("/workforce/token", f"password={password}%ff")
    written = caplog.text + "".join(capfd.readouterr())
    assert "POST token 200" in written
    for secret in (password, answer["access_token"], answer["refresh_token"]):
        assert secret not in written


def test_passwords_are_private_random_and_not_in_the_people_file(tmp_path: Path) -> None:
    hashes, plain = tmp_path / "people.json", tmp_path / "passwords.json"
    people.create(hashes, plain)
    known = json.loads(plain.read_text())
    assert known.keys() == {person.username for person in WORKFORCE}
    assert len(set(known.values())) == len(known)
    assert not any(password in hashes.read_text() for password in known.values())
    assert {path.stat().st_mode & 0o777 for path in (hashes, plain)} == {0o600}
    before = plain.read_text()
    people.create(hashes, plain)
    assert plain.read_text() == before


def test_signing_keys_outlive_the_process(tmp_path: Path) -> None:
    assert SigningKey(tmp_path / "k.pem").key_id == SigningKey(tmp_path / "k.pem").key_id
    assert (tmp_path / "k.pem").stat().st_mode & 0o777 == 0o600
