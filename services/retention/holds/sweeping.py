"""Looks through the records of an organization for holds on all that matches: when one is placed, now and then for what came late, and
before a run or an erasure takes what is due. Each piece is bounded: logging keeps the rows, access control the keys, and what came of it is
written down. A piece that is done twice finds nothing new."""

from dataclasses import replace
from datetime import date, datetime
from enum import Enum
from typing import Final

from kept.logging.v1 import lifecycle_pb2
from kept.retention.v1 import holds_pb2
from services.retention.holds import hold as holds
from services.retention.holds.hold import Hold, HoldScope, HoldState
from services.retention.holds.retaining import retain
from services.retention.peers import Peers
from services.retention.store import Tx
from services.retention.store import contents as content_rows
from services.retention.store import erasures as erasure_rows
from services.retention.store import holds as rows
from services.retention.store import runs as run_rows
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.errors import KeptError, Reason

# Pieces of one call: a few seconds, well below any deadline.
_PIECES: Final = 20


def scope_message(scope: HoldScope) -> holds_pb2.HoldScope:
    """A scope as contracts say it."""
    return holds_pb2.HoldScope(
        first_day="" if scope.first_day is None else scope.first_day.isoformat(),
        last_day="" if scope.last_day is None else scope.last_day.isoformat(),
        end_user=scope.end_user,
    )


def is_behind(tx: Tx, since: datetime, now: datetime, organization_id: str = "") -> bool:
    """Whether a hold that was placed before an instant was not looked through for since: what goes now may be what it is on."""
    return any(
        hold.placed_at < since and ((looked_at := hold.sweep.looked_at(now)) is None or looked_at < since)
        for hold in rows.with_scope(tx, organization_id)
    )


class Gate(Enum):
    """What an erasure that goes ahead of its day does before it takes keys: has logging raise its fence, waits, or goes on."""

    FENCE = "fence"
    WAIT = "wait"
    OPEN = "open"


def before_keys(tx: Tx, organization_id: str, fenced_at: datetime | None, now: datetime) -> Gate:
    """Where holds on all that matches are in force, what they are on is found first: by a look behind logging's fence, for a batch may be
    in hand that was taken before. fenced_at: since when it stands, by logging's clock; None where it does not."""
    if fenced_at is None:
        return Gate.FENCE if rows.with_scope(tx, organization_id) else Gate.OPEN
    return Gate.WAIT if is_behind(tx, _settled(fenced_at), now, organization_id) else Gate.OPEN


def _settled(fenced_at: datetime) -> datetime:
    """From when on a look is behind a fence, whatever the clocks."""
    return fenced_at + 2 * CLOCK_TOLERANCE


class Sweeper:
    """Carries looks."""

    def __init__(self, database: Database, clock: Clock, peers: Peers) -> None:
        self._database = database
        self._clock = clock
        self._peers = peers

    def sweep(self, hold: Hold) -> Hold:
        """Some pieces of a hold's look, until it is complete or enough was done. Raises what other services answer with; what was done
        before stays written."""
        for _ in range(_PIECES):
            swept = self._piece(hold)
            if swept is None or swept.sweep.began_at is None:
                return swept or hold
            hold = swept
        return hold

    def _piece(self, hold: Hold) -> Hold | None:
        """None where the hold was let go meanwhile, or another process was faster."""
        if hold.scope is None:
            return None
        sweep = hold.sweep.begin(self._clock.now())
        try:
            answer = self._peers.logging.HoldMatching(
                lifecycle_pb2.HoldMatchingRequest(
                    hold_id=hold.hold_id,
                    organization_id=hold.organization_id,
                    kind=holds_pb2.HoldKind.Value(f"HOLD_KIND_{hold.kind.value}"),
                    scope=scope_message(hold.scope),
                    after=sweep.after or b"",
                    confidential=hold.is_secret,
                )
            )
            lost = retain(self._peers, hold, answer.held) if answer.held else frozenset()
        except KeptError as error:
            if error.reason != Reason.REASON_WRONG_STATE:
                raise
            return None
        with self._database.transaction() as tx:
            current = rows.lock(tx, hold.hold_id)
            if current is None or current.sweep != hold.sweep or current.state is not hold.state:
                return None
            kept, gone = rows.note_swept(tx, current, [one.record_id for one in answer.held], lost)
            day = date.fromisoformat(answer.gone_through_day) if answer.gone_through_day else None
            swept = replace(
                current,
                sweep=sweep.goes_on(answer.after, day),
                records_kept=current.records_kept + kept,
                records_lost=current.records_lost + gone,
            )
            rows.save(tx, swept)
        return swept

    def wanted(self, tx: Tx) -> list[Hold]:
        """Holds in force that have to be looked through for now; those that are being placed are carried on by themselves."""
        now, run = self._clock.now(), run_rows.going_on(tx)
        fenced = (erasure_rows.closing(tx), content_rows.clearing(tx))
        found: list[Hold] = []
        for hold in rows.with_scope(tx):
            waits = [] if run is None else [run.started_at]
            since = [_settled(one[hold.organization_id]) for one in fenced if hold.organization_id in one]
            waits += [one for one in since if one <= now]
            if hold.state is HoldState.ACTIVE and holds.needs_sweep(hold, max(waits, default=None), now):
                found.append(hold)
        return found
