"""What retention makes up for from the audit log when its database was restored to an older state (shared.outbox.replay): the rules,
contract terms, holds, and what was begun since.

What was begun and has not ended is begun again under its own id, and goes on by itself: every step is idempotent at its receiver. What
was done is not judged again: by the instant of its entry, a moment later, it might not be allowed. Bodies of certificates are not in the
log, only their digests. So the erasure of an organization, and of content, goes on too where it has ended: the others still say what they
did, and it is certified once more. A run that ended, and an end user's erasure, are known as ended, and their certificates are lost: what
they were about nobody remembers.

Of an end user's erasure the pseudonym is not in the log either: one that had not ended has to be asked for again. Nor is it of a hold on
an end user's records: logging, which is asked to keep what matches, names the end user where it still knows (logging's
store.standing_holds.stand); where it does not either, such a hold keeps everybody's records of its days until somebody places it anew.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from kept.access_control.v1 import audit_pb2
from services.retention.erasures.content_states import ContentErasure, ContentState
from services.retention.erasures.organization_states import Erasure, ErasureState
from services.retention.erasures.subject_states import SubjectErasure, SubjectState
from services.retention.holds import hold as holds
from services.retention.holds import secrecy
from services.retention.holds.hold import Hold, HoldKind, HoldOrder, HoldScope, HoldState, Sweep
from services.retention.holds.secrecy import Secrecy, SecrecyState
from services.retention.replay import terms
from services.retention.rules import RuleBook, to_payload
from services.retention.runs.states import Run, RunState
from services.retention.store import Tx
from services.retention.store import certificates as certificate_rows
from services.retention.store import contents as content_rows
from services.retention.store import erasures as erasure_rows
from services.retention.store import holds as hold_rows
from services.retention.store import runs as run_rows
from services.retention.store import subjects as subject_rows
from shared.change_feed import ChangeFeed
from shared.database import Database
from shared.errors import KeptError
from shared.outbox.replay import Apply
from shared.terms import DEFAULT, Rule


def _at(entry: audit_pb2.AuditEntry) -> datetime:
    return entry.occurred_at.ToDatetime(tzinfo=UTC)


def applies(feed: ChangeFeed, rules: RuleBook) -> dict[str, Apply]:
    """By kind of entry."""

    def rule_changed(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        if entry.organization_id:
            return  # `term.begun` and `term.ended` say it
        window = timedelta(seconds=int(entry.facts["run_window_seconds"]))
        payload = to_payload(Rule(terms.term_of(entry), window))
        latest = feed.latest(tx, DEFAULT)
        since = datetime.fromisoformat(entry.facts["effective_at"])
        if latest is None or (latest.payload != payload and latest.effective_at < since):
            feed.append(tx, DEFAULT, payload, since)

    def run_started(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        run_id = entry.subjects[0]
        if run_rows.get(tx, run_id) is None:
            run = Run(
                run_id=run_id,
                state=RunState.DESTROYING_KEYS,
                through_day=date.fromisoformat(entry.facts["through_day"]),
                started_at=_at(entry),
                started_by=entry.actor,
                rule=rules.default_in(tx),
            )
            run_rows.start(tx, run)

    return {
        "rule.changed": rule_changed,
        **terms.applies(feed, rules),
        "hold.placed": _hold_placed,
        "hold.confirmed": _changing_hold(_confirmed),
        "hold.activated": _changing_hold(_settled),
        "hold.failed": _changing_hold(_settled),
        "hold.extended": _changing_hold(_extended),
        "hold.secrecy_reviewed": _changing_hold(_secrecy_reviewed, even_over=True),
        "hold.disclosed": _changing_hold(_disclosed, even_over=True),
        "hold.released": _changing_hold(_released),
        "hold.lapsed": _changing_hold(_released),
        "hold.ended": _changing_hold(_ended),
        "run.started": run_started,
        "run.ended": _run_ended,
        "run.not_certified": _run_not_certified,
        "erasure.started": _erasure_started,
        "erasure.ended": _erasure_ended,
        "erasure.completed": _goes_on,
        "subject_erasure.started": _subject_started,
        "subject_erasure.ended": _subject_ended,
        "subject_erasure.completed": _subject_completed,
        "content_erasure.started": _content_started,
        "content_erasure.ended": _content_ended,
        "content_erasure.completed": _goes_on,
    }


def finish(database: Database, feed: ChangeFeed) -> Callable[[], None]:
    """What follows once all is taken over: whoever follows the feed of rules gets all of it again."""

    def renumber() -> None:
        with database.transaction() as tx:
            feed.begin_anew(tx)

    return renumber


# --- holds -----------------------------------------------------------------------------------------------------------------------


def _hold_placed(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    hold_id, names = entry.subjects[0], _named(entry)
    if hold_rows.get(tx, hold_id) is not None:
        return
    order = HoldOrder(
        request_id=entry.facts.get("request_id", f"restored/{hold_id}"),
        kind=HoldKind(entry.facts["hold_kind"]),
        organization_id=_whose(entry),
        record_ids=tuple(UUID(name).bytes for name in names),
        reference=entry.facts["reference"],
        review_at=datetime.fromisoformat(entry.facts["review_at"]),
        scope=_scope(entry) if "scope" in entry.facts else None,
        secrecy=_secrecy(entry) if "legal_basis" in entry.facts else None,
    )
    hold_rows.add(tx, holds.place(hold_id, order, entry.actor, _at(entry)))


def _whose(entry: audit_pb2.AuditEntry) -> str:
    """Whose records a hold is on: of one of which the customer must not know the vendor's own list tells, and names whose they are."""
    return entry.organization_id or entry.subjects[1]


def _named(entry: audit_pb2.AuditEntry) -> list[str]:
    """The records that an entry names beside the hold."""
    return list(entry.subjects[1 if entry.organization_id else 2 :])


def _secrecy(entry: audit_pb2.AuditEntry) -> Secrecy:
    return Secrecy(entry.facts["legal_basis"], datetime.fromisoformat(entry.facts["secrecy_review_at"]))


def _secrecy_reviewed(hold: Hold, entry: audit_pb2.AuditEntry) -> Hold:
    if entry.facts["ends"] == "true":
        return replace(hold, secrecy=secrecy.end(hold.secrecy))
    if hold.secrecy is None or hold.secrecy.state is not SecrecyState.SECRET:
        return hold
    later = datetime.fromisoformat(entry.facts["review_at"])
    return replace(hold, secrecy=replace(hold.secrecy, review_at=later))


def _disclosed(hold: Hold, entry: audit_pb2.AuditEntry) -> Hold:
    if hold.secrecy is None:
        return hold
    counted = entry.facts.get("counted")  # of the version before: by the instants
    is_counted = None if counted is None else counted == "true"
    return replace(hold, secrecy=secrecy.ended(hold.secrecy, _at(entry), is_counted))


def _scope(entry: audit_pb2.AuditEntry) -> HoldScope:
    """For whom it is not said: see above."""
    first, last = (
        date.fromisoformat(entry.facts[name]) if name in entry.facts else None
        for name in ("first_day", "last_day")
    )
    return HoldScope(first, last)


def _changing_hold(change: Callable[[Hold, audit_pb2.AuditEntry], Hold], *, even_over: bool = False) -> Apply:
    """even_over: whether it happens to holds that are over too. What ended in secret is told later."""

    def changed(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        hold = hold_rows.lock(tx, entry.subjects[0])
        if hold is None or (hold.is_over and not even_over):
            return
        try:
            after = change(hold, entry)
        except KeptError:  # it is so already
            return
        if after != hold:
            hold_rows.save(tx, after)

    return changed


def _confirmed(hold: Hold, entry: audit_pb2.AuditEntry) -> Hold:
    return hold if hold.confirmed_by else replace(hold, confirmed_by=entry.actor)


def _settled(hold: Hold, entry: audit_pb2.AuditEntry) -> Hold:
    if hold.state is not HoldState.PENDING:
        return hold
    if hold.scope is not None:
        # All records are looked through again; that finds what is kept, and misses nothing.
        gone = entry.facts.get("gone_through_day")
        day = None if gone is None else date.fromisoformat(gone)
        return replace(holds.settle_scope(hold, _at(entry)), sweep=Sweep(gone_through=day))
    lost = {UUID(name).bytes for name in _named(entry)}
    return holds.settle(hold, set(hold.record_ids) - lost, _at(entry))


def _extended(hold: Hold, entry: audit_pb2.AuditEntry) -> Hold:
    return replace(hold, review_at=max(hold.review_at, datetime.fromisoformat(entry.facts["review_at"])))


def _released(hold: Hold, entry: audit_pb2.AuditEntry) -> Hold:
    """It is not looked through again, and may have kept more than was known once."""
    released = holds.release(hold)
    if released == hold or hold.scope is None:
        return released
    return replace(released, sweep=Sweep(gone_through=hold.sweep.gone_through))


def _ended(hold: Hold, entry: audit_pb2.AuditEntry) -> Hold:
    """When it had. It is ended again, for only access control can say what became of its keys."""
    if hold.state is not HoldState.RELEASING:
        return hold
    ended = replace(hold, ended_at=_at(entry), removed=int(entry.facts["removed"]))
    kept = entry.facts.get("kept")  # of the version before it is not there
    if hold.scope is None or kept is None:
        return ended
    looked = Sweep(swept_at=_at(entry), gone_through=hold.sweep.gone_through)
    return replace(ended, sweep=looked, records_kept=int(kept))


# --- runs ------------------------------------------------------------------------------------------------------------------------


def _run_ended(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    run = run_rows.lock(tx, entry.subjects[0])
    if run is None or run.is_over:
        return
    if not run.is_checked:  # it certified for those before it too
        run_rows.adopt(tx, run.run_id)
    run_rows.save(
        tx,
        replace(
            run,
            state=RunState.DONE,
            ended_at=_at(entry),
            certificates=int(entry.facts["certificates"]),
            epochs_destroyed=int(entry.facts["epochs_destroyed"]),
            late_seconds=int(entry.facts["late_seconds"]),
            records_held=int(entry.facts["records_held"]),
            records_removed=int(entry.facts["records_removed"]),
        ),
    )
    run_rows.mark_certified(tx, run.run_id)
    certificate_rows.forget_act(tx, run.run_id)


def _run_not_certified(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    run = run_rows.lock(tx, entry.subjects[0])
    if run is not None and not run.is_over:
        run_rows.save(tx, replace(run, state=RunState.NOT_CERTIFIED, ended_at=_at(entry)))
        certificate_rows.forget_act(tx, run.run_id)


# --- erasures of organizations ---------------------------------------------------------------------------------------------------


def _erasure_started(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    """Without its claim: who confirmed it has one that is not in the log, and asks an auditor."""
    erasure_rows.add(
        tx,
        Erasure(
            erasure_id=entry.subjects[0],
            organization_id=entry.organization_id,
            account_deletion_id=entry.facts["account_deletion_id"],
            confirmed_by=entry.facts["confirmed_by"],
            claim_sha256=_nobodys(entry.subjects[0]),
            state=ErasureState.CLOSING,
            started_at=_at(entry),
        ),
    )


def _erasure_ended(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    """It goes on from where it is, which asks the others once more for what they did, and is certified again; where holds kept something,
    when that is gone: what the lost certificate said is not so any more."""
    erasure = erasure_rows.lock(tx, entry.subjects[0])
    if erasure is not None and erasure.state is not ErasureState.DONE:
        kept = entry.facts["kept"] == "true"
        erasure_rows.save(tx, replace(erasure, ended_at=_at(entry), is_kept=kept))


def _goes_on(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    """It is completed again, by itself: the holds have ended, by their own entries."""


# --- erasures of end users -------------------------------------------------------------------------------------------------------


def _subject_started(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    if subject_rows.get(tx, entry.subjects[0]) is None:
        subject_rows.add(
            tx,
            SubjectErasure(
                erasure_id=entry.subjects[0],
                request_id=entry.facts["request_id"],
                organization_id=entry.organization_id,
                requested_by=entry.facts["requested_by"],
                end_user=None,
                salt=_nobodys(entry.subjects[0]),
                commitment=bytes.fromhex(entry.facts["subject_commitment"]),
                state=SubjectState.FAILED,
                started_at=_at(entry),
            ),
        )


def _subject_ended(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    """Where holds keep nothing, logging has forgotten which records they were, and nothing can be said of them again."""
    erasure = subject_rows.lock(tx, entry.subjects[0])
    if erasure is None or erasure.state is SubjectState.DONE:
        return
    kept = entry.facts["kept"] == "true"
    subject_rows.save(
        tx,
        replace(
            erasure,
            state=SubjectState.DONE,
            end_user=None,
            ended_at=_at(entry),
            is_kept=kept,
            is_complete=not kept,
        ),
    )


def _subject_completed(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    erasure = subject_rows.lock(tx, entry.subjects[0])
    if erasure is not None and not erasure.is_complete:
        subject_rows.save(tx, replace(erasure, state=SubjectState.DONE, is_complete=True))


# --- erasures of content ---------------------------------------------------------------------------------------------------------


# Of these no certificate is signed; what follows goes on by itself.
_UNCERTIFIED: Final = (ContentState.DESTROYING_KEYS, ContentState.ERASING, ContentState.CERTIFYING)


def _content_started(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    content_rows.add(
        tx,
        ContentErasure(
            erasure_id=entry.subjects[0],
            request_id=entry.facts["request_id"],
            organization_id=entry.organization_id,
            requested_by=entry.facts["requested_by"],
            before=datetime.fromisoformat(entry.facts["before"]),
            state=ContentState.DESTROYING_KEYS,
            started_at=_at(entry),
        ),
    )


def _content_ended(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    """As an organization's: it goes on from where it is."""
    erasure = content_rows.lock(tx, entry.subjects[0])
    if erasure is not None and erasure.state in _UNCERTIFIED:
        kept = entry.facts["kept"] == "true"
        content_rows.save(tx, replace(erasure, ended_at=_at(entry), is_kept=kept))


def _nobodys(name: str) -> bytes:
    """32 bytes in the place of a secret that is lost; they open nothing, for nobody has what they would be the digest of."""
    return hashlib.sha256(b"lost with a database: " + name.encode()).digest()
