"""What custody and the audit log rely on in a key store: the same tests for each."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pkcs11 import Attribute, ObjectClass

from services.access_control.config import AccessControlConfig, Pkcs11Token
from services.access_control.key_stores import (
    DoesNotOpen,
    Item,
    KeyStore,
    KeyStoreError,
    RememberedHead,
    RootAbsent,
)
from services.access_control.key_stores.configured import open_key_store
from services.access_control.key_stores.files import FileKeyStore
from services.access_control.key_stores.pkcs11 import Pkcs11KeyStore
from services.access_control.key_stores.signers import key_id_of
from shared.config import ConfigError, load
from shared.ids import new_id
from tests.support.softhsm import SoftToken

ITEMS = [Item(f"name {n}".encode(), bytes([n]) * 32) for n in range(5)]


@dataclass
class Place:
    """A kind of key store, and how to open the same one again, as another process does."""

    open: Callable[[], KeyStore]
    count_of_private_signers: Callable[[], int]

    def __post_init__(self) -> None:
        self.store = self.open()


@pytest.fixture(params=["files", "pkcs11"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "files":
        keys = tmp_path / "keys"
        yield Place(lambda: open_key_store(keys), lambda: len(list(keys.glob("*.ed25519"))))
        return
    token: SoftToken = request.getfixturevalue("soft_token")
    opened: list[Pkcs11KeyStore] = []

    def again() -> Pkcs11KeyStore:
        opened.append(in_token(token))
        return opened[-1]

    def private_signers() -> int:
        query = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
        return again()._session.run(lambda session: len(list(session.get_objects(query))))

    yield Place(again, private_signers)
    for store in opened:
        store.close()


def in_token(token: SoftToken) -> Pkcs11KeyStore:
    store = open_key_store(Pkcs11Token(module=token.module, token=token.label, pin_file=token.pin_file))
    assert isinstance(store, Pkcs11KeyStore)
    return store


def named(items: list[Item], wrapped: list[bytes]) -> list[Item]:
    return [Item(item.name, value) for item, value in zip(items, wrapped, strict=True)]


def flipped(value: bytes, at: int) -> bytes:
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]


def test_what_was_wrapped_opens_again_in_order_and_elsewhere(place: Place) -> None:
    root_id = place.store.create()
    wrapped = place.store.wrap(root_id, ITEMS)
    assert len(set(wrapped)) == len(ITEMS)
    assert place.store.wrap(root_id, ITEMS)[0] != wrapped[0]  # never the same twice
    other = place.open()
    assert other.unwrap(root_id, named(ITEMS, wrapped)) == [item.value for item in ITEMS]
    # From several calls of wrap, mixed.
    more = other.wrap(root_id, ITEMS)
    mixed = [named(ITEMS, more)[1], named(ITEMS, wrapped)[3], named(ITEMS, more)[0], named(ITEMS, wrapped)[0]]
    assert place.store.unwrap(root_id, mixed) == [ITEMS[at].value for at in (1, 3, 0, 0)]
    assert place.store.wrap(root_id, []) == place.store.unwrap(root_id, []) == []


def test_a_wrapped_key_opens_under_its_name_and_root_alone_and_unchanged(place: Place) -> None:
    store = place.store
    root_id, other_root_id = store.create(), store.create()
    [wrapped] = store.wrap(root_id, ITEMS[:1])
    for name, value in [
        (b"another name", wrapped),
        *((ITEMS[0].name, flipped(wrapped, at)) for at in range(0, len(wrapped), 7)),
        (ITEMS[0].name, flipped(wrapped, len(wrapped) - 1)),
        *((ITEMS[0].name, wrapped[:length]) for length in (0, 1, 12, 20, len(wrapped) - 1)),
    ]:
        with pytest.raises(DoesNotOpen):
            store.unwrap(root_id, [Item(name, value)])
    with pytest.raises(DoesNotOpen):
        store.unwrap(other_root_id, named(ITEMS[:1], [wrapped]))
    # One that does not open spoils the whole call, and nothing else.
    with pytest.raises(DoesNotOpen):
        store.unwrap(root_id, named(ITEMS[:2], [wrapped, wrapped]))
    assert store.unwrap(root_id, named(ITEMS[:1], [wrapped])) == [ITEMS[0].value]


def test_a_destroyed_root_opens_nothing_and_the_others_do(place: Place) -> None:
    store, other = place.store, place.open()
    assert store.root_ids() == []
    doomed, survivor = store.create(), store.create()
    assert store.root_ids() == other.root_ids() == sorted([doomed, survivor])
    lost, kept = store.wrap(doomed, ITEMS), store.wrap(survivor, ITEMS)
    other.destroy(doomed)
    assert store.root_ids() == other.root_ids() == [survivor]
    for each in (store, other, place.open()):
        with pytest.raises(RootAbsent):
            each.unwrap(doomed, named(ITEMS, lost))
        with pytest.raises(RootAbsent):
            each.wrap(doomed, ITEMS)
        with pytest.raises(DoesNotOpen):
            each.unwrap(survivor, named(ITEMS, lost))
        assert each.unwrap(survivor, named(ITEMS, kept)) == [item.value for item in ITEMS]
    store.destroy(doomed)  # again: no error
    for absent in (new_id("root"), "root_../../etc/passwd", ""):
        with pytest.raises(RootAbsent):
            store.unwrap(absent, named(ITEMS, kept))


def test_the_largest_head_is_remembered(place: Place) -> None:
    store, other = place.store, place.open()
    assert store.newest_head() is None
    heads = {size: RememberedHead(size, bytes([size]) * 32) for size in (0, 5, 7)}
    store.remember_head(heads[0])
    assert other.newest_head() == heads[0]
    store.remember_head(heads[7])
    other.remember_head(heads[5])
    other.remember_head(RememberedHead(7, bytes(32)))  # no larger: the first one stays
    assert store.newest_head() == other.newest_head() == place.open().newest_head() == heads[7]


def test_many_at_once_lose_no_head_and_open_everything(place: Place) -> None:
    stores = [place.store, place.open()]
    root_id = place.store.create()
    failures: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for size in range(first, 60, 4):
                store = stores[first % 2]
                wrapped = store.wrap(root_id, ITEMS)
                assert store.unwrap(root_id, named(ITEMS, wrapped)) == [item.value for item in ITEMS]
                store.remember_head(RememberedHead(size, bytes([size]) * 32))
                newest = store.newest_head()
                assert newest is not None
                assert newest.size >= size
        except BaseException as failure:  # noqa: BLE001 - told by the test
            failures.append(failure)

    threads = [threading.Thread(target=work, args=[first]) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert place.store.newest_head() == RememberedHead(59, bytes([59]) * 32)


def test_the_signing_key_is_made_once_and_signs(place: Place) -> None:
    key, again = place.store.signing_key(), place.open().signing_key()
    assert key.key_id == again.key_id
    assert key.public_key == again.public_key
    Ed25519PublicKey.from_public_bytes(key.public_key).verify(again.sign(b"head"), b"head")
    assert len(key.key_id) == 32


def test_a_published_key_that_the_store_does_not_know_becomes_a_past_one(place: Place) -> None:
    at, later = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    first, foreign = place.store.signing_key(), bytes(range(32))
    for public_key in (foreign, foreign, first.public_key):
        place.store.add_past_signing_key(public_key, at)
    place.store.revoke_signing_key(key_id_of(foreign), later)
    past, current = place.open().signers().known
    assert (past.public_key, past.retired_at, past.revoked_at) == (foreign, at, later)
    assert (current.key_id, current.retired_at) == (first.key_id, None)
    assert place.open().signing_key().key_id == first.key_id
    second = place.store.replace_signing_key(first.key_id, later)
    assert [signer.key_id for signer in place.open().signers().known] == [
        key_id_of(foreign),
        first.key_id,
        second.key_id,
    ]


def test_a_signing_key_is_replaced_once_and_its_private_half_is_gone(place: Place) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    first = place.store.signing_key()
    second = place.store.replace_signing_key(first.key_id, at)
    assert second.key_id != first.key_id
    # Said twice, or by another process that still has the first: nothing more happens.
    assert place.open().replace_signing_key(first.key_id, at).key_id == second.key_id
    assert place.open().signing_key().key_id == second.key_id
    Ed25519PublicKey.from_public_bytes(second.public_key).verify(second.sign(b"head"), b"head")
    known = place.open().signers().known
    assert [(signer.key_id, signer.retired_at) for signer in known] == [
        (first.key_id, at),
        (second.key_id, None),
    ]
    assert place.count_of_private_signers() == 1


def test_what_was_revoked_stays_so(place: Place) -> None:
    at, later = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    first = place.store.signing_key().key_id
    with pytest.raises(ValueError, match="only a past key"):
        place.store.revoke_signing_key(first, at)
    with pytest.raises(ValueError, match="only a past key"):
        place.store.revoke_signing_key("0" * 32, at)
    second = place.store.replace_signing_key(first, at).key_id
    place.store.revoke_signing_key(first, at)
    place.store.revoke_signing_key(first, later)  # the first time counts
    third = place.store.replace_signing_key(second, later).key_id
    assert [(signer.key_id, signer.revoked_at) for signer in place.open().signers().known] == [
        (first, at),
        (second, None),
        (third, None),
    ]


def test_it_says_what_destroying_is_worth(place: Place) -> None:
    statement = place.store.statement
    assert "backup" in statement
    assert "flash" in statement
    assert len(statement) < 600


# --- files --------------------------------------------------------------------------------------------------------------


def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    FileKeyStore(tmp_path / "keys")
    (tmp_path / "keys").chmod(0o750)
    with pytest.raises(KeyStoreError, match="must be 700"):
        FileKeyStore(tmp_path / "keys")


def test_what_a_crash_left_half_written_is_no_root(tmp_path: Path) -> None:
    store = FileKeyStore(tmp_path / "keys")
    root_id = store.create()
    (tmp_path / "keys" / f".{new_id('root')}.key.new").write_bytes(b"half")
    (tmp_path / "keys" / "notes.key").write_bytes(b"")
    assert store.root_ids() == [root_id]


# --- tokens -------------------------------------------------------------------------------------------------------------


def test_a_root_in_a_token_can_neither_be_read_nor_wrapped_out(soft_token: SoftToken) -> None:
    store = in_token(soft_token)
    root_id = store.create()
    token = pkcs11.lib(str(soft_token.module)).get_token(token_label=soft_token.label)
    session = token.open(rw=True)
    root = session.get_key(object_class=ObjectClass.SECRET_KEY, label=root_id)
    with pytest.raises(pkcs11.PKCS11Error):
        root[Attribute.VALUE]
    for attribute, value in ((Attribute.SENSITIVE, False), (Attribute.EXTRACTABLE, True)):
        with pytest.raises(pkcs11.PKCS11Error):
            root[attribute] = value
    key = store.signing_key()
    signer = session.get_key(object_class=ObjectClass.PRIVATE_KEY)
    with pytest.raises(pkcs11.PKCS11Error):
        signer[Attribute.VALUE]
    assert key.public_key
    session.close()
    store.close()


def test_a_token_whose_keys_could_leave_it_is_not_used(
    soft_token: SoftToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = in_token(soft_token)
    monkeypatch.setattr(
        "services.access_control.key_stores.pkcs11._NEVER_LEAVES", {Attribute.SENSITIVE: False}
    )
    with pytest.raises(KeyStoreError, match="could leave it"):
        store.create()
    assert store.root_ids() == []
    store.close()


def test_sessions_that_the_token_ended_are_opened_anew(soft_token: SoftToken) -> None:
    store = in_token(soft_token)
    root_id = store.create()
    wrapped = store.wrap(root_id, ITEMS)
    pkcs11.lib(str(soft_token.module)).reinitialize()  # as a client of a network HSM does after a fail-over
    assert store.unwrap(root_id, named(ITEMS, wrapped)) == [item.value for item in ITEMS]
    store.close()


_TRIES = """
import sys
from pathlib import Path
from services.access_control.key_stores import KeyStoreError
from services.access_control.key_stores.token_session import TokenSession

module, label, pin_file = sys.argv[1:]
session = TokenSession(Path(module), label, Path(pin_file))
for _ in range(2):
    try:
        session.run(str)
    except KeyStoreError as error:
        print(error)
"""


def test_a_wrong_pin_is_tried_once(soft_token: SoftToken, tmp_path: Path) -> None:
    wrong = tmp_path / "pin"
    wrong.write_text("not-the-pin\n")
    wrong.chmod(0o600)
    # In a process of its own: who has signed in to a token once is signed in for a whole process.
    arguments = [str(soft_token.module), soft_token.label, str(wrong)]
    tried = subprocess.run(
        [sys.executable, "-c", _TRIES, *arguments], capture_output=True, text=True, timeout=60, check=True
    )

    first, second = tried.stdout.splitlines()
    assert "refused the PIN" in first
    assert "is not tried again" in second
    assert "not-the-pin" not in tried.stdout + tried.stderr
    right = in_token(soft_token)  # not locked
    right.close()


@pytest.mark.parametrize(
    ("mode", "content", "said"),
    [(0o604, "1234", "can be read by everybody"), (0o600, "\n", "is empty"), (0o600, None, "cannot be read")],
)
def test_a_pin_file_that_is_no_secret_is_refused(
    tmp_path: Path, mode: int, content: str | None, said: str
) -> None:
    from services.access_control.key_stores.token_session import read_pin

    path = tmp_path / "pin"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(KeyStoreError, match=said):
        read_pin(path)


def test_a_pin_is_shown_nowhere(tmp_path: Path) -> None:
    from services.access_control.key_stores.token_session import read_pin

    path = tmp_path / "pin"
    path.write_text("8642975\n")
    path.chmod(0o640)
    pin = read_pin(path)
    assert pin.get_secret_value() == "8642975"
    assert "8642975" not in f"{pin} {pin!r}"


def test_a_token_that_is_not_there_is_named(soft_token: SoftToken) -> None:
    with pytest.raises(KeyStoreError, match="no token called nowhere"):
        Pkcs11KeyStore(soft_token.module, "nowhere", soft_token.pin_file)
    with pytest.raises(KeyStoreError, match="cannot be loaded"):
        Pkcs11KeyStore(Path("/nowhere/lib.so"), "kept", soft_token.pin_file)


# --- configuration ------------------------------------------------------------------------------------------------------

_REST = """
environment = "local"
trust_domain = "kept.test"
services_address = "127.0.0.1:1"
people_address = "127.0.0.1:1"
health_address = "127.0.0.1:1"
metrics_address = "127.0.0.1:1"
database_url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
audience = "kept:access_control"
tls = {certificate = "c", key = "k", authority = "a"}
"""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('key_store = "/keys"', Path("/keys")),
        (
            'key_store = {module = "/lib.so", token = "kept", pin_file = "/pin"}',
            Pkcs11Token(module=Path("/lib.so"), token="kept", pin_file=Path("/pin")),
        ),
        ('key_store = {module = "/lib.so", token = "kept"}', "key_store.pin_file: has to be set"),
        (
            'key_store = {module = "/lib.so", token = "kept", pin_file = "/pin", pin = "1"}',
            "key_store.pin: there is no such setting",
        ),
        ("key_store = 7", "key_store: Input is not a valid path"),
        ("", "key_store: has to be set"),
    ],
)
def test_the_key_store_is_a_directory_or_a_token(tmp_path: Path, text: str, wanted: object) -> None:
    path = tmp_path / "service.toml"
    path.write_text(text + _REST)
    if isinstance(wanted, str):
        with pytest.raises(ConfigError, match=wanted.replace(".", r"\.")):
            load(AccessControlConfig, "access_control", path)
    else:
        assert load(AccessControlConfig, "access_control", path).key_store == wanted
