"""Decisions in the audit log, and told to whom they have to be told. A refusal is written in a transaction of its own, for its act's is
rolled back; if it cannot be written, the call fails with that, and nobody is told the decision."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from grpc import StatusCode

from services.access_control.audit.group_commit import GroupCommit
from services.access_control.audit.log import AuditLog
from services.access_control.authorization.policy import Denied
from services.access_control.notifications import Ids, Notifications
from services.access_control.store import Connection
from services.access_control.store.audit import NewEntry, add_entries
from services.access_control.store.bases import Basis, add_where_unchanged
from shared.callers import is_declared
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError
from shared.identity import RefusedToken
from shared.remembered import Remembered

# Not decisions: nothing is known or nothing works, and the caller tries again.
_NO_DECISION: Final = frozenset({StatusCode.UNAVAILABLE, StatusCode.INTERNAL, StatusCode.RESOURCE_EXHAUSTED})

# A token of no use is written down once in so long, by each process, for each method that it is tried at: whoever has one shows it as
# often as they like, and nothing leaves the log. Calls are counted each (kept_rpc_refused_total).
_TOKEN_REPEATED: Final = timedelta(minutes=10)
_TOKENS_REMEMBERED: Final = 10_000
# A token's SHA-256, what is wrong with it, the service that it was shown to (empty for this one), and the method.
_Shown: TypeAlias = tuple[bytes, str, str, str]


@dataclass
class Question:
    """What is being decided, as far as it is known: filled in on the way, so that a refusal names whoever was identified by then.

    actor: "service:<name>" until a person is identified. organization_id: empty for the vendor's own matters.
    """

    actor: str
    organization_id: str = ""
    subjects: tuple[str | bytes, ...] = ()
    facts: dict[str, str | int | bool] = field(default_factory=dict)


class DecisionLog:
    """Writes decisions down. notifications: none where nobody is told, as at the bootstrap. policy_set: the hash of the policies in use;
    empty where nothing is decided by any."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        clock: Clock,
        notifications: Notifications | None = None,
        policy_set: Callable[[], str] = lambda: "",
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._clock = clock
        self._notifications = notifications or Notifications(clock)
        self._policy_set = policy_set
        # By the tokens' SHA-256: the tokens themselves are not kept.
        self._refused: Remembered[_Shown, datetime] = Remembered(_TOKENS_REMEMBERED)
        self._group: GroupCommit[tuple[NewEntry, Basis], bool] = GroupCommit(self._write_together)

    def write_where_unchanged(
        self,
        kind: str,
        actor: str,
        basis: Basis,
        *,
        organization_id: str,
        facts: Mapping[str, str],
    ) -> str | None:
        """Appends the entry of a decision that rests on `basis` and changes nothing itself, together with those of other calls; durable
        when it returns. Returns its id, or None where the basis has changed: then nothing was written, and the decision is void."""
        decided = self._audit_log.decided(kind, actor, organization_id, facts)
        return decided.entry_id if self._group.submit((decided, basis)) else None

    def _write_together(self, decided: Sequence[tuple[NewEntry, Basis]]) -> list[bool]:
        with self._database.statement() as tx:
            written = add_where_unchanged(tx, decided)
        return [new.entry_id in written for new, _ in decided]

    def write(
        self,
        tx: Connection,
        kind: str,
        actor: str,
        *,
        organization_id: str = "",
        subjects: Iterable[str | bytes] = (),
        facts: Mapping[str, str | int | bool] | None = None,
        entry_id: str | None = None,
    ) -> str:
        """Appends an entry in the act's own transaction. Returns its id."""
        decided = self._audit_log.decided(kind, actor, organization_id, facts or {}, subjects, entry_id)
        add_entries(tx, [decided])
        return decided.entry_id

    def tell(self, tx: Connection, event: str, ids: Ids) -> None:
        """Has every endpoint told that asked for the event, if the act's transaction commits. Raises KeyError for what is no event."""
        self._notifications.emit(tx, event, ids)

    @contextmanager
    def deciding(self, refused_kind: str, question: Question, *, tokens_once: bool = False) -> Iterator[None]:
        """Around the transaction of an act: what is refused in it is in the audit log before the refusal goes on. tokens_once: not again
        for a token of no use that was written down lately."""
        try:
            yield
        except KeptError as error:
            if error.status not in _NO_DECISION:
                facts = {**question.facts, "refused": error.name}
                for name in ("missing", "power", "state", "problem"):
                    if name in error.metadata:
                        facts[name] = error.metadata[name][:200]
                # Which policies decided; of a rule's refusal, under which set it was made.
                facts |= error.facts if isinstance(error, Denied) else {"policy_set": self._policy_set()}
                named, organization_id, shown = "", question.organization_id, None
                if isinstance(error, RefusedToken):
                    if tokens_once:
                        shown = _shown(error, question)
                        if self._is_repeated(shown):
                            raise
                    named = error.actor
                    # A customer's is the own organization's matter, whatever it named.
                    organization_id = error.caller.organization_id or organization_id
                with self._database.transaction() as tx:
                    self.write(
                        tx,
                        refused_kind,
                        named or question.actor,
                        organization_id=organization_id,
                        subjects=question.subjects,
                        facts=facts,
                    )
                if shown is not None:
                    self._refused.put(shown, self._clock.now())
            raise

    def _is_repeated(self, shown: _Shown) -> bool:
        written_at = self._refused.get(shown)
        # One that was written ahead of now was before the clock was set back.
        return written_at is not None and timedelta(0) <= self._clock.now() - written_at < _TOKEN_REPEATED


def _shown(error: RefusedToken, question: Question) -> _Shown:
    token = hashlib.sha256(error.caller.token.reveal().encode()).digest()
    method = str(question.facts.get("method", ""))
    return (
        token,
        error.metadata.get("problem", ""),
        str(question.facts.get("service", "")),
        # Of names that are no method's there is no end.
        method if is_declared(method) else "",
    )
