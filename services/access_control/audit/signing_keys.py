"""Signing keys of the audit log: one signs, past ones stay published for what they signed, revoked ones prove nothing any more.

The key store decides which is which; the database has a copy for whoever verifies. The copy is brought up to date at the start, after each
change and every minute, with an entry for whatever is new: a restored database learns again what was revoked, and a change whose copy
failed is carried to its end, in every process, by whoever comes next.
"""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from kept.access_control.v1 import audit_pb2
from services.access_control.key_stores import KeyStore, SigningKey
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
        """Copies what the key store knows, with an entry for each news. Raises ConfigError when the key store would have a key sign that
        the database knows to be past: it was restored to an older state."""
        past = {row.key_id for row in store.list_signing_keys(tx) if row.retired_at or row.revoked_at}
        # After the copy: one that another process has replaced meanwhile is not taken for one that came back.
        now, signers = self._clock.now(), self._key_store.signers()
        if signers.current.key_id in past:
            raise ConfigError(
                f"The key store's signing key {signers.current.key_id} was replaced or revoked: "
                "the key store was restored to an older state",
                "docs/audit-log.md",
            )
        for signer in signers.known:
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
        if self._is_current(key_id):
            self._order("signing_key.replacement_ordered", key_id, actor, reason)
            self._key_store.replace_signing_key(key_id, self._clock.now())
        self._took_effect()
        return self._current.key_id

    def revoke(self, key_id: str, actor: str, reason: str) -> str:
        """Nothing that this key signed proves anything from now on. One that signs now is replaced first. Returns the id of the one that
        signs. Raises NOT_FOUND for an unknown key, INVALID_ARGUMENT where it was revoked before."""
        known = {signer.key_id: signer for signer in self._key_store.signers().known}
        if key_id in known and known[key_id].revoked_at is not None:
            self._took_effect()  # that one may have failed half-way
            raise invalid("key_id", "was revoked before")
        replaced = self._is_current(key_id)
        self._order("signing_key.revocation_ordered", key_id, actor, reason)
        if replaced:
            self._key_store.replace_signing_key(key_id, self._clock.now())
        self._key_store.revoke_signing_key(key_id, self._clock.now())
        self._took_effect()
        return self._current.key_id

    def step(self) -> bool:
        """Brings the copy up to date, and this process. A job's step: there is never more to do at once. Raises ConfigError as
        `bring_up_to_date` does."""
        self._took_effect()
        return False

    def published(self) -> list[store.SigningKeyRow]:
        """All of them, newest first."""
        with self._database.transaction() as tx:
            return store.list_signing_keys(tx)

    def _is_current(self, key_id: str) -> bool:
        signers = self._key_store.signers()
        if key_id not in {signer.key_id for signer in signers.known}:
            raise not_found("signing key")
        return signers.current.key_id == key_id

    def _order(self, kind: str, key_id: str, actor: str, reason: str) -> None:
        # In a transaction of its own, before anything is done: what a crash leaves undone was still ordered, and by whom.
        facts = {"key_id": key_id, "reason": reason}
        with self._database.transaction() as tx:
            self._append(tx, entry(kind, actor=actor, at=self._clock.now(), facts=facts))

    def _took_effect(self) -> None:
        with self._database.transaction() as tx:
            self.bring_up_to_date(tx)
        with self._lock:
            self._current = self._key_store.signing_key()
