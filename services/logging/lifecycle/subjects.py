"""The erasure of one end user: a fence first, rows piece by piece after it, and ids for the services that have to forget them too.

The fence. Its bound is the first id that a record created 2 ε (10 s) after the fence's instant could have, for the gateway's clock may be
ε ahead and ours ε behind; or lies above every record that is there, whatever its id says. What is refused for it is refused by name. It is
raised while no writer of the organization writes, and each writer looks at it in the transaction in which it writes; so what was created
before is either there, and goes, or is not written any more, whatever a process had in hand. A fence names the pseudonym in clear, because
writers must find it, and is taken away when nothing older can come: after the late window, and `AT_REST` more. A writer that has had its
batch in hand for longer than `_IN_HAND` gives it back, so none is left that judged its records not late before that and would write them
after; the act itself stays, without the pseudonym. As long as an erasure goes on its fence stays: by it alone the act knows whose it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from services.logging.lifecycle import entries
from services.logging.lifecycle.entries import ACTOR
from services.logging.policies import Policies
from services.logging.recording.admission import LATE_WINDOW
from services.logging.records import Row
from services.logging.screening.unfolding import unfold_ahead
from services.logging.store import standing_holds, stripes
from services.logging.store import subjects as store
from services.logging.store.subjects import DayErased, Key, SubjectAct, Tx
from shared.audit import entry
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found, unknown_organization, wrong_state
from shared.ids import lowest_record_id
from shared.jobs import Job
from shared.outbox import Outbox

# Rows that one transaction looks at: some 50 ms.
_LOOKED_AT: Final = 10_000
# Transactions of one call: a few seconds, well below any deadline.
_STEPS: Final = 20
# How old a batch may be when it is written, and how much longer than the late window a fence stays: longer by more than clocks differ.
_IN_HAND: Final = timedelta(minutes=10)
AT_REST: Final = timedelta(hours=1)
_LOWERED_AT_ONCE: Final = 200


@dataclass(frozen=True)
class SubjectErased:
    """Where an erasure is. held: records that holds keep now, and by hold how many of them."""

    act: SubjectAct
    held: int = 0
    by_hold: dict[str, int] = field(default_factory=dict)
    days: Sequence[DayErased] = ()


def require_young(received_at: datetime, clock: Clock) -> None:
    """Raises OVERLOADED, and nothing is written, for a batch that was received too long ago: see above. Asked under the organizations'
    stripes."""
    if clock.now() - received_at > _IN_HAND:
        raise KeptError(
            Reason.REASON_OVERLOADED,
            "The batch was under way for too long.",
            retry_after=timedelta(seconds=1),
        )


def behind_fences(tx: Tx, rows: Sequence[Row], are_any: bool) -> set[Key]:
    """Keys of rows that may not be written any more because their end user was erased after they were created. are_any: what
    `stripes.share_and_look` said of fences."""
    return store.fenced(tx, rows) if are_any else set()


class Subjects:
    """Erasures of end users. job: takes fences away that nothing can come to any more."""

    def __init__(self, database: Database, clock: Clock, policies: Policies, outbox: Outbox) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._outbox = outbox
        self.job = Job("subject_fences", timedelta(minutes=10), policies.when_leased(self.lower_fences))

    def erase(self, organization_id: str, end_user: str, erasure_id: str) -> SubjectErased:
        """Does a bounded piece of an erasure; repeat it until it is done. Raises UNKNOWN_ORGANIZATION, LEASE_LAPSED, CONFLICT for an
        erasure that is another's."""
        with self._database.transaction() as tx:
            act = store.find(tx, erasure_id)
        if act is None:
            act = self._begin(organization_id, end_user, erasure_id)
        if act.organization_id != organization_id:
            raise KeptError(Reason.REASON_CONFLICT, "The erasure belongs to another organization.")
        for _ in range(_STEPS):
            if act.is_done:
                break
            act = self._step(act, end_user)
        return self.get(erasure_id)

    def _begin(self, organization_id: str, end_user: str, erasure_id: str) -> SubjectAct:
        self._policies.require_leases()
        instant = self._clock.now()
        if None in self._policies.organization_throughout(organization_id, instant, instant, instant):
            raise unknown_organization()
        unfold_ahead(self._database, organization_id, self._clock.now())
        with self._database.transaction() as tx:
            stripes.take(tx, organization_id)
            act = store.find(tx, erasure_id)  # another process may have been faster
            if act is None:
                # Read behind the lock: who wrote before has committed, and is seen by what follows.
                now = self._clock.now()
                bound = lowest_record_id(now + 2 * CLOCK_TOLERANCE)
                bound = store.bound_above(tx, organization_id, end_user, bound)
                store.begin(tx, erasure_id, organization_id, end_user, bound, now)
                self._outbox.audit(
                    tx,
                    entry(
                        "subject.fenced",
                        actor=ACTOR,
                        at=now,
                        organization_id=organization_id,
                        subjects=[erasure_id],
                    ),
                )
                act = store.find(tx, erasure_id)
        assert act is not None
        return act

    def _step(self, act: SubjectAct, end_user: str) -> SubjectAct:
        with self._database.transaction() as tx:
            are_any = bool(standing_holds.of_organization(tx, act.organization_id))
        with self._database.transaction() as tx:
            # What a hold keeps is decided before or after this piece; one on all that matches keeps what it is on before it goes.
            if are_any:
                stripes.take(tx, act.organization_id)
            else:
                stripes.share(tx, [act.organization_id])
            standing = standing_holds.of_organization(tx, act.organization_id)
            if standing and not are_any:  # it came meanwhile, and needs the stripe for itself
                return act
            current = store.lock(tx, act.erasure_id, act.organization_id)
            assert current is not None  # acts stay
            if current.is_done:
                return current
            if not store.is_fenced(tx, current, end_user):
                raise KeptError(Reason.REASON_CONFLICT, "The erasure belongs to another end user.")
            now = self._clock.now()

            def catch(record_ids: Sequence[bytes]) -> None:
                """No look will find them again that would tell of them: their rows are gone."""
                for hold, kept in standing_holds.catch(tx, standing, end_user, record_ids):
                    told = entries.held(
                        hold.hold_id,
                        hold.organization_id,
                        kept,
                        hold.kind,
                        now,
                        is_secret=hold.is_confidential,
                    )
                    self._outbox.audit(tx, told)

            moved = store.step(tx, current, end_user, _LOOKED_AT, now, catch)
            if moved.is_done:
                held = sum(one.held for one in store.days(tx, act.erasure_id))
                self._outbox.audit(
                    tx,
                    entry(
                        "subject.erased",
                        actor=ACTOR,
                        at=now,
                        organization_id=act.organization_id,
                        subjects=[act.erasure_id],
                        facts={
                            "interactions": moved.interactions,
                            "unscreened": moved.unscreened,
                            "held": held,
                        },
                    ),
                )
            return moved

    def get(self, erasure_id: str) -> SubjectErased:
        """Where an erasure is. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            act = self._found(tx, erasure_id)
            if not act.is_done:
                return SubjectErased(act)
            days = store.days(tx, erasure_id)
            return SubjectErased(act, sum(one.held for one in days), store.held(tx, erasure_id), days)

    def erased_ids(self, erasure_id: str, after: bytes | None, limit: int) -> list[bytes]:
        """Ids of what is gone, in order. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            self._found(tx, erasure_id)
            return store.erased_ids(tx, erasure_id, after, limit)

    def forget(self, erasure_id: str) -> None:
        """Forgets which records it was about. Raises NOT_FOUND; WRONG_STATE as long as it goes on or a hold keeps one."""
        with self._database.transaction() as tx:
            organization_id = self._found(tx, erasure_id).organization_id
            stripes.share(tx, [organization_id])
            act = store.lock(tx, erasure_id, organization_id)
            assert act is not None  # acts stay
            if not act.is_done:
                raise wrong_state("The erasure goes on.", act.stage)
            if store.held(tx, erasure_id):
                raise wrong_state("A hold keeps some of the records.", "held")
            store.forget(tx, erasure_id)

    @staticmethod
    def _found(tx: Tx, erasure_id: str) -> SubjectAct:
        act = store.find(tx, erasure_id)
        if act is None:
            raise not_found("erasure")
        return act

    def lower_fences(self, now: datetime) -> bool:
        """Takes fences away that are past their use. A job's step: True when there may be more."""
        before = now - LATE_WINDOW - AT_REST
        with self._database.transaction() as tx:
            old = store.fenced_before(tx, before, _LOWERED_AT_ONCE)
        for organization_id in sorted({one for one, _ in old}):
            with self._database.transaction() as tx:
                # Waits for writers: each that comes later finds its batch too old, or its records too late.
                stripes.take(tx, organization_id)
                bounds = [below for one, below in old if one == organization_id]
                store.lower_fences(tx, organization_id, bounds, before)
        return len(old) == _LOWERED_AT_ONCE
