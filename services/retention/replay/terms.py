"""Contract terms, as the audit log tells of them, and the organizations' own rules that come of them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime

from kept.access_control.v1 import audit_pb2
from services.retention.rules import RuleBook, to_payload
from services.retention.store import Tx
from services.retention.store import terms as rows
from services.retention.terms import contract_term as contract_terms
from services.retention.terms.contract_term import ContractTerm, Effect, TermOrder, TermState
from shared.change_feed import ChangeFeed
from shared.errors import KeptError
from shared.outbox.replay import Apply
from shared.terms import Rule, Term, TermKind

_Change = Callable[[ContractTerm, audit_pb2.AuditEntry], ContractTerm]


def applies(feed: ChangeFeed, rules: RuleBook) -> dict[str, Apply]:
    """By kind of entry."""
    made = _Terms(feed, rules)
    return {
        "term.proposed": made.proposed,
        "term.confirmed": _changing(_confirmed),
        "term.begun": made.begun,
        "term.withdrawn": _changing(_withdrawn),
        "term.end_proposed": _changing(_end_proposed),
        "term.end_confirmed": _changing(_end_confirmed),
        "term.ended": made.ended,
    }


def term_of(entry: audit_pb2.AuditEntry) -> Term:
    """The term among its facts."""
    kind, days, _ = entry.facts["term"].split()
    return Term(TermKind(kind), int(days))


def _at(entry: audit_pb2.AuditEntry) -> datetime:
    return entry.occurred_at.ToDatetime(tzinfo=UTC)


def _day(entry: audit_pb2.AuditEntry, name: str) -> date | None:
    return date.fromisoformat(entry.facts[name]) if name in entry.facts else None


class _Terms:
    def __init__(self, feed: ChangeFeed, rules: RuleBook) -> None:
        self._feed = feed
        self._rules = rules

    def proposed(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        """Its effect as it was counted then, but for which days."""
        term_id, term = entry.subjects[0], term_of(entry)
        if rows.get(tx, term_id) is not None:
            return
        order = TermOrder(
            request_id=entry.facts["request_id"],
            organization_id=entry.organization_id,
            term=term,
            reference=entry.facts["reference"],
            from_day=_day(entry, "from_day"),
            until_day=_day(entry, "until_day"),
            application=entry.facts.get("application", ""),
        )
        effect = Effect(
            before=self._rules.of_in(tx, order.lot).term,
            after=term,
            counted_at=_at(entry),
            records_let_go=int(entry.facts["records_let_go"]),
            days_kept_longer=int(entry.facts["days_kept_longer"]),
            days_before=int(entry.facts.get("days_before", 0)),
        )
        rows.add(tx, contract_terms.propose(term_id, order, entry.actor, effect, _at(entry)))

    def begun(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        term = rows.lock(tx, entry.subjects[0])
        if term is None or term.is_over or term.state is TermState.IN_FORCE:
            return
        since = datetime.fromisoformat(entry.facts["effective_at"])
        window = self._rules.default_in(tx).run_window
        self._feed.append(tx, term.lot, to_payload(Rule(term.term, window)), since)
        rows.save(tx, contract_terms.begin(term, since))

    def ended(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        """Where another takes its place, that one's rule comes with its own entry, to count from the same instant on."""
        term = rows.lock(tx, entry.subjects[0])
        if term is None or term.is_over:
            return
        since = datetime.fromisoformat(entry.facts["ended_at"])
        if term.state is TermState.IN_FORCE:
            self._feed.append(tx, term.lot, b"", since)
        rows.save(tx, contract_terms.end(term, since, entry.facts["reason"]))


def _changing(change: _Change) -> Apply:
    def changed(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        term = rows.lock(tx, entry.subjects[0])
        if term is None or term.is_over:
            return
        try:
            rows.save(tx, change(term, entry))
        except KeptError:  # it is so already
            return

    return changed


def _confirmed(term: ContractTerm, entry: audit_pb2.AuditEntry) -> ContractTerm:
    if term.state is not TermState.PROPOSED:
        return term
    return replace(term, state=TermState.CONFIRMED, confirmed_by=entry.actor)


def _withdrawn(term: ContractTerm, entry: audit_pb2.AuditEntry) -> ContractTerm:
    withdrawn = contract_terms.end(term, _at(entry), entry.facts["reason"])
    return (
        withdrawn if entry.actor.startswith("service:") else replace(withdrawn, end_proposed_by=entry.actor)
    )


def _end_proposed(term: ContractTerm, entry: audit_pb2.AuditEntry) -> ContractTerm:
    if term.state is TermState.PROPOSED:  # that would withdraw it
        return term
    # Whether another's proposal counted still was asked then: who was let do it took its place.
    return contract_terms.propose_end(
        term, entry.actor, entry.facts["reason"], term.effect, _at(entry), stands=False
    )


def _end_confirmed(term: ContractTerm, entry: audit_pb2.AuditEntry) -> ContractTerm:
    return replace(term, end_confirmed_by=entry.actor) if term.is_ending else term
