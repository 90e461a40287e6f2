"""Epochs of applications with terms of their own: each opens what was sealed to it and nothing else, and goes by itself."""

import base64
from datetime import timedelta
from typing import Any

import pytest

from kept.access_control.v1 import keys_pb2
from services.access_control.custody.due_days import DueDays
from services.access_control.servicers.keys import KeyServicer
from shared.ids import new_id, record_day
from shared.terms import lot_of
from tests.unit.access_control.test_custody import ORG, OTHER, closed_to, refusal
from tests.unit.access_control.vault import Vault, make_vault, migrated_vault, vault

__all__ = ["make_vault", "migrated_vault", "vault"]

OWN = "night shift/ü"
LOT = lot_of(ORG, OWN)


@pytest.fixture
def termed(vault: Vault) -> Vault:
    """The application has a term of its own."""
    vault.applications.add(OWN)
    return vault


def test_a_record_opens_with_the_epoch_that_it_was_sealed_to_and_no_other(termed: Vault) -> None:
    own, other = termed.record(ORG, OWN), termed.record(ORG)
    assert set(termed.keys(ORG, own, other)) == {own.record_id, other.record_id}
    day = record_day(own.record_id)
    assert termed.custody.epoch_key(ORG, day, OWN) == termed.custody.epoch_key(ORG, day, OWN)
    assert termed.custody.epoch_key(ORG, day, OWN) != termed.custody.epoch_key(ORG, day)
    # Whatever logging says of it.
    termed.applications.add("another")
    termed.record(ORG, "another")
    for claimed in ("", "another", "night shift"):
        own.application = claimed
        assert closed_to(termed, ORG, own)
    other.application = OWN
    assert closed_to(termed, ORG, other)


def test_an_application_without_a_term_has_no_epochs(vault: Vault) -> None:
    day = vault.clock.now().date()
    assert refusal(lambda: vault.custody.epoch_key(ORG, day, OWN)) == "INVALID_ARGUMENT"
    assert vault.kinds(ORG) == []


def test_one_applications_epoch_goes_by_its_own_day_and_leaves_the_others(termed: Vault) -> None:
    held, own, other = termed.record(ORG, OWN), termed.record(ORG, OWN), termed.record(ORG)
    elsewhere = termed.record(OTHER)
    day = record_day(own.record_id)
    hold_id, run_id = new_id("hold"), new_id("run")
    assert termed.custody.retain_records(hold_id, ORG, [held.to_retain]).retained == 1
    termed.next_day()
    # What it is told is due it does not believe.
    assert termed.custody.destroy_through(new_id("run"), day, {LOT: day}).epochs == 0
    termed.due_of.add((LOT, day))
    before = day - timedelta(days=1)
    row = termed.custody.destroy_through(run_id, before, {LOT: day})
    assert (row.state, row.epochs, row.organizations) == ("done", 1, 1)
    assert closed_to(termed, ORG, own)
    assert set(termed.keys(ORG, held, other)) == {held.record_id, other.record_id}
    assert set(termed.keys(OTHER, elsewhere)) == {elsewhere.record_id}
    [gone] = termed.custody.destroyed_epochs(run_id, None, 10)
    assert (gone.organization_id, gone.day, gone.application) == (ORG, day, OWN)
    assert termed.custody.destroyed_epochs(run_id, (ORG, day, OWN), 10) == []
    assert refusal(lambda: termed.custody.epoch_key(ORG, day, OWN)) == "KEY_DESTROYED"
    # An organization's shorter term leaves what its application keeps longer.
    termed.due_of = {(ORG, day), (OTHER, day)}
    assert termed.custody.destroy_through(new_id("run"), day, {LOT: before}).epochs == 2
    assert closed_to(termed, ORG, other)


def test_what_is_withheld_stays_so_until_the_last_epoch_of_its_day_is_gone(termed: Vault) -> None:
    own, other = termed.record(ORG, OWN), termed.record(ORG)
    day = record_day(own.record_id)
    ids = [own.record_id, other.record_id]
    assert termed.custody.withhold(new_id("erasure"), ORG, ids)[0] == 2
    termed.due_of.add((LOT, day))
    termed.custody.destroy_through(new_id("run"), day, {LOT: day})
    assert closed_to(termed, ORG, other)
    assert {record for _, record in termed.custody.withheld_records(("", b""), 10)} == set(ids)
    termed.due.add(day)
    termed.custody.destroy_through(new_id("run"), day)
    assert termed.custody.withheld_records(("", b""), 10) == []


def test_what_means_all_of_an_organizations_epochs_means_its_applications_too(termed: Vault) -> None:
    own, other = termed.record(ORG, OWN), termed.record(ORG)
    termed.early[ORG] = record_day(own.record_id)
    assert termed.custody.destroy_early(new_id("erasure"), ORG, termed.early[ORG]).epochs == 2
    assert closed_to(termed, ORG, own)
    assert closed_to(termed, ORG, other)
    termed.next_day()
    termed.record(ORG, OWN), termed.record(ORG)
    termed.closed.add(ORG)
    assert termed.custody.destroy_organization(new_id("erasure"), ORG).epochs == 2


def test_days_of_lots_are_written_down_and_read_again(vault: Vault) -> None:
    day, early, late = (vault.clock.now().date() + timedelta(days=each) for each in (0, -3, 3))
    days = DueDays(day, {LOT: early, ORG: late, lot_of(OTHER, OWN): late})
    assert DueDays.parse(str(days)) == days
    asked = (ORG, LOT, lot_of(ORG, "another"), OTHER, lot_of(OTHER, OWN), lot_of(OTHER, "another"))
    assert [days.through(lot) for lot in asked] == [late, early, late, day, late, day]
    assert days.newest == late


@pytest.mark.parametrize("lot", [f"{ORG}/%00", f"{ORG}/a%00b", "a\0b", "one two"])
def test_a_token_of_no_name_is_refused(vault: Vault, lot: str) -> None:
    token = base64.urlsafe_b64encode(f"{lot} 2026-03-10".encode()).decode()
    asked = keys_pb2.ListDestroyedEpochsRequest(destruction_id=new_id("run"), page_token=token)
    unused: Any = None
    assert (
        refusal(lambda: KeyServicer(vault.custody).ListDestroyedEpochs(asked, unused)) == "INVALID_ARGUMENT"
    )
