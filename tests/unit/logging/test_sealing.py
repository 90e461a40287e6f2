"""Sealing: what opens, what does not, and how long keys stay in memory."""

from __future__ import annotations

import hmac
from datetime import timedelta

import pytest

from kept.logging.v1 import interactions_pb2
from services.logging.sealing import (
    SUITE,
    DataKeys,
    Unsealable,
    data_key_info,
    open_content,
    seal_contents,
    seal_data_key,
)
from shared.ids import new_record_id, record_day
from tests.support.clocks import ManualClock
from tests.unit.logging.peers import NOON, ORG, OTHER, new_epoch_key
from tests.unit.logging.world import World

RECORD = new_record_id(NOON)
DAY = record_day(RECORD)


def content(text: str) -> interactions_pb2.InteractionContent:
    made = interactions_pb2.InteractionContent()
    made.prompt.add(role=interactions_pb2.MESSAGE_ROLE_USER).parts.add(text=text)
    made.generations.add().parts.add(data=bytes(range(256)), media_type="image/png", kind="x_future")
    return made


def test_the_holder_of_the_epoch_key_opens_what_was_sealed_and_nothing_else_does() -> None:
    private, public = new_epoch_key()
    keys = DataKeys(lambda *_: public, ManualClock(NOON))
    data_key = keys.for_writing(ORG, DAY)
    marker = "a\0b \U0001f600 " + "marker" * 200
    [sealed] = seal_contents([(RECORD, data_key, content(marker).SerializeToString())])
    assert b"marker" not in sealed
    assert len(data_key.sealed) == 1168

    opened = SUITE.decrypt(data_key.sealed, private, info=data_key_info(ORG, DAY, data_key.data_key_id))
    assert opened not in data_key.sealed
    assert data_key.record_key(RECORD) == hmac.digest(opened, b"kept/record-key/v1\0" + RECORD, "sha256")
    key = data_key.record_key(RECORD)
    assert open_content(sealed, key, ORG, RECORD, data_key.data_key_id) == content(marker).SerializeToString()

    other = new_record_id(NOON)
    for organization_id, record_id, with_key in [
        (OTHER, RECORD, key),
        (ORG, other, key),
        (ORG, RECORD, data_key.record_key(other)),
        (ORG, RECORD, b""),
    ]:
        with pytest.raises(Unsealable):
            open_content(sealed, with_key, organization_id, record_id, data_key.data_key_id)
    with pytest.raises(Unsealable):
        open_content(sealed[:-1] + bytes([sealed[-1] ^ 1]), key, ORG, RECORD, data_key.data_key_id)


@pytest.mark.parametrize(
    "info",
    [
        data_key_info(OTHER, DAY, b"k" * 16),
        data_key_info(ORG, DAY + timedelta(days=1), b"k" * 16),
        data_key_info(ORG, DAY, b"l" * 16),
    ],
)
def test_a_sealed_data_key_opens_only_in_its_place(info: bytes) -> None:
    private, public = new_epoch_key()
    sealed = seal_data_key(public, ORG, DAY, b"k" * 16, b"s" * 32)
    assert SUITE.decrypt(sealed, private, info=data_key_info(ORG, DAY, b"k" * 16)) == b"s" * 32
    with pytest.raises(Exception):  # noqa: B017 - the library's own error has no public name
        SUITE.decrypt(sealed, private, info=info)


def test_data_keys_leave_memory_when_idle_and_when_old() -> None:
    _, public = new_epoch_key()
    clock = ManualClock(NOON)
    keys = DataKeys(lambda *_: public, clock)
    first = keys.for_writing(ORG, DAY)
    clock.advance(timedelta(minutes=9))
    assert keys.for_writing(ORG, DAY) is first
    clock.advance(timedelta(minutes=10))
    keys.forget(lambda _: False)
    assert not keys._keys
    second = keys.for_writing(ORG, DAY)
    assert second.data_key_id != first.data_key_id
    for _ in range(7):  # in use all the time, and yet not longer than an hour
        clock.advance(timedelta(minutes=8))
        assert keys.for_writing(ORG, DAY) is second
    clock.advance(timedelta(minutes=8))
    assert keys.for_writing(ORG, DAY) is not second


def test_data_keys_of_a_closed_organization_leave_memory_at_once(world: World) -> None:
    # Behind the gate that every job stands behind.
    [ingest] = [job.step.__wrapped__.__self__ for job in world.service.jobs if job.name == "data_keys"]  # type: ignore[attr-defined]
    world.record(world.interaction(), world.interaction(OTHER))
    world.jobs["data_keys"].step()
    assert {organization_id for organization_id, _ in ingest._data_keys._keys} == {ORG, OTHER}
    world.peers.set_organization(ORG, closed=True, at=world.clock.now())
    world.refresh()
    world.jobs["data_keys"].step()
    assert {organization_id for organization_id, _ in ingest._data_keys._keys} == {OTHER}


def test_keys_print_as_nothing() -> None:
    private, public = new_epoch_key()
    key = DataKeys(lambda *_: public, ManualClock(NOON)).for_writing(ORG, DAY)
    opened = SUITE.decrypt(key.sealed, private, info=data_key_info(ORG, DAY, key.data_key_id))
    assert repr(opened) not in repr(key)


@pytest.mark.parametrize("contents", [[], [b""], [b"", b""], [b"", b"x" * 3000, b""]])
def test_a_batch_opens_piece_by_piece_whatever_is_empty(contents: list[bytes]) -> None:
    """The contents stand for what takes no bytes when it is serialized, among what does."""
    _, public = new_epoch_key()
    key = DataKeys(lambda *_: public, ManualClock(NOON)).for_writing(ORG, DAY)
    texts = [content("x").SerializeToString() if one else b"" for one in contents]
    batch = [(new_record_id(NOON), key, text) for text in texts]
    sealed = seal_contents(batch)
    assert len({one[:12] for one in sealed}) == len(sealed) == len(batch)  # no nonce twice
    for (record_id, _, text), closed in zip(batch, sealed, strict=True):
        assert open_content(closed, key.record_key(record_id), ORG, record_id, key.data_key_id) == text
