"""Record ids: UUIDv7 (RFC 9562 §5.7), 16 bytes on the wire, hyphenated hex for people."""

import hashlib
import secrets
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from kept.client.clock import system_now

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RANDOM_BITS: Final = 74
_MILLISECOND: Final = timedelta(milliseconds=1)


class RecordIds:
    """Mints ids. Within one millisecond each is greater than the one before (RFC 9562 §6.2, method 2), so that records of one
    process sort as they were made; the steps are random, so that no id tells the next. Safe for threads."""

    def __init__(self, now: Callable[[], datetime] = system_now) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._last = (-1, 0)

    def mint(self) -> bytes:
        """A new id of this millisecond, 16 bytes."""
        with self._lock:
            milliseconds = (self._now() - _EPOCH) // _MILLISECOND
            if milliseconds == self._last[0]:
                # 2^73 of head room and steps below 2^32: no overflow within a millisecond.
                tail = self._last[1] + 1 + secrets.randbits(32)
            else:
                tail = secrets.randbits(_RANDOM_BITS - 1)
            self._last = (milliseconds, tail)
        return _layout(milliseconds, tail)


def _layout(milliseconds: int, tail: int) -> bytes:
    """48 bits of time, version 7, 12 bits, variant 0b10, 62 bits."""
    number = milliseconds << 80 | 7 << 76 | (tail >> 62) << 64 | 0b10 << 62 | tail & (1 << 62) - 1
    return number.to_bytes(16, "big")


def derived(created: datetime, *names: str) -> bytes:
    """The id of what has a name already, 16 bytes: the millisecond of `created` and 74 bits of the SHA-256 of the names. Whoever tells of
    the same thing twice makes the same id, and the second is a duplicate."""
    # Each name with its length: ("a", "bc") and ("ab", "c") are two things.
    framed = b"".join(
        len(raw).to_bytes(8, "big") + raw for raw in (name.encode("utf-8", "surrogatepass") for name in names)
    )
    tail = int.from_bytes(hashlib.sha256(framed).digest()[:10], "big") >> 6
    return _layout((created - _EPOCH) // _MILLISECOND, tail)


def created_at(record_id: bytes) -> datetime:
    """When the id says that its record was created, to the millisecond. Raises ValueError for what is no UUIDv7."""
    if len(record_id) != 16 or record_id[6] >> 4 != 7 or record_id[8] >> 6 != 0b10:
        raise ValueError("not a UUIDv7")
    return _EPOCH + int.from_bytes(record_id[:6], "big") * _MILLISECOND


def to_text(record_id: bytes) -> str:
    """As UUID text; anything that has not 16 bytes as plain hex."""
    return str(uuid.UUID(bytes=record_id)) if len(record_id) == 16 else record_id.hex()


def from_text(text: str) -> bytes:
    """The 16 bytes of a UUID in its hyphenated form or as 32 hex digits. Raises ValueError."""
    return uuid.UUID(text.strip()).bytes
