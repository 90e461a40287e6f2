"""What safety review makes up for from the audit log when its database was restored to an older state (shared.outbox.replay): what was
erased since is gone again, what was decided since is decided, appealed or opened again, and what evaluation sets held is gone where they
ended.

What was done is not judged again: by the instant of its entry a claim, or the time to appeal, might be over. Reasons and what was flagged
are not in the log. A case that was opened since, or that somebody put records into, is not made up: its holds stand at retention until
their end, and its records are handed over again as long as they can be screened. Nor is a set: what it was made of is written nowhere, on
purpose.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import groupby

from kept.access_control.v1 import audit_pb2, keys_pb2
from kept.safety_review.v1 import cases_pb2
from services.safety_review import notices
from services.safety_review.lifecycle import Lifecycle, screenable_from
from services.safety_review.reviewing import cases
from services.safety_review.reviewing.cases import Case
from services.safety_review.reviewing.flags import Flags
from services.safety_review.store import Tx, ended_cases, erased_records, erasures, evaluation, history
from services.safety_review.store import cases as store
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError
from shared.outbox import Outbox
from shared.outbox.replay import Apply

ListWithheld = Callable[[keys_pb2.ListWithheldRecordsRequest], keys_pb2.ListWithheldRecordsResponse]
_Act = Callable[[Case, audit_pb2.AuditEntry, datetime], Case]


def applies(outbox: Outbox, lifecycle: Lifecycle, flags: Flags) -> dict[str, Apply]:
    """By kind of entry."""

    def erased(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        lifecycle.erase_in(tx, entry.actor, entry.organization_id, entry.subjects[1])

    def swept(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        (organization_id, *_), at = entry.subjects, entry.occurred_at.ToDatetime(tzinfo=UTC)
        is_erased = bool(erasures.stay_inside(tx, [organization_id]))
        ended_cases.remove(tx, organization_id, at, is_erased=is_erased)

    def deciding(act: _Act) -> Apply:
        def decided(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
            case = store.lock(tx, entry.subjects[0])
            if case is None:
                return
            try:
                changed = act(case, entry, entry.occurred_at.ToDatetime(tzinfo=UTC))
            except KeptError:  # it is so already, or was decided otherwise since
                return
            store.update_to(tx, changed)
            if entry.kind == "case.claimed":
                history.add_claim(tx, entry.actor, changed, entry.occurred_at.ToDatetime(tzinfo=UTC))
            if changed.is_closed:
                _tell(tx, outbox, changed)

        return decided

    def reopened(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        """Its holds are retention's: placed anew when it was opened again, under ids that follow from its turn."""
        deciding(_reopened)(tx, entry)
        case = store.lock(tx, entry.subjects[0])
        if case is None or case.round != cases.REOPENED or case.is_closed:
            return
        if entry.facts["was"] == "dismissed":
            flags.held_again(tx, case, entry.occurred_at.ToDatetime(tzinfo=UTC))
        outbox.put(tx, notices.CASE, notices.open_case(case.case_id, case.organization_id, case.turn))

    return {
        "case.escalated": deciding(_handed_on),
        "case.appealed": deciding(_appealed),
        "case.reopened": reopened,
        "evaluation_set.ended": _set_ended,
        "organization.erased": erased,
        "cases.erased": swept,
        "case.claimed": deciding(_claimed),
        "case.dismissed": deciding(_dismissed),
        "case.decided": deciding(_decided),
        "case.confirmed": deciding(_confirmed),
        "case.returned": deciding(_returned),
    }


def _claimed(case: Case, entry: audit_pb2.AuditEntry, at: datetime) -> Case:
    return cases.claim(case, entry.actor, at, datetime.fromisoformat(entry.facts["until"]) - at)


def _decided(case: Case, entry: audit_pb2.AuditEntry, at: datetime) -> Case:
    return cases.decided(case, entry.actor, cases_pb2.DECISION_VIOLATION, "", at)


def _dismissed(case: Case, entry: audit_pb2.AuditEntry, at: datetime) -> Case:
    return cases.decided(case, entry.actor, cases_pb2.DECISION_NO_VIOLATION, "", at)


def _confirmed(case: Case, entry: audit_pb2.AuditEntry, at: datetime) -> Case:
    return cases.confirm(case, entry.actor, True, at)


def _returned(case: Case, entry: audit_pb2.AuditEntry, at: datetime) -> Case:
    return cases.confirm(case, entry.actor, False, at)


def _handed_on(case: Case, entry: audit_pb2.AuditEntry, at: datetime) -> Case:
    desk = cases_pb2.Desk.Value("DESK_" + entry.facts["desk"])
    return cases.handed_on(case, entry.actor, desk, "", at)


def _appealed(case: Case, entry: audit_pb2.AuditEntry, at: datetime) -> Case:
    return cases.appealed(case, entry.actor, "", at)


def _reopened(case: Case, entry: audit_pb2.AuditEntry, at: datetime) -> Case:
    return cases.reopen(case, "", at)


def _set_ended(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    """Its key is destroyed: access control's database is never older than the log."""
    found = evaluation.find(tx, entry.subjects[0], lock=True)
    if found is not None and found.ended_at is None:
        evaluation.end(tx, found.set_id, entry.occurred_at.ToDatetime(tzinfo=UTC))


def _tell(tx: Tx, outbox: Outbox, case: Case) -> None:
    """Others may not have been told when the database went; being told twice changes nothing."""
    history.add_decision(tx, case)
    if case.state == cases_pb2.CASE_STATE_DISMISSED:
        for flag in store.flags_of(tx, [case.case_id])[case.case_id]:
            if flag.hold_request_id:
                outbox.put(tx, notices.HOLD, notices.release_hold(flag.hold_request_id, case.case_id))
    upheld = case.state == cases_pb2.CASE_STATE_UPHELD
    outbox.put(tx, notices.CASE, notices.close_case(case.case_id, upheld=upheld))


def finish(database: Database, clock: Clock, list_withheld: ListWithheld) -> Callable[[], None]:
    """What follows once all is taken over: what is known about records of erased end users goes, and nothing is stored about them again."""

    def remove_withheld() -> None:
        request = keys_pb2.ListWithheldRecordsRequest()
        while True:
            page = list_withheld(request)
            now = clock.now()
            for organization_id, records in groupby(page.records, lambda one: one.organization_id):
                ids = [one.record_id for one in records]
                with database.transaction() as tx:
                    erasures.close(tx, organization_id)
                    erased_records.remove(tx, organization_id, ids, now)
                    erased_records.bury(
                        tx, organization_id, [one for one in ids if one >= screenable_from(now)]
                    )
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    return remove_withheld
