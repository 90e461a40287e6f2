"""Identities side by side, tokens per audience, kept as long as they are good and seen by nobody else."""

import json
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from kept.cli import main
from kept.client.errors import KeptError
from kept.client.profile import Profile, load
from kept.client.session import Sessions
from tests.unit.clients.conftest import token

AUDIENCE = "kept:settings"


class Issuer(ThreadingHTTPServer):
    """Counts what it is asked for. Tokens are numbered, so that a test sees which one it got."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.expires_in = 900
        self.refusal: tuple[int, dict[str, object]] | None = None
        # Refresh tokens that it takes, once each; None: any, for ever. before: called before each answer.
        self.valid: set[str] | None = None
        self.before: Callable[[], object] = lambda: None
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Issuer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {key: values[0] for key, values in parse_qs(body).items()}
        self.server.forms.append(form)
        status, answer = self.server.refusal or (
            200,
            {
                "access_token": token(sub="ada", org="org_1", n=len(self.server.forms)),
                "expires_in": self.server.expires_in,
                "refresh_token": "refresh",
            },
        )
        self.server.before()
        if self.server.valid is not None:
            token_used = form.get("refresh_token")
            if token_used is not None and token_used not in self.server.valid:
                status, answer = 400, {"error": "invalid_grant"}
            else:
                self.server.valid.discard(token_used or "")
                answer["refresh_token"] = f"refresh {len(self.server.forms)}"
                self.server.valid.add(f"refresh {len(self.server.forms)}")
        if form.get("password") == "wrong":
            status, answer = 400, {"error": "invalid_grant", "error_description": "The password is wrong."}
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    server = Issuer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def profile(profile_file: Path, issuer: Issuer) -> Profile:
    text = profile_file.read_text()
    profile_file.write_text(text.replace("127.0.0.1:6", f"127.0.0.1:{issuer.server_address[1]}"))
    return load(profile_file)


class Time:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_a_token_is_asked_for_once_for_each_audience(profile: Profile, issuer: Issuer) -> None:
    time = Time()
    session = Sessions(profile, time).sign_in("customer", "ada@acme.example", "secret", "ada", AUDIENCE)
    first = session.access_token(AUDIENCE)
    other = session.access_token("kept:logging")
    # Another process finds what this one kept.
    found = Sessions(profile, time).find()
    assert (found.access_token(AUDIENCE), found.access_token("kept:logging")) == (first, other)
    assert first != other
    assert [form["grant_type"] for form in issuer.forms] == ["password", "refresh_token"]
    assert [form["audience"] for form in issuer.forms] == [AUDIENCE, "kept:logging"]
    assert found.claims()["org"] == "org_1"


def test_a_token_is_replaced_before_it_ends_or_when_refused(profile: Profile, issuer: Issuer) -> None:
    time = Time()
    session = Sessions(profile, time).sign_in("workforce", "anna", "secret", "anna", AUDIENCE)
    first = session.access_token(AUDIENCE)
    time.now += timedelta(seconds=860)
    assert session.access_token(AUDIENCE) == first
    time.now += timedelta(seconds=20)
    second = session.access_token(AUDIENCE)
    assert second != first
    assert session.access_token(AUDIENCE, fresh=True) not in (first, second)


@pytest.fixture
def rotating(issuer: Issuer) -> Issuer:
    issuer.valid = set()
    return issuer


def test_a_command_goes_on_after_another_has_used_up_its_refresh_token(
    profile: Profile, rotating: Issuer
) -> None:
    sessions = Sessions(profile)
    sessions.sign_in("workforce", "anna", "secret", "anna", AUDIENCE)
    watch, command = sessions.find(), sessions.find()
    token_of_command = command.access_token("kept:logging")
    assert watch.access_token("kept:retention")
    assert watch.access_token("kept:logging") == token_of_command  # which is in the file by now
    assert command.access_token("kept:logging", fresh=True)
    assert len(rotating.valid or ()) == 1


def test_commands_that_refresh_at_the_same_time_use_no_token_twice(
    profile: Profile, rotating: Issuer
) -> None:
    Sessions(profile).sign_in("workforce", "anna", "secret", "anna", AUDIENCE)
    found = [Sessions(profile).find() for _ in range(8)]
    with ThreadPoolExecutor(len(found)) as pool:
        got = list(pool.map(lambda session: session.access_token(AUDIENCE, fresh=True), found))
    assert len(set(got)) == len(found)


def test_a_token_that_came_while_the_old_one_was_refused_is_tried(profile: Profile, rotating: Issuer) -> None:
    """Whoever put it there may know of no locks: an older version, or a file system that has none."""
    session = Sessions(profile).sign_in("workforce", "anna", "secret", "anna", AUDIENCE)
    file = profile.sessions / "anna.json"
    content = json.loads(file.read_text())
    rotating.valid = {"another"}
    rotating.before = lambda: file.write_text(json.dumps(content | {"refresh_token": "another"}))
    assert session.access_token("kept:logging")
    rotating.valid = set()
    with pytest.raises(KeptError, match="has ended") as caught:
        session.access_token("kept:logging", fresh=True)
    assert caught.value.reason == "NOT_SIGNED_IN"
    assert "another" not in str(caught.value)


def test_who_signed_out_elsewhere_is_signed_out_here(profile: Profile, issuer: Issuer) -> None:
    watch = Sessions(profile).sign_in("workforce", "anna", "secret", "anna", AUDIENCE)
    Sessions(profile).sign_out("anna")
    with pytest.raises(KeptError, match="not signed in"):
        watch.access_token("kept:logging")
    assert Sessions(profile).names() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens": []},
        {"tokens": {"kept:logging": []}},
        {"tokens": {"kept:logging": {"token": "t", "until": "soon"}}},
        {"tokens": {"kept:logging": {"token": "t", "until": "2026-01-01T00:00"}}},
        {"tokens": {"kept:logging": {"token": 5, "until": "2026-01-01T00:00Z"}}},
        {"kind": "nobody"},
    ],
)
def test_a_session_file_that_is_none_says_so(
    profile: Profile, issuer: Issuer, wrong: dict[str, object]
) -> None:
    Sessions(profile).sign_in("workforce", "anna", "secret", "anna", AUDIENCE)
    file = profile.sessions / "anna.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | wrong))
    with pytest.raises(KeptError, match="session file of anna cannot be read"):
        Sessions(profile).find()


def test_files_are_their_owners_alone(profile: Profile, issuer: Issuer) -> None:
    Sessions(profile).sign_in("workforce", "anna", "secret", "anna", AUDIENCE)
    assert stat.S_IMODE(profile.sessions.stat().st_mode) == 0o700
    files = sorted(profile.sessions.iterdir())
    assert [file.name for file in files] == ["anna.json", "current"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert "secret" not in (profile.sessions / "anna.json").read_text()


def test_identities_side_by_side(profile: Profile, issuer: Issuer) -> None:
    sessions = Sessions(profile)
    for name in ("anna", "boris"):
        sessions.sign_in("workforce", name, "secret", name, AUDIENCE)
    assert (sessions.names(), sessions.find().name, sessions.find("anna").name) == (
        ["anna", "boris"],
        "boris",
        "anna",
    )
    sessions.sign_out("boris")
    for wanted in (None, "boris"):
        with pytest.raises(KeptError) as refused:
            sessions.find(wanted)
        assert refused.value.reason == "NOT_SIGNED_IN"


def test_a_password_that_is_no_text_is_not_sent(profile: Profile, issuer: Issuer) -> None:
    with pytest.raises(KeptError) as refused:
        Sessions(profile).sign_in("workforce", "anna", "secret\udcff", "anna", AUDIENCE)
    assert refused.value.reason == "UNREADABLE"
    assert "secret" not in str(refused.value)
    assert issuer.forms == []


@pytest.mark.parametrize("name", ["../anna", "", ".hidden", "a/b", "a\n"])
def test_a_name_is_no_path(name: str, profile: Profile, issuer: Issuer) -> None:
    with pytest.raises(KeptError):
        Sessions(profile).sign_in("workforce", "anna", "secret", name, AUDIENCE)
    assert issuer.forms == []


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ((400, {"error": "invalid_grant"}), "NOT_SIGNED_IN"),  # the session is over
        ((503, {"error": "temporarily_unavailable"}), "NOT_REACHABLE"),
        ((302, {}), "NOT_SIGNED_IN"),  # never followed: the form holds the refresh token
        ((200, {"access_token": "x"}), "NOT_SIGNED_IN"),
    ],
)
def test_refusals_of_a_refresh(
    refusal: tuple[int, dict[str, object]], reason: str, profile: Profile, issuer: Issuer
) -> None:
    session = Sessions(profile).sign_in("workforce", "anna", "secret", "anna", AUDIENCE)
    issuer.refusal = refusal
    with pytest.raises(KeptError) as failed:
        session.access_token("kept:logging")
    assert failed.value.reason == reason
    assert len(issuer.forms) == 2
    assert "refresh" not in str(failed.value)


def test_login_and_logout(
    profile: Profile, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kept.cli.signing_in._pin_first_keys", lambda _: None)
    monkeypatch.setenv("KEPT_PASSWORD", "secret")
    assert main(["login", "--customer", "ada@acme.example", "--as", "ada", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["claims"] == {"sub": "ada", "org": "org_1"}
    assert issuer.forms[0]["username"] == "ada@acme.example"
    assert main(["logout"]) == 0
    assert main(["logout"]) == 1  # nobody is left

    monkeypatch.setenv("KEPT_PASSWORD", "wrong")
    assert main(["login", "--as", "anna"]) == 1
    shown = capsys.readouterr().err
    assert "The password is wrong." in shown
    assert "kept login" in shown
    assert Sessions(profile).names() == []


def test_nobody_to_ask_for_the_password(profile_file: Path) -> None:
    assert main(["login", "--as", "anna"]) == 2


def test_an_issuer_that_is_not_there(profile_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT_PASSWORD", "secret")
    assert main(["login", "--as", "anna"]) == 3
