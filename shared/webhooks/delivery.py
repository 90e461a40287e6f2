"""A message, its signature, and its way to one endpoint.

Each endpoint has an outbox of its own: one that is down, slow or gone delays nobody else's messages. A message is delivered at least once,
always under the same `webhook-id`; in no promised order, but it carries the time of what it tells of.
"""

import base64
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

import structlog
from prometheus_client import Counter

from shared.clock import Clock, SystemClock
from shared.database import Database
from shared.ids import new_id
from shared.jobs import Job
from shared.outbox import Connection, Schedule, ScheduledOutbox, Table, Undelivered
from shared.redaction import SecretBytes
from shared.telemetry import ALERT
from shared.webhooks.endpoints import Endpoint, Secrets
from shared.webhooks.posting import NoAnswer, post

# Standard Webhooks, "Deliverability and reliability": three days in all.
WAITS: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
_GONE: Final = 410
_TRIES: Final = Counter(
    "kept_webhook_tries_total",
    "Tries to deliver a webhook, by endpoint and outcome.",
    ["endpoint", "outcome"],
)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Message:
    """What happened, in ids. occurred_at: when. data: names and values, none of them free text."""

    message_id: str
    event: str
    occurred_at: datetime
    data: Mapping[str, str | int | bool]

    @classmethod
    def of(cls, event: str, occurred_at: datetime, data: Mapping[str, str | int | bool]) -> "Message":
        """A message with an id of its own."""
        return cls(new_id("msg"), event, occurred_at, data)

    @property
    def body(self) -> bytes:
        """What is sent and signed: {"type", "timestamp" (RFC 3339, UTC), "data"}."""
        timestamp = self.occurred_at.isoformat(timespec="microseconds").replace("+00:00", "Z")
        content = {"type": self.event, "timestamp": timestamp, "data": dict(self.data)}
        return json.dumps(content, separators=(",", ":")).encode()


def sign(secrets: Sequence[SecretBytes], message_id: str, timestamp: int, body: bytes) -> str:
    """`webhook-signature`: a `v1` signature for each secret, HMAC-SHA256 over "id.timestamp.body". timestamp: Unix seconds of the try."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(secret.reveal(), signed, sha256)).decode() for secret in secrets
    )


class Webhook:
    """One endpoint: what it gets, and how it gets it.

    An endpoint that answers 410 is put aside: nothing more is sent to it until the service is started again, which is what an operator
    does who has mended its configuration. What it would have got waits in the outbox.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        table: Table,
        database: Database,
        clock: Clock,
        machine_clock: Clock | None = None,
        complete: Callable[[bytes], bytes | None] | None = None,
    ) -> None:
        """table: the service's outbox. machine_clock: dates the tries; a receiver does not travel with a local stack, any more than TLS
        does. complete: makes the body of a try out of what was put, for what must not lie in an outbox; None where there is nothing to send
        any more. Raises ConfigError for secrets that cannot be used."""
        self._complete = complete
        self._endpoint = endpoint
        self._secrets = Secrets(endpoint)
        self._machine_clock = machine_clock or SystemClock()
        self._timeout = timedelta(seconds=endpoint.timeout_seconds)
        self._is_gone = False
        schedule = Schedule(WAITS, self._timeout)
        self._outbox = ScheduledOutbox(
            table, database, clock, f"webhook:{endpoint.name}", schedule, self._send
        )
        ready = self._outbox.job
        self.job = Job(ready.name, ready.interval, self._step, ready.wake)
        ALERT.labels("webhook_endpoint_gone").set(0)

    def takes(self, event: str) -> bool:
        """Whether the endpoint asked for these events."""
        return not self._endpoint.events or event in self._endpoint.events

    def put(self, tx: Connection, message: Message) -> None:
        """Sends a message, if the caller's transaction commits."""
        self._outbox.put(tx, message.message_id.encode() + b"\n" + message.body)

    def is_well(self) -> bool:
        """Whether the endpoint takes what it is sent, as far as anybody knows."""
        return self._outbox.is_well() and not self._is_gone

    def _step(self) -> bool:
        if self._is_gone:
            self._outbox.report()
            return False
        return self._outbox.deliver()

    def _send(self, payload: bytes) -> None:
        message_id, _, put = payload.partition(b"\n")
        body = put if self._complete is None else self._complete(put)
        if body is None:
            return
        name, named = self._endpoint.name, message_id.decode()
        timestamp = int(self._machine_clock.now().timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "kept-webhooks/1",
            "webhook-id": named,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._secrets.current(), named, timestamp, body),
        }
        try:
            answer = post(
                self._endpoint.url, headers, body, authority=self._endpoint.authority, timeout=self._timeout
            )
        except NoAnswer as error:
            self._failed(named, error.reason)
            raise Undelivered(error.reason) from error
        if answer.status == _GONE:
            self._is_gone = True
            ALERT.labels("webhook_endpoint_gone").set(1)
            _TRIES.labels(name, "gone").inc()
            _log.error("webhook.endpoint_gone", endpoint=name, message_id=named)
            raise Undelivered("GONE", stop=True)
        if not 200 <= answer.status < 300:
            self._failed(named, f"HTTP_{answer.status}")
            raise Undelivered(f"HTTP_{answer.status}", retry_after=answer.retry_after)
        _TRIES.labels(name, "delivered").inc()
        _log.info("webhook.delivered", endpoint=name, message_id=named)

    def _failed(self, message_id: str, reason: str) -> None:
        _TRIES.labels(self._endpoint.name, reason.lower()).inc()
        _log.warning("webhook.failed", endpoint=self._endpoint.name, message_id=message_id, reason=reason)
