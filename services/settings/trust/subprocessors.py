"""Sub-processors: a public, dated list, and changes of it that customers hear of 30 days before they count (C23).

A list is published whole. The first one counts at once; a later one is announced to every organization by a job, in batches, each with an
entry of its own in that organization's audit log and a notice; who becomes a customer meanwhile sees it. It counts 30 days after the last
of them was told, and not before the instant that was stated: an outage moves the instant, it does not shorten the notice.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from services.settings.accounts.admins import lock_for_act
from services.settings.store import Tx
from services.settings.store import subprocessors as store
from services.settings.store.subprocessors import Objection, Subprocessor, SubprocessorList
from services.settings.telling.notices import Notices
from shared import audit
from shared.clock import Clock
from shared.database import Database, after_commit
from shared.errors import KeptError, Reason, invalid, not_found, wrong_state
from shared.identity import Caller
from shared.jobs import Job
from shared.outbox import Outbox

NOTICE: Final = timedelta(days=30)
LONGEST_AHEAD: Final = timedelta(days=730)
_BATCH: Final = 100
_MOST_LISTED: Final = 1_000
# The one that is to come, the one in force, and the one before it.
_LOOKED_AT: Final = 3


@dataclass(frozen=True)
class Difference:
    """What a list changes: names, in the order of the lists."""

    added: Sequence[str]
    removed: Sequence[str]
    changed: Sequence[str]


@dataclass(frozen=True)
class Published:
    """A list, and what it changes."""

    list: SubprocessorList
    difference: Difference


def difference_of(new: Sequence[Subprocessor], before: Sequence[Subprocessor]) -> Difference:
    """What `new` changes of `before`."""
    now, then = {one.name: one for one in new}, {one.name: one for one in before}
    return Difference(
        added=[name for name in now if name not in then],
        removed=[name for name in then if name not in now],
        changed=[name for name, one in now.items() if name in then and then[name] != one],
    )


def is_in_force(one: SubprocessorList, now: datetime) -> bool:
    """Whether a list counts: everybody was told, and its time has come."""
    return one.announced_at is not None and one.effective_at <= now


class Subprocessors:
    """The lists."""

    def __init__(self, database: Database, clock: Clock, outbox: Outbox, notices: Notices) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._notices = notices
        self.job = Job("subprocessor_notices", timedelta(seconds=30), self.announce)

    def current_and_upcoming(self) -> tuple[Published | None, list[Published], int]:
        """The list in force, those that are announced or being announced, and the highest version there ever was."""
        with self._database.transaction() as tx:
            found = _published(store.newest(tx, _LOOKED_AT))
            last_version = store.last_version(tx)
        now = self._clock.now()
        upcoming = [one for one in found if not is_in_force(one.list, now)]
        current = next((one for one in found if is_in_force(one.list, now)), None)
        to_come = [one for one in upcoming if current is None or one.list.version > current.list.version]
        return current, to_come, last_version

    def publish(
        self,
        caller: Caller,
        request_id: str,
        subprocessors: Sequence[Subprocessor],
        effective_at: datetime | None,
    ) -> Published:
        """Publishes a list, or finds the one that this request published. Raises REQUEST_ID_REUSED, WRONG_STATE while another one is to
        come into force, INVALID_ARGUMENT for a name that stands there twice or an instant beyond two years."""
        _require_different_names(subprocessors)
        content = _content(subprocessors, effective_at)
        with self._database.transaction() as tx:
            store.lock_publishing(tx)
            now = self._clock.now()
            known = store.find_by_request(tx, request_id)
            if known is not None:
                return self._repeated(tx, known, content)
            if effective_at is not None and effective_at > now + LONGEST_AHEAD:
                raise invalid("effective_at", "is more than two years ahead")
            before = store.newest(tx, 1)
            if before and not is_in_force(before[0], now):
                raise wrong_state("Another list is to come into force; take it back, or wait.", "ANNOUNCED")
            is_first = not before
            earliest = now if is_first else now + NOTICE
            new = SubprocessorList(
                version=store.last_version(tx) + 1,
                request_id=request_id,
                content_sha256=content,
                published_by=caller.actor,
                published_at=now,
                effective_at=earliest if effective_at is None else max(effective_at, earliest),
                announced_at=now if is_first else None,
                withdrawn_at=None,
                told_number=0,
                subprocessors=tuple(subprocessors),
            )
            store.add(tx, new)
            made = _published([new, *before])[0]
            self._audit(tx, "subprocessors.published", caller.actor, made, subprocessors=len(subprocessors))
            after_commit(tx, self.job.wake.set)
            return made

    def _repeated(self, tx: Tx, known: SubprocessorList, content: bytes) -> Published:
        if known.content_sha256 != content or known.withdrawn_at is not None:
            raise KeptError(
                Reason.REASON_REQUEST_ID_REUSED,
                "This request id came before with another content, or its list was taken back; use a new one.",
            )
        found = _published(store.newest(tx, _LOOKED_AT))
        repeated = next((one for one in found if one.list.version == known.version), None)
        if repeated is None:  # others came after it
            raise wrong_state("The list that this request published was replaced since.", "REPLACED")
        return repeated

    def withdraw(self, caller: Caller, version: int) -> datetime:
        """Takes back a list that is not in force. Raises NOT_FOUND, WRONG_STATE."""
        with self._database.transaction() as tx:
            store.lock_publishing(tx)
            now = self._clock.now()
            one = self._to_come(tx, version, now)
            store.withdraw(tx, version, now)
            self._outbox.audit(
                tx,
                audit.entry(
                    "subprocessors.withdrawn",
                    actor=caller.actor,
                    at=now,
                    subjects=[_subject(version)],
                    facts={"version": version},
                ),
            )
            self._notices.emit(tx, "subprocessors.withdrawn", version=one.version)
            return now

    def announce(self) -> bool:
        """Tells the next organizations of the list that is to come. True when there are more."""
        with self._database.transaction() as tx:
            one = store.lock_unannounced(tx)
            if one is None:
                return False
            made = next(
                found
                for found in _published(store.newest(tx, _LOOKED_AT))
                if found.list.version == one.version
            )
            batch = store.organizations_after(tx, one.told_number, _BATCH)
            for _, organization_id in batch:
                self._audit(
                    tx, "subprocessors.announced", "service:settings", made, organization_id=organization_id
                )
                self._notices.emit(
                    tx,
                    "subprocessors.announced",
                    organization_id=organization_id,
                    version=one.version,
                    effective_at=made.list.effective_at.isoformat(),
                )
            if len(batch) == _BATCH:
                store.set_told(tx, one.version, batch[-1][0], None, one.effective_at)
                return True
            now = self._clock.now()
            told = batch[-1][0] if batch else one.told_number
            store.set_told(tx, one.version, told, now, max(one.effective_at, now + NOTICE))
            return False

    def object_to(self, caller: Caller, organization_id: str, version: int, reason: str) -> Objection:
        """Objects to a list that is to come; the same objection again is the one there is. Raises NOT_FOUND, WRONG_STATE, ALREADY_EXISTS,
        ADMIN_REQUIRED, CLOSED."""
        with self._database.transaction() as tx:
            lock_for_act(tx, caller, organization_id)
            now = self._clock.now()
            self._to_come(tx, version, now)
            known = store.find_objection(tx, organization_id, version)
            if known is not None:
                if known.reason != reason:
                    raise KeptError(
                        Reason.REASON_ALREADY_EXISTS,
                        "Your organization has objected to this list already.",
                        metadata={"kind": "objection"},
                    )
                return known
            objection = Objection(organization_id, version, reason, caller.actor, now)
            store.add_objection(tx, objection)
            self._outbox.audit(
                tx,
                audit.entry(
                    "subprocessors.objected",
                    actor=caller.actor,
                    at=now,
                    organization_id=organization_id,
                    subjects=[_subject(version)],
                    facts={"version": version},
                ),
            )
            self._notices.emit(tx, "subprocessors.objected", organization_id=organization_id, version=version)
            return objection

    def objections(self, version: int, organization_id: str = "") -> list[Objection]:
        """To a list, oldest first; of one organization where one is named."""
        with self._database.transaction() as tx:
            if organization_id:
                own = store.find_objection(tx, organization_id, version)
                return [] if own is None else [own]
            return store.list_objections(tx, version, _MOST_LISTED)

    def _to_come(self, tx: Tx, version: int, now: datetime) -> SubprocessorList:
        """The list of that version, not in force yet. Raises NOT_FOUND, WRONG_STATE."""
        one = next((one for one in store.newest(tx, _LOOKED_AT) if one.version == version), None)
        if one is None:
            raise not_found("subprocessor_list")
        if is_in_force(one, now):
            raise wrong_state("The list is in force.", "IN_FORCE")
        return one

    def _audit(
        self,
        tx: Tx,
        kind: str,
        actor: str,
        made: Published,
        *,
        organization_id: str = "",
        subprocessors: int | None = None,
    ) -> None:
        facts: dict[str, str | int | bool] = {
            "version": made.list.version,
            "added": len(made.difference.added),
            "removed": len(made.difference.removed),
            "changed": len(made.difference.changed),
            "effective_at": made.list.effective_at.isoformat(),
        }
        if subprocessors is not None:
            facts["subprocessors"] = subprocessors
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=actor,
                at=self._clock.now(),
                organization_id=organization_id,
                subjects=[_subject(made.list.version)],
                facts=facts,
            ),
        )


def _subject(version: int) -> str:
    return f"subprocessors/{version}"


def _published(newest_first: Sequence[SubprocessorList]) -> list[Published]:
    """Each list with what it changes of the one before it; the first of all adds everybody."""
    return [
        Published(
            one,
            difference_of(
                one.subprocessors,
                newest_first[place + 1].subprocessors if place + 1 < len(newest_first) else (),
            ),
        )
        for place, one in enumerate(newest_first)
    ]


def _require_different_names(subprocessors: Sequence[Subprocessor]) -> None:
    names: set[str] = set()
    for index, one in enumerate(subprocessors):
        if one.name.casefold() in names:
            raise invalid(f"subprocessors[{index}].name", "stands there twice")
        names.add(one.name.casefold())


def _content(subprocessors: Sequence[Subprocessor], effective_at: datetime | None) -> bytes:
    said = [
        [asdict(one) for one in subprocessors],
        None if effective_at is None else effective_at.isoformat(),
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()
