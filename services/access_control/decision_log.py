"""Decisions in the audit log. A refusal is written in a transaction of its own, for its act's is rolled back; if it cannot be written, the
call fails with that, and nobody is told the decision."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from grpc import StatusCode

from services.access_control.audit_log import AuditLog
from services.access_control.store import Connection
from shared.audit import entry
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError

# Not decisions: nothing is known or nothing works, and the caller tries again.
_NO_DECISION: Final = frozenset({StatusCode.UNAVAILABLE, StatusCode.INTERNAL, StatusCode.RESOURCE_EXHAUSTED})


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
    """Writes decisions down."""

    def __init__(self, database: Database, audit_log: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit_log = audit_log
        self._clock = clock

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
        made = entry(
            kind,
            actor=actor,
            at=self._clock.now(),
            organization_id=organization_id,
            subjects=subjects,
            facts=facts,
            entry_id=entry_id,
        )
        self._audit_log.append(tx, made)
        return made.entry_id

    @contextmanager
    def deciding(self, refused_kind: str, question: Question) -> Iterator[None]:
        """Around the transaction of an act: what is refused in it is in the audit log before the refusal goes on."""
        try:
            yield
        except KeptError as error:
            if error.status not in _NO_DECISION:
                facts = {**question.facts, "refused": error.name}
                for name in ("missing", "power", "state"):
                    if name in error.metadata:
                        facts[name] = error.metadata[name][:200]
                with self._database.transaction() as tx:
                    self.write(
                        tx,
                        refused_kind,
                        question.actor,
                        organization_id=question.organization_id,
                        subjects=question.subjects,
                        facts=facts,
                    )
            raise
