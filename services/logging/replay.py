"""What logging makes up for from the audit log when its database was restored to an older state (shared.outbox.replay): nothing that was
dropped or erased since may be read again, nothing that was held since may be dropped.

Its own entries tell which days were dropped, what of them terms keep longer and what shorter ones took, which organizations and which
content were erased, what was held and let go. Which records were an erased end user's they do not say, on purpose; access control knows
as long as it matters, until the keys of their days are destroyed, and is asked for them.

Whom a hold on one end user's records is about they do not say either. What it kept they name, record by record; for what comes later it
stands on everybody's records of its days until retention's next look names the end user (store.standing_holds.stand): too much is held
for that while, never too little.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Final
from uuid import UUID

from kept.access_control.v1 import audit_pb2, keys_pb2
from kept.retention.v1.holds_pb2 import HOLD_KIND_LEGAL
from services.logging.lifecycle import contents as content_erasures
from services.logging.store import Tx, confidential, standing_holds, stripes, subjects, terms
from services.logging.store import content_erasures as contents
from services.logging.store import retention as store
from services.logging.store.standing_holds import Standing
from services.logging.usage.periods import Periods
from shared.database import Database
from shared.outbox.replay import Apply
from shared.terms import lot_of

# Rows that one statement copies or takes away.
_AT_ONCE: Final = 10_000

# Lets go of what a hold keeps of an organization, at most so many records and through an id; see store.retention.release.
_Release = Callable[[Tx, str, str, int, UUID | None], tuple[int, UUID | None]]
ListWithheld = Callable[[keys_pb2.ListWithheldRecordsRequest], keys_pb2.ListWithheldRecordsResponse]


def _at(entry: audit_pb2.AuditEntry) -> datetime:
    return entry.occurred_at.ToDatetime(tzinfo=UTC)


def applies(periods: Periods) -> dict[str, Apply]:
    """By kind of entry."""

    def erased(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        organization_id, erasure_id = entry.organization_id, entry.subjects[0]
        stripes.close_organization(tx, organization_id, _at(entry))
        if store.receipt(tx, organization_id, erasure_id) is None:
            store.erase(tx, organization_id, erasure_id, _at(entry))
            periods.forget_organization(tx, organization_id)

    return {
        "rows.held": _held,
        "rows.disclosed": _disclosed,
        "rows.released": _released,
        "rows.kept": _kept,
        "rows.removed": _removed,
        "partition.dropped": _dropped,
        "content.fenced": _content_fenced,
        "content.erased": _content_erased,
        "organization.erased": erased,
    }


def _held(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    hold_id, *names = entry.subjects
    if store.lock_hold(tx, hold_id):
        return
    # Of a confidential hold, in the vendor's own list.
    organization_id = entry.organization_id or names.pop(0)
    is_secret = not entry.organization_id and not confidential.is_disclosed(tx, hold_id)
    stripes.take(tx, organization_id)
    kind = int(entry.facts["hold_kind"]) if "hold_kind" in entry.facts else None
    if "low" in entry.facts:
        low, high = bytes.fromhex(entry.facts["low"]), bytes.fromhex(entry.facts["high"])
        standing_holds.stand(tx, Standing(hold_id, organization_id, low, high, "", kind, is_secret))
    named = [UUID(name) for name in names]
    bare = int(entry.facts.get("without_content", "0"))
    # Pieces of an erasure leave no entries, so what it had taken by then may be here still.
    contents.strip_again(tx, organization_id, named[len(named) - bare :])
    record_ids = [one.bytes for one in named]
    if record_ids and is_secret:
        confidential.hold(tx, hold_id, organization_id, record_ids)
    elif record_ids:
        store.hold(tx, hold_id, organization_id, record_ids, kind)


def _disclosed(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    hold_id = entry.subjects[0]
    if store.lock_hold(tx, hold_id):
        return
    confidential.note_disclosed(tx, hold_id)
    standing_holds.disclose(tx, hold_id)
    for organization_id in confidential.organizations(tx, hold_id):
        stripes.take(tx, organization_id)
        while confidential.disclose(tx, hold_id, organization_id, HOLD_KIND_LEGAL, _AT_ONCE):
            pass


def _released(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    hold_id = entry.subjects[0]
    store.lock_hold(tx, hold_id)
    store.bury_hold(tx, hold_id)
    standing_holds.forget(tx, hold_id)
    if not entry.organization_id:  # of a confidential hold, in the vendor's own list
        organization_id = entry.subjects[1]
        release: _Release = confidential.release
    else:
        organization_id, release = entry.organization_id, store.release
    stripes.take(tx, organization_id)
    # One entry for each piece. What the last one is about is all that is left; so is that of a version that did not say how far one came.
    through = UUID(entry.facts["through"]) if "through" in entry.facts else None
    are_more = True
    while are_more:
        gone, further = release(tx, hold_id, organization_id, _AT_ONCE, through)
        store.note_removed(tx, hold_id, gone)
        are_more = further is not None


# --- days ------------------------------------------------------------------------------------------------------------------------


def _lot(entry: audit_pb2.AuditEntry) -> str:
    """Whose rows it is about."""
    return lot_of(entry.organization_id, entry.facts.get("application", ""))


def _kept(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    """What a longer term keeps has to leave the partition before the entry comes that drops it."""
    day = date.fromisoformat(entry.facts["day"])
    if store.is_dropped(tx, day):
        return
    stripes.take(tx, entry.organization_id)
    after: UUID | None = None
    while (after := terms.keep(tx, _lot(entry), day, after, _AT_ONCE)) is not None:
        pass


def _removed(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    lot, day = _lot(entry), date.fromisoformat(entry.facts["day"])
    stripes.take(tx, entry.organization_id)
    counted = [one for one in store.counts_of_day(tx, day) if one.lot == lot]
    after: UUID | None = None
    while (after := terms.take(tx, lot, day, after, _AT_ONCE).after) is not None:
        pass
    store.note_dropped(tx, entry.subjects[0], counted)
    terms.forget(tx, lot, day)


def _dropped(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    day = date.fromisoformat(entry.facts["day"])
    if not store.is_dropped(tx, day):
        stripes.close_day(tx, day, _at(entry))
        store.drop_day(tx, day, entry.subjects[0], _at(entry), terms.kept_on(tx, day))


# --- content from before zero data retention -------------------------------------------------------------------------------------


def _content_fenced(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    erasure_id, before = entry.subjects[0], datetime.fromisoformat(entry.facts["before"])
    if contents.find(tx, erasure_id) is None:
        stripes.take(tx, entry.organization_id)
        bound = content_erasures.fence(before)
        contents.begin(tx, erasure_id, entry.organization_id, before, bound, _at(entry))


def _content_erased(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    stripes.take(tx, entry.organization_id)
    act = contents.lock(tx, entry.subjects[0], entry.organization_id)
    if act is None or act.is_done:
        return
    through_day = content_erasures.last_day_before(act.before)
    moved = contents.step(tx, act, _AT_ONCE, through_day, _at(entry))
    while not moved.is_done:
        moved = contents.step(tx, moved, _AT_ONCE, through_day, _at(entry))
    counted = (int(entry.facts[name]) for name in ("contents", "data_keys", "unscreened"))
    contents.correct(tx, act.erasure_id, *counted)


def finish(database: Database, list_withheld: ListWithheld) -> Callable[[], None]:
    """What follows once all is taken over: rows of erased end users go, but what holds keep."""

    def remove_withheld() -> None:
        for page in _pages(list_withheld):
            for organization_id, records in groupby(page, lambda one: one.organization_id):
                with database.transaction() as tx:
                    stripes.take(tx, organization_id)
                    subjects.remove(tx, organization_id, [UUID(bytes=one.record_id) for one in records])

    return remove_withheld


def _pages(list_withheld: ListWithheld) -> Iterator[list[keys_pb2.WithheldRecord]]:
    request = keys_pb2.ListWithheldRecordsRequest()
    while True:
        page = list_withheld(request)
        yield list(page.records)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
