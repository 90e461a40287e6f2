"""What copies of access control's database are worth, beside the live key store: a base backup from before a destruction, a restore that
stops short, a restore to the end; and what a destruction waits for."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy

from services.access_control.config import KeyStoreChoice, Pkcs11Token
from services.access_control.custody.ladder import Ladder
from services.access_control.custody.try_open import try_open
from services.access_control.key_stores import DoesNotOpen, Item, KeyStore, wrapping
from services.access_control.key_stores.configured import open_key_store
from services.access_control.store import custody
from shared.config import ConfigError
from shared.database import Database
from shared.errors import KeptError
from shared.ids import new_id
from tests.support.servers import CopiedServer, copied_server, wait_until
from tests.support.softhsm import SoftToken
from tests.unit.access_control.vault import MIGRATIONS, Sealed, Vault
from tests.unit.access_control.world import World

pytestmark = pytest.mark.integration


@pytest.fixture
def server() -> Iterator[CopiedServer]:
    with copied_server(MIGRATIONS) as made:
        yield made


@pytest.fixture(params=["files"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> KeyStoreChoice:
    if request.param == "files":
        return tmp_path / "keys"
    token: SoftToken = request.getfixturevalue("soft_token")
    return Pkcs11Token(module=token.module, token=token.label, pin_file=token.pin_file)


with_every_key_store = pytest.mark.parametrize("keys", ["files", "pkcs11"], indirect=True)


class Story:
    """Three organizations with a record on each of two days; the first day is due, the third organization closed, one record held."""

    def __init__(self, url: str, keys: KeyStoreChoice) -> None:
        self.vault = vault = Vault(url, keys)
        self.organizations = sorted(new_id("org") for _ in range(3))
        self.first_day = vault.clock.now().date()
        self.early = [(each, vault.record(each)) for each in self.organizations]
        self.held = (self.organizations[0], vault.record(self.organizations[0]))
        vault.custody.retain_records(new_id("hold"), self.held[0], [self.held[1].to_retain])
        vault.next_day()
        self.late = [(each, vault.record(each)) for each in self.organizations]
        vault.due, vault.closed = {self.first_day}, {self.organizations[2]}

    def destroy(self) -> None:
        """The first day, and all that the closed organization has."""
        assert self.vault.custody.destroy_through(new_id("run"), self.first_day).state == "done"
        row = self.vault.custody.destroy_organization(new_id("erasure"), self.organizations[2])
        assert row.state == "done"

    @property
    def doomed(self) -> list[tuple[str, Sealed]]:
        return [*self.early, self.late[2]]

    @property
    def survivors(self) -> list[tuple[str, Sealed]]:
        return [*self.late[:2], self.held]


def opens(vault: Vault, organization_id: str, record: Sealed) -> bool:
    try:
        return bool(vault.keys(organization_id, record))
    except KeptError:
        return False


def what_opens(url: str, key_store: KeyStore) -> tuple[int, int]:
    """As `try-open` tells: how many of the copy's epoch and hold keys open, and how many there are."""
    database = Database(url)
    try:
        with database.transaction() as tx:
            return try_open(tx, Ladder(key_store))
    finally:
        database.close()


def opens_with_any_root(url: str, key_store: KeyStore) -> int:
    """How many wrapped keys of the copy open under any root in the key store, whichever the copy names."""
    database = Database(url)
    with database.transaction() as tx:
        items = [
            Item(wrapping.name_of("organization-key", row.organization_id, str(row.generation)), row.wrapped)
            for row in tx.execute(sqlalchemy.select(custody.organization_keys))
            if row.wrapped is not None
        ] + [
            Item(wrapping.name_of("hold-key", row.hold_id), row.wrapped)
            for row in tx.execute(sqlalchemy.select(custody.hold_keys))
            if row.wrapped is not None
        ]
    database.close()
    opened = 0
    for item in items:
        for root_id in key_store.root_ids():
            try:
                key_store.unwrap(root_id, [item])
                opened += 1
            except DoesNotOpen:
                continue
    return opened


@with_every_key_store
def test_a_base_backup_from_before_opens_nothing_while_every_survivor_does(
    server: CopiedServer, keys: KeyStoreChoice
) -> None:
    story = Story(server.url, keys)
    key_store = open_key_store(keys)
    copy = server.start(server.backup())
    # Before the destruction a stolen copy, with the key store, opens all that there is: 6 epochs and a hold.
    assert what_opens(copy, key_store) == (7, 7)
    assert opens_with_any_root(copy, key_store) == 4
    assert all(opens(story.vault, *record) for record in (*story.doomed, *story.survivors))

    story.destroy()
    assert what_opens(copy, key_store) == (0, 7)
    assert opens_with_any_root(copy, key_store) == 0
    assert what_opens(server.url, key_store) == (3, 3)
    assert all(opens(story.vault, *record) for record in story.survivors)
    assert not any(opens(story.vault, *record) for record in story.doomed)
    # Nor does a service serve from it.
    with pytest.raises(ConfigError, match="is not in the key store"):
        Vault(copy, keys)
    story.vault.restart()  # the live one starts as ever


def test_a_restore_that_stops_short_refuses_to_serve_and_one_to_the_end_serves(
    server: CopiedServer, tmp_path: Path
) -> None:
    server.archiving.touch()
    keys = tmp_path / "keys"
    story = Story(server.url, keys)
    story.vault.audit_log.integrate()
    backup = server.backup()
    [[middle]] = server.administer("SELECT pg_current_wal_lsn()")
    # No key was destroyed since: the root is the current one, and still the tree is smaller than what the key store has seen.
    story.vault.record(new_id("org"))
    story.vault.audit_log.integrate()
    server.archive_everything()
    short = server.start_restored(backup, recovery_target_lsn=str(middle))
    with pytest.raises(ConfigError, match="restored to an older state"):
        Vault(short, keys)
    with pytest.raises(ConfigError, match="restored to an older state"):
        World(short, keys)  # as the process is wired

    story.destroy()
    story.vault.audit_log.integrate()
    server.archive_everything()
    # The same backup, older than the current root: with its WAL to the end it is good.
    restored = Vault(server.start_restored(backup), keys)
    assert all(opens(restored, *record) for record in story.survivors)
    assert not any(opens(restored, *record) for record in story.doomed)
    restored.database.close()


def test_a_destruction_waits_for_the_archive(server: CopiedServer, tmp_path: Path) -> None:
    story = Story(server.url, tmp_path / "keys")
    vault = waiting_vault(story, "archive")
    [old_root] = vault.key_store.root_ids()
    run = new_id("run")
    assert vault.custody.destroy_through(run, story.first_day).state == "switched"
    needed, said = lag(vault)
    assert said == (
        f"{needed} is needed and still being written: it is archived when it is full or by archive_timeout, at once if the database "
        "role may call pg_switch_wal()."
    )
    server.administer("GRANT EXECUTE ON FUNCTION pg_switch_wal() TO access_control", "access_control")
    vault.custody.advance()  # closes the file, which cannot be archived yet
    wait_until(lambda: lag(vault)[1].startswith("Archiving fails"))
    assert needed in lag(vault)[1]
    vault.custody.advance()
    assert old_root in vault.key_store.root_ids()
    assert not any(opens(vault, *record) for record in story.early)  # refused from the mark on
    assert all(opens(vault, *record) for record in story.survivors)

    server.archiving.touch()
    wait_until(lambda: not lag(vault)[1])
    assert (server.archive / needed).exists()
    vault.custody.advance()
    assert vault.custody.destroy_through(run, story.first_day).state == "done"
    assert old_root not in vault.key_store.root_ids()
    # From here on everything goes by itself.
    row = vault.custody.destroy_organization(new_id("erasure"), story.organizations[2])
    wait_until(lambda: vault.custody.advance() or not vault.custody.status().pending)
    assert row.state in ("switched", "done")


def test_a_destruction_waits_for_a_standby(server: CopiedServer, tmp_path: Path) -> None:
    story = Story(server.url, tmp_path / "keys")
    vault = waiting_vault(story, "standby")
    [old_root] = vault.key_store.root_ids()
    run = new_id("run")
    assert vault.custody.destroy_through(run, story.first_day).state == "switched"
    assert lag(vault)[1] == "The database role cannot see standbys: grant it pg_read_all_stats."
    server.administer("GRANT pg_read_all_stats TO access_control")
    assert lag(vault)[1] == "No standby streams from this database."
    backup = server.backup()  # its own connection is no standby
    vault.custody.advance()
    assert old_root in vault.key_store.root_ids()
    server.start_standby(backup)
    wait_until(lambda: not lag(vault)[1])
    vault.custody.advance()
    assert vault.custody.destroy_through(run, story.first_day).state == "done"
    assert old_root not in vault.key_store.root_ids()


def test_where_nothing_is_archived_it_says_so(server: CopiedServer, tmp_path: Path) -> None:
    copy = server.start(server.backup())  # copies do not archive
    story = Story(copy, tmp_path / "keys")
    vault = waiting_vault(story, "archive")
    assert vault.custody.destroy_through(new_id("run"), story.first_day).state == "switched"
    assert lag(vault)[1].startswith("The database does not archive its WAL")
    vault.survivors_must_be_on = "nowhere"
    vault.restart()
    vault.custody.advance()
    assert vault.custody.status().pending == []


def test_the_status_names_the_backups_that_are_usable(server: CopiedServer, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    story = Story(server.url, keys)
    status = story.vault.custody.status()
    assert status.usable_backups is not None
    assert (status.usable_backups.since, status.usable_backups.position) == (status.root.created_at, "")
    before = server.backup()
    story.vault.clock.advance(timedelta(hours=1))
    story.destroy()
    after = server.backup()
    status = story.vault.custody.status()
    assert status.usable_backups is not None
    assert status.usable_backups.since == story.vault.clock.now()
    begins = {backup: begin_of(backup) for backup in (before, after)}
    position = location(status.usable_backups.position)
    assert begins[before] < position <= begins[after]
    opened = {backup: what_opens(server.start(backup), open_key_store(keys))[0] for backup in begins}
    assert opened == {before: 0, after: 3}


def begin_of(backup: Path) -> int:
    """Where a base backup begins in the WAL, by its label."""
    [line] = [
        line for line in (backup / "backup_label").read_text().splitlines() if line.startswith("START WAL")
    ]
    return location(line.split()[3])


def location(text: str) -> int:
    """A WAL position as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def waiting_vault(story: Story, where: str) -> Vault:
    story.vault.survivors_must_be_on = where  # type: ignore[assignment]
    story.vault.restart()
    return story.vault


def lag(vault: Vault) -> tuple[str, str]:
    """The WAL file that the retired root's end needs, and what the status says."""
    status = vault.custody.status()
    [root] = status.retired_roots
    assert [waits_for for _, waits_for in status.pending] == [root.waits_for]
    with vault.database.transaction() as tx:
        needed = tx.execute(
            sqlalchemy.text(
                "SELECT pg_walfile_name(retired_lsn::pg_lsn) FROM custody_roots WHERE root_id = :root_id"
            ),
            {"root_id": root.root_id},
        ).scalar_one()
    return str(needed), root.waits_for
