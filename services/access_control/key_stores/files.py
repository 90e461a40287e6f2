"""A key store of files: a directory that only the service's user can enter, one file a root.

Each write goes to a temporary file, is synced, renamed, and the directory synced: a crash leaves the old state or the new one. What
`destroy` cannot reach is said in `statement`: flash disks may keep old blocks, and whoever copied the directory has a copy.
"""

import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.access_control.key_stores import Item, KeyStoreError, RememberedHead, RootAbsent, wrapping
from services.access_control.key_stores.signers import Signer, Signers, key_id_of, parsed
from shared.ids import new_id

_ROOT_ID: Final = re.compile(r"^root_[0-9a-z]{26}$")
_SUFFIX: Final = ".key"
_SIGNERS: Final = "signers.json"
_SIGNER_SUFFIX: Final = ".ed25519"
_HEAD: Final = "newest-head.json"
_LOCK: Final = "lock"
_STATEMENT: Final = (
    "Root keys are files on one disk: destroyed means overwritten, unlinked and synced. Copies of that disk's backups or snapshots, "
    "and blocks that a flash disk keeps for itself, are not reached; the directory must be left out of every backup."
)


class FileSigningKey:
    """An Ed25519 key from a file."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return self._private_key.public_key().public_bytes_raw()

    @property
    def key_id(self) -> str:
        """First 16 bytes of SHA-256 of the public key, in hex."""
        return key_id_of(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._private_key.sign(message)


class FileKeyStore:
    """A key store in `directory`, made with mode 0700 if absent. Raises KeyStoreError when others can enter it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = stat.S_IMODE(directory.stat().st_mode)
        except OSError as error:
            raise KeyStoreError(f"the key store {directory} cannot be used ({error.strerror})") from error
        if mode & 0o077:
            raise KeyStoreError(
                f"the key store {directory} can be entered by others (mode {mode:o}); it must be 700"
            )

    @property
    def place(self) -> str:
        """The directory."""
        return f"files in {self._directory}"

    @property
    def statement(self) -> str:
        """What destroying is worth here."""
        return _STATEMENT

    def create(self) -> str:
        """Makes a root, synced and read back. Returns its id."""
        root_id = new_id("root")
        key = wrapping.new_key()
        with self._locked():
            self._write(root_id + _SUFFIX, key)
            if self._read_root(root_id) != key:
                raise KeyStoreError("a root that was just written reads back differently")
        return root_id

    def wrap(self, root_id: str, items: Sequence[Item]) -> list[bytes]:
        """Wraps keys, in order. The root is read for each call and kept by nobody: a destroyed one is gone from memory too."""
        return wrapping.wrap_all(self._read_root(root_id), items)

    def unwrap(self, root_id: str, items: Sequence[Item]) -> list[bytes]:
        """Opens wrapped keys, in order."""
        return wrapping.unwrap_all(self._read_root(root_id), items)

    def destroy(self, root_id: str) -> None:
        """Overwrites, syncs, unlinks, syncs the directory."""
        path = self._root_path(root_id)
        with self._locked():
            self._overwrite(path)

    def _overwrite(self, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        except OSError as error:
            raise KeyStoreError(f"{path.name} cannot be destroyed ({error.strerror})") from error
        try:
            size = os.fstat(descriptor).st_size
            os.pwrite(descriptor, os.urandom(size), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path.unlink()
        self._sync_directory()

    def root_ids(self) -> list[str]:
        """Ids of all roots."""
        try:
            names = [
                path.name.removesuffix(_SUFFIX)
                for path in self._directory.iterdir()
                if path.suffix == _SUFFIX
            ]
        except OSError as error:
            raise KeyStoreError(f"the key store cannot be listed ({error.strerror})") from error
        return sorted(name for name in names if _ROOT_ID.match(name))

    def remember_head(self, head: RememberedHead) -> None:
        """Remembers a tree head if it is the largest so far."""
        with self._locked():
            known = self.newest_head()
            if known is None or head.size > known.size:
                text = json.dumps({"size": head.size, "root_hash": head.root_hash.hex()})
                self._write(_HEAD, text.encode())

    def newest_head(self) -> RememberedHead | None:
        """The largest head remembered."""
        try:
            state = json.loads((self._directory / _HEAD).read_text())
            return RememberedHead(int(state["size"]), bytes.fromhex(state["root_hash"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KeyStoreError("the remembered tree head cannot be read") from error

    def signing_key(self) -> FileSigningKey:
        """The key that signs tree heads, made when first asked for."""
        with self._locked():
            return self._private_key(self._signers().current)

    def signers(self) -> Signers:
        """All signing keys that there ever were here."""
        with self._locked():
            return self._signers()

    def replace_signing_key(self, key_id: str, at: datetime) -> FileSigningKey:
        """The new key is written before it is the one that signs, and the old one destroyed after that: a crash leaves one that signs."""
        with self._locked():
            known = self._signers()
            if known.current.key_id == key_id:
                known = known.replaced_by(self._new_signer(), at)
                self._write(_SIGNERS, known.as_text().encode())
                self._destroy_past(known)
            return self._private_key(known.current)

    def add_past_signing_key(self, public_key: bytes, at: datetime) -> None:
        """Remembered in the directory."""
        with self._locked():
            known = self._signers().with_past(public_key, at)
            self._write(_SIGNERS, known.as_text().encode())
            self._destroy_past(known)

    def revoke_signing_key(self, key_id: str, at: datetime) -> None:
        """Remembered in the directory."""
        with self._locked():
            self._write(_SIGNERS, self._signers().revoked(key_id, at).as_text().encode())

    def _signers(self) -> Signers:
        try:
            known = parsed((self._directory / _SIGNERS).read_text())
        except FileNotFoundError:
            known = Signers((self._new_signer(),))
            self._write(_SIGNERS, known.as_text().encode())
        except OSError as error:
            raise KeyStoreError(f"the signing keys cannot be read ({error.strerror})") from error
        self._destroy_past(known)  # what a crash left
        return known

    def _new_signer(self) -> Signer:
        private_key = Ed25519PrivateKey.generate()
        public_key = private_key.public_key().public_bytes_raw()
        name = key_id_of(public_key) + _SIGNER_SUFFIX
        self._write(name, private_key.private_bytes_raw())
        return Signer(public_key, name)

    def _destroy_past(self, known: Signers) -> None:
        for path in self._directory.glob("*" + _SIGNER_SUFFIX):
            if path.name != known.current.label:
                self._overwrite(path)

    def _private_key(self, signer: Signer) -> FileSigningKey:
        try:
            raw = (self._directory / signer.label).read_bytes()
        except OSError as error:
            raise KeyStoreError(f"the signing key cannot be read ({error.strerror})") from error
        if len(raw) != 32:
            raise KeyStoreError("the signing key is not 32 bytes")
        key = FileSigningKey(Ed25519PrivateKey.from_private_bytes(raw))
        if key.public_key != signer.public_key:
            raise KeyStoreError("the signing key is not the one that the list of signing keys names")
        return key

    def _root_path(self, root_id: str) -> Path:
        if not _ROOT_ID.match(root_id):
            raise RootAbsent("there is no root of that id")
        return self._directory / (root_id + _SUFFIX)

    def _read_root(self, root_id: str) -> bytes:
        try:
            key = self._root_path(root_id).read_bytes()
        except FileNotFoundError:
            raise RootAbsent(f"root {root_id} is not in the key store") from None
        except OSError as error:
            raise KeyStoreError(f"root {root_id} cannot be read ({error.strerror})") from error
        if len(key) != wrapping.KEY_BYTES:
            raise KeyStoreError(f"root {root_id} is not {wrapping.KEY_BYTES} bytes")
        return key

    def _write(self, name: str, content: bytes) -> None:
        temporary = self._directory / f".{name}.new"
        try:
            temporary.unlink(missing_ok=True)  # left by a crash
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                os.write(descriptor, content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, self._directory / name)
            self._sync_directory()
        except OSError as error:
            raise KeyStoreError(f"the key store cannot be written ({error.strerror})") from error

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Processes of one host that share the directory write one at a time.
        try:
            descriptor = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KeyStoreError(f"the key store cannot be locked ({error.strerror})") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
