"""Two processes at the same keys: one is in the middle of its transaction, and the other has to wait for it. Each of these fails when the
lock that it is about is taken out; docs/locks.md names them. Who reads or holds as a day's keys are marked: test_custody.py."""

from collections.abc import Callable

import pytest
import sqlalchemy

from services.access_control.custody import ToRetain
from services.access_control.custody.ladder import Ladder
from services.access_control.store import custody, epochs, holds
from shared.ids import new_id, record_day
from tests.support.meanwhile import meanwhile
from tests.unit.access_control.test_custody import ORG, OTHER
from tests.unit.access_control.vault import Sealed, Vault, make_vault, migrated_vault, vault

__all__ = ["make_vault", "migrated_vault", "vault"]


def _count(vault: Vault, table: str) -> int:
    with vault.database.engine.connect() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


def _first_epoch(vault: Vault, record: Sealed) -> None:
    vault.custody.epoch_key(OTHER, vault.clock.now().date())


def _first_hold(vault: Vault, record: Sealed) -> None:
    vault.custody.retain_records(new_id("hold"), ORG, [record.to_retain])


def _first_hold_of_who_has_no_key(vault: Vault, record: Sealed) -> None:
    """Of a record without content, such as under zero data retention."""
    vault.custody.retain_records(new_id("hold"), OTHER, [ToRetain(record.record_id, b"", b"")])


def _in_place_of_a_hold(vault: Vault, record: Sealed) -> None:
    with vault.database.transaction() as tx:
        vault.custody.key_in_place_of_a_hold(tx, new_id("set"))


@pytest.mark.parametrize(
    "wrap", [_first_epoch, _first_hold, _first_hold_of_who_has_no_key, _in_place_of_a_hold]
)
def test_what_is_wrapped_as_the_root_is_replaced_hangs_on_the_new_one(
    vault: Vault, wrap: Callable[[Vault, Sealed], None]
) -> None:
    record = vault.record(ORG)
    ladder = Ladder(vault.key_store)
    fresh = vault.key_store.create()
    with vault.database.transaction() as tx:
        custody.lock_ladder(tx, exclusive=True)
        ladder.replace_root(tx, fresh, vault.clock.now())
        second = meanwhile(tx, vault.database.engine, lambda: wrap(vault, record))
        assert second.is_waiting
    second.result()
    with vault.database.transaction() as tx:
        assert not custody.hangs_elsewhere(tx, fresh)
    while vault.custody.advance():
        pass
    assert vault.key_store.root_ids() == [fresh]
    assert vault.keys(ORG, record)


def _destruction(vault: Vault, record: Sealed) -> None:
    vault.next_day()
    vault.record(ORG)  # which survives
    vault.due = {record_day(record.record_id)}
    assert vault.custody.destroy_through(new_id("run"), record_day(record.record_id)).epochs == 1


@pytest.mark.parametrize(
    "wrap", [_first_epoch, _first_hold, _first_hold_of_who_has_no_key, _in_place_of_a_hold, _destruction]
)
def test_whoever_wraps_under_the_root_has_the_ladder(
    vault: Vault, wrap: Callable[[Vault, Sealed], None]
) -> None:
    record = vault.record(ORG)
    free: list[bool] = []

    def look(point: str) -> None:
        if point == "wrap-before":
            with vault.database.engine.connect() as connection:
                taken = "SELECT pg_try_advisory_xact_lock(hashtextextended('access_control:ladder', 0))"
                free.append(bool(connection.exec_driver_sql(taken).scalar_one()))

    vault._pause = look
    wrap(vault, record)
    assert free
    assert not any(free)


def test_the_root_is_not_replaced_while_a_key_is_being_wrapped_under_it(vault: Vault) -> None:
    vault.record(ORG)
    day = vault.clock.now().date()
    vault.next_day()
    vault.due = {day}
    ladder = Ladder(vault.key_store)
    with vault.database.transaction() as tx:
        custody.lock_ladder(tx, exclusive=False)
        _, row = ladder.new_organization_key(tx, OTHER, 1)
        epochs.add_organization(tx, row, vault.clock.now())
        second = meanwhile(
            tx, vault.database.engine, lambda: vault.custody.destroy_through(new_id("run"), day)
        )
        assert second.is_waiting
    assert second.result().state == "done"
    late = vault.record(OTHER)
    assert vault.keys(OTHER, late)


def test_a_key_that_is_buried_as_the_root_is_replaced_stays_buried(vault: Vault) -> None:
    record = vault.record(ORG)
    ended, standing = new_id("hold"), new_id("hold")
    for hold_id in (ended, standing):
        vault.custody.retain_records(hold_id, ORG, [record.to_retain])
    fresh = vault.key_store.create()

    def replace() -> None:
        with vault.database.transaction() as tx:
            custody.lock_ladder(tx, exclusive=True)
            Ladder(vault.key_store).replace_root(tx, fresh, vault.clock.now())

    with vault.database.transaction() as tx:
        holds.lock_hold(tx, ended)
        holds.bury_hold(tx, ended, vault.clock.now())
        second = meanwhile(tx, vault.database.engine, replace)
        assert second.is_waiting  # it has read the key, and is about to put it under the new root
    second.result()
    with vault.database.transaction() as tx:
        buried, kept = holds.lock_hold(tx, ended), holds.lock_hold(tx, standing)
    assert buried is not None
    assert (buried.wrapped, buried.root_id) == (None, None)
    assert kept is not None
    assert kept.root_id == fresh


def test_what_is_being_kept_for_a_hold_goes_with_it(vault: Vault) -> None:
    first, later = vault.record(ORG), vault.record(ORG)
    hold_id = new_id("hold")
    vault.custody.retain_records(hold_id, ORG, [first.to_retain])
    with vault.database.transaction() as tx:
        holds.lock_hold(tx, hold_id)
        holds.retain(tx, hold_id, ORG, {later.record_id: b"wrapped"})
        second = meanwhile(tx, vault.database.engine, lambda: vault.custody.release(hold_id))
        assert second.is_waiting
    second.result()
    assert _count(vault, "retained_records") == 0


def test_a_hold_is_let_go_after_who_reads_what_it_keeps(vault: Vault) -> None:
    record = vault.record(ORG)
    hold_id = new_id("hold")
    vault.custody.retain_records(hold_id, ORG, [record.to_retain])
    day = vault.clock.now().date()
    vault.next_day()
    vault.due = {day}
    vault.custody.destroy_through(new_id("run"), day)
    wanted = [(record.record_id, record.data_key_id)]
    with vault.database.transaction() as tx:
        assert vault.custody.record_keys(tx, ORG, wanted, {record.data_key_id: record.sealed})
        second = meanwhile(tx, vault.database.engine, lambda: vault.custody.release(hold_id))
        assert second.is_waiting
        # It is given the same again, if it asks again.
        assert vault.custody.record_keys(tx, ORG, wanted, {record.data_key_id: record.sealed})
    assert second.result().state == "done"


def test_calls_that_make_an_organizations_first_key_make_one(vault: Vault) -> None:
    """The second finds the first one's."""
    ladder, day = Ladder(vault.key_store), vault.clock.now().date()
    with vault.database.transaction() as tx:
        custody.lock_ladder(tx, exclusive=False)
        _, row = ladder.new_organization_key(tx, OTHER, 1)
        epochs.add_organization(tx, row, vault.clock.now())
        second = meanwhile(tx, vault.database.engine, lambda: vault.custody.epoch_key(OTHER, day))
        assert second.is_waiting
    second.result()
    assert vault.keys(OTHER, vault.record(OTHER))
    with vault.database.engine.connect() as connection:
        kept = connection.execute(
            sqlalchemy.text("SELECT wrapped FROM organization_keys WHERE organization_id = :id"),
            {"id": OTHER},
        ).scalar_one()
    assert bytes(kept) == row.wrapped
