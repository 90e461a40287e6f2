"""The erasure of what an organization logged before zero data retention: a fence first, contents piece by piece after it.

From the instant T on from which zero data retention counts, no record is stored with content, however early it was created: admission takes
the strictest policy of the whole span from its creation to its receipt (admission.py). So what is created before T and comes later leaves
log data and no content. What is left to stop is a batch that was judged before T and is written after it: the fence is raised while no
writer of the organization writes, and each writer looks at it in the transaction in which it writes. Content behind the fence is dropped
there, and the record's log data is stored.

The bound. What is stored with content and judged before T has an id below T, for ids of the future are refused; what is stored with content
after zero data retention has ended again has one above T + ε, for the policy has to allow it from its creation - ε on. The fence's bound is
T + ε, exactly between the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from services.logging.lifecycle.entries import ACTOR
from services.logging.policies import Policies
from services.logging.records import Row
from services.logging.screening.unfolding import unfold_ahead
from services.logging.store import Tx, stripes
from services.logging.store import content_erasures as store
from services.logging.store.content_erasures import ContentAct, Key
from shared.audit import entry
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found
from shared.ids import lowest_record_id
from shared.outbox import Outbox

# Rows that one transaction looks at: some 100 ms where all of them have content.
_LOOKED_AT: Final = 5_000
# Transactions of one call: a few seconds, well below any deadline.
_STEPS: Final = 20


@dataclass(frozen=True)
class ContentErased:
    """Where an erasure is. held: records whose content holds keep now, and by hold of how many."""

    act: ContentAct
    held: int = 0
    by_hold: dict[str, int] = field(default_factory=dict)


def last_day_before(instant: datetime) -> date:
    """The UTC day of the last record that is older than an instant."""
    return (instant - timedelta(microseconds=1)).date()


def fence(before: datetime) -> bytes:
    """The first record id that an erasure leaves alone."""
    return lowest_record_id(before + CLOCK_TOLERANCE)


def content_behind_fences(tx: Tx, rows: Sequence[Row], are_any: bool) -> set[Key]:
    """Keys of rows whose content may not be written any more. are_any: what `stripes.share_and_look` said of fences."""
    return store.fenced(tx, rows) if are_any else set()


class ContentErasures:
    """Erasures of content."""

    def __init__(self, database: Database, clock: Clock, policies: Policies, outbox: Outbox) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._outbox = outbox

    def erase(self, organization_id: str, before: datetime, erasure_id: str) -> ContentErased:
        """Does a bounded piece of an erasure; repeat it until it is done. Raises NOT_DUE, LEASE_LAPSED, CONFLICT for an erasure that is
        another's."""
        act = self._begun(organization_id, before, erasure_id)
        for _ in range(_STEPS):
            if act.is_done:
                break
            act = self._step(act)
        return self.get(erasure_id)

    def fence(self, organization_id: str, before: datetime, erasure_id: str) -> datetime:
        """Raises an erasure's fence; since when it stands. Nothing is removed. Raises as `erase` does."""
        return self._begun(organization_id, before, erasure_id).fenced_at

    def _begun(self, organization_id: str, before: datetime, erasure_id: str) -> ContentAct:
        with self._database.transaction() as tx:
            act = store.find(tx, erasure_id)
        if act is None:
            act = self._begin(organization_id, before, erasure_id)
        if (act.organization_id, act.before) != (organization_id, before):
            raise KeptError(Reason.REASON_CONFLICT, "The erasure is of other content.")
        return act

    def _begin(self, organization_id: str, before: datetime, erasure_id: str) -> ContentAct:
        # In force, so that every record that is judged from now on is judged by it, or by a later one.
        self._policies.require_content_erased(organization_id, before)
        unfold_ahead(self._database, organization_id, self._clock.now())
        with self._database.transaction() as tx:
            stripes.take(tx, organization_id)
            act = store.find(tx, erasure_id)  # another process may have been faster
            if act is None:
                now = self._clock.now()
                store.begin(tx, erasure_id, organization_id, before, fence(before), now)
                self._audit(tx, "content.fenced", organization_id, erasure_id, now, before=before.isoformat())
                act = store.find(tx, erasure_id)
        assert act is not None
        return act

    def _step(self, act: ContentAct) -> ContentAct:
        with self._database.transaction() as tx:
            # What a hold keeps is decided before or after this piece.
            stripes.share(tx, [act.organization_id])
            current = store.lock(tx, act.erasure_id, act.organization_id)
            assert current is not None  # acts stay
            if current.is_done:
                return current
            now = self._clock.now()
            moved = store.step(tx, current, _LOOKED_AT, last_day_before(act.before), now)
            if moved.is_done:
                held, _ = store.held(tx, moved)
                self._audit(
                    tx,
                    "content.erased",
                    act.organization_id,
                    act.erasure_id,
                    now,
                    contents=moved.contents,
                    data_keys=moved.data_keys,
                    unscreened=moved.unscreened,
                    held=held,
                )
            return moved

    def get(self, erasure_id: str) -> ContentErased:
        """Where an erasure is. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            act = store.find(tx, erasure_id)
            if act is None:
                raise not_found("erasure")
            return ContentErased(act, *store.held(tx, act)) if act.is_done else ContentErased(act)

    def _audit(
        self, tx: Tx, kind: str, organization_id: str, erasure_id: str, at: datetime, **facts: int | str
    ) -> None:
        self._outbox.audit(
            tx,
            entry(
                kind,
                actor=ACTOR,
                at=at,
                organization_id=organization_id,
                subjects=[erasure_id],
                facts=dict(facts),
            ),
        )
