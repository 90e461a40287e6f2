"""What parts of acts are replaced by, to see that the simulation notices where an order is lost; breakage.py says which. Nothing here is
part of any service."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from unittest import mock
from uuid import UUID

from sqlalchemy import Connection, delete, select, update

from kept.access_control.v1 import keys_pb2
from kept.logging.v1 import lifecycle_pb2
from services.access_control.custody.destruction import Destroyer
from services.access_control.custody.due_days import DueDays
from services.access_control.custody.ladder import Ladder
from services.access_control.store import holds as key_holds
from services.access_control.store.destructions import DestructionRow
from services.logging.store import retention, tables
from services.logging.store.retention import HeldRow
from services.retention.certificates import destructions
from services.retention.certificates.destructions import Destruction
from services.retention.erasures.organization_states import Erasure
from services.retention.erasures.organizations import Erasures
from services.retention.holds import hold as holds
from services.retention.holds.hold import Hold
from services.retention.holds.keeping import HoldKeeper
from services.retention.rules import DueRules, RuleBook
from services.retention.store import erasures as erasure_rows
from services.retention.store import holds as hold_rows


def destroy_no_organization(erasures: Erasures, erasure: Erasure) -> bool:
    """Rows of an organization go as if its keys were destroyed, which nobody was asked for."""
    destroyed = Destruction(
        erasure.erasure_id, erasure.started_at, erasure.started_at, "root_" + "0" * 26, "none"
    )
    with erasures._at(erasure) as tx:
        erasure_rows.save(tx, replace(erasure, destruction=destroyed).next())
    return True


def hold_no_rows(
    tx: Connection, hold_id: str, organization_id: str, record_ids: Sequence[bytes], kind: int | None
) -> tuple[list[HeldRow], bool]:
    """Says that rows are kept, and keeps none."""
    kept = _hold_rows(tx, hold_id, organization_id, record_ids, kind)
    tx.execute(delete(tables.holds).where(tables.holds.c.hold_id == hold_id))
    wanted = select(tables.holds.c.record_id).where(tables.holds.c.record_id == tables.retained.c.record_id)
    tx.execute(delete(tables.retained).where(tables.retained.c.by_term.is_(False), ~wanted.exists()))
    return kept


def hold_no_contents(
    tx: Connection, hold_id: str, organization_id: str, record_ids: Sequence[bytes], kind: int | None
) -> tuple[list[HeldRow], bool]:
    """Keeps rows, and not what was said in them."""
    kept = _hold_rows(tx, hold_id, organization_id, record_ids, kind)
    bare = dict.fromkeys(("data_key_id", "content", "sealed_data_key"))
    tx.execute(update(tables.retained).where(tables.retained.c.by_term.is_(False)).values(**bare))
    return kept


def release_for_others_too(
    tx: Connection, hold_id: str, organization_id: str, limit: int, through: UUID | None = None
) -> tuple[int, UUID | None]:
    """The first hold that ends takes the row with it, whoever else keeps it."""
    mine = select(tables.holds.c.record_id).where(tables.holds.c.hold_id == hold_id)
    released = list(tx.execute(mine).scalars())
    ended = _release_rows(tx, hold_id, organization_id, limit, through)
    tx.execute(delete(tables.retained).where(tables.retained.c.record_id.in_(released)))
    return ended


def _ended(keeper: HoldKeeper, hold: Hold, destruction: Destruction) -> Hold:
    with keeper._database.transaction() as tx:
        current = hold_rows.lock(tx, hold.hold_id)
        if current is None or current.state is not holds.HoldState.RELEASING:
            return current or hold
        ended = holds.end(current, destruction, 0, keeper._clock.now())
        hold_rows.save(tx, ended)
    return ended


def end_without_keys(keeper: HoldKeeper, hold: Hold) -> Hold:
    """A hold is over, and its keys are there."""
    keeper._peers.logging.ReleaseRecords(lifecycle_pb2.ReleaseRecordsRequest(hold_id=hold.hold_id))
    return _ended(keeper, hold, Destruction("release_" + hold.hold_id.removeprefix("hold_")))


def end_without_rows(keeper: HoldKeeper, hold: Hold) -> Hold:
    """A hold is over, and the rows that it kept are there."""
    answer = keeper._peers.keys.ReleaseRecords(
        keys_pb2.ReleaseRecordsRequest(hold_id=hold.hold_id)
    ).destruction
    destruction = destructions.from_message(answer.destruction_id, answer)
    return hold if destruction is None else _ended(keeper, hold, destruction)


def survive_without_holds(ladder: Ladder, tx: Connection, fresh: str, at: datetime) -> str:
    """The new root gets the organizations' keys, and not those of holds."""
    with mock.patch.object(key_holds, "holds_after", return_value=[]):
        return _replace_root(ladder, tx, fresh, at)


def due_too_early(rules: RuleBook, tx: Connection) -> DueRules:
    """Retention takes what is due three days later."""
    due = _due_in(rules, tx)
    return replace(due, through_day=due.through_day + timedelta(days=3))


def mark_what_one_is_told(
    destroyer: Destroyer, row: DestructionRow, days: DueDays, organization_ids: Sequence[str], *, wait: bool
) -> set[str]:
    """Access control takes retention's word for what is due."""
    destroyer._is_due = lambda organization_id, day: True
    return _mark_days(destroyer, row, days, organization_ids, wait=wait)


_hold_rows = retention.hold
_release_rows = retention.release
_replace_root = Ladder.replace_root
_due_in = RuleBook.due_in
_mark_days = Destroyer._mark_days
