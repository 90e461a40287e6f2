"""Small contents are compressed with a dictionary, once no process is left that does not have it."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import text

from services.logging import dictionaries
from services.logging.recording import ingest
from services.logging.sealing import DataKeys, Unsealed, open_content, seal_contents
from shared.database import migrate
from shared.ids import new_record_id, record_day
from tests.support.clocks import ManualClock
from tests.unit.logging.peers import NOON, ORG, new_epoch_key
from tests.unit.logging.test_lifecycle import readable
from tests.unit.logging.world import World

MIGRATIONS = Path(ingest.__file__).parents[1] / "migrations"
SMALL, LARGEST, LARGER = b"How do I do that?", b"x" * dictionaries.LARGEST, b"x" * (dictionaries.LARGEST + 1)


def batch(*contents: bytes) -> list[Unsealed]:
    key = DataKeys(lambda *_: new_epoch_key()[1], ManualClock(NOON)).for_writing(
        ORG, record_day(new_record_id(NOON))
    )
    return [(new_record_id(NOON), key, content) for content in contents]


def numbers(sealed: list[bytes], of: list[Unsealed]) -> list[int]:
    """Which dictionaries the frames name; 0 for none."""
    return [
        zstandard.get_frame_parameters(
            AESGCM(key.record_key(record_id)).decrypt(
                one[:12], one[12:], ORG.encode() + b"\0" + record_id + key.data_key_id
            )
        ).dict_id
        for one, (record_id, key, _) in zip(sealed, of, strict=True)
    ]


def test_a_dictionary_never_changes() -> None:
    """What was packed with it is readable with it alone."""
    packed = dictionaries.load().as_bytes()
    assert (
        hashlib.sha256(packed).hexdigest()
        == "aea4c3f4eb9024b1caa9e372c7b9edcc5a76eb08b266f1cdae25ac9bdf3c128d"
    )
    assert dictionaries.load().dict_id() == dictionaries.CURRENT


@pytest.mark.parametrize(
    "contents", [[SMALL], [LARGER], [LARGER, SMALL, b"", LARGEST, LARGER, SMALL], [b"", LARGER]]
)
@pytest.mark.parametrize("with_dictionary", [True, False])
def test_small_contents_are_packed_with_it_and_all_open_in_their_places(
    contents: list[bytes], with_dictionary: bool
) -> None:
    given = batch(*contents)
    sealed = seal_contents(given, with_dictionary=with_dictionary)
    for (record_id, key, content), one in zip(given, sealed, strict=True):
        assert open_content(one, key.record_key(record_id), ORG, record_id, key.data_key_id) == content
    expected = [
        dictionaries.CURRENT if with_dictionary and len(one) <= dictionaries.LARGEST else 0
        for one in contents
    ]
    assert numbers(sealed, given) == expected


def _used(world: World, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether it was used, batch by batch."""
    used: list[bool] = []

    def sealing(batch: list[Unsealed], *, with_dictionary: bool) -> list[bytes]:
        used.append(with_dictionary)
        return seal_contents(batch, with_dictionary=with_dictionary)

    monkeypatch.setattr(ingest, "seal_contents", sealing)
    return used


def test_where_records_were_stored_before_it_is_used_in_thirty_days(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = _used(world, monkeypatch)
    world.record(world.interaction(text="first"))
    assert used == [True]  # nothing was stored when it came
    with world.database.transaction() as tx:
        tx.execute(text("DROP TABLE content_dictionaries"))
        tx.execute(text("UPDATE alembic_version SET version_num = '0018'"))
    migrate(world.database, MIGRATIONS)
    with world.database.transaction() as tx:
        left = tx.execute(text("SELECT usable_from - now() FROM content_dictionaries")).scalar_one()
        assert timedelta(days=29) < left <= timedelta(days=30)
        tx.execute(
            text("UPDATE content_dictionaries SET usable_from = :at"), {"at": NOON + timedelta(hours=1)}
        )
    world.start()
    world.record(world.interaction(text="second"))
    world.travel(timedelta(minutes=59))
    world.record(world.interaction(text="third"))
    world.travel(timedelta(minutes=1))
    world.record(world.interaction(text="fourth"))
    assert used == [True, False, False, True]
    assert sorted(readable(world)) == ["first", "fourth", "second", "third"]


def test_one_that_the_database_does_not_name_is_not_used(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = _used(world, monkeypatch)
    with world.database.transaction() as tx:
        tx.execute(text("DELETE FROM content_dictionaries"))
    world.record(world.interaction())
    assert used == [False]
