"""A receiver of the stack's notifications, for looking: verifies each as docs/notifications.md says, and prints it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deploy.local import ports, private_files
from deploy.local.errors import PortInUse
from deploy.local.layout import Layout

_LARGEST_BODY = 64 * 1024
_TOLERANCE_SECONDS = 300


def prepare(layout: Layout) -> bool:
    """Makes the signing secret, which has access control and settings configured for this receiver when the stack starts the next time.
    False where it is there already."""
    if layout.webhook_secret.exists():
        return False
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    private_files.write(layout.webhook_secret, f"whsec_{secret}\n")
    return True


def is_verified(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether the message was signed with this secret within the last five minutes."""
    named, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent.isdigit() or abs(time.time() - int(sent)) > _TOLERANCE_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    made = base64.b64encode(hmac.digest(key, f"{named}.{sent}.".encode() + body, hashlib.sha256)).decode()
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(f"v1,{made}", signature) for signature in given)


class Receiver(ThreadingHTTPServer):
    """Hands the body of every new message to `show`. Raises PortInUse."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, layout: Layout, show: Callable[[dict[str, object]], None]) -> None:
        self.secret = layout.webhook_secret.read_text().strip()
        self.show = show
        self.seen: set[str] = set()
        try:
            super().__init__((ports.LOOPBACK, layout.webhook_port), _Handler)
        except OSError:
            holder = ports.holder(layout.webhook_port)
            raise PortInUse("the receiver of webhooks", layout.webhook_port, holder) from None


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    server_version = "kept-development-receiver"
    sys_version = ""
    timeout = 10

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > _LARGEST_BODY:
            self.send_error(413)
            return
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if not is_verified(headers, body, self.server.secret):
            self.send_error(401)
            return
        if headers["webhook-id"] not in self.server.seen:
            self.server.seen.add(headers["webhook-id"])
            self.server.show(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """What counts is shown."""
