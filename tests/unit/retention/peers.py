"""The services that retention calls, as small models: rows and keys that are there or not, and what was asked how often."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import grpc

from kept.access_control.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    authz_pb2,
    authz_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
)
from kept.access_control.v1 import lifecycle_pb2 as access_pb2
from kept.access_control.v1 import lifecycle_pb2_grpc as access_grpc
from kept.logging.v1 import lifecycle_pb2 as logging_pb2
from kept.logging.v1 import lifecycle_pb2_grpc as logging_grpc
from kept.options.v1 import roles_pb2
from kept.retention.v1 import rules_pb2
from kept.safety_review.v1 import lifecycle_pb2 as safety_pb2
from kept.safety_review.v1 import lifecycle_pb2_grpc as safety_grpc
from kept.settings.v1 import lifecycle_pb2 as settings_pb2
from kept.settings.v1 import lifecycle_pb2_grpc as settings_grpc
from shared.audit import require_own
from shared.callers import not_allowed
from shared.clock import Clock
from shared.errors import KeptError, Reason, not_found, unknown_organization, wrong_state
from shared.identity import Caller
from shared.ids import record_day, record_time
from shared.service import Registrar, Service
from shared.terms import lot_of, parts_of, rules_behind
from tests.support.own_entries import listed


class Nobody:
    """The played services are called by services only."""

    def authorize_person(self, caller: Caller, method: str) -> Caller:
        raise not_allowed(method)

    def authorize_gateway(self, caller: Caller, method: str) -> Caller:
        raise not_allowed(method)


def _through(day: date, own: Iterable[rules_pb2.OrganizationDue]) -> Callable[[str], date]:
    """Up to which day a lot (shared.terms) is meant."""
    days = {lot_of(one.organization_id, one.application): date.fromisoformat(one.through_day) for one in own}
    return lambda lot: next((days[one] for one in rules_behind(lot) if one in days), day)


@dataclass
class Logging(logging_grpc.LifecycleServiceServicer):
    """Rows by record id in partitions, copies that holds keep, counts of what was dropped."""

    clock: Clock
    rows: dict[bytes, str] = field(default_factory=dict)
    # Of processes that sleep between judging a batch and writing it.
    in_hand: dict[bytes, str] = field(default_factory=dict)
    holds: dict[str, dict[bytes, str]] = field(default_factory=dict)
    # What confidential holds keep: nothing else here looks at it.
    apart: dict[str, dict[bytes, str]] = field(default_factory=dict)
    disclosed: set[str] = field(default_factory=set)
    hold_kinds: dict[str, int] = field(default_factory=dict)
    # (day, organization): the run that took it away, records, and those of them that holds kept.
    by_run: dict[tuple[date, str], tuple[str, int, int]] = field(default_factory=dict)
    removals: set[tuple[str, date]] = field(default_factory=set)
    drops: Counter[date] = field(default_factory=Counter)
    not_due: set[date] = field(default_factory=set)
    erased: dict[str, dict[str, int]] = field(default_factory=dict)
    erased_at: dict[str, datetime] = field(default_factory=dict)
    released: dict[str, int] = field(default_factory=dict)
    # Of end users: whose record it is, organizations that are known, pieces that an erasure takes, and what each is about.
    end_users: dict[bytes, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    pieces: int = 2
    subjects: dict[str, dict[str, Any]] = field(default_factory=dict)
    forgotten: Counter[str] = field(default_factory=Counter)
    emptied: set[tuple[date, str]] = field(default_factory=set)
    # Of content: what an erasure is about, the records that still have some, and whether it may be erased.
    contents: dict[str, dict[str, Any]] = field(default_factory=dict)
    bare: set[bytes] = field(default_factory=set)
    is_content_due: bool = True

    def _held(self) -> dict[bytes, str]:
        return {record: owner for hold in self.holds.values() for record, owner in hold.items()}

    def ListStoredDays(
        self, request: logging_pb2.ListStoredDaysRequest, context: Any
    ) -> logging_pb2.ListStoredDaysResponse:
        through = date.fromisoformat(request.through_day)
        through_of = _through(through, request.own)
        counts: Counter[tuple[date, str]] = Counter()
        held: Counter[tuple[date, str]] = Counter()
        for record, owner in self.rows.items():
            organization_id, application = parts_of(owner)
            is_asked = request.organization_id in ("", organization_id)
            is_asked &= not request.application or application in ("", request.application)
            if is_asked and record_day(record) <= through_of(owner):
                counts[record_day(record), owner] += 1
                held[record_day(record), owner] += record in self._held()
        for day, owner in self.emptied:
            if day <= through_of(owner) and (day, owner) not in self.by_run:
                counts[day, owner] += 0
        lines = [
            logging_pb2.StoredDay(
                day=day.isoformat(),
                organization_id=parts_of(owner)[0],
                records=count,
                held=held[day, owner],
                application=parts_of(owner)[1],
            )
            for (day, owner), count in sorted(counts.items())
        ]
        start = int(request.page_token or 0)
        size = min(request.page_size or 1000, 2)  # small pages, so that paging is what is tested
        more = start + size < len(lines)
        return logging_pb2.ListStoredDaysResponse(
            days=lines[start : start + size], next_page_token=str(start + size) if more else ""
        )

    def DropExpired(
        self, request: logging_pb2.DropExpiredRequest, context: Any
    ) -> logging_pb2.DropExpiredResponse:
        day = date.fromisoformat(request.day)
        if day in self.not_due:
            raise KeptError(Reason.REASON_NOT_DUE, "Not due.")
        own = {lot_of(one.organization_id, one.application): one.through_day for one in request.applications}

        def goes(owner: str) -> bool:
            organization_id, _ = parts_of(owner)
            if owner in own:
                return own[owner] >= request.day
            if request.only_organization_ids or request.partition_stays:
                return organization_id in request.only_organization_ids
            return organization_id not in request.keep_organization_ids

        gone = {
            record: owner for record, owner in self.rows.items() if record_day(record) == day and goes(owner)
        }
        self.drops[day] += (request.run_id, day) not in self.removals
        self.removals.add((request.run_id, day))
        for owner in {*gone.values(), *(owner for each, owner in self.emptied if each == day)}:
            of_day = [record for record, of in gone.items() if of == owner]
            self.by_run.setdefault(
                (day, owner), (request.run_id, len(of_day), sum(record in self._held() for record in of_day))
            )
        self.rows = {record: owner for record, owner in self.rows.items() if record not in gone}
        mine = [
            counts for (each, _), counts in self.by_run.items() if each == day and counts[0] == request.run_id
        ]
        return logging_pb2.DropExpiredResponse(
            dropped=sum(records for _, records, _ in mine), held=sum(held for _, _, held in mine)
        )

    def ListDroppedCounts(
        self, request: logging_pb2.ListDroppedCountsRequest, context: Any
    ) -> logging_pb2.ListDroppedCountsResponse:
        day = date.fromisoformat(request.day)
        lines = [
            logging_pb2.StoredDay(
                day=request.day,
                organization_id=parts_of(owner)[0],
                records=records,
                records_with_content=records,
                held=held,
                application=parts_of(owner)[1],
            )
            for (each, owner), (run_id, records, held) in sorted(self.by_run.items())
            if each == day and run_id in request.run_ids
        ]
        start = int(request.page_token or 0)
        return logging_pb2.ListDroppedCountsResponse(
            days=lines[start : start + 1], next_page_token=str(start + 1) if start + 1 < len(lines) else ""
        )

    def _place(
        self, request: logging_pb2.HoldRecordsRequest | logging_pb2.HoldMatchingRequest
    ) -> dict[bytes, str]:
        is_apart = request.confidential and request.hold_id not in self.disclosed
        return (self.apart if is_apart else self.holds).setdefault(request.hold_id, {})

    def DiscloseHold(
        self, request: logging_pb2.DiscloseHoldRequest, context: Any
    ) -> logging_pb2.DiscloseHoldResponse:
        self.disclosed.add(request.hold_id)
        apart = self.apart.get(request.hold_id, {})
        if apart:  # one at a time, so that going on is what is tested
            record, owner = apart.popitem()
            self.holds.setdefault(request.hold_id, {})[record] = owner
        return logging_pb2.DiscloseHoldResponse(done=not apart)

    def _held_record(self, record: bytes) -> logging_pb2.HeldRecord:
        application = parts_of((self.rows | self._held())[record])[1]
        return logging_pb2.HeldRecord(
            record_id=record, data_key_id=b"k" * 16, sealed_data_key=b"s" * 1168, application=application
        )

    def HoldRecords(
        self, request: logging_pb2.HoldRecordsRequest, context: Any
    ) -> logging_pb2.HoldRecordsResponse:
        if request.hold_id in self.released:
            raise wrong_state("The hold was released.", "released")
        known = self.rows | self._held()
        there = {
            record: known[record]
            for record in request.record_ids
            if parts_of(known.get(record, ""))[0] == request.organization_id
        }
        self._place(request).update(there)
        self.hold_kinds[request.hold_id] = request.kind
        return logging_pb2.HoldRecordsResponse(
            held=[self._held_record(record) for record in there],
            missing=[record for record in request.record_ids if record not in there],
        )

    def HoldMatching(
        self, request: logging_pb2.HoldMatchingRequest, context: Any
    ) -> logging_pb2.HoldMatchingResponse:
        if request.hold_id in self.released:
            raise wrong_state("The hold was released.", "released")
        scope = request.scope
        mine = sorted(
            record
            for record, owner in (self.rows | self._held()).items()
            if parts_of(owner)[0] == request.organization_id
            and record > request.after
            and (scope.first_day or "0") <= record_day(record).isoformat() <= (scope.last_day or "9")
            and scope.end_user in ("", self.end_users.get(record))
        )
        now = mine[:2]  # small pieces, so that going on is what is tested
        self._place(request).update({record: (self.rows | self._held())[record] for record in now})
        gone = [day for day, owner in self.by_run if owner == request.organization_id]
        return logging_pb2.HoldMatchingResponse(
            held=[self._held_record(record) for record in now],
            after=now[-1] if len(mine) > 2 else b"",
            gone_through_day=max(gone).isoformat() if gone else "",
        )

    def ReleaseRecords(
        self, request: logging_pb2.ReleaseRecordsRequest, context: Any
    ) -> logging_pb2.ReleaseRecordsResponse:
        let_go = self.holds.pop(request.hold_id, {})
        wanted = {record for subject in self.subjects.values() for record in subject["records"]}
        for record in wanted & set(let_go) - set(self._held()):
            self.rows.pop(record, None)
        gone = set(let_go) - set(self.rows) - set(self._held())
        secret = self.apart.pop(request.hold_id, {})
        gone |= (
            set(secret)
            - set(self.rows)
            - set(self._held())
            - {one for kept in self.apart.values() for one in kept}
        )
        removed = self.released.setdefault(request.hold_id, len(gone))
        return logging_pb2.ReleaseRecordsResponse(removed=removed)

    def EraseOrganization(
        self, request: logging_pb2.EraseOrganizationRequest, context: Any
    ) -> logging_pb2.EraseOrganizationResponse:
        owner = request.organization_id
        if owner not in self.erased:
            self._fence(owner)
            mine = [record for record, of in self.rows.items() if of == owner and record not in self._held()]
            self.erased[owner] = {"interactions": len(mine)}
            self.rows = {record: of for record, of in self.rows.items() if of != owner}
        response = logging_pb2.EraseOrganizationResponse(
            removed=self.erased[owner], held=sum(of == owner for of in self._held().values())
        )
        response.erased_at.FromDatetime(self.erased_at.setdefault(request.organization_id, self.clock.now()))
        return response

    def EraseSubject(
        self, request: logging_pb2.EraseSubjectRequest, context: Any
    ) -> logging_pb2.EraseSubjectResponse:
        if request.organization_id in self.unknown:
            raise KeptError(Reason.REASON_UNKNOWN_ORGANIZATION, "Unknown.")
        subject = self.subjects.setdefault(
            request.erasure_id, {"records": set(), "calls": 0, "fenced": self.clock.now(), "removed": 0}
        )
        subject["calls"] += 1
        if subject["calls"] == self.pieces:
            mine = {
                record
                for record, owner in (self.rows | self._held()).items()
                if owner == request.organization_id and self.end_users.get(record) == request.end_user
            }
            gone = mine - set(self._held())
            subject |= {"records": mine, "removed": len(gone), "done": self.clock.now()}
            self.emptied |= {(record_day(record), request.organization_id) for record in gone}
            self.rows = {record: owner for record, owner in self.rows.items() if record not in gone}
        return logging_pb2.EraseSubjectResponse(erasure=self._subject(request.erasure_id))

    def EraseContent(
        self, request: logging_pb2.EraseContentRequest, context: Any
    ) -> logging_pb2.EraseContentResponse:
        if not self.is_content_due:
            raise KeptError(Reason.REASON_NOT_DUE, "Not in force.")
        act = self._begun(request)
        act["calls"] += 1
        if act["calls"] == self.pieces:
            mine = {record for record in self._older(act, self.rows) if record not in self.bare}
            self.bare |= mine
            act |= {"removed": len(mine - set(self._held())), "done": self.clock.now()}
        return logging_pb2.EraseContentResponse(erasure=self._content(request.erasure_id))

    def RaiseFence(
        self, request: logging_pb2.RaiseFenceRequest, context: Any
    ) -> logging_pb2.RaiseFenceResponse:
        if request.HasField("before") and not self.is_content_due:
            raise KeptError(Reason.REASON_NOT_DUE, "Not in force.")
        if request.HasField("before"):
            self._begun(request)
        else:
            self._fence(request.organization_id)
        response = logging_pb2.RaiseFenceResponse()
        response.fenced_at.FromDatetime(self.clock.now())
        return response

    def _begun(
        self, request: logging_pb2.EraseContentRequest | logging_pb2.RaiseFenceRequest
    ) -> dict[str, Any]:
        self._fence(request.organization_id)
        return self.contents.setdefault(
            request.erasure_id,
            {
                "owner": request.organization_id,
                "before": request.before.ToDatetime(tzinfo=UTC),
                "calls": 0,
                "fenced": self.clock.now(),
                "removed": 0,
            },
        )

    def _fence(self, owner: str) -> None:
        """What a process has in hand is written before the fence stands, and never after."""
        self.rows |= {record: of for record, of in self.in_hand.items() if of == owner}
        self.in_hand = {record: of for record, of in self.in_hand.items() if of != owner}

    def GetContentErasure(
        self, request: logging_pb2.GetContentErasureRequest, context: Any
    ) -> logging_pb2.GetContentErasureResponse:
        return logging_pb2.GetContentErasureResponse(erasure=self._content(request.erasure_id))

    @staticmethod
    def _older(act: dict[str, Any], records: dict[bytes, str]) -> set[bytes]:
        return {
            record
            for record, owner in records.items()
            if owner == act["owner"] and record_time(record) < act["before"]
        }

    def _content(self, erasure_id: str) -> logging_pb2.ContentErasure:
        act = self.contents[erasure_id]
        message = logging_pb2.ContentErasure(
            done="done" in act,
            removed={"contents": act["removed"]},
            held=len(self._older(act, self._held())),
            holds=[
                logging_pb2.ContentHold(hold_id=hold_id, records=len(self._older(act, kept)))
                for hold_id, kept in sorted(self.holds.items())
                if self._older(act, kept)
            ],
        )
        message.fenced_at.FromDatetime(act["fenced"])
        if message.done:
            message.erased_at.FromDatetime(act["done"])
        return message

    def _found(self, erasure_id: str) -> dict[str, Any]:
        if erasure_id not in self.subjects:
            raise not_found("erasure")
        return self.subjects[erasure_id]

    def _subject(self, erasure_id: str) -> logging_pb2.SubjectErasure:
        subject = self._found(erasure_id)
        message = logging_pb2.SubjectErasure(
            done="done" in subject,
            removed={"interactions": subject["removed"]},
            held=len(subject["records"] & set(self._held())),
            holds=[
                logging_pb2.SubjectHold(hold_id=hold_id, records=len(subject["records"] & set(kept)))
                for hold_id, kept in sorted(self.holds.items())
                if subject["records"] & set(kept)
            ],
        )
        message.fenced_at.FromDatetime(subject["fenced"])
        if message.done:
            message.erased_at.FromDatetime(subject["done"])
        for day in sorted({record_day(record) for record in subject["records"]}):
            of_day = {record for record in subject["records"] if record_day(record) == day}
            held = len(of_day & set(self._held()))
            message.days.add(
                day=day.isoformat(),
                removed=len(of_day) - held,
                removed_with_content=len(of_day) - held,
                held=held,
            )
        return message

    def GetSubjectErasure(
        self, request: logging_pb2.GetSubjectErasureRequest, context: Any
    ) -> logging_pb2.GetSubjectErasureResponse:
        return logging_pb2.GetSubjectErasureResponse(erasure=self._subject(request.erasure_id))

    def ListErasedRecords(
        self, request: logging_pb2.ListErasedRecordsRequest, context: Any
    ) -> logging_pb2.ListErasedRecordsResponse:
        gone = sorted(self._found(request.erasure_id)["records"] - set(self._held()))
        after = bytes.fromhex(request.page_token)
        left = [record for record in gone if record > after]
        return logging_pb2.ListErasedRecordsResponse(
            record_ids=left[:2], next_page_token=left[1].hex() if len(left) > 2 else ""
        )

    def ForgetErasedRecords(
        self, request: logging_pb2.ForgetErasedRecordsRequest, context: Any
    ) -> logging_pb2.ForgetErasedRecordsResponse:
        if self._subject(request.erasure_id).held:
            raise wrong_state("A hold keeps some.", "held")
        self.forgotten[request.erasure_id] += 1
        self.subjects[request.erasure_id]["records"] = set()
        return logging_pb2.ForgetErasedRecordsResponse()

    def GetOldest(self, request: logging_pb2.GetOldestRequest, context: Any) -> logging_pb2.GetOldestResponse:
        left = sorted(record_day(record) for record in self.rows if record not in self._held())
        return logging_pb2.GetOldestResponse(oldest_day=left[0].isoformat() if left else "")


@dataclass
class Custody(keys_pb2_grpc.KeyServiceServicer):
    """Epochs that open, destructions, and what holds keep. A destruction answers PENDING once before it is done."""

    clock: Clock
    epochs: set[tuple[str, date]] = field(default_factory=set)
    destructions: dict[str, list[tuple[str, date]]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    marks: Counter[tuple[str, date]] = field(default_factory=Counter)
    retained: dict[str, set[bytes]] = field(default_factory=dict)
    apart: dict[str, set[bytes]] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    not_due: set[tuple[str, date]] = field(default_factory=set)
    takes: timedelta = timedelta(0)
    withheld: dict[str, set[bytes]] = field(default_factory=dict)
    is_early: bool = True
    _marked: dict[str, datetime] = field(default_factory=dict)
    _done: dict[str, datetime] = field(default_factory=dict)

    def _destruction(self, destruction_id: str, doomed: list[tuple[str, date]]) -> keys_pb2.Destruction:
        self.asked[destruction_id] += 1
        if destruction_id not in self.destructions:
            self.destructions[destruction_id] = doomed
            self.epochs -= set(doomed)
            self.marks.update(doomed)
        answer = keys_pb2.Destruction(
            destruction_id=destruction_id, epochs=len(self.destructions[destruction_id])
        )
        answer.marked_at.FromDatetime(self._marked.setdefault(destruction_id, self.clock.now()))
        if self.asked[destruction_id] == 1:
            answer.state = keys_pb2.DESTRUCTION_STATE_PENDING
            return answer
        done = self._done.setdefault(destruction_id, self.clock.now() + self.takes)
        answer.state = keys_pb2.DESTRUCTION_STATE_DONE
        answer.destroyed_at.FromDatetime(done)
        answer.root_key_id = "root_" + destruction_id[-3:]
        answer.key_store_statement = "Files on a disk that is not backed up."
        return answer

    def DestroyEpochs(
        self, request: keys_pb2.DestroyEpochsRequest, context: Any
    ) -> keys_pb2.DestroyEpochsResponse:
        if request.WhichOneof("target") == "content":
            if not self.is_early:
                raise KeptError(Reason.REASON_NOT_DUE, "Not in force.")
            through = date.fromisoformat(request.content.through_day)
            doomed = [
                epoch
                for epoch in self.epochs
                if epoch[0] == request.content.organization_id and epoch[1] <= through
            ]
        elif request.organization_id:
            doomed = [epoch for epoch in self.epochs if epoch[0] == request.organization_id]
        else:
            through = date.fromisoformat(request.through_day)
            through_of = _through(through, request.own)
            doomed = [
                epoch
                for epoch in self.epochs
                if epoch[1] <= through_of(epoch[0]) and epoch not in self.not_due
            ]
        return keys_pb2.DestroyEpochsResponse(
            destruction=self._destruction(request.destruction_id, sorted(doomed))
        )

    def ListDestroyedEpochs(
        self, request: keys_pb2.ListDestroyedEpochsRequest, context: Any
    ) -> keys_pb2.ListDestroyedEpochsResponse:
        found = self.destructions[request.destruction_id]
        start = int(request.page_token or 0)
        return keys_pb2.ListDestroyedEpochsResponse(
            epochs=[
                keys_pb2.DestroyedEpoch(
                    organization_id=parts_of(owner)[0],
                    day=day.isoformat(),
                    epoch_key_id=f"epoch_{owner[-1]}{day:%m%d}",
                    application=parts_of(owner)[1],
                )
                for owner, day in found[start : start + 2]
            ],
            next_page_token=str(start + 2) if start + 2 < len(found) else "",
        )

    def RetainRecords(
        self, request: keys_pb2.RetainRecordsRequest, context: Any
    ) -> keys_pb2.RetainRecordsResponse:
        if request.hold_id in self.released:
            raise wrong_state("The hold was released.", "released")
        kept_anyway = {
            record
            for hold_id, records in self.retained.items()
            if hold_id not in self.released
            for record in records
        }
        lost = [
            record.record_id
            for record in request.records
            if (lot_of(request.organization_id, record.application), record_day(record.record_id))
            not in self.epochs
            and record.record_id not in kept_anyway
        ]
        kept = {record.record_id for record in request.records} - set(lost)
        (self.apart if request.confidential else self.retained).setdefault(request.hold_id, set()).update(
            kept
        )
        return keys_pb2.RetainRecordsResponse(retained=len(kept), lost=lost)

    def DiscloseHold(
        self, request: keys_pb2.DiscloseHoldRequest, context: Any
    ) -> keys_pb2.DiscloseHoldResponse:
        moved = self.apart.pop(request.hold_id, set())
        self.retained.setdefault(request.hold_id, set()).update(moved)
        return keys_pb2.DiscloseHoldResponse(disclosed=len(moved))

    def ReleaseRecords(
        self, request: keys_pb2.ReleaseRecordsRequest, context: Any
    ) -> keys_pb2.ReleaseRecordsResponse:
        self.retained.pop(request.hold_id, None)
        self.apart.pop(request.hold_id, None)
        self.released.add(request.hold_id)
        name = request.hold_id.replace("hold_", "release_")
        return keys_pb2.ReleaseRecordsResponse(destruction=self._destruction(name, []))

    def WithholdRecords(
        self, request: keys_pb2.WithholdRecordsRequest, context: Any
    ) -> keys_pb2.WithholdRecordsResponse:
        assert not {record for kept in self.retained.values() for record in kept} & set(request.record_ids)
        known = self.withheld.setdefault(request.erasure_id, set())
        known |= set(request.record_ids)
        response = keys_pb2.WithholdRecordsResponse(withheld=len(known))
        response.withheld_at.FromDatetime(self.clock.now())
        return response


@dataclass
class Audit(audit_pb2_grpc.AuditServiceServicer):
    """Entries by id in the order of arrival; one is in the tree from the second question on."""

    entries: dict[str, audit_pb2.AuditEntry] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def AppendEntries(
        self, request: audit_pb2.AppendEntriesRequest, context: Any
    ) -> audit_pb2.AppendEntriesResponse:
        require_own(request.entries, "retention")
        for entry in request.entries:
            self.entries.setdefault(entry.entry_id, entry)
        return audit_pb2.AppendEntriesResponse(position=len(self.entries))

    def ListOwnEntries(
        self, request: audit_pb2.ListOwnEntriesRequest, context: Any
    ) -> audit_pb2.ListOwnEntriesResponse:
        return listed(list(self.entries.values()), request)

    def GetInclusionProof(
        self, request: audit_pb2.GetInclusionProofRequest, context: Any
    ) -> audit_pb2.GetInclusionProofResponse:
        entry = self.entries.get(request.entry_id)
        if entry is None:
            raise not_found("entry")
        self.asked[request.entry_id] += 1
        if self.asked[request.entry_id] == 1:
            raise KeptError(Reason.REASON_NOT_YET_INTEGRATED, "Not yet.")
        body = {"entry_id": entry.entry_id, "facts": dict(entry.facts)}
        return audit_pb2.GetInclusionProofResponse(
            entry=audit_pb2.LoggedEntry(
                body=json.dumps(body).encode(),
                salt=b"s" * 32,
                commitment=b"c" * 32,
                organization_id=entry.organization_id,
                number=1,
                previous_leaf_hash=bytes(32),
                leaf_index=4,
                inclusion_proof=[b"a" * 32, b"b" * 32],
            ),
            head=audit_pb2.TreeHead(
                tree_size=7, root_hash=b"r" * 32, timestamp_ms=1, key_id="ab", signature=b"x" * 64
            ),
        )


@dataclass
class Authz(authz_pb2_grpc.AuthzServiceServicer):
    """A token "person_… LEGAL" is that person with that role; "member_… org_…" an admin of that organization. refuse: how a question for
    an organization fails; unknown: those that there are not. lapsed: people, and what they could not do any more."""

    unknown: set[str] = field(default_factory=set)
    refuse: KeptError | None = None
    lapsed: set[tuple[str, str]] = field(default_factory=set)

    def CheckVoices(
        self, request: authz_pb2.CheckVoicesRequest, context: Any
    ) -> authz_pb2.CheckVoicesResponse:
        if self.refuse is not None:
            raise self.refuse
        counting = [one for one in request.person_ids if (one, request.method) not in self.lapsed]
        return authz_pb2.CheckVoicesResponse(person_ids=counting)

    def RequireOrganization(
        self, request: authz_pb2.RequireOrganizationRequest, context: Any
    ) -> authz_pb2.RequireOrganizationResponse:
        if self.refuse is not None:
            raise self.refuse
        if request.organization_id in self.unknown:
            raise unknown_organization()
        return authz_pb2.RequireOrganizationResponse()

    def Check(self, request: authz_pb2.CheckRequest, context: Any) -> authz_pb2.CheckResponse:
        who, what = request.token.split("/")
        if who.startswith("member_"):
            return authz_pb2.CheckResponse(
                member_id=who, organization_id=what, customer_role=roles_pb2.CUSTOMER_ROLE_ADMIN
            )
        return authz_pb2.CheckResponse(person_id=who, roles=[roles_pb2.StaffRole.Value("STAFF_ROLE_" + what)])


@dataclass
class Access(access_grpc.LifecycleServiceServicer):
    """Access control's part of an erasure."""

    clock: Clock
    erased: Counter[str] = field(default_factory=Counter)
    erased_at: dict[str, datetime] = field(default_factory=dict)

    def EraseOrganization(
        self, request: access_pb2.EraseOrganizationRequest, context: Any
    ) -> access_pb2.EraseOrganizationResponse:
        self.erased[request.organization_id] += 1
        response = access_pb2.EraseOrganizationResponse(removed={"grants": 2})
        response.erased_at.FromDatetime(self.erased_at.setdefault(request.organization_id, self.clock.now()))
        return response


@dataclass
class Safety(safety_grpc.LifecycleServiceServicer):
    """Safety review's part of an erasure."""

    clock: Clock
    kept: int = 0
    erased: Counter[str] = field(default_factory=Counter)
    erased_at: dict[str, datetime] = field(default_factory=dict)
    records: dict[str, set[bytes]] = field(default_factory=dict)

    def EraseOrganization(
        self, request: safety_pb2.EraseOrganizationRequest, context: Any
    ) -> safety_pb2.EraseOrganizationResponse:
        self.erased[request.organization_id] += 1
        response = safety_pb2.EraseOrganizationResponse(removed={"flags": 3}, kept=self.kept)
        response.erased_at.FromDatetime(self.erased_at.setdefault(request.organization_id, self.clock.now()))
        return response

    def EraseRecords(
        self, request: safety_pb2.EraseRecordsRequest, context: Any
    ) -> safety_pb2.EraseRecordsResponse:
        known = self.records.setdefault(request.erasure_id, set())
        known |= set(request.record_ids)
        response = safety_pb2.EraseRecordsResponse(removed={"verdicts": len(known)})
        response.erased_at.FromDatetime(self.clock.now())
        return response


@dataclass
class Settings(settings_grpc.LifecycleServiceServicer):
    """Settings' part: closed two seconds after it is asked."""

    clock: Clock
    closed: dict[str, datetime] = field(default_factory=dict)
    erased: Counter[str] = field(default_factory=Counter)
    erased_at: dict[str, datetime] = field(default_factory=dict)

    def CloseOrganization(
        self, request: settings_pb2.CloseOrganizationRequest, context: Any
    ) -> settings_pb2.CloseOrganizationResponse:
        response = settings_pb2.CloseOrganizationResponse()
        at = self.closed.setdefault(request.organization_id, self.clock.now() + timedelta(seconds=2))
        response.effective_at.FromDatetime(at)
        return response

    def EraseOrganization(
        self, request: settings_pb2.EraseOrganizationRequest, context: Any
    ) -> settings_pb2.EraseOrganizationResponse:
        assert self.clock.now() >= self.closed[request.organization_id].astimezone(UTC)
        self.erased[request.organization_id] += 1
        response = settings_pb2.EraseOrganizationResponse(removed={"members": 5})
        response.erased_at.FromDatetime(self.erased_at.setdefault(request.organization_id, self.clock.now()))
        return response


def service(*adds: Callable[[Any], None]) -> Service:
    """A service of some servicers."""

    def register(registrar: Registrar) -> None:
        for add in adds:
            add(cast(grpc.Server, registrar))

    return Service(register=register, jobs=(), authority=Nobody())
