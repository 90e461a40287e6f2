"""E-mail to customers' people, by way of whoever sends it for the vendor: a signed webhook that names recipient and token.

What lies in the outbox is the reset's handle alone. Address and token are put in when a message is on its way: a token that lay in a
database would be as good as a password, and an address would outlive its account there.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog
from prometheus_client import Counter

from services.settings.accounts.tokens import Purpose, Tokens
from services.settings.store import Tx, email_changes, members, outbox
from services.settings.store import password_resets as store
from services.settings.store.email_changes import EmailChange
from services.settings.store.password_resets import PasswordReset
from shared.clock import Clock
from shared.database import Database
from shared.jobs import Job
from shared.webhooks import Endpoint, Message, Webhook

_RESET: Final = "password_reset.requested"
_CHANGED: Final = "password.changed"
_NEW_ADDRESS: Final = "email_change.requested"
_OLD_ADDRESS: Final = "email.changed"
# Every event there is, and when it happens.
EVENTS: Final[Mapping[str, str]] = {
    _RESET: "somebody asked for a new password for this address; `reset_token` is for its owner alone",
    _CHANGED: "the password of this address's account is another one from now on; its owner should know if that was not her doing",
    _NEW_ADDRESS: "somebody wants their account to have this address; `change_token` is for its owner alone",
    _OLD_ADDRESS: "the account that had this address has another one now; its owner should know if that was not her doing",
}
_UNSENT: Final = Counter(
    "kept_mail_unsent_total", "E-mails that were not sent, because nobody is configured who would."
)
_log = structlog.get_logger(__name__)


class Mail:
    """Sends. Without an endpoint it sends nothing, which only the local stack may do."""

    def __init__(self, endpoint: Endpoint | None, database: Database, clock: Clock, tokens: Tokens) -> None:
        """Raises ConfigError for secrets that cannot be used."""
        self._database = database
        self._clock = clock
        self._tokens = tokens
        self._webhook = (
            None if endpoint is None else Webhook(endpoint, outbox, database, clock, complete=self._completed)
        )
        self.jobs: Sequence[Job] = [] if self._webhook is None else [self._webhook.job]

    def send_reset(self, tx: Tx, reset: PasswordReset) -> None:
        """Sends the token of a reset to its account's address, if the caller's transaction commits."""
        # Hexadecimal: what a message carries is text.
        self._put(tx, Message.of(_RESET, reset.requested_at, {"handle": reset.handle.hex()}))

    def send_changed(self, tx: Tx, member_id: str, at: datetime) -> None:
        """Tells a person that the password was changed (OWASP ASVS 4.0.3, 2.2.3), if the caller's transaction commits."""
        self._put(tx, Message.of(_CHANGED, at, {"member_id": member_id}))

    def send_new_address(self, tx: Tx, change: EmailChange) -> None:
        """Sends the token of a change to the new address, if the caller's transaction commits."""
        self._put(tx, Message.of(_NEW_ADDRESS, change.requested_at, {"handle": change.handle.hex()}))

    def send_old_address(self, tx: Tx, change: EmailChange, at: datetime) -> None:
        """Tells the old address that it is replaced, if the caller's transaction commits."""
        self._put(tx, Message.of(_OLD_ADDRESS, at, {"handle": change.handle.hex()}))

    def _put(self, tx: Tx, message: Message) -> None:
        if self._webhook is None:
            _UNSENT.inc()
            _log.warning("mail.nobody_sends", event_name=message.event)
            return
        self._webhook.put(tx, message)

    def is_well(self) -> bool:
        """Whether it is sent, as far as anybody knows."""
        return self._webhook is None or self._webhook.is_well()

    def _completed(self, put: bytes) -> bytes | None:
        message = json.loads(put)
        data = {
            _RESET: self._of_reset,
            _CHANGED: self._of_change,
            _NEW_ADDRESS: self._of_new_address,
            _OLD_ADDRESS: self._of_old_address,
        }[message["type"]](message["data"])
        if data is None:
            return None
        return json.dumps(message | {"data": data}, separators=(",", ":")).encode()

    def _of_reset(self, put: Mapping[str, str]) -> dict[str, str] | None:
        with self._database.transaction() as tx:
            reset = store.find(tx, bytes.fromhex(put["handle"]))
            member = None if reset is None else members.find(tx, reset.member_id)
        if reset is None or member is None or self._clock.now() >= reset.expires_at:
            return None  # used, or over, or the account is gone
        token = self._tokens.issue(Purpose.PASSWORD_RESET, reset.handle, reset.expires_at)
        return {
            "email": member.email,
            "reset_token": token.reveal(),
            "expires_at": _written(reset.expires_at),
        }

    def _of_change(self, put: Mapping[str, str]) -> dict[str, str] | None:
        with self._database.transaction() as tx:
            member = members.find(tx, put["member_id"])
        return None if member is None else {"email": member.email}

    def _of_new_address(self, put: Mapping[str, str]) -> dict[str, str] | None:
        change = self._change(put)
        if change is None or change.replaced is not None or self._clock.now() >= change.expires_at:
            return None
        token = self._tokens.issue(Purpose.EMAIL_CHANGE, change.handle, change.expires_at)
        return {
            "email": change.email,
            "change_token": token.reveal(),
            "expires_at": _written(change.expires_at),
        }

    def _of_old_address(self, put: Mapping[str, str]) -> dict[str, str] | None:
        change = self._change(put)
        return None if change is None or change.replaced is None else {"email": change.replaced}

    def _change(self, put: Mapping[str, str]) -> EmailChange | None:
        with self._database.transaction() as tx:
            return email_changes.find(tx, bytes.fromhex(put["handle"]))


def _written(instant: datetime) -> str:
    """As in every message: RFC 3339, UTC."""
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
