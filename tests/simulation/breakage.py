"""Safeguards that can be taken out, to see that the simulation notices. Nothing here is part of any service."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from unittest import mock

from sqlalchemy import Connection, delete, text, true

from services.access_control.audit.decision_log import DecisionLog
from services.access_control.custody import Custody, ToRetain
from services.access_control.custody.destruction import Destroyer
from services.access_control.custody.due_days import DueDays
from services.access_control.custody.ladder import Ladder
from services.access_control.grants.grant import Grant
from services.access_control.grants.opening import Wanted
from services.access_control.key_stores.files import FileKeyStore
from services.access_control.servicers import keys
from services.access_control.store import custody, grants
from services.access_control.store.destructions import DestructionRow
from services.access_control.store.epochs import LivingEpoch
from services.logging.reading.granted import Reading
from services.logging.recording import admission, ingest
from services.logging.store import (
    billing,
    content_erasures,
    retention,
    standing_holds,
    tables,
    terms,
    writing,
)
from services.retention.certificates.destructions import Destruction
from services.retention.erasures.organization_states import Erasure
from services.retention.erasures.organizations import Erasures
from services.retention.holds import keeping as hold_keeping
from services.retention.holds import sweeping
from services.retention.holds.keeping import HoldKeeper
from services.retention.holds.sweeping import Sweeper
from services.retention.rules import RuleBook
from services.retention.runs import runs
from services.retention.runs.runs import Runs
from services.retention.runs.states import Run, RunState
from services.retention.store import certificates
from services.retention.store import erasures as erasure_rows
from services.retention.store import runs as run_rows
from services.settings.subjects.requests import SubjectRequests
from shared.ids import new_id
from shared.replica import Replica
from shared.rules import Rules
from tests.simulation import orders


@dataclass(frozen=True)
class Safeguard:
    """One thing that a promise rests on. invariant: its number in the architecture; where, name, instead: what it is replaced by. favoured:
    the acts that its loss would show in; days: how long a history takes to get there. also: the same at its other places. is_quick: whether
    it is tried with all other tests; `make simulate BREAK=…` tries each. first: the history with which they begin; most show it early, and
    of some it took a search to find one that does."""

    invariant: int
    where: Any
    name: str
    instead: Any
    favoured: frozenset[str]
    days: int
    also: tuple[tuple[Any, str, Any], ...] = ()
    is_quick: bool = True
    first: int = 1


def _drop_held_too(
    tx: Connection, day: date, run_id: str, now: datetime, kept: Collection[str] = ()
) -> list[retention.DayCount]:
    dropped = _drop_day(tx, day, run_id, now, kept)
    tx.execute(delete(tables.retained).where(tables.retained.c.day == day))
    return dropped


def _load_without_end(tx: Connection, grant_id: str, *, lock: bool = False) -> Grant | None:
    grant = _load(tx, grant_id, lock=lock)
    if grant is None or grant.expires_at is None:
        return grant
    return replace(grant, expires_at=grant.expires_at + timedelta(days=1000))


def _write_but_reads(log: DecisionLog, tx: Connection, kind: str, actor: str, **rest: Any) -> str:
    return new_id("entry") if kind == "records.opened" else _write(log, tx, kind, actor, **rest)


def _mark_nothing(
    destroyer: Destroyer, row: DestructionRow, days: DueDays, organization_ids: Sequence[str], *, wait: bool
) -> set[str]:
    if row.target_kind == "content":  # another safeguard's
        return _mark_days(destroyer, row, days, organization_ids, wait=wait)
    return set(organization_ids)


def _withhold_nothing(
    custody: Custody, erasure_id: str, organization_id: str, record_ids: Collection[bytes]
) -> tuple[int, datetime]:
    return len(record_ids), custody._clock.now()


def _mark_nothing_early(
    destroyer: Destroyer, row: DestructionRow, days: DueDays, organization_ids: Sequence[str], *, wait: bool
) -> set[str]:
    if row.target_kind == "content":
        return set(organization_ids)
    return _mark_days(destroyer, row, days, organization_ids, wait=wait)


def _living_of_all(reading: Reading, read: Any) -> Any:
    """What is not due by the organization's rule, whatever its applications'."""
    return replace(_living(reading, read), of={})


_living = Reading._living
_mark_days = Destroyer._mark_days
# Nothing is as old as that.
_STRIP_NOTHING = text(
    content_erasures._STRIP.text.replace("content IS NOT NULL", "content IS NOT NULL AND FALSE")
)


def _destroy_nothing(runs: Runs, run: Run) -> bool:
    """Rows go as if their keys were destroyed, which nobody was asked for."""
    destroyed = Destruction(run.run_id, run.started_at, run.started_at, "root_" + "0" * 26, "none")
    with runs._at(run) as tx:
        run_rows.save(tx, replace(run, destruction=destroyed).to(RunState.DROPPING_ROWS))
    return True


def _drop_nothing(runs: Runs, run: Run) -> bool:
    """Certificates follow keys at once; rows were to go in between."""
    with runs._at(run) as tx:
        run_rows.save(tx, run.to(RunState.CERTIFYING))
    return True


def _check_nothing(runs: Runs, run: Run) -> bool:
    with runs._at(run) as tx:
        run_rows.adopt(tx, run.run_id)
        run_rows.save(tx, replace(run, is_checked=True))
    return True


def _erase_nothing(erasures: Erasures, erasure: Erasure) -> bool:
    """An organization's certificate is signed before anybody erased its rows."""
    with erasures._at(erasure) as tx:
        erasure_rows.save(tx, erasure.next())
    return True


_drop_day = retention.drop_day
_load = grants.load
_write = DecisionLog.write

_APPLICATIONS = frozenset({"records", "sets_application_term"})
_READING = frozenset({"records", "asks_for_access", "reads"})
_HOLDING_ALL = frozenset({"records", "holds_end_user"})
_HOLDING = frozenset({"records", "places_hold", "releases_hold"})
_FORGETTING = frozenset({"records", "sends_again", "forgets"})
_CHOOSING = frozenset({"joins", "chooses_unheard", "records"})
_CLEARING = frozenset({"joins", "zero_data_retention", "records"})

# What the statement for one record asks, without end users' fences.
_NO_END_USERS = writing._FREE[: writing._FREE.rindex("AND NOT EXISTS")]
SAFEGUARDS = {
    # Content of zero data retention is dropped.
    "zdr": Safeguard(1, admission, "STORE_WITHOUT_CONTENT", admission.STORE, _CHOOSING, 10, first=3),
    # Without a lease nothing is decided.
    "lease": Safeguard(1, Replica, "_is_leased", lambda replica, now: True, _CHOOSING, 10, first=16),
    # What is held outlives its day.
    "hold": Safeguard(
        7,
        retention,
        "drop_day",
        _drop_held_too,
        frozenset({"records", "places_hold"}),
        36,
        is_quick=False,
        first=10,
    ),
    # What a longer term keeps outlives its partition.
    "longer": Safeguard(
        8, terms, "keep", lambda *_: None, frozenset({"records", "keeps_longer"}), 36, is_quick=False
    ),
    # What a shorter term lets go goes before its partition.
    "shorter": Safeguard(
        3,
        terms,
        "take",
        lambda *_: terms.Piece(None),
        frozenset({"records", "sets_term"}),
        12,
        is_quick=False,
        first=10,
    ),
    # What one application's term lets go goes without the rest of its organization's.
    "application_rows": Safeguard(
        8, terms, "is_of", lambda table, _: true(), _APPLICATIONS, 20, is_quick=False
    ),
    # Its keys are destroyed by its own term.
    "application_keys": Safeguard(
        3,
        LivingEpoch,
        "lot",
        property(lambda epoch: epoch.organization_id),
        _APPLICATIONS,
        20,
        also=((certificates, "dropped_with_a_living_key", lambda tx, act_id: None),),
        is_quick=False,
    ),
    # It is sealed to those.
    "application_lots": Safeguard(
        3, Rules, "applications_at", lambda *_: frozenset(), _APPLICATIONS, 20, is_quick=False
    ),
    # A hold keeps it by those.
    "application_holds": Safeguard(
        7,
        keys,
        "ToRetain",
        lambda record_id, data_key_id, sealed, _: ToRetain(record_id, data_key_id, sealed),
        _APPLICATIONS | {"holds_end_user"},
        20,
        is_quick=False,
    ),
    # Access control decides by the lot to whose keys a record is sealed, and logging by what its row says: with neither it is read.
    "application_due": Safeguard(
        3,
        Wanted,
        "lots",
        property(lambda wanted: {wanted.organization_id: wanted.record_ids}),
        _APPLICATIONS | _READING,
        20,
        also=((Reading, "_living", _living_of_all),),
        is_quick=False,
    ),
    # Holds on all that matches are looked through for again, and before a run takes what is due.
    "look": Safeguard(
        7,
        runs,
        "is_behind",
        lambda *_: False,
        _HOLDING_ALL,
        36,
        also=((Sweeper, "wanted", lambda *_: []),),
        is_quick=False,
    ),
    # What such a hold is on is left by an end user's erasure, though nobody has looked since.
    "caught": Safeguard(7, standing_holds, "catch", lambda *_: [], _HOLDING_ALL | {"forgets"}, 10, first=5),
    # Roots that were replaced are destroyed.
    "destruction": Safeguard(10, FileKeyStore, "destroy", lambda store, root_id: None, _HOLDING, 10, first=5),
    # Usage goes with its organization.
    "usage": Safeguard(
        12,
        billing,
        "erase",
        lambda tx, organization_id: {},
        frozenset({"records", "leaves"}),
        20,
        is_quick=False,
        first=11,
    ),
    # Epochs are marked before rows go.
    "marks": Safeguard(3, Destroyer, "_mark_days", _mark_nothing, frozenset({"records"}), 33, is_quick=False),
    # Keys go before rows.
    "keys_first": Safeguard(
        3,
        Runs,
        "_destroy",
        _destroy_nothing,
        frozenset({"records"}),
        40,
        also=((certificates, "dropped_with_a_living_key", lambda tx, act_id: None),),
        is_quick=False,
    ),
    # Rows go before their certificate is signed: of a run, and of an organization's erasure.
    "rows_first": Safeguard(
        3,
        Runs,
        "_drop",
        _drop_nothing,
        frozenset({"records"}),
        40,
        also=((Runs, "_check", _check_nothing),),
        is_quick=False,
        first=2,
    ),
    "receipts_first": Safeguard(10, Erasures, "_erase", _erase_nothing, frozenset({"records", "leaves"}), 20),
    # What an erased end user left before is not written any more.
    "fence": Safeguard(
        10,
        ingest,
        "behind_fences",
        lambda tx, rows, are_any: set(),
        _FORGETTING,
        10,
        also=(
            (writing, "_WRITE_USED_ONE", writing._WRITE_ONE.format(used=writing._USED, free=_NO_END_USERS)),
            (writing, "_WRITE_UNUSED_ONE", writing._WRITE_ONE.format(used="", free=_NO_END_USERS)),
        ),
    ),
    # Copies of what went with an end user open nowhere.
    "withheld": Safeguard(10, Custody, "withhold", _withhold_nothing, _FORGETTING, 10, is_quick=False),
    # What a customer passed on reaches retention.
    "passed_on": Safeguard(
        10, SubjectRequests, "_hand_over", lambda *_: None, _FORGETTING, 10, is_quick=False
    ),
    # What was logged before zero data retention goes, where the request says so.
    "contents": Safeguard(
        10, content_erasures, "_STRIP", _STRIP_NOTHING, _CLEARING, 10, first=6, is_quick=False
    ),
    # And its keys.
    "early_keys": Safeguard(10, Destroyer, "_mark_days", _mark_nothing_early, _CLEARING, 10, is_quick=False),
    # An organization's keys go before its rows.
    "erasure_keys": Safeguard(
        10,
        Erasures,
        "_destroy",
        orders.destroy_no_organization,
        frozenset({"records", "leaves"}),
        20,
        is_quick=False,
        first=5,
    ),
    # A hold protects once both services keep what it is on: access control the keys, logging the rows.
    "keeps_keys": Safeguard(
        7,
        hold_keeping,
        "retain",
        lambda *_: frozenset(),
        _HOLDING,
        10,
        also=((sweeping, "retain", lambda *_: frozenset()),),
        is_quick=False,
    ),
    "keeps_rows": Safeguard(7, retention, "hold", orders.hold_no_rows, _HOLDING, 40, is_quick=False),
    "keeps_contents": Safeguard(7, retention, "hold", orders.hold_no_contents, _HOLDING, 40, is_quick=False),
    # What several holds keep goes with the last of them.
    "last_hold": Safeguard(
        7, retention, "release", orders.release_for_others_too, _HOLDING, 40, is_quick=False
    ),
    # A hold is over once its keys are destroyed, and its rows are gone.
    "end_keys": Safeguard(3, HoldKeeper, "_end", orders.end_without_keys, _HOLDING, 10, is_quick=False),
    "end_rows": Safeguard(3, HoldKeeper, "_end", orders.end_without_rows, _HOLDING, 10, is_quick=False),
    # The old root goes once all that lives hangs on the new one.
    "survivors": Safeguard(
        7,
        Ladder,
        "replace_root",
        orders.survive_without_holds,
        _HOLDING,
        20,
        also=((custody, "hangs_elsewhere", lambda *_: False),),
        is_quick=False,
    ),
    # Neither access control nor logging takes retention's word for what is due.
    "own_rules": Safeguard(
        8,
        RuleBook,
        "due_in",
        orders.due_too_early,
        frozenset({"records"}),
        36,
        also=(
            (Destroyer, "_mark_days", orders.mark_what_one_is_told),
            (Rules, "is_due_by_all", lambda *_: True),
        ),
        is_quick=False,
    ),
    # Where access control alone does, its keys go early, and logging's rows stay.
    "own_rules_of_keys": Safeguard(
        8,
        RuleBook,
        "due_in",
        orders.due_too_early,
        frozenset({"records"}),
        36,
        also=((Destroyer, "_mark_days", orders.mark_what_one_is_told),),
        is_quick=False,
    ),
    # A grant is over at its end.
    "expiry": Safeguard(5, grants, "load", _load_without_end, _READING, 10, first=5),
    # No audit entry, no key.
    "audit": Safeguard(4, DecisionLog, "write", _write_but_reads, _READING, 10),
}


@contextmanager
def without(safeguard: str | None) -> Iterator[None]:
    """Takes one of SAFEGUARDS out of this process while the block runs."""
    with ExitStack() as patches:
        if safeguard is not None:
            out = SAFEGUARDS[safeguard]
            for where, name, instead in ((out.where, out.name, out.instead), *out.also):
                patches.enter_context(mock.patch.object(where, name, instead))
        yield
