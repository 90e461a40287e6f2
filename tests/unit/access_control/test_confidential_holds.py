"""Keys that are kept for holds of which the law forbids telling: they open nothing, and the organization's own list does not name them."""

from __future__ import annotations

from datetime import timedelta

from shared.ids import new_id
from tests.unit.access_control.test_custody import ORG, refusal
from tests.unit.access_control.vault import Sealed, Vault, make_vault, migrated_vault, vault

__all__ = ["make_vault", "migrated_vault", "vault"]


def keep(vault: Vault, hold_id: str, record: Sealed) -> tuple[int, list[bytes]]:
    kept = vault.custody.retain_records(hold_id, ORG, [record.to_retain], is_confidential=True)
    return kept.retained, list(kept.lost)


def destroy_day(vault: Vault) -> None:
    day = vault.clock.now().date()
    vault.next_day()
    vault.due = {day}
    vault.custody.destroy_through(new_id("run"), day)


def test_nothing_tells_of_it_until_it_is_disclosed(vault: Vault) -> None:
    record, hold_id = vault.record(ORG), new_id("hold")
    before = vault.kinds(ORG)
    assert keep(vault, hold_id, record) == (1, [])
    assert keep(vault, hold_id, record) == (1, [])  # again, the same
    assert vault.kinds(ORG) == before
    assert vault.kinds("").count("keys.retained") == 1
    assert vault.keys(ORG, record)  # as without it: its day lives
    destroy_day(vault)
    assert refusal(lambda: vault.keys(ORG, record)) == "OUTSIDE_SCOPE"
    with vault.database.transaction() as tx:
        assert vault.custody.retained(tx, ORG, [record.record_id]) == set()
    assert "keys.retained" not in vault.kinds(ORG)
    assert vault.custody.disclose_hold(hold_id) == 1
    assert vault.custody.disclose_hold(hold_id) == 0
    assert vault.kinds(ORG)[-1] == "keys.disclosed"
    assert vault.keys(ORG, record)
    # A call that was on its way for long keeps nothing in secret again.
    assert keep(vault, hold_id, record) == (1, [])
    assert vault.keys(ORG, record)
    vault.custody.release(hold_id)
    assert refusal(lambda: vault.keys(ORG, record)) == "OUTSIDE_SCOPE"
    assert vault.custody.disclose_hold(hold_id) == 0


def test_what_is_let_go_in_secret_is_destroyed_and_told_to_nobody_but_auditors(vault: Vault) -> None:
    record, hold_id = vault.record(ORG), new_id("hold")
    keep(vault, hold_id, record)
    destroy_day(vault)
    before = vault.kinds(ORG)
    assert vault.custody.release(hold_id).state == "done"
    assert vault.kinds(ORG) == before
    assert "keys.marked" in vault.kinds("")
    assert refusal(lambda: keep(vault, hold_id, record)) == "WRONG_STATE"


def test_only_another_confidential_hold_gets_a_key_from_one(vault: Vault) -> None:
    record, first, second, open_one = vault.record(ORG), new_id("hold"), new_id("hold"), new_id("hold")
    keep(vault, first, record)
    destroy_day(vault)
    # As where there is no secret: it comes too late.
    assert vault.custody.retain_records(open_one, ORG, [record.to_retain]).lost == [record.record_id]
    assert keep(vault, second, record) == (1, [])
    vault.custody.release(first)
    vault.custody.disclose_hold(second)
    assert vault.keys(ORG, record)


def test_what_an_end_users_erasure_withholds_is_kept_all_the_same(vault: Vault) -> None:
    record, hold_id = vault.record(ORG), new_id("hold")
    vault.custody.withhold("erasure_" + "e" * 26, ORG, [record.record_id])
    assert vault.custody.retain_records(new_id("hold"), ORG, [record.to_retain]).lost == [record.record_id]
    assert keep(vault, hold_id, record) == (1, [])
    assert refusal(lambda: vault.keys(ORG, record)) == "OUTSIDE_SCOPE"
    vault.clock.advance(timedelta(days=1))
    vault.custody.disclose_hold(hold_id)
    assert vault.keys(ORG, record)


def test_what_was_withheld_while_it_was_secret_is_kept_once_it_is_disclosed(vault: Vault) -> None:
    """Erased while the hold was a secret, disclosed before the record was looked for: its key was lost with its day (seed 459)."""
    known, record, late, hold_id = vault.record(ORG), vault.record(ORG), vault.record(ORG), new_id("hold")
    keep(vault, hold_id, known)
    vault.custody.withhold("erasure_" + "e" * 26, ORG, [record.record_id, late.record_id])
    vault.custody.disclose_hold(hold_id)
    assert vault.custody.retain_records(hold_id, ORG, [record.to_retain]).lost == []
    assert keep(vault, hold_id, late) == (1, []), "by who read of the hold before"
    destroy_day(vault)
    assert set(vault.keys(ORG, record, late)) == {record.record_id, late.record_id}


def test_one_that_kept_nothing_yet_is_no_secret_either_once_it_is_disclosed(vault: Vault) -> None:
    record, hold_id = vault.record(ORG), new_id("hold")
    assert vault.custody.disclose_hold(hold_id) == 0
    vault.custody.withhold("erasure_" + "e" * 26, ORG, [record.record_id])
    assert keep(vault, hold_id, record) == (1, []), "by who read of the hold before"
    destroy_day(vault)
    assert vault.keys(ORG, record), "not kept apart for ever"
    vault.custody.release(hold_id)
    assert refusal(lambda: vault.keys(ORG, record)) == "OUTSIDE_SCOPE"
