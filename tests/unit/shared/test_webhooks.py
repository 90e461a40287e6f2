"""Webhooks, sent to a real receiver: signed so that another implementation verifies them, and kept until they are taken."""

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy
import standardwebhooks
import structlog
from prometheus_client import REGISTRY

from deploy.local.authority import Authority
from shared.clock import Clock, SystemClock
from shared.config import ConfigError
from shared.database import Database
from shared.outbox import outbox_table
from shared.redaction import SecretBytes
from shared.webhooks import Endpoint, Message, Webhook, require_usable, sign
from shared.webhooks.posting import post
from tests.support.clocks import ManualClock
from tests.support.postgres import FreshDatabase
from tests.support.receiver import Receiver, receiving

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
RECIPE = re.search(r"```python\n(.*?)```", Path("docs/notifications.md").read_text(), re.DOTALL)
MACHINE_TIME = datetime(2031, 5, 1, tzinfo=UTC)


def verified(request: Any, secret: str, now: float = MACHINE_TIME.timestamp()) -> bool:
    """What docs/notifications.md tells receivers to do, as it stands there."""
    assert RECIPE is not None
    recipe: dict[str, Any] = {}
    exec(RECIPE[1], recipe)
    return bool(recipe["verified"](request.headers, request.body, secret, now))


class Parts:
    """One endpoint and what sends to it. The service's clock travels; the machine's does not."""

    def __init__(self, url: str, home: Path) -> None:
        self.database, self.clock = Database(url), ManualClock()
        metadata = sqlalchemy.MetaData()
        self.table = outbox_table(metadata)
        metadata.create_all(self.database.engine)
        self.secret = home / "secret"
        self.secret.write_text(SECRET + "\n")
        self.number = 0

    def webhook(self, url: str, machine: Clock | None = None, **changes: Any) -> Webhook:
        """A process's own, on the same outbox. machine: the clock of its tries."""
        endpoint = Endpoint.model_validate(
            {"name": "pager", "url": url, "secret_files": [self.secret], "timeout_seconds": 1, **changes}
        )
        return Webhook(endpoint, self.table, self.database, self.clock, machine or ManualClock(MACHINE_TIME))

    def put(self, webhook: Webhook) -> str:
        """A message; returns its id."""
        self.number += 1
        message = Message.of("grant.requested", self.clock.now(), {"grant_id": f"grant_{self.number}"})
        with self.database.transaction() as tx:
            webhook.put(tx, message)
        return message.message_id

    def deliver(self, webhook: Webhook) -> None:
        while webhook.job.step():
            pass

    def waiting(self) -> int:
        with self.database.transaction() as tx:
            return int(
                tx.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(self.table)).scalar_one()
            )

    def later(self) -> None:
        """Long enough for the next try of anything."""
        self.clock.advance(timedelta(hours=27))


@pytest.fixture
def parts(fresh_database: FreshDatabase, tmp_path: Path) -> Iterator[Parts]:
    made = Parts(fresh_database("settings"), tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def tries(outcome: str) -> float:
    """How often the endpoint had this outcome in this process."""
    labels = {"endpoint": "pager", "outcome": outcome}
    return REGISTRY.get_sample_value("kept_webhook_tries_total", labels) or 0.0


def test_the_signature_is_that_of_the_specifications_own_libraries() -> None:
    # The vector that the reference libraries of Standard Webhooks carry in their tests.
    secret = SecretBytes(base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    signature = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_package_that_receivers_use_verifies_what_we_sign(parts: Parts, receiver: Receiver) -> None:
    webhook = parts.webhook(receiver.url, SystemClock())  # it knows no other time
    parts.put(webhook)
    parts.deliver(webhook)
    [request] = receiver.requests
    assert standardwebhooks.Webhook(SECRET).verify(request.body, request.headers) == json.loads(request.body)
    for secret, body in ((OTHER, request.body), (SECRET, request.body.replace(b"1", b"2"))):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(secret).verify(body, request.headers)


def test_a_message_arrives_signed_and_dated_and_once(parts: Parts, receiver: Receiver) -> None:
    webhook = parts.webhook(receiver.url + "?a=b")
    message_id = parts.put(webhook)
    parts.deliver(webhook)
    parts.later()
    parts.deliver(webhook)
    [request] = receiver.requests
    assert request.path == "/hook?a=b"
    assert request.headers["content-type"] == "application/json"
    assert receiver.ids == [message_id]
    assert json.loads(request.body) == {
        "type": "grant.requested",
        "timestamp": "2026-03-01T12:00:00.000000Z",
        "data": {"grant_id": "grant_1"},
    }
    assert verified(request, SECRET)
    assert not verified(request, OTHER)
    assert not verified(request, SECRET, MACHINE_TIME.timestamp() + 301), "a recording is of no use"
    request.body += b" "
    assert not verified(request, SECRET)
    assert parts.waiting() == 0


def test_while_a_secret_is_rotated_both_verify_and_no_restart_is_needed(
    parts: Parts, receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "new").write_text(OTHER)
    webhook = parts.webhook(receiver.url, secret_files=[parts.secret, tmp_path / "new"])
    parts.put(webhook)
    parts.deliver(webhook)
    assert verified(receiver.requests[0], SECRET)
    assert verified(receiver.requests[0], OTHER)
    parts.secret.write_text("half a sec")  # is being written
    parts.put(webhook)
    parts.deliver(webhook)
    assert verified(receiver.requests[1], SECRET), "the last good one serves on"
    parts.secret.write_text(OTHER)
    parts.put(webhook)
    parts.deliver(webhook)
    assert not verified(receiver.requests[2], SECRET)
    assert verified(receiver.requests[2], OTHER)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 429, 500, 503])
def test_what_is_not_taken_comes_again_under_the_same_id(
    parts: Parts, receiver: Receiver, status: int
) -> None:
    with receiving() as elsewhere:
        receiver.extra = {"Location": elsewhere.url}
        receiver.answers(status, 200)
        before = tries(f"http_{status}")
        webhook = parts.webhook(receiver.url)
        message_id = parts.put(webhook)
        parts.deliver(webhook)
        assert tries(f"http_{status}") == before + 1
        assert len(receiver.requests) == parts.waiting() == 1
        parts.later()
        parts.deliver(webhook)
        assert receiver.ids == [message_id, message_id]
        assert parts.waiting() == 0
        assert not elsewhere.requests, "no redirect is followed"


def test_a_receiver_may_say_when(parts: Parts, receiver: Receiver) -> None:
    receiver.extra = {"Retry-After": "3600"}
    receiver.answers(503, 200)
    webhook = parts.webhook(receiver.url)
    parts.put(webhook)
    parts.deliver(webhook)
    parts.clock.advance(timedelta(minutes=59))
    parts.deliver(webhook)
    assert len(receiver.requests) == 1
    parts.clock.advance(timedelta(minutes=1))
    parts.deliver(webhook)
    assert len(receiver.requests) == 2


def test_who_is_gone_is_sent_nothing_more_until_a_restart_and_then_everything(
    parts: Parts, receiver: Receiver
) -> None:
    receiver.answers(410, 200)
    webhook = parts.webhook(receiver.url)
    assert webhook.is_well()
    ids = [parts.put(webhook), parts.put(webhook)]
    with structlog.testing.capture_logs() as lines:
        parts.deliver(webhook)
        ids.append(parts.put(webhook))
        for _ in range(3):
            parts.later()
            parts.deliver(webhook)
    assert receiver.ids == ids[:1]
    assert not webhook.is_well()
    assert REGISTRY.get_sample_value("kept_alert_active", {"alert": "webhook_endpoint_gone"}) == 1
    assert [line["log_level"] for line in lines if line["event"] == "webhook.endpoint_gone"] == ["error"]
    restarted = parts.webhook(receiver.url)
    parts.deliver(restarted)
    assert sorted(receiver.ids[1:]) == sorted(ids)
    assert restarted.is_well()
    assert REGISTRY.get_sample_value("kept_alert_active", {"alert": "webhook_endpoint_gone"}) == 0


def test_a_receiver_that_is_down_gets_it_when_it_is_up(parts: Parts, receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    before = tries("unreachable")
    webhook = parts.webhook(f"http://127.0.0.1:{port}/")
    message_id = parts.put(webhook)
    parts.deliver(webhook)
    assert tries("unreachable") == before + 1
    parts.later()
    mended = parts.webhook(receiver.url)
    parts.deliver(mended)
    assert receiver.ids == [message_id]


def _silent(_: socket.socket) -> None: ...


def _dripping(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-A: ")
    for _ in range(600):  # a minute, unless somebody hangs up
        connection.sendall(b"a")
        time.sleep(0.1)


def _patient(connection: socket.socket) -> None:
    for _ in range(600):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.1)


def _babbling(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")


def _endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (_silent, "timeout"),
        (_dripping, "timeout"),
        (_patient, "timeout"),
        (_babbling, "no_http"),
        (_endless, "no_http"),
    ],
)
def test_whatever_a_receiver_does_a_try_ends_in_time(
    parts: Parts, behaviour: Callable[[socket.socket], None], outcome: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections: list[socket.socket] = []

        def serve() -> None:
            connections.append(server.accept()[0])
            try:
                connections[0].recv(100_000)
                behaviour(connections[0])
            except OSError:
                pass

        threading.Thread(target=serve, daemon=True).start()
        webhook = parts.webhook(f"http://127.0.0.1:{server.getsockname()[1]}/")
        parts.put(webhook)
        before, begun = tries(outcome), time.monotonic()
        parts.deliver(webhook)
        assert tries(outcome) == before + 1
        assert time.monotonic() - begun < 10
        assert parts.waiting() == 1
        connections[0].close()


def test_an_answers_body_is_left_where_it_is(parts: Parts, receiver: Receiver) -> None:
    receiver.extra = {"Content-Length": "10000000000"}
    receiver.answers(200)
    webhook = parts.webhook(receiver.url)
    parts.put(webhook)
    parts.deliver(webhook)
    assert parts.waiting() == 0


@pytest.mark.parametrize(
    ("authority", "address"),
    [
        ("[2001:db8::a]", ("2001:db8::a", 80)),
        ("[2001:db8::1]", ("2001:db8::1", 80)),
        ("[2001:db8::a]:8080", ("2001:db8::a", 8080)),
        ("hooks.test", ("hooks.test", 80)),
    ],
)
def test_a_receiver_is_called_what_its_url_calls_it(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, authority: str, address: tuple[str, int]
) -> None:
    here = urlsplit(receiver.url)
    connect, asked = socket.create_connection, []

    def connected(wanted: tuple[str, int], timeout: float) -> socket.socket:
        asked.append(wanted)
        return connect((here.hostname or "", here.port or 0), timeout)

    monkeypatch.setattr(socket, "create_connection", connected)
    answer = post(f"http://{authority}/hook", {}, b"{}", authority=None, timeout=timedelta(seconds=10))
    assert (answer.status, asked) == (204, [address])
    assert [request.headers["host"] for request in receiver.requests] == [authority]


def test_a_process_that_dies_after_the_receiver_took_it_sends_it_again_under_the_same_id(
    parts: Parts, receiver: Receiver
) -> None:
    class Crash(BaseException): ...

    def die(when: str) -> None:
        if receiver.requests:
            raise Crash

    webhook = parts.webhook(receiver.url)
    message_id = parts.put(webhook)
    parts.database._on_commit = die  # the answer is there, and is never written down
    with pytest.raises(Crash):
        parts.deliver(webhook)
    parts.database._on_commit = None
    successor = parts.webhook(receiver.url)
    parts.deliver(successor)
    assert receiver.ids == [message_id], "perhaps it is still at work"
    parts.clock.advance(timedelta(seconds=8))
    parts.deliver(successor)
    assert receiver.ids == [message_id, message_id]
    assert parts.waiting() == 0


def test_only_who_the_authority_vouches_for_is_sent_anything(parts: Parts, tmp_path: Path) -> None:
    authority, stranger = (
        Authority(tmp_path / name, trust_domain="kept.test", environment="local") for name in "ab"
    )
    with receiving(authority.issue("hook", serves=True)) as receiver:
        others: list[dict[str, Any]] = [{"authority": stranger.certificate}, {}]
        for wrong in others:
            before = tries("not_trusted")
            webhook = parts.webhook(receiver.url, **wrong)
            parts.put(webhook)
            parts.deliver(webhook)
            assert tries("not_trusted") == before + 1
        assert not receiver.requests
        parts.later()
        parts.deliver(parts.webhook(receiver.url, authority=authority.certificate))
        assert len(receiver.requests) == 2
        assert all(verified(request, SECRET) for request in receiver.requests)


def test_a_certificate_for_another_host_is_not_taken(parts: Parts, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca", trust_domain="kept.test", environment="local")
    with receiving(authority.issue("hook", serves=True), host="127.0.0.2") as receiver:
        before = tries("not_trusted")
        webhook = parts.webhook(receiver.url, authority=authority.certificate)
        parts.put(webhook)
        parts.deliver(webhook)
        assert tries("not_trusted") == before + 1
        assert not receiver.requests


def test_who_speaks_no_tls_is_sent_nothing(parts: Parts, receiver: Receiver) -> None:
    before = tries("no_tls")
    webhook = parts.webhook(receiver.url.replace("http:", "https:"))
    parts.put(webhook)
    parts.deliver(webhook)
    assert tries("no_tls") == before + 1
    assert not receiver.requests


def test_an_endpoint_that_hangs_delays_no_other(parts: Parts, receiver: Receiver) -> None:
    release = threading.Event()
    receiver.answer = lambda _: 200 if release.wait(5) else 500
    with receiving() as other:
        slow = parts.webhook(receiver.url, timeout_seconds=5)
        quick = parts.webhook(other.url, name="chat")
        parts.put(slow)
        parts.put(quick)
        thread = threading.Thread(target=parts.deliver, args=(slow,))
        thread.start()
        while not receiver.requests:
            time.sleep(0.01)
        parts.deliver(quick)
        assert len(other.requests) == 1
        assert thread.is_alive(), "and that while the other one hangs"
        release.set()
        thread.join()


def test_neither_secret_nor_address_nor_body_is_in_a_log(parts: Parts, receiver: Receiver) -> None:
    receiver.answers(500, 200, 410)
    webhook = parts.webhook(receiver.url + "?token=canary")
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            parts.put(webhook)
        parts.secret.unlink()
        parts.deliver(webhook)
    text = json.dumps(lines)
    for event in ("failed", "delivered", "endpoint_gone", "secret_unusable"):
        assert f"webhook.{event}" in text
    for word in (SECRET.removeprefix("whsec_"), str(parts.secret), "canary", receiver.url, "grant_"):
        assert word not in text


SOUND = {"name": "pager", "url": "https://hooks.example.org/kept", "secret_files": ["/s"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "ftp://hooks.example.org"}, "of the form https"),
        ({"url": "https:///kept"}, "of the form https"),
        ({"url": "https://me:word@hooks.example.org/"}, "neither a user"),
        ({"url": "https://hooks.example.org/#a"}, "neither a user"),
        ({"url": "https://hooks.example.org/a b"}, "printable ASCII"),
        ({"url": "https://hooks.example.org/\r\nX-A: b"}, "printable ASCII"),
        ({"url": "https://hooks.example.org:99999/"}, "ort"),
        ({"name": "Pager 1"}, "pattern"),
        ({"secret_files": []}, "at least 1"),
        ({"secret_file": "/s"}, "Extra inputs"),
        ({"timeout_seconds": 600}, "less than or equal to 30"),
        ({"url": "http://127.0.0.1/"}, "http is for loopback"),
        ({"url": "http://hooks.example.org/"}, "http is for loopback"),
        ({"events": ["grant.request"]}, "there is no event grant.request; there are grant.requested"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_said(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        require_usable([Endpoint.model_validate({**SOUND, **changes})], "production", {"grant.requested"})


def test_clear_text_is_for_loopback_in_the_local_environment_only() -> None:
    there = Endpoint.model_validate({**SOUND, "url": "http://hooks.example.org/"})
    with pytest.raises(ValueError, match="http is for loopback"):
        require_usable([there], "local", ())
    here = Endpoint.model_validate({**SOUND, "url": "http://127.0.0.1:8080/"})
    require_usable([here], "local", ())


def test_two_endpoints_of_one_name_are_refused() -> None:
    endpoint = Endpoint.model_validate(SOUND)
    require_usable([endpoint], "production", ())
    with pytest.raises(ValueError, match="two endpoints"):
        require_usable([endpoint, endpoint], "production", ())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("\xff", "cannot be read"),
        ("MfKQ9r8GKYqTwjUPD8ILPZIo2LaLaSw=", "does not begin with whsec_"),
        ("whsec_%%%%", "is not base64"),
        ("whsec_" + base64.b64encode(b"canary" * 3).decode(), "holds 18 bytes; it takes 24 to 64"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "holds 65 bytes"),
    ],
)
def test_what_is_wrong_with_a_secret_is_said_without_it(
    parts: Parts, content: str | None, words: str
) -> None:
    parts.secret.unlink()
    if content is not None:
        parts.secret.write_text(content, "latin-1")
    with pytest.raises(ConfigError, match=words) as caught:
        parts.webhook("https://hooks.example.org")
    assert str(parts.secret) in str(caught.value)
    if content is not None and len(content) > 9:
        assert content.removeprefix("whsec_") not in str(caught.value)
