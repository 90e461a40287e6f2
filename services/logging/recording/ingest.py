"""Recording: what policy forbids is never written, what is acknowledged is durable and sealed.

The order of steps carries the promises. The leases are checked once the whole batch is here, and then the clock is
read: whatever the content is, it is older than the check. Content that a policy forbids is dropped before anything
else looks at it; what usage counts of it are marks of its shape, never of its words. Receipts are made after the
commit, one for each record; a bad record never costs a good one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Final

from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import ingest_pb2, interactions_pb2
from services.logging.dictionaries import CURRENT
from services.logging.lifecycle.contents import content_behind_fences
from services.logging.lifecycle.subjects import behind_fences, require_young
from services.logging.partitions import Partitions
from services.logging.policies import Policies
from services.logging.recording import receipts
from services.logging.recording.admission import BatchAdmission, Decision
from services.logging.recording.epoch_keys import EpochKeys
from services.logging.records import Row, fault_of, fault_of_attributes, is_plain, row_of
from services.logging.screening.asking import Screenable, fresh
from services.logging.screening.feed import ScreeningFeed
from services.logging.sealing import DataKey, DataKeys, Unsealed, seal_contents
from services.logging.store import dictionaries, locks, stripes, writing
from services.logging.usage.counting import used_by
from services.logging.usage.features import ATTRIBUTES, shape_of
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.ids import record_day, record_days
from shared.jobs import Job
from shared.terms import Rule, lot_of

_ORGANIZATION: Final = attrgetter("row.organization_id")
_RECORD_ID: Final = attrgetter("row.record_id")
MAX_RECORDS: Final = 5000
MAX_BYTES: Final = 6 * 1024 * 1024

_STORED: Final = ingest_pb2.OUTCOME_STORED
_STORED_WITHOUT_CONTENT: Final = ingest_pb2.OUTCOME_STORED_WITHOUT_CONTENT
_DUPLICATE: Final = ingest_pb2.OUTCOME_DUPLICATE
_KEEP: Final = Decision.STORE
_KEEP_BARE: Final = Decision.STORE_WITHOUT_CONTENT
_REFUSE: Final = Decision.REFUSE
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_TOO_LATE: Final = Reason.REASON_RECORD_TOO_LATE
# What is refused for one of these is not looked at any further.
_LOOKED_AT_NO_FURTHER: Final = frozenset(
    (Reason.REASON_DEPLOYMENT_SENDS_NO_CONTENT, Reason.REASON_INVALID_RECORD_ID)
)
# Why an epoch's public key was not handed out, as a receipt says it.
_KEY_REFUSALS: Final = {Reason.REASON_KEY_DESTROYED: Reason.REASON_CLOSED}

# Organization, day, and the application whose own lot it is; "" for none.
Place = tuple[str, date, str]


@dataclass(slots=True)
class _Arrival:
    """A record on its way through. key: organization and record id. refusal: why it is not stored. row: what is stored of it, if it is.
    plain: its content, serialized; None where there is none or it is not kept. data_key: what it is sealed with. first: the index of an
    earlier record of the batch with the same key. is_duplicate: stored before. lot: the application whose own keys it is sealed to; ""
    for none. place: what has the data key; None where none was looked for."""

    interaction: interactions_pb2.Interaction = field(repr=False)
    key: tuple[str, bytes]
    decision: Decision = _REFUSE
    refusal: "reasons_pb2.Reason.ValueType | None" = None
    row: Row | None = None
    plain: bytes | None = field(default=None, repr=False)
    data_key: DataKey | None = None
    first: int | None = None
    is_duplicate: bool = False
    lot: str = ""
    place: Place | None = None

    def refuse(self, reason: "reasons_pb2.Reason.ValueType") -> None:
        self.refusal, self.row, self.data_key = reason, None, None
        self.drop_content()

    def drop_content(self) -> None:
        self.plain = None
        self.interaction.ClearField("content")

    def lose_content(self) -> None:
        """Of a record that is about to be written: its log data stay."""
        assert self.row is not None
        self.row = replace(self.row, data_key_id=None, content=None)
        self.decision, self.data_key = _KEEP_BARE, None
        self.drop_content()

    def take_content(self) -> "tuple[int, reasons_pb2.Reason.ValueType | None]":
        """Takes the content, where it is to be kept; drops it where it is not. Its shape (usage/features.py), and why it cannot be stored,
        if it cannot: of content only attributes have rules."""
        if not self.interaction.HasField("content"):
            return 0, None
        content = self.interaction.content
        shape = shape_of(content)
        if self.decision is not _KEEP:
            self.drop_content()
            return shape, None
        self.plain = content.SerializeToString()
        return shape, fault_of_attributes(content.attributes) if shape & ATTRIBUTES else None

    def fault(self) -> "reasons_pb2.Reason.ValueType | None":
        """Why its log data cannot be recorded whatever the policy, if they cannot."""
        self.interaction.ClearField("content")  # has rules of its own
        return fault_of(self.interaction)


class Ingest:
    """Records batches. writer: this process's name in the counts, another one after each start."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        policies: Policies,
        partitions: Partitions,
        epoch_keys: EpochKeys,
        feed: ScreeningFeed,
        writer: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._partitions = partitions
        self._feed = feed
        self._writer = writer
        self._data_keys = DataKeys(epoch_keys.public_key, clock)
        self._dictionary_from: datetime | None = None
        self.job = Job("data_keys", timedelta(seconds=5), self.forget_keys)

    def forget_keys(self) -> bool:
        """Drops data keys that are not to be kept in memory any longer. A job's step: there is never more to do at once."""
        self._data_keys.forget(self._policies.is_closed)
        return False

    def record(
        self,
        interactions: Sequence[interactions_pb2.Interaction],
        gateway: str,
        *,
        usage: writing.Usage | None = used_by,
    ) -> ingest_pb2.RecordInteractionsResponse:
        """Stores what may be stored; a receipt for each, in order. The interactions are the callee's from here on: content that is not
        kept is taken out of them. usage: what was used with them; None for content that came apart from its call.

        Raises LEASE_LAPSED when policies or rules are not known for sure, DATABASE_UNAVAILABLE when nothing was committed or nobody
        knows, OVERLOADED.
        """
        received_at = self._policies.leased_now()
        arrivals = [_Arrival(one, (one.organization_id, one.record_id)) for one in interactions]
        rules = self._rules(arrivals, received_at)
        storable = self._judge(arrivals, gateway, received_at)
        self._find_late(arrivals)
        self._seal(storable, received_at)
        self._write([one for one in storable if one.row is not None], received_at, usage)
        kept = [
            Screenable(one.key, one.row.end_user, one.plain)
            for one in storable
            if one.plain is not None and one.row is not None and not one.is_duplicate
        ]
        self._feed.offer(fresh(kept))
        return _answer(arrivals, rules)

    def _rules(self, arrivals: Sequence[_Arrival], received_at: datetime) -> dict[str, Rule]:
        """The rules that count for the arrivals, by lot. Those whose application has a term of its own now are told so: they are sealed to
        that application's own keys, whenever they were created."""
        rules = self._policies.rules
        found: dict[str, Rule] = {}
        for organization_id in {one.key[0] for one in arrivals}:
            found[organization_id] = rules.at(organization_id, received_at)
            own = rules.applications(organization_id) and rules.applications_at(organization_id, received_at)
            if own:  # hardly ever
                for one in arrivals:
                    if one.key[0] == organization_id and one.interaction.application in own:
                        one.lot = one.interaction.application
                for application in own:
                    lot = lot_of(organization_id, application)
                    found[lot] = rules.at(lot, received_at)
        return found

    def _judge(self, arrivals: list[_Arrival], gateway: str, received_at: datetime) -> list[_Arrival]:
        """Decides on each record by itself; drops content that must not be kept. Returns those that are to be stored, in the order of their
        keys."""
        storable: list[_Arrival] = []
        seen: dict[tuple[str, bytes], int] = {}
        admission = BatchAdmission(
            received_at,
            self._policies.gateway_throughout(gateway, received_at, received_at + CLOCK_TOLERANCE),
            self._policies.organization_throughout,
        )
        for index, arrival in enumerate(arrivals):
            decided = admission.decide(*arrival.key)
            arrival.decision = decided.decision
            if decided.decision is _REFUSE:
                arrival.drop_content()
                arrival.refusal = decided.reason
                if decided.reason not in _LOOKED_AT_NO_FURTHER:
                    arrival.refusal = arrival.fault() or decided.reason
                continue
            shape, fault = arrival.take_content()
            row = row_of(
                arrival.interaction,
                received_at=received_at,
                gateway=gateway,
                shape=shape,
                by_application=bool(arrival.lot),
            )
            if not is_plain(row):
                fault = arrival.fault() or fault
            if fault is not None:
                arrival.refuse(fault)
                continue
            first = seen.setdefault(arrival.key, index)
            if first == index:
                arrival.row = row
                storable.append(arrival)
            else:
                arrival.first = first
        # One after the other, for to compare keys of two parts takes several times as long. What is in order stays in order.
        storable.sort(key=_RECORD_ID)
        storable.sort(key=_ORGANIZATION)
        return storable

    def _find_late(self, arrivals: list[_Arrival]) -> None:
        """A late record that is there already is a duplicate, however late it is."""
        late = [one for one in arrivals if one.refusal == _TOO_LATE]
        if late:
            with self._database.transaction() as tx:
                present = writing.present(tx, [one.key for one in late])
            for one in late:
                one.is_duplicate = one.key in present

    def _seal(self, storable: Sequence[_Arrival], received_at: datetime) -> None:
        """Seals what has content; refuses what there is no key for."""
        days = record_days([one.key[1] for one in storable])
        day = days.pop() if len(days) == 1 else None
        keys: dict[Place, DataKey] = {}
        failed: dict[Place, reasons_pb2.Reason.ValueType] = {}
        unsealed: list[Unsealed] = []
        rows: list[Row] = []
        for one in storable:
            if one.plain is None or one.row is None:
                continue
            organization_id, record_id = one.key
            place = one.place = organization_id, day or record_day(record_id), one.lot
            if place not in keys and place not in failed:
                try:
                    keys[place] = self._data_keys.for_writing(*place)
                except KeptError as error:
                    failed[place] = _KEY_REFUSALS.get(error.reason, Reason.REASON_PEER_UNAVAILABLE)
            if place in failed:
                one.refuse(failed[place])
                continue
            data_key = one.data_key = keys[place]
            unsealed.append((record_id, data_key, one.plain))
            rows.append(one.row)
        contents = seal_contents(unsealed, with_dictionary=self._is_dictionary_usable(received_at))
        for row, (_, data_key, _), content in zip(rows, unsealed, contents, strict=True):
            row.data_key_id, row.content = data_key.data_key_id, content

    def _is_dictionary_usable(self, at: datetime) -> bool:
        if self._dictionary_from is None:  # asked once: it never changes
            with self._database.transaction() as tx:
                found = dictionaries.usable_from(tx, CURRENT)
            self._dictionary_from = _NEVER if found is None else found
        return at >= self._dictionary_from

    def _write(self, waiting: Sequence[_Arrival], received_at: datetime, usage: writing.Usage | None) -> None:
        """One transaction for these, in the order of their keys. Returns once it is committed."""
        if not waiting:
            return
        record_ids = [one.key[1] for one in waiting]
        days = record_days(record_ids)
        self._partitions.require(days)
        if len(waiting) == 1 and self._write_alone(waiting[0], received_at, usage):
            return
        try:
            self._write_many(waiting, days, min(record_ids), received_at, usage, around=False)
        except writing.AlreadyThere:
            waiting = [one for one in waiting if one.row is not None]
            self._write_many(waiting, days, min(record_ids), received_at, usage, around=True)

    def _write_many(
        self,
        waiting: Sequence[_Arrival],
        days: set[date],
        lowest: bytes,
        received_at: datetime,
        usage: writing.Usage | None,
        *,
        around: bool,
    ) -> None:
        """The one transaction. waiting: with a row each, in the order of their keys; lowest: of their record ids. around: see
        `store.writing.write`; what a fence stopped at the first try it stops at the second."""
        rows = [one.row for one in waiting if one.row is not None]
        organization_ids = {row.organization_id for row in rows}
        with self._database.transaction() as tx:
            closed, closed_days, are_fenced = stripes.share_and_look(tx, organization_ids, days, lowest)
            require_young(received_at, self._clock)
            if closed or closed_days or are_fenced:
                erased = behind_fences(tx, rows, are_fenced)
                bare = content_behind_fences(tx, rows, are_fenced)
                for one in waiting:
                    if one.key[0] in closed or record_day(one.key[1]) in closed_days or one.key in erased:
                        one.refuse(Reason.REASON_CLOSED)
                    elif one.key in bare:
                        one.lose_content()
                rows = [one.row for one in waiting if one.row is not None]
            used = [one.data_key for one in waiting if one.data_key is not None and not one.data_key.stored]
            new_keys = {key.data_key_id: key for key in used}
            writing.write_data_keys(tx, new_keys.values())
            fresh = writing.write(tx, rows, self._writer, usage, around=around)
        for key in new_keys.values():
            key.stored = True
        if len(fresh) < len(rows):
            stored = {row.key for row in fresh}
            for one in waiting:
                one.is_duplicate = one.row is not None and one.key not in stored

    def _write_alone(self, arrival: _Arrival, received_at: datetime, usage: writing.Usage | None) -> bool:
        """The same for one record, in one round trip. False where nothing was written: it is there already, a fence stands before it, its
        data key is new, or it is not known yet how to lock."""
        row, data_key = arrival.row, arrival.data_key
        assert row is not None
        if not locks.are_known_on_server(self._database.engine) or not (data_key is None or data_key.stored):
            return False
        # Asked before the stripe is held, for nothing is asked after it. That a process sleeps in between, as long as a fence outlives
        # what it stops, is the database's to notice (Database.at_once).
        require_young(received_at, self._clock)
        with self._database.at_once() as tx:
            stripes.share(tx, [row.organization_id])
            written = writing.write_one(tx, row, self._writer, usage)
        return bool(written())


def _answer(arrivals: Sequence[_Arrival], rules: Mapping[str, Rule]) -> ingest_pb2.RecordInteractionsResponse:
    kinds: dict[tuple[object, Place], receipts.Around] = {}
    parts: list[bytes] = []
    for arrival in arrivals:
        first = arrival if arrival.first is None else arrivals[arrival.first]
        if first.refusal is not None and not first.is_duplicate:
            parts.append(receipts.refused(arrival.key[1], first.refusal))
            continue
        if first.is_duplicate or arrival is not first:
            outcome = _DUPLICATE
        elif first.decision is _KEEP_BARE:
            outcome = _STORED_WITHOUT_CONTENT
        else:
            outcome = _STORED
        place = arrival.place or (arrival.key[0], record_day(arrival.key[1]), arrival.lot)
        around = kinds.get((outcome, place))
        if around is None:
            due_at = rules[lot_of(place[0], place[2])].due_at(place[1])
            around = kinds[outcome, place] = receipts.around(outcome, due_at)
        parts.append(arrival.key[1].join(around))
    return receipts.answer(parts)
