"""A database, a key store, a log and custody on them, to be rebuilt after a crash as a process is."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from services.access_control.audit.log import AuditLog
from services.access_control.config import KeyStoreChoice, Pkcs11Token
from services.access_control.custody import Custody, EpochKey, SurvivorsMustBeOn, ToRetain
from services.access_control.custody.sealing import data_key_info
from services.access_control.key_stores import KeyStore
from services.access_control.key_stores.configured import open_key_store
from shared.database import Database, migrate
from shared.ids import entropy, new_record_id, record_day
from tests.support.clocks import ManualClock
from tests.support.postgres import FreshDatabase, TestServer, database_name
from tests.support.softhsm import SoftToken

with_every_key_store = pytest.mark.parametrize("make_vault", ["files", "pkcs11"], indirect=True)
MIGRATIONS = Path("services/access_control/migrations")
SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class Crash(BaseException):
    """The process dies here."""


class Interruptible:
    """A key store whose every call may be where the process dies: `pause` is called before and after it."""

    def __init__(self, store: KeyStore, pause: Callable[[str], None]) -> None:
        self._store = store
        self._pause = pause

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def call(*arguments: object) -> object:
            self._pause(f"{name}-before")
            answer = found(*arguments)
            self._pause(f"{name}-after")
            return answer

        return call


class Vault:
    """custody and audit_log as wiring builds them; `restart` builds them again from database and key store. directory: the key store's,
    where it is one of files."""

    def __init__(self, url: str, keys: KeyStoreChoice, pause: Callable[[str], None] | None = None) -> None:
        self.clock = ManualClock()
        self.keys_are_in = keys
        self.directory = keys if isinstance(keys, Path) else Path()
        self.closed: set[str] = set()
        self.due: set[date] = set()
        self.due_of: set[tuple[str, date]] = set()
        self.applications: set[str] = set()
        self.early: dict[str, date] = {}
        self.crash_at: str = ""
        self.seen: list[str] = []
        self._pause = pause or self._die_if_here
        self.survivors_must_be_on: SurvivorsMustBeOn = "nowhere"
        self.database = Database(url, on_commit=lambda when: self.pause("commit-" + when))
        self.restart()

    def pause(self, point: str) -> None:
        """Called between any two steps."""
        self._pause(point)

    def _die_if_here(self, point: str) -> None:
        """Dies at the n-th passing of a point: crash_at is "point" or "point:n"."""
        self.seen.append(point)
        name, _, nth = self.crash_at.partition(":")
        if point == name and self.seen.count(point) == int(nth or 1):
            raise Crash(point)

    def restart(self) -> None:
        self.crash_at = ""
        self.key_store = Interruptible(open_key_store(self.keys_are_in), self.pause)
        self.audit_log = AuditLog(self.database, self.clock, self.key_store)
        self.custody = Custody(
            self.database,
            self.clock,
            self.key_store,
            self.audit_log,
            is_due=lambda lot, day: day in self.due or (lot, day) in self.due_of,
            is_closed=lambda organization_id: organization_id in self.closed,
            is_erased_early=lambda organization_id, day: day <= self.early.get(organization_id, date.min),
            has_own=lambda _, application: application in self.applications,
            survivors_must_be_on=self.survivors_must_be_on,
            pause=self.pause,
        )
        self.audit_log.verify_at_start()
        self.custody.verify_at_start()

    def keys(self, organization_id: str, *records: "Sealed") -> dict[bytes, bytes]:
        with self.database.transaction() as tx:
            return self.custody.record_keys(
                tx,
                organization_id,
                [(r.record_id, r.data_key_id) for r in records],
                {r.data_key_id: r.sealed for r in records},
                applications={r.data_key_id: r.application for r in records if r.application},
            )

    def record(self, organization_id: str, application: str = "") -> "Sealed":
        """A record written now, its data key sealed as logging seals it."""
        record_id = new_record_id(self.clock.now())
        day = record_day(record_id)
        epoch = self.custody.epoch_key(organization_id, day, application)
        return Sealed(organization_id, record_id, epoch, application)

    def kinds(self, organization_id: str) -> list[str]:
        """Kinds of the organization's audit entries, in order."""
        import json

        page = self.audit_log.list_entries(organization_id, 0, 500)
        return [json.loads(entry.body)["kind"] for entry in page.entries]

    def next_day(self) -> None:
        self.clock.advance(timedelta(days=1))


class Sealed:
    """A record as logging has it."""

    def __init__(
        self, organization_id: str, record_id: bytes, epoch: EpochKey, application: str = ""
    ) -> None:
        self.application = application
        self.record_id, self.data_key_id, self.data_key = record_id, entropy(16), entropy(32)
        public_key = hpke.MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(epoch.public_key[:1184]),
            X25519PublicKey.from_public_bytes(epoch.public_key[1184:]),
        )
        info = data_key_info(organization_id, record_day(record_id), self.data_key_id, application)
        self.sealed = SUITE.encrypt(self.data_key, public_key, info)

    @property
    def to_retain(self) -> ToRetain:
        return ToRetain(self.record_id, self.data_key_id, self.sealed, self.application)


@pytest.fixture(scope="session")
def migrated_vault(postgres_server: TestServer) -> str:
    return _template(postgres_server)


@cache  # the fixture is another one in each module that imports it
def _template(postgres_server: TestServer) -> str:
    url = postgres_server.fresh_database("access_control_template")
    database = Database(url)
    migrate(database, MIGRATIONS)
    database.close()
    return database_name(url)


@pytest.fixture
def make_vault(
    fresh_database: FreshDatabase,
    migrated_vault: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[], Vault]]:
    """Its key store is of files; of the kind that a test names with `with_every_key_store`."""
    made: list[Vault] = []

    def make() -> Vault:
        keys: KeyStoreChoice = tmp_path / f"keys{len(made)}"
        if getattr(request, "param", "files") == "pkcs11":
            token: SoftToken = request.getfixturevalue("soft_token")
            keys = Pkcs11Token(module=token.module, token=token.label, pin_file=token.pin_file)
        vault = Vault(fresh_database("access_control", template=migrated_vault), keys)
        made.append(vault)
        return vault

    yield make
    for vault in made:
        vault.database.close()


@pytest.fixture
def vault(make_vault: Callable[[], Vault]) -> Vault:
    return make_vault()
