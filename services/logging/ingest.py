"""Recording: what policy forbids is never written, what is acknowledged is durable and sealed.

The order of steps carries the promises. The leases are checked once the whole batch is here, and then the clock is
read: whatever the content is, it is older than the check. Content that a policy forbids is dropped before anything
else looks at it. Receipts are made after the commit, one for each record; a bad record never costs a good one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import ingest_pb2, interactions_pb2
from services.logging import admission
from services.logging.admission import Decision, GatewayPolicy
from services.logging.epoch_keys import EpochKeys
from services.logging.partitions import Partitions
from services.logging.policies import Policies
from services.logging.records import RECORD_ID_BYTES, Row, fault_of, row_of
from services.logging.screening_feed import ScreeningFeed
from services.logging.sealing import DataKey, DataKeys, seal_content
from services.logging.store import screening, stripes, writing
from services.logging.usage.counting import Counting
from services.logging.usage.features import shape_of
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.ids import is_record_id, record_day, record_time
from shared.jobs import Job
from shared.terms import Rule

MAX_RECORDS: Final = 5000
MAX_BYTES: Final = 6 * 1024 * 1024

_Outcome = ingest_pb2.Outcome
# A record that was refused for one of these may be sent again later, as it is.
_RETRYABLE: Final = frozenset((Reason.REASON_PEER_UNAVAILABLE, Reason.REASON_OVERLOADED))
# Why an epoch's public key was not handed out, as a receipt says it.
_KEY_REFUSALS: Final = {Reason.REASON_KEY_DESTROYED: Reason.REASON_CLOSED}


@dataclass
class _Arrival:
    """A record on its way through. refusal: why it is not stored. data_key: what its content is sealed with. first: the index of an earlier
    record of the batch with the same key. is_duplicate: stored before. shape: of its content (usage/features.py)."""

    interaction: interactions_pb2.Interaction = field(repr=False)
    decision: Decision = Decision.REFUSE
    refusal: "reasons_pb2.Reason.ValueType | None" = None
    row: Row | None = None
    data_key: DataKey | None = None
    first: int | None = None
    is_duplicate: bool = False
    shape: int = 0

    @property
    def key(self) -> tuple[str, bytes]:
        return self.interaction.organization_id, self.interaction.record_id

    def refuse(self, reason: "reasons_pb2.Reason.ValueType") -> None:
        self.refusal, self.row, self.data_key = reason, None, None
        self.interaction.ClearField("content")


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
        usage: Counting,
        writer: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._partitions = partitions
        self._feed = feed
        self._usage = usage
        self._writer = writer
        self._data_keys = DataKeys(epoch_keys.public_key, clock)
        self.job = Job("data_keys", timedelta(seconds=5), self.forget_keys)

    def forget_keys(self) -> bool:
        """Drops data keys that are not to be kept in memory any longer. A job's step: there is never more to do at once."""
        self._data_keys.forget(self._policies.is_closed)
        return False

    def record(
        self, interactions: Sequence[interactions_pb2.Interaction], gateway: str, *, is_usage: bool = True
    ) -> list[ingest_pb2.Receipt]:
        """Stores what may be stored; a receipt for each, in order. The interactions are the callee's from here on: content is taken out of
        them. is_usage: each is a call, to be counted; False for content that came apart from its call.

        Raises LEASE_LAPSED when policies or rules are not known for sure, DATABASE_UNAVAILABLE when nothing was committed or nobody
        knows, OVERLOADED.
        """
        self._policies.require_leases()
        received_at = self._clock.now()
        rules = {
            organization_id: self._policies.rules.at(organization_id, received_at)
            for organization_id in {one.organization_id for one in interactions}
        }
        arrivals = [_Arrival(interaction) for interaction in interactions]
        self._judge(arrivals, gateway, received_at)
        self._find_late(arrivals)
        self._seal(arrivals, gateway, received_at)
        self._write(arrivals, is_usage)
        self._feed.offer(
            [one.interaction for one in arrivals if _is_stored(one) and one.data_key is not None]
        )
        return _receipts(arrivals, rules)

    def _judge(self, arrivals: list[_Arrival], gateway: str, received_at: datetime) -> None:
        """Decides on each record by itself; drops content that must not be kept."""
        seen: dict[tuple[str, bytes], int] = {}
        registered = self._policies.gateway_throughout(gateway, received_at, received_at + CLOCK_TOLERANCE)
        for index, arrival in enumerate(arrivals):
            decided = self._admit(arrival.interaction, registered, received_at)
            if decided.decision is not Decision.REFUSE:
                arrival.shape = shape_of(arrival.interaction)
            if decided.decision is not Decision.STORE:
                arrival.interaction.ClearField("content")
            arrival.decision, arrival.refusal = decided.decision, decided.reason
            if decided.reason == Reason.REASON_DEPLOYMENT_SENDS_NO_CONTENT:
                continue
            fault = fault_of(arrival.interaction)
            if fault is not None:
                arrival.refuse(fault)
            elif arrival.refusal is None:
                arrival.first = seen.setdefault(arrival.key, index)
                if arrival.first == index:
                    arrival.first = None

    def _admit(
        self,
        interaction: interactions_pb2.Interaction,
        registered: Sequence[GatewayPolicy | None],
        received_at: datetime,
    ) -> admission.Admission:
        if not is_record_id(interaction.record_id):
            return admission.refuse(Reason.REASON_INVALID_RECORD_ID)
        try:
            created_at = record_time(interaction.record_id)
        except OverflowError:
            return admission.refuse(Reason.REASON_INVALID_RECORD_ID)
        span = admission.span_of(created_at, received_at)
        return admission.admit(
            interaction.organization_id,
            created_at,
            received_at,
            self._policies.organization_throughout(interaction.organization_id, span[0], created_at, span[1]),
            registered,
        )

    def _find_late(self, arrivals: list[_Arrival]) -> None:
        """A late record that is there already is a duplicate, however late it is."""
        late = [one for one in arrivals if one.refusal == Reason.REASON_RECORD_TOO_LATE]
        if late:
            with self._database.transaction() as tx:
                present = writing.present(tx, [one.key for one in late])
            for one in late:
                one.is_duplicate = one.key in present

    def _seal(self, arrivals: list[_Arrival], gateway: str, received_at: datetime) -> None:
        failed: dict[tuple[str, date], reasons_pb2.Reason.ValueType] = {}
        keys: dict[tuple[str, date], DataKey] = {}
        for arrival in arrivals:
            if arrival.refusal is not None or arrival.first is not None:
                continue
            interaction = arrival.interaction
            if arrival.decision is Decision.STORE and interaction.HasField("content"):
                place = (interaction.organization_id, record_day(interaction.record_id))
                try:
                    if place not in failed and place not in keys:
                        keys[place] = self._data_keys.for_writing(*place)
                    arrival.data_key = keys.get(place)
                except KeptError as error:
                    failed[place] = _KEY_REFUSALS.get(error.reason, Reason.REASON_PEER_UNAVAILABLE)
                if arrival.data_key is None:
                    arrival.refuse(failed[place])
                    continue
            arrival.row = _row(arrival, gateway, received_at)

    def _write(self, arrivals: list[_Arrival], is_usage: bool) -> None:
        """One transaction for the batch. Returns once it is committed."""
        waiting = [one for one in arrivals if one.row is not None]
        if not waiting:
            return
        self._partitions.require({record_day(one.interaction.record_id) for one in waiting})
        with self._database.transaction() as tx:
            stripes.share(tx, {one.interaction.organization_id for one in waiting})
            closed = stripes.closed_organizations(tx, {one.interaction.organization_id for one in waiting})
            closed_days = stripes.closed_days(tx, {record_day(one.interaction.record_id) for one in waiting})
            for one in waiting:
                if one.interaction.organization_id in closed or record_day(one.key[1]) in closed_days:
                    one.refuse(Reason.REASON_CLOSED)
            rows = [one.row for one in waiting if one.row is not None]
            used = {one.data_key.data_key_id: one.data_key for one in waiting if one.data_key is not None}
            writing.write_data_keys(tx, [key for key in used.values() if not key.stored])
            stored = writing.write(tx, rows)
            fresh = [row for row in rows if row.key in stored]
            screening.expect(tx, fresh)
            writing.count(tx, fresh, self._writer)
            if is_usage:
                self._usage.count(
                    tx, [(one.row, one.shape) for one in waiting if one.row and one.key in stored]
                )
        for key in used.values():
            key.stored = True
        for one in waiting:
            one.is_duplicate = one.row is not None and one.key not in stored


def _receipts(arrivals: Sequence[_Arrival], rules: Mapping[str, Rule]) -> list[ingest_pb2.Receipt]:
    receipts: list[ingest_pb2.Receipt] = []
    for arrival in arrivals:
        first = arrivals[arrival.first] if arrival.first is not None else arrival
        if first.refusal is not None and not first.is_duplicate:
            receipts.append(_refused(arrival.interaction.record_id, first.refusal))
            continue
        if first.is_duplicate or arrival is not first:
            outcome = _Outcome.OUTCOME_DUPLICATE
        elif first.decision is Decision.STORE_WITHOUT_CONTENT:
            outcome = _Outcome.OUTCOME_STORED_WITHOUT_CONTENT
        else:
            outcome = _Outcome.OUTCOME_STORED
        organization_id, record_id = arrival.key
        receipt = ingest_pb2.Receipt(record_id=record_id, outcome=outcome)
        receipt.due_at.FromDatetime(rules[organization_id].due_at(record_day(record_id)))
        receipts.append(receipt)
    return receipts


def _is_stored(arrival: _Arrival) -> bool:
    return arrival.row is not None and not arrival.is_duplicate


def _row(arrival: _Arrival, gateway: str, received_at: datetime) -> Row:
    if arrival.data_key is None:
        return row_of(arrival.interaction, received_at=received_at, gateway=gateway)
    return row_of(
        arrival.interaction,
        received_at=received_at,
        gateway=gateway,
        data_key_id=arrival.data_key.data_key_id,
        content=seal_content(arrival.interaction.content, arrival.interaction.record_id, arrival.data_key),
    )


def _refused(record_id: bytes, reason: "reasons_pb2.Reason.ValueType") -> ingest_pb2.Receipt:
    return ingest_pb2.Receipt(
        # What is no record id is not sent back: it may be anything of any size.
        record_id=record_id if len(record_id) == RECORD_ID_BYTES else b"",
        outcome=_Outcome.OUTCOME_REFUSED,
        reason=reason,
        retryable=reason in _RETRYABLE,
    )
