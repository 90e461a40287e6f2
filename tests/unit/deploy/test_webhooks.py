"""The receiver for looking: the stack is configured with it, and it shows what is signed, once."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.local import configuration
from deploy.local.authority import Authority
from deploy.local.layout import Layout, Ports
from deploy.local.webhooks import Receiver, prepare
from services.access_control.config import AccessControlConfig
from shared.clock import SystemClock
from shared.config import load
from shared.redaction import SecretBytes
from shared.webhooks import Endpoint, Message, sign
from shared.webhooks.endpoints import Secrets
from shared.webhooks.posting import post


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "stack", Ports.free())


def test_access_control_tells_the_receiver_once_it_was_asked_for(layout: Layout) -> None:
    authority = Authority(layout.authority, trust_domain="kept.local", environment="local")
    identity = authority.issue("access_control", serves=True)

    def configured() -> AccessControlConfig:
        configuration.write_service(layout, "access_control", identity, "x")
        return load(AccessControlConfig, "access_control", layout.configuration("access_control"))

    assert configured().notifications == ()
    assert prepare(layout) is True
    assert layout.webhook_secret.stat().st_mode & 0o777 == 0o600
    [endpoint] = configured().notifications
    assert endpoint.url == f"http://127.0.0.1:{layout.webhook_port}/"
    assert len(Secrets(endpoint).current()) == 1
    assert prepare(layout) is False, "the secret stays"


def test_what_is_signed_is_shown_once_and_nothing_else(layout: Layout) -> None:
    prepare(layout)
    shown: list[dict[str, Any]] = []
    receiver = Receiver(layout, shown.append)
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    now = SystemClock().now()
    message = Message.of("grant.requested", now, {"grant_id": "grant_1"})

    def sent(secret: SecretBytes, age: timedelta = timedelta(0)) -> int:
        timestamp = int((now - age).timestamp())
        headers = {
            "webhook-id": message.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign([secret], message.message_id, timestamp, message.body),
        }
        url = f"http://127.0.0.1:{layout.webhook_port}/"
        return post(url, headers, message.body, authority=None, timeout=timedelta(seconds=5)).status

    try:
        endpoint = Endpoint(name="here", url="http://127.0.0.1:1/", secret_files=(layout.webhook_secret,))
        [secret] = Secrets(endpoint).current()
        assert sent(SecretBytes(bytes(32))) == 401
        assert sent(secret, timedelta(minutes=6)) == 401
        assert shown == []
        assert [sent(secret), sent(secret)] == [204, 204]
        assert [one["type"] for one in shown] == ["grant.requested"]
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()
