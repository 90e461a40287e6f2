"""The audit log: numbered without gaps whoever writes, proofs that fit the head they come with, and lists that cannot be tampered with."""

import base64
import copy
import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import rfc8785
import sqlalchemy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.json_format import MessageToDict
from prometheus_client import REGISTRY

from kept.access_control.v1 import audit_pb2
from kept.evidence import Revoked
from kept.evidence.audit import Known, verify_heads, verify_list
from kept.evidence.certificates import verify_certificate
from kept.evidence.merkle import EMPTY_ROOT, verify_consistency, verify_inclusion
from services.access_control.audit import merkle
from services.access_control.audit.log import AuditLog, leaf_data
from services.access_control.figures import Figures
from services.access_control.key_stores.files import FileKeyStore
from services.access_control.key_stores.signers import key_id_of
from services.access_control.servicers.audit import entry_list, logged_entry, tree_head
from services.access_control.store import audit as store
from shared.audit import entry
from shared.config import ConfigError
from shared.errors import KeptError
from tests.support.postgres import FreshDatabase, database_name
from tests.unit.access_control.vault import Crash, Vault, make_vault, migrated_vault, vault
from tests.unit.access_control.world import World, world

__all__ = ["make_vault", "migrated_vault", "vault", "world"]

ORG, OTHER = "org_" + "a" * 26, "org_" + "b" * 26


def happened(vault: Vault, organization_id: str = ORG, **facts: str) -> audit_pb2.AuditEntry:
    return entry(
        "certificate.signed" if "certificate_sha256" in facts else "run.not_certified",
        actor="service:test",
        at=vault.clock.now(),
        organization_id=organization_id,
        facts=facts,
    )


def log(vault: Vault, *entries: audit_pb2.AuditEntry) -> int:
    return vault.audit_log.append_all(entries, "retention")[0]


def export(vault: Vault, organization_id: str = ORG, after: int = 0, page_size: int = 500) -> dict[str, Any]:
    """As `kept audit export` writes it."""
    pages: list[dict[str, Any]] = []
    while True:
        page = entry_list(vault.audit_log.list_entries(organization_id, after, page_size))
        pages.append(
            MessageToDict(page, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        )
        if page.complete:
            return {"organization_id": organization_id, "pages": pages}
        after = page.entries[-1].number


def keys(vault: Vault) -> dict[str, bytes]:
    return {key.key_id: key.public_key for key in vault.audit_log.signing_keys.published()}


def test_the_empty_log_has_a_signed_head_and_an_empty_list_that_verifies(
    make_vault: Callable[[], Vault],
) -> None:
    vault = make_vault()
    with vault.database.transaction() as tx:  # before custody's own first entry is in the tree
        row = store.read_tree(tx)
    assert row is not None
    assert (row.size, row.root_hash) == (0, EMPTY_ROOT)
    exported = export(vault)
    assert verify_list(exported, keys(vault)).ok
    assert exported["pages"][0]["end"]["last_number"] == "0"
    assert vault.audit_log.consistency_proof(0, vault.audit_log.head().tree_size) == []


def test_an_entry_is_in_the_log_once_and_first_wins(vault: Vault) -> None:
    first = happened(vault, why="first")
    assert log(vault, first, happened(vault)) == 2
    again = copy.deepcopy(first)
    again.facts["why"] = "second"
    assert log(vault, again) == 0
    bodies = [json.loads(each.body) for each in vault.audit_log.list_entries(ORG, 0, 10).entries]
    assert [body["facts"] for body in bodies] == [{"why": "first"}, {}]
    assert bodies[0]["reported_by"] == "retention"


def test_an_act_that_is_rolled_back_leaves_no_entry(vault: Vault) -> None:
    vault.crash_at = "commit-before"
    vault.seen.clear()
    with pytest.raises(Crash):
        log(vault, happened(vault))
    vault.restart()
    assert vault.audit_log.list_entries(ORG, 0, 10).entries == []


def test_writers_and_sequencers_at_once_leave_no_gap_and_every_proof_fits_its_head(vault: Vault) -> None:
    small = AuditLog(vault.database, vault.clock, vault.key_store, batch=3)
    heads: list[tuple[int, bytes]] = []
    failures: list[str] = []

    def write(organization_id: str) -> None:
        for _ in range(15):
            made = happened(vault, organization_id)
            log(vault, made)
            for _ in range(50):
                try:
                    found, head = vault.audit_log.entry(made.entry_id)
                    break
                except KeptError as error:  # another sequencer was on its way
                    if error.name != "NOT_YET_INTEGRATED":
                        failures.append(error.name)
            else:
                failures.append("never integrated")
                return
            leaf = merkle.leaf_hash(
                leaf_data(organization_id, found.number, found.previous_leaf_hash, found.commitment)
            )
            if not verify_inclusion(
                leaf, found.leaf_index, head.tree_size, found.inclusion_proof, head.root_hash
            ):
                failures.append("proof does not fit")
            heads.append((head.tree_size, head.root_hash))

    threads = [threading.Thread(target=write, args=(org,)) for org in (ORG, ORG, OTHER, "")]
    threads += [threading.Thread(target=lambda: [small.integrate() for _ in range(20)])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    while vault.audit_log.integrate():
        pass
    with vault.database.transaction() as tx:
        rows = tx.execute(sqlalchemy.select(store.entries).order_by(store.entries.c.leaf_index)).all()
    assert [row.leaf_index for row in rows] == list(range(62))
    for organization_id, count in ((ORG, 30), (OTHER, 15), ("", 17)):
        numbers = [row.number for row in rows if row.organization_id == organization_id]
        assert numbers == list(range(1, count + 1))
    leaves = [
        merkle.leaf_hash(leaf_data(row.organization_id, row.number, row.previous_leaf_hash, row.commitment))
        for row in rows
    ]
    head = vault.audit_log.head()
    assert merkle.grow(0, {}, leaves).root_hash == head.root_hash
    for (first, first_root), (second, second_root) in zip(
        sorted(set(heads)), sorted(set(heads))[1:], strict=False
    ):
        proof = vault.audit_log.consistency_proof(first, second)
        assert verify_consistency(first, second, first_root, second_root, proof)


def test_a_late_commit_with_an_early_place_in_the_table_is_not_skipped(vault: Vault) -> None:
    early, late = happened(vault), happened(vault)
    with vault.database.transaction() as slow:
        vault.audit_log.append(slow, early)
        log(vault, late)
        assert [each.number for each in vault.audit_log.list_entries(ORG, 0, 10).entries] == [1]
    found, _ = vault.audit_log.entry(early.entry_id)
    assert found.number == 2


def test_a_crash_while_integrating_loses_and_doubles_nothing(vault: Vault) -> None:
    for point in ("commit-before", "commit-after"):
        log(vault, happened(vault), happened(vault))
        vault.seen.clear()
        vault.crash_at = point
        with pytest.raises(Crash):
            vault.audit_log.integrate()
        vault.restart()
        assert verify_list(export(vault), keys(vault)).ok
    assert len(vault.audit_log.list_entries(ORG, 0, 10).entries) == 4


def test_an_unknown_entry_and_foreign_sizes_are_refused(vault: Vault) -> None:
    for call, reason in (
        (lambda: vault.audit_log.entry("entry_" + "0" * 26), "NOT_FOUND"),
        (lambda: vault.audit_log.consistency_proof(0, 10_000), "INVALID_ARGUMENT"),
        (lambda: vault.audit_log.consistency_proof(2, 1), "INVALID_ARGUMENT"),
    ):
        with pytest.raises(KeptError) as caught:
            call()
        assert caught.value.name == reason


def test_a_page_ends_early_when_entries_are_large(vault: Vault) -> None:
    made = []
    for _ in range(30):
        large = happened(vault)
        large.subjects.extend(f"{index:0120}" for index in range(1_000))
        made.append(large)
    log(vault, *made)
    page = entry_list(vault.audit_log.list_entries(ORG, 0, 500))
    assert not page.complete
    assert 1_000_000 < page.ByteSize() < 4 * 1024 * 1024
    exported = export(vault)
    assert len(exported["pages"]) == 2
    assert verify_list(exported, keys(vault)).ok


def test_heads_of_two_moments_are_consistent_and_forged_ones_are_not(vault: Vault) -> None:
    def as_json(head: audit_pb2.TreeHead) -> dict[str, Any]:
        return MessageToDict(head, preserving_proto_field_name=True)

    log(vault, happened(vault))
    earlier = vault.audit_log.head()
    vault.clock.step(timedelta(hours=-1))
    log(vault, *(happened(vault) for _ in range(6)))
    later = vault.audit_log.head()
    assert later.timestamp_ms >= earlier.timestamp_ms
    proof = [
        base64.b64encode(step).decode()
        for step in vault.audit_log.consistency_proof(earlier.tree_size, later.tree_size)
    ]
    assert verify_heads(as_json(tree_head(earlier)), as_json(tree_head(later)), proof, keys(vault)).ok
    assert not verify_heads(
        as_json(tree_head(earlier)), as_json(tree_head(later)), proof[:-1], keys(vault)
    ).ok
    forged = as_json(tree_head(later)) | {"tree_size": str(later.tree_size - 1)}
    assert "signature" in verify_heads(as_json(tree_head(earlier)), forged, proof, keys(vault)).problem
    assert (
        "not pinned"
        in verify_heads(as_json(tree_head(earlier)), as_json(tree_head(later)), proof, {}).problem
    )


# --- tampering ----------------------------------------------------------------------------------------------------------


def changed_body(exported: dict[str, Any]) -> None:
    target = exported["pages"][0]["entries"][1]
    body = json.loads(base64.b64decode(target["body"])) | {"actor": "person_nobody"}
    target["body"] = base64.b64encode(rfc8785.dumps(body)).decode()


def recommitted(exported: dict[str, Any]) -> None:
    changed_body(exported)
    target = exported["pages"][0]["entries"][1]
    import hmac

    commitment = hmac.digest(base64.b64decode(target["salt"]), base64.b64decode(target["body"]), "sha256")
    target["commitment"] = base64.b64encode(commitment).decode()


def removed(exported: dict[str, Any]) -> None:
    del exported["pages"][0]["entries"][1]


def removed_and_renumbered(exported: dict[str, Any]) -> None:
    entries = exported["pages"][0]["entries"]
    del entries[1]
    for number, each in enumerate(entries, start=1):
        each["number"] = str(number)


def reordered(exported: dict[str, Any]) -> None:
    entries = exported["pages"][0]["entries"]
    entries[1], entries[2] = entries[2], entries[1]


def swapped_bodies(exported: dict[str, Any]) -> None:
    one, two = exported["pages"][0]["entries"][1:3]
    for name in ("body", "salt"):
        one[name], two[name] = two[name], one[name]


def truncated(exported: dict[str, Any]) -> None:
    del exported["pages"][-1]["entries"][-1]


def truncated_with_its_end(exported: dict[str, Any]) -> None:
    end, entries = exported["pages"][-1]["end"], exported["pages"][-1]["entries"]
    end["last_leaf_hash"] = entries[-1]["previous_leaf_hash"]
    end["last_number"] = str(int(end["last_number"]) - 1)
    del entries[-1]


def without_pages(exported: dict[str, Any]) -> None:
    exported["pages"] = []


def without_its_beginning(exported: dict[str, Any]) -> None:
    del exported["pages"][0]["entries"][0]


def under_another_name(exported: dict[str, Any]) -> None:
    exported["organization_id"] = OTHER


def not_base64(exported: dict[str, Any]) -> None:
    exported["pages"][0]["entries"][0]["salt"] = "*"


def not_a_list(exported: dict[str, Any]) -> None:
    exported["pages"][0]["entries"] = {"0": 1}


TAMPERED = (
    (changed_body, "Entry 2 was changed"),
    (recommitted, "Entry 2 is not in the tree"),
    (removed, "Entry 2 is missing: number 3"),
    (removed_and_renumbered, "Entry 2 is not in the tree"),
    (reordered, "Entry 2 is missing"),
    (swapped_bodies, "Entry 2 was changed"),
    (truncated, "cut off"),
    (truncated_with_its_end, "signature of the end of the list"),
    (without_pages, "no page"),
    (without_its_beginning, "Entry 1 is missing"),
    (under_another_name, "another organization"),
    (not_base64, "not base64"),
    (not_a_list, "no list"),
)


def test_every_way_of_tampering_with_a_list_is_seen(vault: Vault) -> None:
    log(vault, *(happened(vault) for _ in range(5)), happened(vault, OTHER))
    genuine = export(vault)
    assert verify_list(genuine, keys(vault)).ok
    assert verify_list(export(vault, page_size=2), keys(vault)).ok
    for tamper, problem in TAMPERED:
        copied = copy.deepcopy(genuine)
        tamper(copied)
        verdict = verify_list(copied, keys(vault))
        assert not verdict.ok, tamper.__name__
        assert problem in verdict.problem, tamper.__name__
    nonsense: list[Any] = [
        None,
        [],
        {"organization_id": "\ud800", "pages": []},
        {"organization_id": ORG, "pages": [None]},
    ]
    for value in nonsense:
        assert not verify_list(value, keys(vault)).ok


def test_a_list_continues_from_where_its_reader_was(vault: Vault) -> None:
    log(vault, *(happened(vault) for _ in range(3)))
    last = vault.audit_log.list_entries(ORG, 0, 10).end
    log(vault, happened(vault))
    rest = export(vault, after=3)
    assert verify_list(rest, keys(vault), Known(3, last.last_leaf_hash)).ok
    assert not verify_list(rest, keys(vault), Known(3, bytes(32))).ok
    assert not verify_list(rest, keys(vault)).ok


def test_an_erased_body_breaks_no_proof(vault: Vault) -> None:
    log(vault, *(happened(vault) for _ in range(3)))
    vault.audit_log.integrate()
    with vault.database.transaction() as tx:
        tx.execute(
            sqlalchemy.update(store.entries).where(store.entries.c.number == 2).values(body=None, salt=None)
        )
    assert verify_list(export(vault), keys(vault)).ok


def test_another_database_or_a_changed_one_refuses_to_start(vault: Vault) -> None:
    log(vault, *(happened(vault) for _ in range(3)))
    vault.audit_log.integrate()
    with vault.database.transaction() as tx:
        tx.execute(sqlalchemy.update(store.nodes).where(store.nodes.c.level == 2).values(hash=bytes(32)))
    with pytest.raises(ConfigError, match="not the ones that the key store has seen"):
        vault.restart()


def cut_short(vault: Vault) -> None:
    """The newest entry of the organization's three is taken away, and its list ends before it."""
    with vault.database.transaction() as tx:
        last = store.list_entries(tx, ORG, 2, 1, 1)[0]
        tx.execute(sqlalchemy.delete(store.entries).where(store.entries.c.leaf_index == last.leaf_index))
        store.write_chains(tx, {ORG: store.ChainRow(2, last.previous_leaf_hash or b"")})


def lose(vault: Vault) -> None:
    with vault.database.transaction() as tx:
        for table in (store.entries, store.chains):
            tx.execute(sqlalchemy.delete(table).where(table.c.organization_id == ORG))


def move_end(vault: Vault, number: int) -> None:
    with vault.database.transaction() as tx:
        tx.execute(
            sqlalchemy.update(store.chains)
            .where(store.chains.c.organization_id == ORG)
            .values(last_number=number, last_leaf_hash=bytes(32))
        )


def forget_end(vault: Vault) -> None:
    with vault.database.transaction() as tx:
        tx.execute(sqlalchemy.delete(store.chains).where(store.chains.c.organization_id == ORG))


def invent_end(vault: Vault) -> None:
    with vault.database.transaction() as tx:
        store.write_chains(tx, {"org_" + "c" * 26: store.ChainRow(1, bytes(32))})


def lists_are_off(vault: Vault) -> bool:
    """Whether the alert is on."""
    Figures(vault.database, vault.clock).take()
    return REGISTRY.get_sample_value("kept_alert_active", {"alert": "audit_lists_off"}) == 1


def runbook(vault: Vault, rows_of: Callable[[str], bytes]) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Does what the runbook says, by its own statements. rows_of: what the copy of before answers. The leaves without an entry that it
    found, and the lists that end elsewhere than their newest entry."""
    page = Path("docs/runbooks/audit-lists-off.md").read_text()
    leaves, ends, mend = re.findall(r"```sql\n(.+?)```", page, re.DOTALL)
    take, put = re.findall(r'psql \w+ -c "(.+)"', page)
    with psycopg.connect(libpq_url(vault), autocommit=True) as live:
        missing = live.execute(leaves).fetchall()
        off = [row[0] for row in live.execute(ends).fetchall()]
        if missing:
            assert "(17, 18)" in take
            named = ", ".join(str(leaf) for (leaf,) in missing)
            with live.cursor().copy(put) as into:
                into.write(rows_of(take.replace("17, 18", named)))
        live.execute(mend)
    return missing, off


def libpq_url(vault: Vault) -> str:
    url = vault.database.engine.url.set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("change", "lost", "named"),
    [
        (cut_short, 1, []),
        (lose, 3, []),
        (partial(move_end, number=2), 0, [ORG]),
        (partial(move_end, number=4), 0, [ORG]),
        (forget_end, 0, [ORG]),
        (invent_end, 0, ["org_" + "c" * 26]),
    ],
    ids=["cut short", "lost", "moved back", "moved on", "forgotten", "invented"],
)
def test_lists_that_do_not_add_up_stop_the_log_and_nothing_else_until_the_runbook_was_followed(
    vault: Vault,
    fresh_database: FreshDatabase,
    change: Callable[[Vault], None],
    lost: int,
    named: list[str],
) -> None:
    log(vault, *(happened(vault) for _ in range(3)), happened(vault, OTHER))
    older = export(vault)
    assert not lists_are_off(vault)
    vault.database.engine.dispose()
    beside = fresh_database("beside", template=database_name(libpq_url(vault)))
    change(vault)
    assert lists_are_off(vault)
    with pytest.raises(KeptError, match="do not add up"):
        export(vault)
    vault.restart()
    assert log(vault, happened(vault), happened(vault, OTHER)) == 2, "entries are written all the same"
    for organization_id in (ORG, OTHER):
        with pytest.raises(KeptError, match="do not add up"):
            export(vault, organization_id)

    def rows_of(query: str) -> bytes:
        with (
            psycopg.connect(beside.replace("+psycopg", "")) as copy_of_before,
            copy_of_before.cursor().copy(query) as out,
        ):
            return b"".join(bytes(part) for part in out)

    missing, off = runbook(vault, rows_of)
    assert (len(missing), off) == (lost, named)
    assert not lists_are_off(vault)
    end = older["pages"][-1]["end"]
    kept = Known(int(end["last_number"]), base64.b64decode(end["last_leaf_hash"]))
    assert verify_list(export(vault, after=3), keys(vault), kept).ok, "an older export is continued"
    assert [len(export(vault, name)["pages"][0]["entries"]) for name in (ORG, OTHER)] == [4, 2]
    assert verify_list(export(vault), keys(vault)).ok
    assert verify_list(export(vault, OTHER), keys(vault)).ok


def test_who_makes_the_sum_right_shows_to_who_has_an_older_export(vault: Vault) -> None:
    log(vault, *(happened(vault) for _ in range(3)))
    older = export(vault)
    cut_short(vault)
    invent_end(vault)
    assert not lists_are_off(vault)
    assert verify_list(export(vault), keys(vault)).ok, "by itself it is whole"
    end = older["pages"][-1]["end"]
    kept = Known(int(end["last_number"]), base64.b64decode(end["last_leaf_hash"]))
    assert not verify_list(export(vault, after=3), keys(vault), kept).ok, "an older export is not continued"


def test_a_log_that_grows_while_it_is_looked_at_is_whole(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(vault, happened(vault))
    vault.audit_log.integrate()
    count, looked = store.count_listed, []

    def grow(tx: sqlalchemy.Connection) -> tuple[int, int]:
        """Another replica's sequencer, in the middle of what is looked at."""
        looked.append(log(vault, happened(vault)))
        with monkeypatch.context() as others:
            others.setattr(store, "count_listed", count)
            vault.audit_log.integrate()
        return count(tx)

    monkeypatch.setattr(store, "count_listed", grow)
    assert not lists_are_off(vault)
    assert looked


@pytest.mark.parametrize("state", ["waiting", "erased"])
def test_entries_that_wait_for_their_place_or_have_no_text_any_more_keep_nothing_from_starting(
    vault: Vault, state: str
) -> None:
    log(vault, *(happened(vault, organization_id) for organization_id in (ORG, OTHER, "")))
    if state == "erased":
        vault.audit_log.integrate()
        with vault.database.transaction() as tx:
            tx.execute(sqlalchemy.update(store.entries).values(body=None, salt=None))
    vault.restart()


# --- signing keys -------------------------------------------------------------------------------------------------------


def as_head(vault: Vault) -> dict[str, Any]:
    return MessageToDict(tree_head(vault.audit_log.head()), preserving_proto_field_name=True)


def pinned(vault: Vault) -> dict[str, bytes | Revoked]:
    """As a reader who asked just now has them."""
    return {
        key.key_id: Revoked(f"{key.revoked_at:%Y-%m-%d}") if key.revoked_at else key.public_key
        for key in vault.audit_log.signing_keys.published()
    }


def signing_key_entries(vault: Vault) -> list[str]:
    return [kind for kind in vault.kinds("") if kind.startswith("signing_key.")]


def test_a_replaced_key_signs_nothing_more_and_what_it_signed_stays_good(vault: Vault) -> None:
    log(vault, happened(vault))
    earlier, first = as_head(vault), vault.audit_log.signing_keys.latest().key_id
    replaced = vault.audit_log.signing_keys
    second = replaced.replace(first, "person_a", "once a year")
    assert replaced.replace(first, "person_a", "said again") == second != first
    log(vault, happened(vault))
    later = as_head(vault)
    assert (earlier["key_id"], later["key_id"]) == (first, second)
    proof = vault.audit_log.consistency_proof(int(earlier["tree_size"]), int(later["tree_size"]))
    steps = [base64.b64encode(step).decode() for step in proof]
    assert verify_heads(earlier, later, steps, pinned(vault)).ok
    assert verify_list(export(vault), pinned(vault)).ok
    assert signing_key_entries(vault) == [
        "signing_key.created",
        "signing_key.replacement_ordered",
        "signing_key.retired",
        "signing_key.created",
    ]
    with pytest.raises(KeptError) as refused:
        replaced.replace("0" * 32, "person_a", "unknown")
    assert refused.value.name == "NOT_FOUND"


def test_another_process_signs_with_the_new_key_as_well(vault: Vault) -> None:
    other = AuditLog(vault.database, vault.clock, FileKeyStore(vault.directory))
    first = other.signing_keys.latest().key_id
    second = vault.audit_log.signing_keys.replace(first, "person_a", "once a year")
    log(vault, happened(vault))
    assert other.head().key_id == second
    assert other.list_entries(ORG, 0, 10).end.key_id == second


def test_a_crash_in_the_middle_of_a_replacement_is_carried_to_its_end(vault: Vault) -> None:
    first = vault.audit_log.signing_keys.latest().key_id
    vault.seen.clear()
    vault.crash_at = "commit-before:2"  # the first is the order's
    with pytest.raises(Crash):
        vault.audit_log.signing_keys.replace(first, "person_a", "once a year")
    vault.restart()
    (second, old) = vault.audit_log.signing_keys.published()
    assert (old.key_id, old.retired_at is not None) == (first, True)
    assert second.retired_at is None
    log(vault, happened(vault))
    assert as_head(vault)["key_id"] == second.key_id
    assert signing_key_entries(vault)[1:] == [
        "signing_key.replacement_ordered",
        "signing_key.retired",
        "signing_key.created",
    ]


@pytest.mark.parametrize("goes_on", ["said again", "replaced", "by itself", "by another process"])
def test_a_revocation_that_failed_half_way_is_carried_to_its_end_without_a_restart(
    vault: Vault, goes_on: str
) -> None:
    """The key store knows, the database does not: nobody goes on signing with what was revoked, and its readers learn of it."""
    log(vault, happened(vault))
    other = AuditLog(vault.database, vault.clock, FileKeyStore(vault.directory))
    keys = vault.audit_log.signing_keys
    first = keys.latest().key_id
    vault.seen.clear()
    vault.crash_at = "commit-before:2"  # the first is the order's
    with pytest.raises(Crash):  # as far as the caller sees: the process lives
        keys.revoke(first, "person_a", "the machine was stolen")
    vault.crash_at = ""
    assert not isinstance(pinned(vault)[first], Revoked)
    if goes_on == "said again":
        with pytest.raises(KeptError, match="not valid"):
            keys.revoke(first, "person_a", "the machine was stolen")
    elif goes_on == "replaced":
        assert keys.replace(first, "person_a", "the machine was stolen") != first
    else:
        assert (keys if goes_on == "by itself" else other.signing_keys).step() is False
    assert isinstance(pinned(vault)[first], Revoked)
    log(vault, happened(vault))
    for audit_log in (vault.audit_log, other):
        assert audit_log.head().key_id == audit_log.list_entries(ORG, 0, 10).end.key_id != first
    assert verify_list(export(vault), pinned(vault)).ok
    assert signing_key_entries(vault)[2:] == [
        "signing_key.retired",
        "signing_key.revoked",
        "signing_key.created",
    ]


def test_a_replacement_that_failed_half_way_gives_the_key_that_signs(vault: Vault) -> None:
    keys = vault.audit_log.signing_keys
    first = keys.latest().key_id
    vault.seen.clear()
    vault.crash_at = "commit-before:2"
    with pytest.raises(Crash):
        keys.replace(first, "person_a", "once a year")
    vault.crash_at = ""
    assert keys.replace(first, "person_a", "said again") == keys.published()[0].key_id != first


def test_the_keys_are_brought_up_to_date_by_a_job_of_the_service(world: World) -> None:
    assert [job.name for job in world.service.jobs if job.name == "signing-keys"] == ["signing-keys"]


def test_a_revoked_key_proves_nothing_whatever_the_database_says(vault: Vault) -> None:
    log(vault, happened(vault))
    vault.audit_log.integrate()
    signed, head = export(vault), as_head(vault)
    first = head["key_id"]
    second = vault.audit_log.signing_keys.revoke(first, "person_a", "the machine was stolen")
    assert second != first  # it was the one that signs
    vault.audit_log.integrate()
    assert as_head(vault)["key_id"] == second
    for verdict in (verify_list(signed, pinned(vault)), verify_heads(head, head, [], pinned(vault))):
        assert "was revoked on 2026-03-01" in verdict.problem
    assert verify_list(export(vault), pinned(vault)).ok  # got anew
    with pytest.raises(KeptError) as refused:
        vault.audit_log.signing_keys.revoke(first, "person_a", "again")
    assert refused.value.name == "INVALID_ARGUMENT"
    # A database that was restored to before it knows nothing of it; the key store does.
    with vault.database.transaction() as tx:
        tx.execute(sqlalchemy.delete(store.signing_keys).where(store.signing_keys.c.key_id == second))
        tx.execute(sqlalchemy.update(store.signing_keys).values(retired_at=None, revoked_at=None))
    vault.restart()
    assert isinstance(pinned(vault)[first], Revoked)
    assert as_head(vault)["key_id"] == second
    assert signing_key_entries(vault).count("signing_key.revoked") == 2


def test_a_published_key_that_the_key_store_does_not_know_is_retired_and_can_be_revoked(vault: Vault) -> None:
    """As of two processes that each made one, before one of them had to wait for the other."""
    signing_keys, stray = vault.audit_log.signing_keys, bytes(range(32))
    current, at = signing_keys.latest().key_id, vault.clock.now()
    with vault.database.transaction() as tx:
        store.merge_signing_key(tx, store.SigningKeyRow(key_id_of(stray), stray, at))
    signing_keys.step()
    assert {key.key_id: key.retired_at is None for key in signing_keys.published()} == {
        current: True,
        key_id_of(stray): False,
    }
    signing_keys.revoke(key_id_of(stray), "person_a", "nobody knows where it is")
    assert isinstance(pinned(vault)[key_id_of(stray)], Revoked)
    assert signing_keys.latest().key_id == current
    assert signing_key_entries(vault)[1:] == [
        "signing_key.retired",
        "signing_key.revocation_ordered",
        "signing_key.revoked",
    ]


def test_a_revoked_key_that_the_key_store_does_not_know_stays_revoked(vault: Vault) -> None:
    signing_keys, stray, at = vault.audit_log.signing_keys, bytes(range(32)), vault.clock.now()
    with vault.database.transaction() as tx:
        store.merge_signing_key(tx, store.SigningKeyRow(key_id_of(stray), stray, at, at, at))
    signing_keys.step()
    with vault.database.transaction() as tx:
        tx.execute(sqlalchemy.delete(store.signing_keys).where(store.signing_keys.c.public_key == stray))
    signing_keys.step()
    assert isinstance(pinned(vault)[key_id_of(stray)], Revoked)


def test_another_key_store_retires_nothing_and_does_not_start(vault: Vault, tmp_path: Path) -> None:
    right, before = vault.directory, vault.audit_log.signing_keys.published()
    vault.keys_are_in = tmp_path / "wrong"
    with pytest.raises(ConfigError, match="knows none of the published signing keys"):
        vault.restart()
    vault.keys_are_in = right
    vault.restart()
    assert vault.audit_log.signing_keys.published() == before


def test_a_key_store_that_was_restored_does_not_sign_with_a_past_key(vault: Vault, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(vault.directory, older)
    first = vault.audit_log.signing_keys.latest().key_id
    vault.audit_log.signing_keys.replace(first, "person_a", "once a year")
    shutil.rmtree(vault.directory)
    shutil.copytree(older, vault.directory)
    with pytest.raises(ConfigError, match="was replaced or revoked"):
        vault.restart()


def test_the_head_of_a_quiet_log_is_signed_anew(vault: Vault) -> None:
    first = vault.audit_log.head()
    vault.clock.advance(timedelta(minutes=9))
    assert vault.audit_log.head() == first
    vault.clock.advance(timedelta(minutes=1))
    later = vault.audit_log.head()
    assert (later.tree_size, later.root_hash) == (first.tree_size, first.root_hash)
    assert later.timestamp_ms == first.timestamp_ms + 600_000


# --- certificates -------------------------------------------------------------------------------------------------------


def test_a_certificate_verifies_and_no_changed_one_does(vault: Vault) -> None:
    key, stranger = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    body: dict[str, Any] = {"format": 1, "organization_id": ORG, "records_removed": 7}
    message = rfc8785.dumps(body)
    made = happened(vault, certificate_sha256=hashlib.sha256(message).hexdigest())
    log(vault, happened(vault), made, happened(vault))
    logged, head = vault.audit_log.entry(made.entry_id)
    envelope: dict[str, Any] = {
        "body": body,
        "key_id": "k",
        "signature": base64.b64encode(key.sign(b"kept/certificate/v1\0" + message)).decode(),
        "audit_entry": MessageToDict(
            logged_entry(logged), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        ),
        "head": MessageToDict(tree_head(head), preserving_proto_field_name=True),
    }
    pinned = {"k": key.public_key().public_bytes_raw()}
    assert verify_certificate(envelope, pinned, keys(vault)).ok
    assert "not pinned" in verify_certificate(envelope, keys(vault), keys(vault)).problem
    assert (
        "not valid"
        in verify_certificate(envelope, {"k": stranger.public_key().public_bytes_raw()}, keys(vault)).problem
    )
    assert not verify_certificate(envelope, pinned, pinned).ok
    assert (
        "not valid"
        in verify_certificate(envelope | {"body": body | {"records_removed": 8}}, pinned, keys(vault)).problem
    )

    other = dict(body, records_removed=9)  # signed by the right key, named in no entry
    resigned = base64.b64encode(key.sign(b"kept/certificate/v1\0" + rfc8785.dumps(other))).decode()
    verdict = verify_certificate(envelope | {"body": other, "signature": resigned}, pinned, keys(vault))
    assert "names another certificate" in verdict.problem
    entry_of_another = envelope["audit_entry"] | {"number": "1"}
    assert (
        "not in the tree"
        in verify_certificate(envelope | {"audit_entry": entry_of_another}, pinned, keys(vault)).problem
    )
    for missing in envelope:
        assert not verify_certificate(
            {k: v for k, v in envelope.items() if k != missing}, pinned, keys(vault)
        ).ok
