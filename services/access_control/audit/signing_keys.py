"""Signing keys of the audit log: one signs, past ones stay published for what they signed, revoked ones prove nothing any more.

The key store decides which is which; the database has a copy for whoever verifies. The copy is brought up to date at the start, after each
change and every minute, with an entry for whatever is new: a restored database learns again what was revoked, and a change whose copy
failed is carried to its end, in every process, by whoever comes next.

A key store changes its list by reading and writing it, so whoever makes it do so has the signers' lock of the database meanwhile.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from kept.access_control.v1 import audit_pb2
from services.access_control.key_stores import KeyStore, SigningKey
from services.access_control.key_stores.signers import Signers
from services.access_control.store import Connection
from services.access_control.store import audit as store
from shared.audit import entry
from shared.clock import Clock
from shared.config import ConfigError
from shared.database import Database
from shared.errors import invalid, not_found
from shared.jobs import Job

# Appends an entry in the transaction.
Append = Callable[[Connection, audit_pb2.AuditEntry], object]
_ACTOR = "service:access_control"
_EVERY: Final = timedelta(minutes=1)


class SigningKeys:
    """The keys that heads and ends of list are signed with. job: to be put among the service's jobs."""

    def __init__(self, database: Database, clock: Clock, key_store: KeyStore, append: Append) -> None:
        self._database = database
        self._clock = clock
        self._key_store = key_store
        self._append = append
        self._lock = threading.Lock()
        with database.transaction() as tx:  # of processes that start together, one makes the first key
            store.lock_signers(tx)
            self._current = key_store.signing_key()
        self.job = Job("signing-keys", _EVERY, self.step)

    def latest(self) -> SigningKey:
        """The one that signs, as far as this process knows."""
        return self._current

    def known_as(self, key_id: str) -> SigningKey:
        """The one that signs, given the id of the one that signed last: another process may have replaced it."""
        if self._current.key_id != key_id:
            with self._lock:
                self._current = self._key_store.signing_key()
        return self._current

    def current(self, tx: Connection) -> SigningKey:
        """The one that signs, for certain, by the database's copy."""
        return self.known_as(store.current_signing_key(tx) or "")

    def bring_up_to_date(self, tx: Connection) -> None:
        """Copies what the key store knows, with an entry for each news. A published key that it does not know is a past one from then on,
        for it cannot sign with it. Raises ConfigError when the key store would have a key sign that the database knows to be past: it was
        restored to an older state; and when it knows no published key at all: it is another one."""
        store.lock_signers(tx)
        published = store.list_signing_keys(tx)
        past = {row.key_id for row in published if row.retired_at or row.revoked_at}
        # After the copy: one that another process has replaced meanwhile is not taken for one that came back.
        now, signers = self._clock.now(), self._key_store.signers()
        if signers.current.key_id in past:
            raise ConfigError(
                f"The key store's signing key {signers.current.key_id} was replaced or revoked: "
                "the key store was restored to an older state",
                "docs/audit-log.md",
            )
        known = {signer.key_id for signer in signers.known}
        unknown = [row for row in published if row.key_id not in known]
        if published and len(unknown) == len(published):
            raise ConfigError(
                "The key store knows none of the published signing keys: it is not the one that belongs to this database",
                "docs/operations/disaster.md",
            )
        for row in unknown:
            self._key_store.add_past_signing_key(row.public_key, row.retired_at or now)
            if row.revoked_at is not None:
                self._key_store.revoke_signing_key(row.key_id, row.revoked_at)
        for signer in self._key_store.signers().known if unknown else signers.known:
            news = store.merge_signing_key(
                tx,
                store.SigningKeyRow(
                    signer.key_id, signer.public_key, now, signer.retired_at, signer.revoked_at
                ),
            )
            for kind in news:
                self._append(
                    tx, entry(f"signing_key.{kind}", actor=_ACTOR, at=now, facts={"key_id": signer.key_id})
                )

    def replace(self, key_id: str, actor: str, reason: str) -> str:
        """Has another key sign from now on. Returns its id; where the key of this id signs no more already, that of the one that does: so
        one that failed half-way is repeated. Raises NOT_FOUND for an unknown key.
        """
        with self._database.transaction() as tx:
            signers = self._known(tx, key_id)
            if signers.current.key_id == key_id:
                self._order(tx, "signing_key.replacement_ordered", key_id, actor, reason)
        with self._taking_effect():
            self._key_store.replace_signing_key(key_id, self._clock.now())
        return self._current.key_id

    def revoke(self, key_id: str, actor: str, reason: str) -> str:
        """Nothing that this key signed proves anything from now on. One that signs now is replaced first. Returns the id of the one that
        signs. Raises NOT_FOUND for an unknown key, INVALID_ARGUMENT where it was revoked before."""
        with self._database.transaction() as tx:
            signers = self._known(tx, key_id)
            was_before = any(signer.revoked_at for signer in signers.known if signer.key_id == key_id)
            if not was_before:
                self._order(tx, "signing_key.revocation_ordered", key_id, actor, reason)
        with self._taking_effect():
            if not was_before:  # else that one may have failed half-way
                self._key_store.replace_signing_key(key_id, self._clock.now())
                self._key_store.revoke_signing_key(key_id, self._clock.now())
        if was_before:
            raise invalid("key_id", "was revoked before")
        return self._current.key_id

    def step(self) -> bool:
        """Brings the copy up to date, and this process. A job's step: there is never more to do at once. Raises ConfigError as
        `bring_up_to_date` does."""
        with self._taking_effect():
            return False

    def published(self) -> list[store.SigningKeyRow]:
        """All of them, newest first."""
        with self._database.transaction() as tx:
            return store.list_signing_keys(tx)

    def _known(self, tx: Connection, key_id: str) -> Signers:
        store.lock_signers(tx)
        signers = self._key_store.signers()
        if key_id not in {signer.key_id for signer in signers.known}:
            raise not_found("signing key")
        return signers

    def _order(self, tx: Connection, kind: str, key_id: str, actor: str, reason: str) -> None:
        # In a transaction before the one of the act: what a crash leaves undone was still ordered, and by whom.
        facts = {"key_id": key_id, "reason": reason}
        self._append(tx, entry(kind, actor=actor, at=self._clock.now(), facts=facts))

    @contextmanager
    def _taking_effect(self) -> Iterator[None]:
        """What is done to the key store in here is copied, and this process signs by it."""
        with self._database.transaction() as tx:
            store.lock_signers(tx)
            yield
            self.bring_up_to_date(tx)
        with self._lock:
            self._current = self._key_store.signing_key()
