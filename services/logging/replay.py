"""What logging makes up for from the audit log when its database was restored to an older state (shared.outbox.replay): nothing that was
dropped or erased since may be read again, nothing that was held since may be dropped.

Its own entries tell which days were dropped, which organizations erased, what was held and let go. Which records were an erased end
user's they do not say, on purpose; access control knows as long as it matters, until the keys of their days are destroyed, and is asked
for them.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from itertools import groupby
from uuid import UUID

from kept.access_control.v1 import audit_pb2, keys_pb2
from services.logging.store import Tx, stripes, subjects
from services.logging.store import retention as store
from services.logging.usage.periods import Periods
from shared.database import Database
from shared.outbox.replay import Apply

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
        "rows.released": _released,
        "partition.dropped": _dropped,
        "organization.erased": erased,
    }


def _held(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    hold_id, *names = entry.subjects
    if not store.lock_hold(tx, hold_id):
        stripes.take(tx, entry.organization_id)
        kind = int(entry.facts["hold_kind"]) if "hold_kind" in entry.facts else None
        store.hold(tx, hold_id, entry.organization_id, [UUID(name).bytes for name in names], kind)


def _released(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    hold_id = entry.subjects[0]
    store.lock_hold(tx, hold_id)
    store.bury_hold(tx, hold_id)
    stripes.take(tx, entry.organization_id)
    store.note_removed(tx, hold_id, store.release(tx, hold_id, entry.organization_id))


def _dropped(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    day = date.fromisoformat(entry.facts["day"])
    if store.dropped(tx, day) is None:
        stripes.close_day(tx, day, _at(entry))
        store.drop_day(tx, day, entry.subjects[0], _at(entry))


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
