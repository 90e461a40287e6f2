"""Two processes at the same keys: one is in the middle of its transaction, and the other has to wait for it. Each of these fails when the
lock that it is about is taken out; docs/locks.md names them. Who reads or holds as a day's keys are marked: test_custody.py."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.synchronize import Barrier

import pytest
import sqlalchemy

from services.access_control.audit.log import AuditLog
from services.access_control.config import KeyStoreChoice, Pkcs11Token
from services.access_control.custody import ToRetain
from services.access_control.custody.ladder import Ladder
from services.access_control.key_stores.configured import open_key_store
from services.access_control.key_stores.pkcs11 import Pkcs11KeyStore
from services.access_control.store import audit, custody, epochs, holds
from shared.database import Database
from shared.ids import new_id, record_day
from tests.support import softhsm
from tests.support.clocks import ManualClock
from tests.support.meanwhile import meanwhile
from tests.support.postgres import FreshDatabase
from tests.unit.access_control.test_custody import ORG, OTHER
from tests.unit.access_control.vault import (
    Sealed,
    Vault,
    make_vault,
    migrated_vault,
    vault,
)

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


# --- signing keys -------------------------------------------------------------------------------------------------------


def _start(vault: Vault) -> None:
    AuditLog(vault.database, vault.clock, vault.key_store)


def _replace(vault: Vault) -> None:
    keys = vault.audit_log.signing_keys
    keys.replace(keys.latest().key_id, "person_a", "once a year")


def _revoke(vault: Vault) -> None:
    keys = vault.audit_log.signing_keys
    keys.revoke(keys.latest().key_id, "person_a", "the machine was stolen")


def _bring_up_to_date(vault: Vault) -> None:
    with vault.database.transaction() as tx:
        vault.audit_log.signing_keys.bring_up_to_date(tx)


@pytest.mark.parametrize("act", [_start, _replace, _revoke, _bring_up_to_date])
def test_whoever_changes_the_list_of_signing_keys_has_the_signers(
    vault: Vault, act: Callable[[Vault], None]
) -> None:
    changing = {"signers-before", "replace_signing_key-before", "revoke_signing_key-before"}
    if act is _start:
        changing.add("signing_key-before")  # which makes the first
    free: list[bool] = []

    def look(point: str) -> None:
        if point in changing:
            with vault.database.engine.connect() as connection:
                taken = "SELECT pg_try_advisory_xact_lock(hashtextextended('access_control:signers', 0))"
                free.append(bool(connection.exec_driver_sql(taken).scalar_one()))

    vault._pause = look
    act(vault)
    assert free
    assert not any(free)


@pytest.mark.parametrize("second_act", [_replace, _revoke])
def test_what_two_processes_order_of_a_signing_key_at_once_both_counts(
    vault: Vault, second_act: Callable[[Vault], None]
) -> None:
    first = vault.audit_log.signing_keys.latest().key_id
    with vault.database.transaction() as tx:
        audit.lock_signers(tx)
        second = meanwhile(tx, vault.database.engine, lambda: second_act(vault))
        assert second.is_waiting
        # The same key store as another process has it, which asks for no lock of its own.
        successor = open_key_store(vault.keys_are_in).replace_signing_key(first, vault.clock.now()).key_id
    second.result()
    known = {signer.key_id: signer for signer in vault.key_store.signers().known}
    assert list(known) == [first, successor]
    assert (known[first].revoked_at is not None) == (second_act is _revoke)


def _first_start(
    url: str, keys: KeyStoreChoice, environment: tuple[tuple[str, str], ...], together: Barrier
) -> None:
    os.environ.update(environment)
    database, key_store = Database(url), open_key_store(keys)
    together.wait(60)
    AuditLog(database, ManualClock(), key_store).verify_at_start()
    database.close()


def test_two_processes_that_first_start_on_one_token_make_one_signing_key(
    fresh_database: FreshDatabase, migrated_vault: str, soft_token: softhsm.SoftToken
) -> None:
    url = fresh_database("access_control", template=migrated_vault)
    keys = Pkcs11Token(module=soft_token.module, token=soft_token.label, pin_file=soft_token.pin_file)
    spawned = multiprocessing.get_context("spawn")
    arguments = (url, keys, softhsm.environment(), spawned.Barrier(2))
    replicas = [spawned.Process(target=_first_start, args=arguments, daemon=True) for _ in range(2)]
    for replica in replicas:
        replica.start()
    for replica in replicas:
        replica.join(60)
    assert [replica.exitcode for replica in replicas] == [0, 0]
    database, token = Database(url), open_key_store(keys)
    with database.transaction() as tx:
        published = [row.key_id for row in audit.list_signing_keys(tx)]
    database.close()
    assert published == [signer.key_id for signer in token.signers().known]
    assert len(published) == 1
    assert isinstance(token, Pkcs11KeyStore)
    token.close()
