"""A service reads its own entries back, and nobody else's: page by page, in the order of appending, as they were appended."""

from datetime import timedelta

import pytest
from sqlalchemy import MetaData, update

from kept.access_control.v1 import audit_pb2
from services.access_control.audit import log as audit_log
from services.access_control.store import audit as store
from shared.audit import entry
from shared.audit_kinds import KINDS, Kind
from shared.database import Database
from shared.errors import KeptError
from shared.outbox import Outbox, outbox_table
from tests.support.postgres import FreshDatabase
from tests.unit.access_control.vault import Vault, make_vault, migrated_vault, vault

__all__ = ["make_vault", "migrated_vault", "vault"]

ORG = "org_" + "a" * 26


def made(vault: Vault, number: int, why: str = "") -> audit_pb2.AuditEntry:
    return entry(
        "organization.erased",  # any service's
        actor="service:test",
        at=vault.clock.now(),
        organization_id=ORG if number % 2 else "",
        subjects=[ORG],
        facts={"service": why or f"reason {number}"},
    )


def all_of(vault: Vault, service: str, limit: int = 2) -> list[audit_pb2.AuditEntry]:
    found: list[audit_pb2.AuditEntry] = []
    after, complete = 0, False
    while not complete:
        page = vault.audit_log.own_entries(service, after, limit)
        assert len(page.entries) <= limit
        assert all(after < position <= page.position for position, _ in page.entries)
        found += [one for _, one in page.entries]
        after, complete = page.position, page.complete
    return found


def test_each_service_gets_its_own_as_they_were_appended(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "_LOOKED_AT", 3)  # pages end within others' entries too
    mine = [made(vault, number) for number in range(5)]
    # What somebody writes down does not make it another's.
    mine.append(made(vault, 6, why='","reported_by":"settings","x":"'))
    theirs = [made(vault, number) for number in range(10, 20)]
    for index, one in enumerate(theirs):
        vault.audit_log.append_all([one], "settings")
        if index < len(mine):
            vault.audit_log.append_all([mine[index]], "logging")
    assert all_of(vault, "logging") == mine
    assert all_of(vault, "settings") == theirs
    assert all_of(vault, "retention") == []


def test_no_fact_makes_an_entry_anothers(vault: Vault) -> None:
    """Values are escaped in a body, names of facts are not: what one service says of itself is nothing that another did."""
    forged = made(vault, 1)
    forged.facts["reported_by"] = "logging"
    with pytest.raises(KeptError) as caught:
        vault.audit_log.append_all([forged], "safety_review")
    assert (caught.value.name, caught.value.fields[0][0]) == ("INVALID_ARGUMENT", "entries[0].facts")
    with vault.database.transaction() as tx:  # as a version took it that did not look
        vault.audit_log.append(tx, forged, service="safety_review")
    mine = made(vault, 2)
    vault.audit_log.append_all([mine], "logging")
    assert all_of(vault, "logging") == [mine]
    assert all_of(vault, "safety_review") == [forged]


@pytest.mark.parametrize(
    "kind", ["export.sealed", "grant.approved", "certificate.signed", "nonsense.invented"]
)
def test_nobody_reports_what_is_another_services_or_nobodys(vault: Vault, kind: str) -> None:
    """Whoever takes over one service makes nothing up about the others: no archive taken along, no approval, no certificate."""
    before, forged = vault.audit_log.head().tree_size, made(vault, 1)
    forged.kind, forged.actor = kind, "member_whoever"
    with pytest.raises(KeptError) as caught:
        vault.audit_log.append_all([made(vault, 3), forged], "logging")
    assert (caught.value.name, caught.value.fields[0][0]) == ("INVALID_ARGUMENT", "entries[1].kind")
    assert vault.audit_log.head().tree_size == before
    assert all_of(vault, "logging") == []


def test_a_kind_of_a_newer_version_is_taken_once_it_is_known(
    vault: Vault, fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that was upgraded before access control: its new kind waits in its outbox, everything else goes on, nothing is lost."""
    database, metadata = Database(fresh_database("logging")), MetaData()
    table = outbox_table(metadata)
    metadata.create_all(database.engine)

    def append(request: audit_pb2.AppendEntriesRequest) -> audit_pb2.AppendEntriesResponse:
        appended, position = vault.audit_log.append_all(request.entries, "logging")
        return audit_pb2.AppendEntriesResponse(appended=appended, position=position)

    outbox = Outbox(table, database, vault.clock, append)
    entries = [made(vault, number) for number in range(4)]
    entries[1].kind = "rows.moved"
    with database.transaction() as tx:
        for one in entries:
            outbox.audit(tx, one)
    outbox.deliver()
    assert all_of(vault, "logging") == [entries[0], *entries[2:]]
    assert outbox.backlog() == 1
    monkeypatch.setattr(
        "shared.audit.KINDS", {**KINDS, "rows.moved": Kind("Rows were moved.", frozenset(), "logging")}
    )
    vault.clock.advance(timedelta(hours=1))
    outbox.deliver()
    assert all_of(vault, "logging") == [entries[0], *entries[2:], entries[1]]
    assert outbox.backlog() == 0
    database.close()


def test_a_repetition_has_the_position_that_it_had(vault: Vault) -> None:
    one, other = made(vault, 1), made(vault, 2)
    assert vault.audit_log.append_all([one], "logging")[0] == 1
    _, position = vault.audit_log.append_all([one], "logging")
    appended, later = vault.audit_log.append_all([one, other], "logging")
    assert appended == 1
    assert later > position
    assert [at for at, _ in vault.audit_log.own_entries("logging", 0, 10).entries] == [position, later]


def test_what_was_erased_is_left_out(vault: Vault) -> None:
    one, other = made(vault, 1), made(vault, 2)
    vault.audit_log.append_all([one, other], "logging")
    with vault.database.transaction() as tx:
        tx.execute(update(store.entries).where(store.entries.c.entry_id == one.entry_id).values(body=None))
    assert all_of(vault, "logging") == [other]
