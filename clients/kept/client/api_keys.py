"""Whose an API key is, for a gateway that has seen one: asked of settings by the key's SHA-256, and kept as long as the answer may be.

The key itself goes nowhere and is not kept. What settings says of a key counts from when it was asked, on a clock that no adjustment moves
and that goes on while the machine sleeps.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from kept.client.errors import KeptError
from kept.client.gateway_channel import GatewayChannel, GatewayFiles
from kept.logging.v1 import interactions_pb2
from kept.settings.v1 import api_keys_pb2, api_keys_pb2_grpc

# Seconds for which a key that is nobody's is not asked for again: what strangers make up must not all go to settings. One that is
# registered meanwhile counts that much later.
UNKNOWN_FOR: Final = 5.0
_DEADLINE: Final = 5.0


@dataclass(frozen=True)
class KeyHolder:
    """Whose a key is. kind, api_key_id: to record its calls with (Interaction.api_key_kind, api_key_id). general_terms: its data fall
    under the general terms, as a trial key's do, whoever holds it."""

    organization_id: str
    kind: interactions_pb2.ApiKeyKind.ValueType
    general_terms: bool
    api_key_id: str = ""


class ApiKeys:
    """Answers for one gateway. Thread-safe; close it, or use it in a `with`.

    address: settings' mTLS port, "host:port". certificate, key, authority: as for recorders. most: answers that are kept at once; the
    oldest make room. now: seconds on a clock that only goes forward.
    """

    def __init__(
        self,
        address: str,
        certificate: Path,
        key: Path,
        authority: Path,
        *,
        most: int = 100_000,
        now: Callable[[], float] = lambda: time.clock_gettime(_CLOCK),
    ) -> None:
        self._channel = GatewayChannel("settings", address, GatewayFiles(certificate, key, authority))
        self._most = most
        self._now = now
        self._lock = threading.Lock()
        self._kept: dict[bytes, tuple[KeyHolder | None, float]] = {}

    def holder(self, api_key: str) -> KeyHolder | None:
        """Whose this key is; None: refuse the call, for the key is nobody's that this gateway may record for, or is revoked. Raises
        KeptError where settings cannot be asked and no answer counts any more: refuse the call then too."""
        try:
            fingerprint = hashlib.sha256(api_key.encode()).digest()
        except UnicodeEncodeError:  # half of a surrogate pair, as JSON may spell it: in no key
            return None
        kept = self._kept.get(fingerprint)
        if kept is not None and self._now() < kept[1]:
            return kept[0]
        asked = self._now()
        holder, seconds = self._ask(fingerprint)
        with self._lock:
            self._kept.pop(fingerprint, None)
            self._kept[fingerprint] = (holder, asked + seconds)
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
        return holder

    def _ask(self, fingerprint: bytes) -> tuple[KeyHolder | None, float]:
        """The answer, and for how many seconds it may be kept."""
        stub = api_keys_pb2_grpc.ApiKeyServiceStub(self._channel.current())
        try:
            answer = stub.ResolveApiKey(
                api_keys_pb2.ResolveApiKeyRequest(fingerprint=fingerprint), timeout=_DEADLINE
            )
        except KeptError as error:
            if error.reason == "NOT_FOUND":
                return None, UNKNOWN_FOR
            raise
        seconds = answer.keep_for.ToTimedelta().total_seconds()
        if answer.revoked:
            return None, seconds
        general = answer.terms != api_keys_pb2.TERMS_KIND_ENTERPRISE
        return KeyHolder(answer.organization_id, answer.kind, general, answer.api_key_id), seconds

    def close(self) -> None:
        """Closes the channel and forgets all answers."""
        self._channel.close()
        with self._lock:
            self._kept.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# It goes on while the machine sleeps, where there is one that does.
_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
