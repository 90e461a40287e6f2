"""Carries contract terms: proposed by one person, confirmed by another, and put into the feed of rules when their day has come and no run
goes on. Says each time what that does to what is stored; other services are asked while no transaction is open."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Final

from kept.logging.v1 import lifecycle_pb2
from services.retention import store
from services.retention.notifications import Ids, Notifications
from services.retention.peers import Peers
from services.retention.rules import RuleBook, require_room
from services.retention.store import Tx
from services.retention.store import erasures as erasure_rows
from services.retention.store import terms as rows
from services.retention.terms import contract_term as contract_terms
from services.retention.terms.contract_term import ContractTerm, Effect, Step, StoredDay, TermOrder, TermState
from shared.audit import entry
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found
from shared.ids import new_id
from shared.jobs import Attempts, Job
from shared.outbox import Outbox
from shared.terms import Rule, Term, lot_of, parts_of, rules_behind
from shared.voices import lapsed_voice, voices_by

_ACTOR: Final = "service:retention"
_PROPOSING: Final = "/kept.retention.v1.ContractService/SetTerm"
_ENDING: Final = "/kept.retention.v1.ContractService/EndTerm"
_BATCH: Final = 100
_PAGE: Final = 1000
# Days that logging looks through in one call for the records of one application.
_LOOKED_THROUGH: Final = 10


class TermKeeper:
    """Proposes, confirms, begins and ends contract terms."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        peers: Peers,
        rules: RuleBook,
        notifications: Notifications,
    ) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._peers = peers
        self._voices = voices_by(peers.authz)
        self._rules = rules
        self._notifications = notifications
        self.job = Job("terms", timedelta(seconds=1), self.step)

    def propose(self, order: TermOrder, person_id: str) -> ContractTerm:
        """Proposes a term. Raises INVALID_ARGUMENT, UNKNOWN_ORGANIZATION, REQUEST_ID_REUSED, CONFLICT while another proposal waits,
        LIMIT_REACHED where a run could not say all terms any more, and what access control and logging answer with when they cannot say who
        that is or what is stored: nothing is proposed then."""
        with self._database.transaction() as tx:
            known = rows.get_by_request(tx, person_id, order.request_id)
        if known is None:
            order.check(self._clock.now())
            self._peers.require_organization(order.organization_id)
            effect = self._effect(order.lot, order.term)
            with self._database.transaction() as tx:
                store.lock(tx, "terms")  # who counts them sees all that were proposed before
                term = contract_terms.propose(new_id("term"), order, person_id, effect, self._clock.now())
                if rows.add(tx, term):
                    require_room(*rows.lots(tx))
                    said: dict[str, str | int] = {
                        "request_id": term.request_id,
                        **_facts(term),
                        **_said(effect, term.application),
                    }
                    self._audit(tx, term, "term.proposed", person_id, term.proposed_at, **said)
                    return term
                known = rows.get_by_request(tx, person_id, order.request_id)  # a replica was faster
        if known is None:
            raise KeptError(
                Reason.REASON_CONFLICT,
                "Another term is proposed for the organization; confirm or withdraw it first.",
            )
        if known.content_sha256 != order.content_sha256():
            raise KeptError(
                Reason.REASON_REQUEST_ID_REUSED, "This request id came before with another content."
            )
        return known

    def confirm(
        self, term_id: str, person_id: str, *, of_end: bool = False, validate_only: bool = False
    ) -> ContractTerm:
        """The second person's word for the term, or for its end. validate_only: counts its effect anew and confirms nothing. Raises
        NOT_FOUND, SECOND_PERSON_REQUIRED, WRONG_STATE, also where who proposed it could not any more, and what access control and logging
        answer with: nothing is confirmed then."""
        seen = self._get(term_id)
        waits = contract_terms.confirm(seen, person_id, self._clock.now(), of_end=of_end) != seen
        if waits and not self._has_voice(seen, of_end=of_end):
            raise lapsed_voice("Who proposed it could not propose it any more: end it, and propose anew.")
        effect = self._effect(seen.lot, None if of_end else seen.term)
        if validate_only:
            return replace(seen, effect=effect)
        with self._database.transaction() as tx:
            term = rows.lock(tx, term_id)
            if term is None:
                raise not_found("term")
            confirmed = contract_terms.confirm(term, person_id, self._clock.now(), of_end=of_end)
            if confirmed != term:
                # What was counted, and whose voice was asked about, is of what was seen.
                if term.end_proposed_by != seen.end_proposed_by:
                    raise KeptError(
                        Reason.REASON_CONFLICT, "Something else was proposed meanwhile; look at it again."
                    )
                confirmed = replace(confirmed, effect=effect)
                rows.save(tx, confirmed)
                kind = "term.end_confirmed" if of_end else "term.confirmed"
                said = _said(effect, confirmed.application)
                self._audit(tx, confirmed, kind, person_id, **_facts(confirmed), **said)
        self._carry(confirmed)
        return self._get(term_id)

    def end(self, term_id: str, person_id: str, reason: str) -> ContractTerm:
        """Proposes the end of a term, also in the place of somebody who could not propose it any more; one that nobody confirmed yet is
        withdrawn at once. Raises NOT_FOUND, WRONG_STATE."""
        seen = self._get(term_id)
        effect = self._effect(seen.lot, None)
        stands = not (seen.is_ending and seen.end_proposed_by != person_id) or self._has_voice(
            seen, of_end=True
        )
        with self._database.transaction() as tx:
            term = rows.lock(tx, term_id)
            if term is None:
                raise not_found("term")
            stands = stands or term.end_proposed_by != seen.end_proposed_by
            now = self._clock.now()
            changed = contract_terms.propose_end(term, person_id, reason, effect, now, stands=stands)
            if changed != term:
                rows.save(tx, changed)
                is_gone = changed.state is TermState.WITHDRAWN
                kind = "term.withdrawn" if is_gone else "term.end_proposed"
                said = {} if is_gone else _said(effect, changed.application)
                self._audit(tx, changed, kind, person_id, now, reason=reason, **said)
        return changed

    def _has_voice(self, term: ContractTerm, *, of_end: bool) -> bool:
        person_id, method = (term.end_proposed_by, _ENDING) if of_end else (term.proposed_by, _PROPOSING)
        return bool(self._voices([person_id], method))

    def step(self) -> bool:
        """The job: begins and ends what is to begin or to end now."""
        number, found = 0, True
        attempts = Attempts()
        while found:
            with self._database.transaction() as tx:
                page = rows.open_after(tx, number, _BATCH)
                erased = erasure_rows.among(tx, [term.organization_id for term in page])
            for term in page:
                with attempts.attempt():
                    self._carry(term, is_erased=term.organization_id in erased)
            found = len(page) == _BATCH
            number = page[-1].number if page else 0
        attempts.raise_first()
        return False

    def _carry(self, seen: ContractTerm, *, is_erased: bool = False) -> None:
        """Does what is to be done about a term now, unless a run goes on: then later. is_erased: whether its organization is."""
        if contract_terms.next_step(seen, self._clock.now(), is_erased) is Step.NOTHING:
            return
        with self._database.transaction() as tx:
            may_change = self._rules.may_change(tx)
            term = rows.lock(tx, seen.term_id)
            if term is None:
                return
            match contract_terms.next_step(term, self._clock.now(), is_erased):
                case Step.LAPSE:
                    lapsed = contract_terms.end(term, self._clock.now(), "lapsed")
                    rows.save(tx, lapsed)
                    self._audit(tx, lapsed, "term.withdrawn", _ACTOR, lapsed.ended_at, reason="lapsed")
                case Step.BEGIN if may_change:
                    self._begin(tx, term)
                case Step.END if term.state is TermState.CONFIRMED:
                    self._over(tx, contract_terms.end(term, self._clock.now()))
                case Step.END if may_change:
                    at = self._rules.set_own(tx, term.lot, None, _ACTOR)
                    self._over(tx, contract_terms.end(term, at))

    def _begin(self, tx: Tx, term: ContractTerm) -> None:
        at = self._rules.set_own(tx, term.lot, term.term, _ACTOR)
        for before in rows.in_force(tx, term.organization_id, term.application):
            self._over(tx, contract_terms.end(before, at, f"replaced by {term.term_id}"))
        begun = contract_terms.begin(term, at)
        rows.save(tx, begun)
        self._audit(tx, begun, "term.begun", _ACTOR, **_facts(begun), effective_at=at.isoformat())

    def _over(self, tx: Tx, term: ContractTerm) -> None:
        rows.save(tx, term)
        at = "" if term.ended_at is None else term.ended_at.isoformat()
        self._audit(tx, term, "term.ended", _ACTOR, reason=term.end_reason, ended_at=at)

    def _get(self, term_id: str) -> ContractTerm:
        with self._database.transaction() as tx:
            term = rows.get(tx, term_id)
        if term is None:
            raise not_found("term")
        return term

    def _effect(self, lot: str, after: Term | None) -> Effect:
        """What it would do now to put a term, or for None the rule behind it, in the place of what counts for a lot."""
        organization_id, application = parts_of(lot)
        with self._database.transaction() as tx:
            before, behind = self._rules.of_in(tx, lot), self._rules.of_in(tx, rules_behind(lot)[1])
            own = self._rules.applications_in(tx, organization_id)
        rule = behind if after is None else Rule(after, behind.run_window)
        stored = self._stored(organization_id, application)
        if application:
            mine = [each for each in stored if each.application == application]
        else:  # an application whose term is over lives by its organization's rule
            mine = [each for each in stored if not own.get(lot_of(organization_id, each.application), False)]
        effect = contract_terms.effect_of(before, rule, mine, self._clock.now())
        return replace(effect, days_before=sum(not each.application for each in stored) if application else 0)

    def _stored(self, organization_id: str, application: str) -> list[StoredDay]:
        """What is stored of an organization; of one application, where it has records: in its own lot, or among its organization's."""
        found: list[StoredDay] = []
        token = ""
        while True:
            page = self._peers.logging.ListStoredDays(
                lifecycle_pb2.ListStoredDaysRequest(
                    through_day=date.max.isoformat(),
                    organization_id=organization_id,
                    application=application,
                    page_size=_LOOKED_THROUGH if application else _PAGE,
                    page_token=token,
                )
            )
            found += [
                StoredDay(date.fromisoformat(each.day), each.records, each.held, each.application)
                for each in page.days
            ]
            token = page.next_page_token
            if not token:
                return found

    def _audit(
        self,
        tx: Tx,
        term: ContractTerm,
        kind: str,
        actor: str,
        at: datetime | None = None,
        /,
        **facts: str | int,
    ) -> None:
        """at: the act's own instant, where the term has it and no fact says it."""
        self._notifications.emit(
            tx, kind, Ids(term.organization_id, term.term_id, term.state, term.effective_at)
        )
        self._outbox.audit(
            tx,
            entry(
                kind,
                actor=actor,
                at=at or self._clock.now(),
                organization_id=term.organization_id,
                subjects=[term.term_id],
                facts=facts,
            ),
        )


def _facts(term: ContractTerm) -> dict[str, str | int]:
    facts: dict[str, str | int] = {
        "term": f"{term.term.kind} {term.term.days} days",
        "reference": term.reference,
    }
    if term.application:
        facts["application"] = term.application
    if term.from_day is not None:
        facts["from_day"] = term.from_day.isoformat()
    if term.until_day is not None:
        facts["until_day"] = term.until_day.isoformat()
    return facts


def _said(effect: Effect, application: str) -> dict[str, str | int]:
    return {
        "days_let_go": len(effect.let_go),
        "records_let_go": effect.records_let_go,
        "days_kept_longer": effect.days_kept_longer,
        **({"days_before": effect.days_before} if application else {}),
    }
