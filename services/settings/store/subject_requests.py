"""Requests of data subjects. The pseudonym is there as long as somebody needs it, and not longer; what stays is a salted digest."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from kept.settings.v1 import subject_requests_pb2 as contract
from services.settings.store.tables import subject_requests as requests

_UNANSWERED: Final = (contract.SUBJECT_REQUEST_STATE_OPEN, contract.SUBJECT_REQUEST_STATE_ERASING)


@dataclass(frozen=True)
class SubjectRequest:
    """One request. end_user: None once nobody needs it. content_salt, content_digest: tell a repetition from another request. look_at: when
    the job looks at it next. salt, commitment: retention's, of an erasure."""

    subject_request_id: str
    organization_id: str
    request_id: str
    kind: "contract.SubjectRequestKind.ValueType"
    state: "contract.SubjectRequestState.ValueType"
    end_user: str | None = field(repr=False)
    content_salt: bytes = field(repr=False)
    content_digest: bytes = field(repr=False)
    reference: str
    requested_by: str
    created_at: datetime
    received_at: datetime
    due_at: datetime
    remind_at: datetime | None
    look_at: datetime | None
    extension: "contract.SubjectRequestExtension.ValueType" = contract.SUBJECT_REQUEST_EXTENSION_UNSPECIFIED
    reminders: int = 0
    ended_at: datetime | None = None
    erasure_id: str | None = None
    salt: bytes | None = field(default=None, repr=False)
    commitment: bytes | None = None
    certificate_id: str | None = None
    kept: tuple[str, ...] = ()
    number: int = 0

    @property
    def is_unanswered(self) -> bool:
        """Whether the deadline still counts."""
        return self.state in _UNANSWERED


def _made(row: Row[Any]) -> SubjectRequest:
    values = dict(row._mapping)
    return SubjectRequest(**values | {"kept": tuple(values["kept"])})


def add(tx: Connection, request: SubjectRequest) -> bool:
    """Adds a request; False when the organization's request id is taken. Waits for another transaction that is taking it."""
    added = tx.execute(
        insert(requests)
        .values(
            subject_request_id=request.subject_request_id,
            organization_id=request.organization_id,
            request_id=request.request_id,
            kind=request.kind,
            state=request.state,
            end_user=request.end_user,
            content_salt=request.content_salt,
            content_digest=request.content_digest,
            reference=request.reference,
            requested_by=request.requested_by,
            created_at=request.created_at,
            received_at=request.received_at,
            due_at=request.due_at,
            remind_at=request.remind_at,
            look_at=request.look_at,
        )
        .on_conflict_do_nothing(index_elements=["organization_id", "request_id"])
        .returning(requests.c.number)
    ).one_or_none()
    return added is not None


def by_request(tx: Connection, organization_id: str, request_id: str) -> SubjectRequest | None:
    """The request that an id made."""
    row = tx.execute(
        select(requests).where(
            requests.c.organization_id == organization_id, requests.c.request_id == request_id
        )
    ).one_or_none()
    return None if row is None else _made(row)


def find(tx: Connection, subject_request_id: str, *, lock: bool = False) -> SubjectRequest | None:
    """One request. lock: nobody changes it before this transaction ends."""
    query = select(requests).where(requests.c.subject_request_id == subject_request_id)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _made(row)


def list_after(
    tx: Connection, organization_id: str, open_only: bool, number: int, limit: int
) -> list[SubjectRequest]:
    """Oldest first, after the one with that number."""
    condition = and_(requests.c.organization_id == organization_id, requests.c.number > number)
    if open_only:
        condition = and_(condition, requests.c.state.in_(_UNANSWERED))
    rows = tx.execute(select(requests).where(condition).order_by(requests.c.number).limit(limit))
    return [_made(row) for row in rows]


def lock_to_remind(tx: Connection, now: datetime, limit: int) -> list[SubjectRequest]:
    """Unanswered ones of which somebody is to be reminded by now, and that nobody else holds; locked."""
    rows = tx.execute(
        select(requests)
        .where(requests.c.remind_at <= now)
        .order_by(requests.c.remind_at, requests.c.number)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [_made(row) for row in rows]


def claim_to_look(tx: Connection, now: datetime, until: datetime, limit: int) -> list[SubjectRequest]:
    """Erasures that are to be looked at by now; nobody else looks at them before `until`."""
    due = (
        select(requests.c.subject_request_id)
        .where(requests.c.look_at <= now)
        .order_by(requests.c.look_at, requests.c.number)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    rows = tx.execute(
        update(requests)
        .where(requests.c.subject_request_id.in_(due))
        .values(look_at=until)
        .returning(requests)
    )
    return sorted((_made(row) for row in rows), key=lambda request: request.number)


def change(tx: Connection, subject_request_id: str, **values: object) -> None:
    """Stores what changed of a request."""
    written = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    tx.execute(update(requests).where(requests.c.subject_request_id == subject_request_id).values(written))


def unanswered(tx: Connection, now: datetime) -> Sequence[tuple[int, int, int]]:
    """(kind, how many have no answer, how many of them are late), for each kind that has any."""
    rows = tx.execute(
        select(
            requests.c.kind,
            func.count(),
            func.count().filter(requests.c.due_at <= now),
        )
        .where(requests.c.state.in_(_UNANSWERED))
        .group_by(requests.c.kind)
    )
    return [(kind, count, late) for kind, count, late in rows]


def erase(tx: Connection, organization_id: str) -> int:
    """Removes an organization's requests; how many."""
    return tx.execute(delete(requests).where(requests.c.organization_id == organization_id)).rowcount
