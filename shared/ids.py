"""Ids: of resources ("grant_" and 26 characters) and of records (a UUIDv7, RFC 9562 §5.7, as 16 bytes)."""

import secrets
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MILLISECONDS_A_DAY = 86_400_000

# Where random bytes come from. Only the simulation replaces it, so that a seed replays exactly.
entropy: Callable[[int], bytes] = secrets.token_bytes


def new_id(kind: str) -> str:
    """A new resource id: `kind`, an underscore, 130 random bits in 26 characters."""
    number = int.from_bytes(entropy(17))
    return kind + "_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(0, 130, 5))


def derived_id(kind: str, digest: bytes) -> str:
    """A resource id that is a function of `digest` (at least 17 bytes, uniformly distributed): the same act, the same id."""
    number = int.from_bytes(digest[:17])
    return kind + "_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(0, 130, 5))


def new_record_id(created_at: datetime) -> bytes:
    """A new record id that carries its creation time to the millisecond."""
    milliseconds = (created_at - _EPOCH) // _MILLISECOND
    return derived_record_id(milliseconds, entropy(10))


def derived_record_id(milliseconds: int, digest: bytes) -> bytes:
    """A record id that is a function of its creation time, in milliseconds since 1970 (48 bits), and the first 74 bits of `digest`, which
    is uniformly distributed: the same call, the same id."""
    tail = int.from_bytes(digest[:10]) >> 6
    number = (
        (milliseconds & (2**48 - 1)) << 80
        | 0x7 << 76
        | (tail >> 62) << 64
        | 0b10 << 62
        | (tail & (2**62 - 1))
    )
    return number.to_bytes(16)


def is_record_id(record_id: bytes) -> bool:
    """Whether the bytes are laid out as a UUIDv7: 16 of them, version 7, variant 0b10."""
    return len(record_id) == 16 and record_id[6] >> 4 == 7 and record_id[8] >> 6 == 0b10


def are_record_ids(record_ids: Collection[bytes]) -> bool:
    """Whether all of them are: at once, in a fifth of the time that it takes to ask of each."""
    if {len(record_id) for record_id in record_ids} - {16}:
        return False
    together = b"".join(record_ids)
    versions, variants = set(together[6::16]), set(together[8::16])
    return all(byte >> 4 == 7 for byte in versions) and all(byte >> 6 == 0b10 for byte in variants)


def record_time(record_id: bytes) -> datetime:
    """When the record was created, by its id, to the millisecond. Raises OverflowError past the year 9999."""
    return _EPOCH + int.from_bytes(record_id[:6]) * _MILLISECOND


def record_day(record_id: bytes) -> date:
    """The UTC day of the record's creation, by its id. Raises OverflowError past the year 9999."""
    return _day(int.from_bytes(record_id[:6]) // _MILLISECONDS_A_DAY)


def record_days(record_ids: Collection[bytes]) -> set[date]:
    """The UTC days of records' creation. Raises OverflowError past the year 9999."""
    if not record_ids:
        return set()
    # In order of ids is in order of time: where the first and the last agree, all do.
    first, last = record_day(min(record_ids)), record_day(max(record_ids))
    return {first} if first == last else {record_day(record_id) for record_id in record_ids}


@lru_cache(maxsize=4096)
def _day(number: int) -> date:
    return (_EPOCH + timedelta(days=number)).date()


def lowest_record_id(at: datetime) -> bytes:
    """The smallest 16 bytes of any record created at or after this instant: a bound for ranges and partitions. No id is older than
    1970; an instant before it, such as where a term of a hundred years began, leaves out none."""
    return (max(0, (at - _EPOCH) // _MILLISECOND) << 80).to_bytes(16)


# No record's id is this high: ids can say instants behind the last that a calendar has.
BEHIND_ALL_RECORDS: Final = lowest_record_id(datetime.max.replace(tzinfo=UTC))


def day_start(day: date) -> datetime:
    """00:00 UTC of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
