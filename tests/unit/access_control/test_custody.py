"""Keys: who gets them, and that destroying them leaves every survivor and nothing else, wherever the process dies."""

import threading
from collections.abc import Callable
from datetime import UTC, date, timedelta
from typing import cast

import grpc
import pytest
import sqlalchemy

from kept.access_control.v1 import keys_pb2
from services.access_control.custody import DestructionRow
from services.access_control.key_stores import DoesNotOpen, Item, RootAbsent, wrapping
from services.access_control.servicers.keys import KeyServicer
from services.access_control.store import audit, custody
from services.access_control.store.custody import organization_keys
from shared.config import ConfigError
from shared.errors import KeptError
from shared.ids import new_id
from tests.unit.access_control.vault import Crash, Sealed, Vault, make_vault, migrated_vault, vault

__all__ = ["make_vault", "migrated_vault", "vault"]

ORG = "org_" + "a" * 26
OTHER = "org_" + "b" * 26
ANY_CONTEXT = cast(grpc.ServicerContext, None)
CLOSED = "org_" + "c" * 26


def closed_to(vault: Vault, organization_id: str, record: Sealed) -> bool:
    """Whether the record's key is refused."""
    return refusal(lambda: vault.keys(organization_id, record)) == "OUTSIDE_SCOPE"


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(KeptError) as caught:
        call()
    return caught.value.name


def test_a_record_key_is_the_one_that_the_writer_derived(vault: Vault) -> None:
    record, without_content = vault.record(ORG), vault.record(ORG)
    without_content.data_key_id = b""
    import hmac

    keys = vault.keys(ORG, record, without_content)
    assert keys == {
        record.record_id: hmac.digest(record.data_key, b"kept/record-key/v1\0" + record.record_id, "sha256")
    }


def test_one_record_that_cannot_be_opened_refuses_the_call(vault: Vault) -> None:
    good, foreign, moved = vault.record(ORG), vault.record(OTHER), vault.record(ORG)
    assert refusal(lambda: vault.keys(ORG, good, foreign)) == "OUTSIDE_SCOPE"
    assert refusal(lambda: vault.keys(OTHER, good)) == "OUTSIDE_SCOPE"
    moved.data_key_id = good.data_key_id[:-1] + bytes([good.data_key_id[-1] ^ 1])  # sealed for another id
    assert refusal(lambda: vault.keys(ORG, moved)) == "OUTSIDE_SCOPE"
    good.record_id = b"\xff" * 6 + good.record_id[6:]  # past the year 9999
    assert refusal(lambda: vault.keys(ORG, good)) == "OUTSIDE_SCOPE"


@pytest.mark.parametrize(
    ("offset", "outcome"),
    [(-3, "KEY_DESTROYED"), (-2, ""), (0, ""), (2, ""), (3, "INVALID_ARGUMENT")],
)
def test_epochs_are_made_for_the_late_window_and_two_days_ahead(
    vault: Vault, offset: int, outcome: str
) -> None:
    day = vault.clock.now().date() + timedelta(days=offset)
    if outcome:
        assert refusal(lambda: vault.custody.epoch_key(ORG, day)) == outcome
        return
    made = vault.custody.epoch_key(ORG, day)
    assert made == vault.custody.epoch_key(ORG, day)
    assert len(made.public_key) == 1216


def test_a_closed_organization_gets_no_epoch_key(vault: Vault) -> None:
    vault.custody.epoch_key(ORG, vault.clock.now().date())
    vault.closed.add(ORG)
    assert refusal(lambda: vault.custody.epoch_key(ORG, vault.clock.now().date())) == "KEY_DESTROYED"


def test_calls_at_once_make_one_epoch(vault: Vault) -> None:
    found: list[str] = []
    day = vault.clock.now().date()
    threads = [
        threading.Thread(target=lambda: found.append(vault.custody.epoch_key(ORG, day).epoch_key_id))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1


# --- destruction --------------------------------------------------------------------------------------------------------


class Story:
    """Two organizations with a record on each of three days, the first day due; a closed one; a hold on one record of the first day."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.hold_id, self.destruction_id = new_id("hold"), new_id("run")
        self.records: dict[tuple[str, int], Sealed] = {}
        first_day = vault.clock.now().date()
        for day in range(3):
            for organization_id in (ORG, OTHER, CLOSED):
                self.records[organization_id, day] = vault.record(organization_id)
            if day == 0:
                self.held = vault.record(ORG)
                assert vault.custody.retain_records(self.hold_id, ORG, [self.held.to_retain]).retained == 1
            vault.next_day()
        vault.due = {first_day}
        self.first_day = first_day

    def expect(self, doomed: set[tuple[str, int]]) -> None:
        for (organization_id, day), record in self.records.items():
            if (organization_id, day) in doomed:
                assert closed_to(self.vault, organization_id, record)
            else:
                assert self.vault.keys(organization_id, record)
        assert self.vault.keys(ORG, self.held)


def test_a_destruction_takes_what_is_due_and_nothing_else(vault: Vault) -> None:
    story = Story(vault)
    old_root = vault.key_store.root_ids()
    row = vault.custody.destroy_through(story.destruction_id, story.first_day + timedelta(days=1))
    assert (row.state, row.epochs, row.organizations, [row.root_id]) == ("done", 3, 3, old_root)
    story.expect({(ORG, 0), (OTHER, 0), (CLOSED, 0)})
    assert len(vault.key_store.root_ids()) == 1
    assert vault.key_store.root_ids() != old_root
    assert vault.custody.destroy_through(story.destruction_id, story.first_day + timedelta(days=1)) == row
    assert (
        refusal(lambda: vault.custody.destroy_through(story.destruction_id, story.first_day))
        == "REQUEST_ID_REUSED"
    )
    assert refusal(lambda: vault.custody.epoch_key(ORG, story.first_day)) == "KEY_DESTROYED"
    assert vault.kinds(ORG)[-1] == "keys.marked"
    own = [kind for kind in vault.kinds("") if not kind.startswith("signing_key.")]
    assert own == ["root.created", "keys.destroyed"]
    epochs = vault.custody.destroyed_epochs(story.destruction_id, None, 2)
    rest = vault.custody.destroyed_epochs(
        story.destruction_id, (epochs[-1].organization_id, epochs[-1].day, ""), 2
    )
    assert [epoch.organization_id for epoch in epochs + rest] == [ORG, OTHER, CLOSED]


def test_an_organization_is_destroyed_only_when_it_is_closed(vault: Vault) -> None:
    story = Story(vault)
    assert refusal(lambda: vault.custody.destroy_organization(story.destruction_id, CLOSED)) == "NOT_DUE"
    story.expect(set())
    vault.closed.add(CLOSED)
    row = vault.custody.destroy_organization(story.destruction_id, CLOSED)
    assert (row.state, row.epochs) == ("done", 3)
    story.expect({(CLOSED, 0), (CLOSED, 1), (CLOSED, 2)})
    vault.closed.clear()  # its tombstone is custody's own and needs nobody's word
    assert refusal(lambda: vault.custody.epoch_key(CLOSED, vault.clock.now().date())) == "KEY_DESTROYED"


def test_a_tombstone_is_set_where_there_never_was_a_key(vault: Vault) -> None:
    vault.closed.add(CLOSED)
    row = vault.custody.destroy_organization(new_id("erasure"), CLOSED)
    assert (row.state, row.epochs, row.root_id) == ("done", 0, None)
    vault.closed.clear()
    assert refusal(lambda: vault.custody.epoch_key(CLOSED, vault.clock.now().date())) == "KEY_DESTROYED"


def test_the_job_alone_ends_what_a_crash_interrupted(vault: Vault) -> None:
    story = Story(vault)
    vault.crash_at = "marked"
    with pytest.raises(Crash):
        vault.custody.destroy_through(story.destruction_id, story.first_day)
    vault.restart()
    while vault.custody.advance():
        pass
    assert vault.custody.status().counts.destroyed_epochs == 3
    assert vault.custody.status().unused_root_ids == []
    story.expect({(ORG, 0), (OTHER, 0), (CLOSED, 0)})


def test_an_old_copy_of_the_database_opens_nothing_any_more(vault: Vault) -> None:
    story = Story(vault)
    with vault.database.transaction() as tx:
        before = [
            tx.execute(sqlalchemy.select(table)).all()
            for table in (
                custody.organization_keys,
                custody.hold_keys,
                custody.epoch_keys,
                custody.retained_records,
            )
        ]
    organizations, held, _, _ = before

    def opened() -> int:
        count = 0
        for row in organizations:
            name = wrapping.name_of("organization-key", row.organization_id, str(row.generation))
            try:
                count += len(vault.key_store.unwrap(row.root_id, [Item(name, row.wrapped)]))
            except (RootAbsent, DoesNotOpen):
                continue
        for row in held:
            try:
                count += len(
                    vault.key_store.unwrap(
                        row.root_id, [Item(wrapping.name_of("hold-key", row.hold_id), row.wrapped)]
                    )
                )
            except (RootAbsent, DoesNotOpen):
                continue
        # Under the roots that there are now, whatever id the copy names.
        for root_id in vault.key_store.root_ids():
            for row in organizations:
                name = wrapping.name_of("organization-key", row.organization_id, str(row.generation))
                try:
                    count += len(vault.key_store.unwrap(root_id, [Item(name, row.wrapped)]))
                except DoesNotOpen:
                    continue
        return count

    assert opened() == 3 + 1 + 3
    assert vault.custody.destroy_through(story.destruction_id, story.first_day).state == "done"
    assert opened() == 0
    story.expect({(ORG, 0), (OTHER, 0), (CLOSED, 0)})


def test_the_old_root_stays_until_a_standby_has_the_survivors(vault: Vault) -> None:
    vault.survivors_must_be_on = "standby"
    vault.restart()
    story = Story(vault)
    [old_root] = vault.key_store.root_ids()
    row = vault.custody.destroy_through(story.destruction_id, story.first_day)
    assert row.state == "switched"
    vault.custody.advance()
    assert old_root in vault.key_store.root_ids()
    story.expect({(ORG, 0), (OTHER, 0), (CLOSED, 0)})  # refused from the mark on
    vault.survivors_must_be_on = "nowhere"
    vault.restart()
    assert vault.custody.destroy_through(story.destruction_id, story.first_day).state == "done"
    assert old_root not in vault.key_store.root_ids()


def test_the_old_root_stays_when_the_new_one_opens_nothing(vault: Vault) -> None:
    story = Story(vault)
    [old_root] = vault.key_store.root_ids()
    vault.crash_at = "switched"
    with pytest.raises(Crash):
        vault.custody.destroy_through(story.destruction_id, story.first_day)
    vault.crash_at = ""
    current = vault.custody.status().root.root_id
    path = vault.directory / f"{current}.key"
    genuine = path.read_bytes()
    path.write_bytes(bytes(32))
    assert refusal(vault.custody.advance) == "INTERNAL"
    assert old_root in vault.key_store.root_ids()
    path.write_bytes(genuine)
    vault.custody.advance()
    assert vault.key_store.root_ids() == [current]


def test_a_root_that_cannot_be_put_in_place_leaves_none_behind_however_often_it_is_tried(
    vault: Vault,
) -> None:
    record, _ = vault.record(ORG), vault.record(OTHER)
    with vault.database.transaction() as tx:  # a survivor that opens no more
        tx.execute(
            sqlalchemy.update(organization_keys)
            .where(organization_keys.c.organization_id == OTHER)
            .values(wrapped=b"x" * 60)
        )
    roots = vault.key_store.root_ids()
    vault.closed.add(ORG)
    with pytest.raises(DoesNotOpen):
        vault.custody.destroy_organization(new_id("erasure"), ORG)
    for _ in range(2):
        with pytest.raises(DoesNotOpen):
            vault.custody.advance()
    assert vault.key_store.root_ids() == roots
    assert refusal(lambda: vault.keys(ORG, record)) == "OUTSIDE_SCOPE"


def test_a_root_whose_commit_failed_stays_for_it_may_be_in_place(vault: Vault) -> None:
    story = Story(vault)
    [old_root] = vault.key_store.root_ids()
    committed: list[str] = []

    def lost(point: str) -> None:
        """The answer to the commit that puts the new root in place does not arrive."""
        committed.append(point)
        if point == "commit-after" and "rewrapped" in committed:
            vault._pause = lambda _: None
            raise OSError("the connection was lost")

    vault._pause = lost
    with pytest.raises(OSError, match="was lost"):
        vault.custody.destroy_through(story.destruction_id, story.first_day)
    assert len(vault.key_store.root_ids()) == 2
    while vault.custody.advance():
        pass
    assert len(vault.key_store.root_ids()) == 1
    assert old_root not in vault.key_store.root_ids()
    story.expect({(ORG, 0), (OTHER, 0), (CLOSED, 0)})


def test_the_old_root_stays_while_anything_hangs_on_it(vault: Vault) -> None:
    story = Story(vault)
    [old_root] = vault.key_store.root_ids()
    vault.crash_at = "switched"
    with pytest.raises(Crash):
        vault.custody.destroy_through(story.destruction_id, story.first_day)
    vault.crash_at = ""
    with vault.database.transaction() as tx:
        row = sqlalchemy.update(custody.organization_keys).where(
            custody.organization_keys.c.organization_id == CLOSED
        )
        tx.execute(row.values(root_id=old_root))
    assert refusal(vault.custody.advance) == "INTERNAL"
    assert old_root in vault.key_store.root_ids()


def test_a_lapsed_lease_marks_nothing(vault: Vault) -> None:
    story = Story(vault)

    def lapsed(_: str, __: date) -> bool:
        from shared.errors import lease_lapsed

        raise lease_lapsed()

    vault.custody._destroyer._is_due = lapsed
    assert (
        refusal(lambda: vault.custody.destroy_through(story.destruction_id, story.first_day))
        == "LEASE_LAPSED"
    )
    story.expect(set())
    vault.restart()
    assert vault.custody.destroy_through(story.destruction_id, story.first_day).epochs == 3


# --- holds --------------------------------------------------------------------------------------------------------------


def test_what_a_hold_keeps_opens_until_it_is_released(vault: Vault) -> None:
    story = Story(vault)
    vault.custody.destroy_through(story.destruction_id, story.first_day)
    with vault.database.transaction() as tx:
        lost = story.records[ORG, 0]
        assert vault.custody.retained(tx, ORG, [story.held.record_id, lost.record_id]) == {
            story.held.record_id
        }
    later = new_id("hold")
    kept = vault.custody.retain_records(later, ORG, [story.held.to_retain, lost.to_retain])
    assert (kept.retained, kept.lost) == (1, [lost.record_id])  # the first hold's key served the second
    assert vault.custody.retain_records(later, ORG, [story.held.to_retain]).retained == 1  # again, the same
    root = vault.key_store.root_ids()
    row = vault.custody.release(story.hold_id)
    assert (row.state, row.destruction_id) == ("done", "release_" + story.hold_id.removeprefix("hold_"))
    assert vault.key_store.root_ids() != root
    assert vault.keys(ORG, story.held)  # the second hold stands
    vault.custody.release(later)
    assert refusal(lambda: vault.keys(ORG, story.held)) == "OUTSIDE_SCOPE"
    assert refusal(lambda: vault.custody.retain_records(later, ORG, [story.held.to_retain])) == "WRONG_STATE"


# --- records of an erased end user --------------------------------------------------------------------------------------

ERASURE = "erasure_" + "e" * 26


def test_what_is_withheld_opens_nowhere_and_its_neighbours_do(vault: Vault) -> None:
    gone, stays, held = (vault.record(ORG) for _ in range(3))
    vault.custody.retain_records(new_id("hold"), ORG, [held.to_retain])
    count, at = vault.custody.withhold(ERASURE, ORG, [gone.record_id])
    assert (count, at) == (1, vault.clock.now())
    assert closed_to(vault, ORG, gone)
    assert refusal(lambda: vault.keys(ORG, stays, gone)) == "OUTSIDE_SCOPE"
    assert set(vault.keys(ORG, stays, held)) == {stays.record_id, held.record_id}
    # No hold gets hold of it any more, as if its epoch were gone.
    late = vault.custody.retain_records(new_id("hold"), ORG, [gone.to_retain, stays.to_retain])
    assert (late.retained, late.lost) == (1, [gone.record_id])
    # Again, and on: each counts once.
    vault.clock.advance(timedelta(hours=1))
    assert vault.custody.withhold(ERASURE, ORG, [gone.record_id, stays.record_id])[0] == 2
    assert vault.custody.withhold(ERASURE, ORG, []) == (2, vault.clock.now())
    assert vault.keys(ORG, stays)  # its hold's key serves as long as the hold stands
    vault.restart()
    assert closed_to(vault, ORG, gone)
    assert vault.kinds(ORG).count("keys.withheld") == 2


def test_another_organizations_record_of_the_same_id_is_not_touched(vault: Vault) -> None:
    mine, theirs = vault.record(ORG), vault.record(OTHER)
    vault.custody.withhold(ERASURE, ORG, [theirs.record_id])
    assert vault.keys(OTHER, theirs)
    assert vault.keys(ORG, mine)


def test_organizations_with_their_own_rule_go_by_their_own_day(vault: Vault) -> None:
    early = {owner: vault.record(owner) for owner in (ORG, OTHER)}
    day = vault.clock.now().date()
    vault.next_day()
    late = {owner: vault.record(owner) for owner in (ORG, OTHER)}
    next_day = day + timedelta(days=1)
    vault.due = {day, next_day}
    run, before = new_id("run"), day - timedelta(days=1)
    row = vault.custody.destroy_through(run, before, {ORG: next_day, OTHER: day})
    assert (row.state, row.epochs) == ("done", 3)
    assert closed_to(vault, ORG, early[ORG])
    assert closed_to(vault, ORG, late[ORG])
    assert closed_to(vault, OTHER, early[OTHER])
    assert vault.keys(OTHER, late[OTHER])
    assert vault.custody.destroy_through(run, before, {OTHER: day, ORG: next_day}) == row
    other_days = {ORG: next_day, OTHER: next_day}
    assert refusal(lambda: vault.custody.destroy_through(run, before, other_days)) == "REQUEST_ID_REUSED"
    # A longer rule keeps a day that goes for everybody else; one that is not due by ours stays whatever is asked for.
    vault.due = {next_day}
    assert vault.custody.destroy_through(new_id("run"), next_day, {OTHER: before}).epochs == 0
    vault.due = set()
    assert vault.custody.destroy_through(new_id("run"), next_day).epochs == 0


def test_what_is_withheld_is_forgotten_with_its_day(vault: Vault) -> None:
    early = vault.record(ORG)
    day = vault.clock.now().date()
    vault.next_day()
    late = vault.record(ORG)
    vault.custody.withhold(ERASURE, ORG, [early.record_id, late.record_id])
    for due, left in ((day, 1), (day + timedelta(days=1), 0)):
        vault.due = {day, due}
        vault.custody.destroy_through(new_id("run"), due)
        assert closed_to(vault, ORG, early)
        assert closed_to(vault, ORG, late)
        with vault.database.transaction() as tx:
            counted = tx.execute(sqlalchemy.text("SELECT count(*) FROM withheld_records")).scalar_one()
            flag = tx.execute(sqlalchemy.text("SELECT withholds FROM organization_keys")).scalar_one()
        assert (counted, flag) == (left, bool(left))
    # Whose day is gone needs nothing; neither does what was never sealed, or what is no record's id.
    other = "erasure_" + "f" * 26
    assert vault.custody.withhold(other, ORG, [early.record_id, b"\xff" * 16])[0] == 0
    assert vault.custody.withhold(other, OTHER, [early.record_id])[0] == 0
    assert vault.custody.withhold(ERASURE, ORG, [])[0] == 2


def test_a_read_in_progress_is_waited_for_and_the_next_is_refused(vault: Vault) -> None:
    record = vault.record(ORG)
    done = threading.Event()

    def withhold() -> None:
        vault.custody.withhold(ERASURE, ORG, [record.record_id])
        done.set()

    thread = threading.Thread(target=withhold)
    with vault.database.transaction() as tx:
        wanted = [(record.record_id, record.data_key_id)]
        assert vault.custody.record_keys(tx, ORG, wanted, {record.data_key_id: record.sealed})
        thread.start()
        assert not done.wait(0.3)
    thread.join(10)
    assert closed_to(vault, ORG, record)


def test_a_hold_and_a_destruction_at_once_agree_on_what_is_kept(vault: Vault) -> None:
    for _ in range(8):
        records = [vault.record(ORG) for _ in range(3)]
        day = vault.clock.now().date()
        vault.next_day()
        vault.due = {day}
        hold_id, run_id = new_id("hold"), new_id("run")
        barrier = threading.Barrier(2)
        lost: list[bytes] = []

        def hold(
            lost: list[bytes] = lost,
            records: list[Sealed] = records,
            hold_id: str = hold_id,
            barrier: threading.Barrier = barrier,
        ) -> None:
            barrier.wait()
            lost.extend(
                vault.custody.retain_records(hold_id, ORG, [record.to_retain for record in records]).lost
            )

        def destroy(day: date = day, run_id: str = run_id, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            vault.custody.destroy_through(run_id, day)

        threads = [threading.Thread(target=hold), threading.Thread(target=destroy)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(lost) in (0, 3)
        for record in records:
            if record.record_id in lost:
                assert closed_to(vault, ORG, record)
            else:
                assert vault.keys(ORG, record)


def test_a_mark_waits_for_a_read_in_progress_and_for_a_hold_being_placed(vault: Vault) -> None:
    story = Story(vault)
    waiting = sqlalchemy.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    thread = threading.Thread(
        target=lambda: vault.custody.destroy_through(story.destruction_id, story.first_day)
    )
    record = story.records[ORG, 0]
    vault.seen.clear()
    with vault.database.transaction() as tx:
        assert vault.custody.record_keys(
            tx, ORG, [(record.record_id, record.data_key_id)], {record.data_key_id: record.sealed}
        )
        thread.start()
        while thread.is_alive():
            with vault.database.engine.connect() as connection:
                if connection.execute(waiting).scalar_one():
                    break
        # Nobody else waits for this read: the others are marked by now.
        assert closed_to(vault, OTHER, story.records[OTHER, 0])
        # The read goes on: what it was given is still what it would be given.
        assert vault.custody.record_keys(
            tx, ORG, [(record.record_id, record.data_key_id)], {record.data_key_id: record.sealed}
        )
    thread.join()
    assert closed_to(vault, ORG, record)


def test_two_destructions_at_once_both_end(vault: Vault) -> None:
    story = Story(vault)
    vault.closed.add(CLOSED)
    states: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: states.append(
                vault.custody.destroy_through(story.destruction_id, story.first_day).state
            )
        ),
        threading.Thread(
            target=lambda: states.append(vault.custody.destroy_organization(new_id("erasure"), CLOSED).state)
        ),
        threading.Thread(target=lambda: states.append(str(vault.custody.advance()))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(states) == 3
    while vault.custody.advance():
        pass
    story.expect({(ORG, 0), (OTHER, 0), (CLOSED, 0), (CLOSED, 1), (CLOSED, 2)})
    assert vault.custody.status().unused_root_ids == []


# --- start --------------------------------------------------------------------------------------------------------------


def test_a_service_without_its_current_root_refuses_to_start_and_touches_nothing(vault: Vault) -> None:
    [root_id] = vault.key_store.root_ids()
    path = vault.directory / f"{root_id}.key"
    path.rename(vault.directory / "elsewhere")
    with pytest.raises(ConfigError, match="not in the key store"):
        vault.restart()
    assert vault.key_store.root_ids() == []
    (vault.directory / "elsewhere").rename(path)
    vault.restart()


def test_a_restored_smaller_tree_refuses_to_start(vault: Vault) -> None:
    Story(vault)
    vault.audit_log.integrate()
    with vault.database.transaction() as tx:
        tx.execute(sqlalchemy.update(audit.tree).values(size=1))
    with pytest.raises(ConfigError, match="restored to an older state"):
        vault.restart()


# --- status -------------------------------------------------------------------------------------------------------------


def counted(vault: Vault) -> dict[str, tuple[int, int, str]]:
    """Living and destroyed keys and their place, by kind, as the RPC answers."""
    response = KeyServicer(vault.custody).GetKeyStatus(keys_pb2.GetKeyStatusRequest(), ANY_CONTEXT)
    kinds = keys_pb2.KeyKind
    return {
        kinds.Name(each.kind).removeprefix("KEY_KIND_").lower(): (each.living, each.destroyed, each.place)
        for each in response.keys
    }


def test_the_status_counts_keys_by_kind_and_place(vault: Vault) -> None:
    story = Story(vault)
    files, wrapped = f"files in {vault.directory}", "access control's database, wrapped"
    assert counted(vault) == {
        "root": (1, 0, files),
        "organization": (3, 0, wrapped),
        "epoch": (9, 0, wrapped),
        "hold": (1, 0, wrapped),
        "record": (1, 0, wrapped),
    }
    vault.custody.destroy_through(story.destruction_id, story.first_day)
    vault.closed.add(CLOSED)
    vault.custody.destroy_organization(new_id("erasure"), CLOSED)
    vault.custody.release(story.hold_id)
    assert counted(vault) == {
        "root": (1, 3, files),
        "organization": (2, 1, wrapped),
        "epoch": (4, 5, wrapped),
        "hold": (0, 1, wrapped),
        "record": (0, 0, wrapped),
    }


def test_the_status_tells_what_waits_and_what_was_left_behind(vault: Vault) -> None:
    vault.survivors_must_be_on = "standby"
    vault.restart()
    story = Story(vault)
    [old_root] = vault.key_store.root_ids()
    row = vault.custody.destroy_through(story.destruction_id, story.first_day)
    left = vault.key_store.create()
    response = KeyServicer(vault.custody).GetKeyStatus(keys_pb2.GetKeyStatusRequest(), ANY_CONTEXT)
    [pending], [retired] = response.pending_destructions, response.retired_roots
    assert row.state == "switched"
    assert (pending.destruction_id, pending.epochs, pending.organizations) == (story.destruction_id, 3, 3)
    assert retired.root_key_id == pending.root_key_id == old_root
    assert (
        retired.waits_for
        == pending.waits_for
        == ("The database role cannot see standbys: grant it pg_read_all_stats.")
    )
    assert list(response.unused_root_key_ids) == [left]
    assert response.survivors_must_be_on == "standby"
    assert response.key_store_statement == vault.key_store.statement
    assert response.usable_backups_from.ToDatetime(UTC) == vault.clock.now()
    assert "/" in response.usable_backups_lsn
    assert counted(vault)["root"][:2] == (3, 0)


def test_content_that_is_to_go_early_is_destroyed_by_its_days_and_no_other(vault: Vault) -> None:
    story = Story(vault)
    through = story.first_day + timedelta(days=1)

    def destroy(destruction_id: str = story.destruction_id, day: date = through) -> DestructionRow:
        return vault.custody.destroy_early(destruction_id, ORG, day)

    assert refusal(destroy) == "NOT_DUE"
    vault.early[ORG] = story.first_day
    assert refusal(destroy) == "NOT_DUE", "a day more than the policy names"
    story.expect(set())
    vault.early[ORG] = through
    row = destroy()
    assert (row.state, row.epochs, row.organizations) == ("done", 2, 1)
    story.expect({(ORG, 0), (ORG, 1)})
    assert destroy() == row
    assert refusal(lambda: destroy(day=story.first_day)) == "REQUEST_ID_REUSED"
    # No key is made any more for those days, and one for the next is.
    assert refusal(lambda: vault.custody.epoch_key(ORG, through)) == "KEY_DESTROYED"
    assert vault.custody.epoch_key(ORG, through + timedelta(days=1)).public_key
    entries = [kind for kind in vault.kinds(ORG) if kind.startswith("keys.")]
    assert entries[-2:] == ["keys.marked", "keys.destroyed"]


@pytest.mark.parametrize(
    "crash", ["begun", "marked", "all-marked", "root-made", "rewrapped", "root-destroyed"]
)
def test_an_early_destruction_goes_on_after_a_crash(vault: Vault, crash: str) -> None:
    story = Story(vault)
    vault.early[ORG] = story.first_day
    vault.crash_at = crash
    with pytest.raises(Crash):
        vault.custody.destroy_early(story.destruction_id, ORG, story.first_day)
    vault.restart()
    while vault.custody.advance():
        pass
    assert vault.custody.destroy_early(story.destruction_id, ORG, story.first_day).state == "done"
    story.expect({(ORG, 0)})
