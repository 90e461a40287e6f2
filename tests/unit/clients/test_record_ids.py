"""Record ids are UUIDs of version 7 that carry their time and sort as they were made."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from kept.client import record_ids
from kept.client.record_ids import RecordIds

NOW = datetime(2026, 1, 31, 16, 0, 0, 123_000, tzinfo=UTC)


def test_layout_is_that_of_rfc_9562() -> None:
    minted = uuid.UUID(bytes=RecordIds(lambda: NOW).mint())
    assert (minted.version, minted.variant) == (7, uuid.RFC_4122)
    assert int.from_bytes(minted.bytes[:6], "big") == 1_769_875_200_123
    assert record_ids.created_at(minted.bytes) == NOW


def test_ids_of_one_millisecond_grow_and_differ() -> None:
    ids = RecordIds(lambda: NOW)
    minted = [ids.mint() for _ in range(5000)]
    assert minted == sorted(set(minted))
    assert {record_ids.created_at(each) for each in minted} == {NOW}


def test_a_clock_that_is_set_back_is_followed() -> None:
    times = iter([NOW, NOW - timedelta(hours=1), NOW])
    ids = RecordIds(lambda: next(times))
    assert [record_ids.created_at(ids.mint()) - NOW for _ in range(3)] == [
        timedelta(0),
        timedelta(hours=-1),
        timedelta(0),
    ]


def test_text_form() -> None:
    raw = RecordIds(lambda: NOW).mint()
    assert record_ids.from_text(record_ids.to_text(raw)) == raw
    assert record_ids.from_text(raw.hex()) == raw


@pytest.mark.parametrize("raw", [b"", bytes(16), uuid.UUID(int=0, version=4).bytes, bytes(15)])
def test_what_is_no_version_7_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="UUIDv7"):
        record_ids.created_at(raw)
