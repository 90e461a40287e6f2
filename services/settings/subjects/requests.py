"""Requests of data subjects, which a customer's admin passes on: a deadline with reminders, and for an erasure the way through retention.

Nothing of a record is seen here. What is found is read by people, under a grant, with the filter that an open request hands out; erasures
are retention's, and what comes back of them is kept for the customer: the salt that shows whose a certificate is. The pseudonym goes the
moment that nobody needs it: with the answer, or once retention has taken the erasure over.
"""

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

from prometheus_client import Gauge

from kept.retention.v1 import erasures_pb2
from kept.settings.v1 import subject_requests_pb2 as contract
from services.settings.accounts.admins import lock_for_act
from services.settings.store import Tx
from services.settings.store import subject_requests as store
from services.settings.store.subject_requests import SubjectRequest
from services.settings.subjects.deadlines import due_at, next_reminder
from services.settings.telling.notifications import Ids, Notifications
from services.settings.zero_data_retention import content_note
from shared import audit, ids
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database, after_commit
from shared.enums import short_name
from shared.errors import KeptError, Reason, invalid, not_found, wrong_state
from shared.identity import Caller
from shared.jobs import Attempts, Job
from shared.outbox import Outbox
from shared.pages import page
from shared.telemetry import ALERT

_LIST: Final = "subjects"
_ACTOR: Final = "service:settings"
_BATCH: Final = 20
_SALT_BYTES: Final = 32
# How long ago a customer may have got what it passes on: the longest time that the law leaves it.
_LONGEST_AGO: Final = timedelta(days=92)
# How long a process may be busy with one look at an erasure; then the next look at one that goes on, and at one that waits for a hold.
_LOOK: Final = timedelta(seconds=30)
_LOOK_AGAIN: Final = timedelta(seconds=5)
_LOOK_AT_HELD: Final = timedelta(hours=1)

_FIND = contract.SUBJECT_REQUEST_KIND_FIND
_ERASE = contract.SUBJECT_REQUEST_KIND_ERASE
_OPEN = contract.SUBJECT_REQUEST_STATE_OPEN
_ERASING = contract.SUBJECT_REQUEST_STATE_ERASING
_HELD = contract.SUBJECT_REQUEST_STATE_HELD
_DONE = contract.SUBJECT_REQUEST_STATE_DONE
_WITHDRAWN = contract.SUBJECT_REQUEST_STATE_WITHDRAWN
_FAILED = contract.SUBJECT_REQUEST_STATE_FAILED

_UNANSWERED: Final = Gauge(
    "kept_subject_requests_unanswered", "Requests of data subjects without an answer, by kind.", ["kind"]
)
_LATE: Final = Gauge("kept_subject_requests_late", "Those of them whose deadline is past, by kind.", ["kind"])


class Retention(Protocol):
    """The part of retention's contract that is used here; kept.retention.v1.ErasureService."""

    def EraseSubject(
        self, request: erasures_pb2.EraseSubjectRequest, /
    ) -> erasures_pb2.EraseSubjectResponse: ...
    def GetErasure(self, request: erasures_pb2.GetErasureRequest, /) -> erasures_pb2.GetErasureResponse: ...


@dataclass(frozen=True)
class Passed:
    """What an admin passes on. end_user: 1 to 128 characters. received_at: when the customer got it; None is now."""

    organization_id: str
    kind: "contract.SubjectRequestKind.ValueType"
    end_user: str = field(repr=False)
    reference: str
    received_at: datetime | None

    def digest(self, salt: bytes) -> bytes:
        """Equal for equal requests, and of no use to who tries pseudonyms without the salt."""
        received = "" if self.received_at is None else self.received_at.isoformat()
        said = json.dumps([self.organization_id, self.kind, self.end_user, self.reference, received])
        return hmac.digest(salt, said.encode(), "sha256")


class SubjectRequests:
    """The requests of all organizations. promised: a shorter time than the month of the law, or None. reminders: how long before the
    deadline somebody is reminded."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        notifications: Notifications,
        retention: Retention,
        *,
        promised: timedelta | None,
        reminders: Sequence[timedelta],
    ) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._notifications = notifications
        self._retention = retention
        self._promised = promised
        self._reminders = tuple(reminders)
        self.job = Job("subject_requests", timedelta(seconds=5), self.step)

    def create(self, caller: Caller, request_id: str, passed: Passed) -> SubjectRequest:
        """Passes a request on, or finds the one that the id made. Raises INVALID_ARGUMENT, REQUEST_ID_REUSED,
        ADMIN_REQUIRED, CLOSED, NOT_FOUND."""
        now = self._clock.now()
        received_at = passed.received_at or now
        if not now - _LONGEST_AGO <= received_at <= now:
            raise invalid("received_at", "has to lie in the last three months")
        salt = ids.entropy(_SALT_BYTES)
        is_erasure = passed.kind == _ERASE
        due = due_at(received_at, self._promised)
        made = SubjectRequest(
            subject_request_id=ids.new_id("subject"),
            organization_id=passed.organization_id,
            request_id=request_id,
            kind=passed.kind,
            state=_ERASING if is_erasure else _OPEN,
            end_user=passed.end_user,
            content_salt=salt,
            content_digest=passed.digest(salt),
            reference=passed.reference,
            requested_by=caller.actor,
            created_at=now,
            received_at=received_at,
            due_at=due,
            # One that comes late already is told of at once.
            remind_at=next_reminder(due, self._reminders, now) or now,
            look_at=now if is_erasure else None,
        )
        with self._database.transaction() as tx:
            organization = lock_for_act(tx, caller, passed.organization_id, shared=True)
            if is_erasure and organization.known_from is not None:
                # Before, whoever is asked to erase may not know the organization, and refuses for good.
                made = replace(made, look_at=max(now, organization.known_from + CLOCK_TOLERANCE))
            if not store.add(tx, made):
                known = store.by_request(tx, passed.organization_id, request_id)
                if known is None or not hmac.compare_digest(
                    known.content_digest, passed.digest(known.content_salt)
                ):
                    raise KeptError(
                        Reason.REASON_REQUEST_ID_REUSED,
                        "This request id came before with another content; use a new one.",
                    )
                return known
            self._audit(
                tx,
                "subject_request.created",
                caller.actor,
                made,
                subject_kind=short_name(contract.SubjectRequestKind, made.kind),
                due_at=due.isoformat(),
            )
            if is_erasure:
                after_commit(tx, self.job.wake.set)
            return made

    def get(self, caller: Caller, subject_request_id: str) -> SubjectRequest:
        """One of the caller's organization. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            return _own(store.find(tx, subject_request_id), caller)

    def content_note(self, request: SubjectRequest) -> str:
        """What the records will not show, and why; "" where there is nothing to say."""
        with self._database.transaction() as tx:
            return content_note(tx, request.organization_id)

    def export(self, caller: Caller, subject_request_id: str) -> SubjectRequest:
        """As `get`, for who takes the salt along; written down. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            request = _own(store.find(tx, subject_request_id), caller)
            self._audit(tx, "subject_request.exported", caller.actor, request)
            return request

    def page(
        self, organization_id: str, open_only: bool, page_size: int, page_token: str
    ) -> tuple[Sequence[SubjectRequest], str]:
        """A page, oldest first, and the token of the next; "" on the last."""
        with self._database.transaction() as tx:
            read = partial(store.list_after, tx, organization_id, open_only)
            return page(_LIST, page_size, page_token, read, lambda request: request.number)

    def complete(self, caller: Caller, subject_request_id: str, is_withdrawn: bool) -> SubjectRequest:
        """The admin has answered, or it came to nothing; the same again changes nothing. Raises NOT_FOUND, WRONG_STATE, ADMIN_REQUIRED,
        CLOSED."""
        with self._database.transaction() as tx:
            lock_for_act(tx, caller, caller.organization_id, shared=True)
            request = _own(store.find(tx, subject_request_id, lock=True), caller)
            wanted = _WITHDRAWN if is_withdrawn else _DONE
            if request.kind == _ERASE or request.state not in (_OPEN, wanted):
                raise _wrong(request, "Only a request that waits for your answer can be completed.")
            if request.state == _OPEN:
                self._end(tx, request, wanted, caller.actor)
            return _again(tx, request)

    def extend(
        self,
        caller: Caller,
        subject_request_id: str,
        extension: "contract.SubjectRequestExtension.ValueType",
    ) -> SubjectRequest:
        """Two further months; the same again changes nothing. Raises NOT_FOUND, WRONG_STATE, ADMIN_REQUIRED, CLOSED."""
        with self._database.transaction() as tx:
            lock_for_act(tx, caller, caller.organization_id, shared=True)
            request = _own(store.find(tx, subject_request_id, lock=True), caller)
            if request.extension == extension:
                return request
            now = self._clock.now()
            if request.extension or not request.is_unanswered or now >= request.due_at:
                raise _wrong(request, "It can be extended once, and before its deadline only.")
            due = due_at(request.received_at, self._promised, is_extended=True)
            store.change(
                tx,
                subject_request_id,
                extension=extension,
                due_at=due,
                remind_at=next_reminder(due, self._reminders, now),
            )
            why = short_name(contract.SubjectRequestExtension, extension)
            self._audit(
                tx, "subject_request.extended", caller.actor, request, due_at=due.isoformat(), why=why
            )
            return _again(tx, request)

    def is_overdue(self, request: SubjectRequest) -> bool:
        """Whether the deadline is past without an answer."""
        return request.is_unanswered and self._clock.now() >= request.due_at

    def step(self) -> bool:
        """The job: reminds, and takes a look at erasures. True when there may be more at once. Raises the first failure once all were
        tried."""
        reminded = self._remind()
        now = self._clock.now()
        with self._database.transaction() as tx:
            waiting = store.claim_to_look(tx, now, now + _LOOK, _BATCH)
        attempts = Attempts()
        for request in waiting:
            with attempts.attempt():  # what fails is looked at again
                self._look(request)
        self._report()
        attempts.raise_first()
        return reminded or len(waiting) == _BATCH

    def _remind(self) -> bool:
        now = self._clock.now()
        with self._database.transaction() as tx:
            due = store.lock_to_remind(tx, now, _BATCH)
            for request in due:
                following = next_reminder(request.due_at, self._reminders, now)
                store.change(
                    tx,
                    request.subject_request_id,
                    reminders=request.reminders + 1,
                    remind_at=following,
                )
                is_late = now >= request.due_at
                self._audit(
                    tx,
                    "subject_request.reminded",
                    _ACTOR,
                    request,
                    due_at=request.due_at.isoformat(),
                    overdue=is_late,
                )
                self._notifications.emit(
                    tx,
                    "subject_request.overdue" if is_late else "subject_request.due_soon",
                    Ids(
                        organization_id=request.organization_id,
                        subject_id=request.subject_request_id,
                        actor=_ACTOR,
                        # An erasure is the vendor's to finish, everything else the customer's.
                        tell="VENDOR" if request.kind == _ERASE else "CUSTOMER",
                        state=short_name(contract.SubjectRequestState, request.state),
                        due_at=request.due_at,
                    ),
                )
        return len(due) == _BATCH

    def _look(self, request: SubjectRequest) -> None:
        if request.end_user is not None:
            self._hand_over(request, request.end_user)
            return
        erasure = self._retention.GetErasure(
            erasures_pb2.GetErasureRequest(erasure_id=request.erasure_id or "")
        ).erasure
        with self._database.transaction() as tx:
            current = store.find(tx, request.subject_request_id, lock=True)
            if current is not None and current.state in (_ERASING, _HELD):
                self._take_over(tx, current, erasure)

    def _hand_over(self, request: SubjectRequest, end_user: str) -> None:
        """Has retention begin. Once it has, it knows who it is, and nothing here needs to any more."""
        try:
            answer = self._retention.EraseSubject(
                erasures_pb2.EraseSubjectRequest(
                    request_id=request.subject_request_id,
                    organization_id=request.organization_id,
                    end_user=end_user,
                    requested_by=request.requested_by,
                )
            )
        except KeptError as error:
            if error.reason != Reason.REASON_UNKNOWN_ORGANIZATION:
                raise
            with self._database.transaction() as tx:
                current = store.find(tx, request.subject_request_id, lock=True)
                if current is not None and current.end_user is not None:
                    self._end(tx, current, _FAILED, _ACTOR)
            return
        with self._database.transaction() as tx:
            current = store.find(tx, request.subject_request_id, lock=True)
            if current is None or current.end_user is None:
                return  # another process was faster, or the organization is erased
            store.change(
                tx,
                request.subject_request_id,
                end_user=None,
                erasure_id=answer.erasure.erasure_id,
                salt=answer.subject_salt,
                commitment=answer.erasure.subject_commitment,
            )
            self._audit(
                tx, "subject_request.handed_over", _ACTOR, request, erasure_id=answer.erasure.erasure_id
            )
            self._take_over(tx, _again(tx, current), answer.erasure)

    def _take_over(self, tx: Tx, request: SubjectRequest, erasure: erasures_pb2.Erasure) -> None:
        """Writes down how far retention is."""
        now, name = self._clock.now(), request.subject_request_id
        certificate_id = erasure.certificate_id or None
        store.change(tx, name, certificate_id=certificate_id, kept=tuple(erasure.kept))
        if erasure.state == erasures_pb2.ERASURE_STATE_FAILED:
            self._end(tx, request, _FAILED, _ACTOR, certificate_id or "")
            return
        if erasure.state != erasures_pb2.ERASURE_STATE_DONE:
            store.change(tx, name, look_at=now + (_LOOK_AT_HELD if request.state == _HELD else _LOOK_AGAIN))
            return
        if request.state == _HELD and not erasure.complete:
            store.change(tx, name, look_at=now + _LOOK_AT_HELD)
        elif request.state == _HELD:
            store.change(tx, name, state=_DONE, look_at=None)
            self._audit(
                tx, "subject_request.completed", _ACTOR, request, certificate_id=erasure.certificate_id
            )
        else:
            self._end(tx, request, _DONE if erasure.complete else _HELD, _ACTOR, certificate_id or "")

    def _end(
        self,
        tx: Tx,
        request: SubjectRequest,
        state: "contract.SubjectRequestState.ValueType",
        actor: str,
        certificate_id: str = "",
    ) -> None:
        """It has its answer, or has failed, which its customer is told of; what is held goes on."""
        now = self._clock.now()
        # The first certificate was the answer, whatever comes of what holds kept.
        ended_at = request.ended_at or now
        store.change(
            tx,
            request.subject_request_id,
            state=state,
            end_user=None,
            ended_at=ended_at,
            remind_at=None,
            look_at=now + _LOOK_AT_HELD if state == _HELD else None,
        )
        facts: dict[str, str | int | bool] = {
            "outcome": short_name(contract.SubjectRequestState, state),
            "late": ended_at >= request.due_at,
        }
        if certificate_id:
            facts["certificate_id"] = certificate_id
        self._audit(tx, "subject_request.ended", actor, request, **facts)
        if state == _FAILED:
            self._notifications.emit(
                tx,
                "subject_request.failed",
                Ids(
                    organization_id=request.organization_id,
                    subject_id=request.subject_request_id,
                    actor=actor,
                    tell="CUSTOMER",
                    state=short_name(contract.SubjectRequestState, state),
                    due_at=request.due_at,
                ),
            )

    def _report(self) -> None:
        with self._database.transaction() as tx:
            found = {kind: (count, late) for kind, count, late in store.unanswered(tx, self._clock.now())}
        for kind in contract.SubjectRequestKind.values()[1:]:
            count, late = found.get(kind, (0, 0))
            name = short_name(contract.SubjectRequestKind, kind).lower()
            _UNANSWERED.labels(name).set(count)
            _LATE.labels(name).set(late)
        ALERT.labels("subject_erasure_late").set(found.get(_ERASE, (0, 0))[1] > 0)

    def _audit(
        self, tx: Tx, kind: str, actor: str, request: SubjectRequest, **facts: str | int | bool
    ) -> None:
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=actor,
                at=self._clock.now(),
                organization_id=request.organization_id,
                subjects=[request.subject_request_id],
                facts=facts,
            ),
        )


def _own(request: SubjectRequest | None, caller: Caller) -> SubjectRequest:
    if request is None or request.organization_id != caller.organization_id:
        raise not_found("subject_request")
    return request


def _again(tx: Tx, request: SubjectRequest) -> SubjectRequest:
    """As it is after a change under its lock."""
    found = store.find(tx, request.subject_request_id)
    assert found is not None
    return found


def _wrong(request: SubjectRequest, text: str) -> KeptError:
    return wrong_state(text, contract.SubjectRequestState.Name(request.state))
