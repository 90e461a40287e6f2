"""Requests of data subjects: deadline and reminders, erasures by way of retention, and a pseudonym that goes as soon as nobody needs it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kept.access_control.v1 import grants_pb2
from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import read_pb2
from kept.retention.v1 import erasures_pb2
from kept.settings.v1 import lifecycle_pb2, members_pb2
from kept.settings.v1 import subject_requests_pb2 as contract
from services.settings.config import SettingsConfig
from services.settings.store import subject_requests as store
from services.settings.subjects.deadlines import add_months, due_at, next_reminder
from shared.errors import KeptError
from shared.errors import Reason as R
from tests.unit.settings.world import ERASURE, World, refused

WHO = "u-4f2a"
FIND, EXPORT, ERASE = contract.SubjectRequestKind.values()[1:]
CERTIFICATE = "certificate_" + "1" * 26


def stamp(instant: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(instant)
    return made


def ask(
    world: World, admin: members_pb2.Member, kind: int = FIND, request_id: str = "r-1", **wanted: Any
) -> contract.CreateSubjectRequestResponse:
    return world.customer(admin).subjects.CreateSubjectRequest(
        contract.CreateSubjectRequestRequest(
            request_id=request_id,
            organization_id=admin.organization_id,
            kind=kind,  # type: ignore[arg-type]
            **{"end_user": WHO, "reference": "DSR-7"} | wanted,
        )
    )


def known_admin(world: World) -> members_pb2.Member:
    """An admin whose organization is known everywhere by now."""
    admin = world.admin()
    world.clock.advance(timedelta(seconds=15))
    return admin


def look(world: World, admin: members_pb2.Member, asked: Any) -> contract.GetSubjectRequestResponse:
    return world.customer(admin).subjects.GetSubjectRequest(
        contract.GetSubjectRequestRequest(subject_request_id=asked.request.subject_request_id)
    )


def complete(
    world: World, admin: members_pb2.Member, asked: Any, *, withdrawn: bool = False
) -> contract.SubjectRequest:
    return (
        world.customer(admin)
        .subjects.CompleteSubjectRequest(
            contract.CompleteSubjectRequestRequest(
                subject_request_id=asked.request.subject_request_id, withdrawn=withdrawn
            )
        )
        .request
    )


def extend(
    world: World,
    admin: members_pb2.Member,
    asked: Any,
    why: "contract.SubjectRequestExtension.ValueType" = contract.SUBJECT_REQUEST_EXTENSION_COMPLEX,
) -> contract.SubjectRequest:
    return (
        world.customer(admin)
        .subjects.ExtendSubjectRequest(
            contract.ExtendSubjectRequestRequest(
                subject_request_id=asked.request.subject_request_id, extension=why
            )
        )
        .request
    )


def export(world: World, admin: members_pb2.Member, asked: Any) -> contract.ExportSubjectRequestResponse:
    return world.customer(admin).subjects.ExportSubjectRequest(
        contract.ExportSubjectRequestRequest(subject_request_id=asked.request.subject_request_id)
    )


def everything(world: World) -> str:
    """Whatever the database holds of it."""
    with world.database.engine.connect() as connection:
        return "".join(
            str(connection.exec_driver_sql(f"SELECT * FROM {table}").all())
            for table in ("subject_requests", "outbox")
        )


def own_kinds(world: World, admin: members_pb2.Member) -> list[str]:
    return [
        kind.removeprefix("subject_request.")
        for kind in world.kinds(admin.organization_id)
        if kind.startswith("subject_request.")
    ]


@pytest.mark.parametrize(
    ("kind", "detail"), [(FIND, grants_pb2.DETAIL_METADATA), (EXPORT, grants_pb2.DETAIL_FULL)]
)
def test_an_open_request_hands_out_the_filter_and_an_answered_one_has_forgotten_whose_it_was(
    world: World, kind: int, detail: "grants_pb2.Detail.ValueType"
) -> None:
    admin = world.admin()
    asked = ask(world, admin, kind)
    assert asked.records == contract.SubjectRecords(
        organization_id=admin.organization_id, filter=read_pb2.RecordFilter(end_user=WHO), detail=detail
    )
    assert asked.request.state == contract.SUBJECT_REQUEST_STATE_OPEN
    assert look(world, admin, asked) == contract.GetSubjectRequestResponse(
        request=asked.request, records=asked.records
    )
    assert WHO in everything(world)
    done = complete(world, admin, asked)
    assert done.state == contract.SUBJECT_REQUEST_STATE_DONE
    assert done.reference == "DSR-7"
    assert complete(world, admin, asked) == done, "the same again changes nothing"
    with refused(reasons_pb2.REASON_WRONG_STATE):
        complete(world, admin, asked, withdrawn=True)
    assert not look(world, admin, asked).HasField("records")
    assert WHO not in everything(world)
    assert own_kinds(world, admin) == ["created", "ended"]
    assert WHO not in str(world.peers.entries)
    assert world.peers.subjects == [], "retention has nothing to do with it"


def test_the_same_request_id_is_the_same_request_or_none(world: World) -> None:
    admin = world.admin()
    first = ask(world, admin)
    world.clock.advance(timedelta(hours=1))
    assert ask(world, admin) == first
    for other in ({"end_user": "u-2"}, {"reference": "x"}, {"received_at": stamp(world.clock.now())}):
        with refused(reasons_pb2.REASON_REQUEST_ID_REUSED):
            ask(world, admin, **other)
    with refused(reasons_pb2.REASON_REQUEST_ID_REUSED):
        ask(world, admin, EXPORT)
    complete(world, admin, first)
    assert ask(world, admin).request.state == contract.SUBJECT_REQUEST_STATE_DONE, "also once it is forgotten"
    with refused(reasons_pb2.REASON_REQUEST_ID_REUSED):
        ask(world, admin, end_user="u-2")
    other_admin = world.admin("other")
    assert ask(world, other_admin).request.subject_request_id != first.request.subject_request_id


def test_an_erasure_waits_until_its_organization_is_known_everywhere(world: World) -> None:
    """Before, logging may not know it yet and would refuse for good."""
    asked = ask(world, world.admin(), ERASE)
    world.run_jobs()
    assert world.peers.subjects == []
    world.clock.advance(timedelta(seconds=15))
    world.run_jobs()
    [told] = world.peers.subjects
    assert told.request_id == asked.request.subject_request_id


def test_an_erasure_goes_through_retention_and_ends_with_its_certificate(world: World) -> None:
    admin = known_admin(world)
    asked = ask(world, admin, ERASE)
    assert asked.request.state == contract.SUBJECT_REQUEST_STATE_ERASING
    assert not asked.HasField("records")
    world.run_jobs()
    [told] = world.peers.subjects
    assert told == erasures_pb2.EraseSubjectRequest(
        request_id=asked.request.subject_request_id,
        organization_id=admin.organization_id,
        end_user=WHO,
        requested_by=admin.member_id,
    )
    assert WHO not in everything(world), "retention knows it now, and nothing here has to"
    assert look(world, admin, asked).request.erasure_id == ERASURE
    with refused(reasons_pb2.REASON_WRONG_STATE):
        complete(world, admin, asked)
    world.peers.subject_erasure.state = erasures_pb2.ERASURE_STATE_DONE
    world.peers.subject_erasure.certificate_id = CERTIFICATE
    world.peers.subject_erasure.complete = True
    world.run_jobs()
    assert look(world, admin, asked).request.state == contract.SUBJECT_REQUEST_STATE_ERASING, (
        "not yet its time"
    )
    world.clock.advance(timedelta(seconds=30))
    world.run_jobs()
    done = look(world, admin, asked).request
    assert done.state == contract.SUBJECT_REQUEST_STATE_DONE
    assert done.certificate_id == CERTIFICATE
    taken = export(world, admin, asked)
    assert (taken.subject_salt, taken.subject_commitment) == (b"s" * 32, bytes(range(32)))
    assert own_kinds(world, admin) == ["created", "handed_over", "ended", "exported"]
    assert len(world.peers.subjects) == 1
    assert WHO not in str(world.peers.entries)
    assert ask(world, admin, ERASE).request == done, "repeated, it is found by its salted digest"


def test_what_a_hold_keeps_is_said_and_followed_to_its_end(world: World) -> None:
    admin = known_admin(world)
    asked = ask(world, admin, ERASE)
    erasure = world.peers.subject_erasure
    erasure.state = erasures_pb2.ERASURE_STATE_DONE
    erasure.certificate_id = CERTIFICATE
    erasure.kept.append("1 record of the end user is kept by a legal hold.")
    world.run_jobs()
    held = look(world, admin, asked).request
    assert held.state == contract.SUBJECT_REQUEST_STATE_HELD
    assert list(held.kept) == ["1 record of the end user is kept by a legal hold."]
    assert held.certificate_id == CERTIFICATE
    del erasure.kept[:]  # the hold has ended, and the further certificate is not signed yet
    world.clock.advance(timedelta(hours=1))
    world.run_jobs()
    assert look(world, admin, asked).request.state == contract.SUBJECT_REQUEST_STATE_HELD
    erasure.certificate_id = "certificate_" + "2" * 26
    erasure.complete = True
    world.clock.advance(timedelta(hours=1))
    world.run_jobs()
    done = look(world, admin, asked).request
    assert done.state == contract.SUBJECT_REQUEST_STATE_DONE
    assert done.certificate_id == "certificate_" + "2" * 26
    assert done.ended_at == held.ended_at, "the deadline was met by the first certificate"
    assert own_kinds(world, admin) == ["created", "handed_over", "ended", "completed"]
    world.clock.advance(timedelta(days=365))
    world.peers.subject_erasure = erasures_pb2.Erasure(erasure_id="erasure_" + "9" * 26)
    world.run_jobs()  # nobody asks retention any more: the played one would not know which


def test_retention_that_is_away_is_asked_again_and_one_that_refuses_ends_it(world: World) -> None:
    admin = known_admin(world)
    asked = ask(world, admin, ERASE)
    world.peers.failing = KeptError(R.REASON_PEER_UNAVAILABLE, "away")
    with pytest.raises(KeptError):
        world.run_jobs()
    assert WHO in everything(world)
    world.peers.failing = KeptError(R.REASON_UNKNOWN_ORGANIZATION, "unknown")
    world.run_jobs()
    assert look(world, admin, asked).request.state == contract.SUBJECT_REQUEST_STATE_ERASING, (
        "not yet its time"
    )
    world.clock.advance(timedelta(seconds=30))
    world.run_jobs()
    assert look(world, admin, asked).request.state == contract.SUBJECT_REQUEST_STATE_FAILED
    assert WHO not in everything(world)
    world.peers.failing = None
    world.clock.advance(timedelta(days=100))
    world.run_jobs()
    assert world.peers.subjects == []


@pytest.mark.parametrize("before", ["ERASURE_STATE_ERASING", "ERASURE_STATE_DONE"])
def test_an_erasure_that_cannot_go_on_ends_as_failed_also_what_a_hold_kept(world: World, before: str) -> None:
    """Retention or logging was restored to before it."""
    admin = known_admin(world)
    asked = ask(world, admin, ERASE)
    world.peers.subject_erasure.state = erasures_pb2.ErasureState.Value(before)
    world.run_jobs()
    first = look(world, admin, asked).request
    world.peers.subject_erasure.state = erasures_pb2.ERASURE_STATE_FAILED
    world.peers.subject_erasure.complete = True
    world.clock.advance(timedelta(days=40))
    world.run_jobs()
    failed = look(world, admin, asked).request
    assert failed.state == contract.SUBJECT_REQUEST_STATE_FAILED
    was_held = first.state == contract.SUBJECT_REQUEST_STATE_HELD
    assert was_held == (before == "ERASURE_STATE_DONE")
    ended = [entry for entry in world.peers.entries if entry.kind == "subject_request.ended"]
    assert dict(ended[-1].facts) == {"outcome": "FAILED", "late": "false" if was_held else "true"}
    if was_held:
        assert failed.ended_at == first.ended_at, "the deadline was met by the first certificate"
    world.peers.subject_erasure = erasures_pb2.Erasure(erasure_id="erasure_" + "9" * 26)
    world.clock.advance(timedelta(days=1))
    world.run_jobs()  # nobody asks retention any more: the played one would not know which


def test_an_answer_that_was_lost_is_asked_for_again_with_the_same_id(world: World) -> None:
    admin = known_admin(world)
    asked = ask(world, admin, ERASE)
    world.peers.losing = True
    with pytest.raises(KeptError):
        world.run_jobs()
    assert not export(world, admin, asked).subject_salt
    world.peers.losing = False
    world.clock.advance(timedelta(seconds=30))
    world.run_jobs()
    first, second = world.peers.subjects
    assert first == second, "retention knows by it that it is one erasure"
    assert export(world, admin, asked).subject_salt == b"s" * 32


def test_of_two_replicas_one_looks_at_an_erasure(world: World) -> None:
    admin = known_admin(world)
    ask(world, admin, ERASE)
    now = world.clock.now()
    with world.database.transaction() as first, world.database.transaction() as second:
        claimed = store.claim_to_look(first, now, now + timedelta(seconds=30), 10)
        assert len(claimed) == 1
        assert store.claim_to_look(second, now, now + timedelta(seconds=30), 10) == [], "it is locked"
    with world.database.transaction() as tx:
        assert store.claim_to_look(tx, now, now + timedelta(seconds=30), 10) == [], "it is claimed"
        later = now + timedelta(seconds=30)
        assert len(store.claim_to_look(tx, later, later, 10)) == 1, "whoever claimed it may have died"


def test_an_organization_that_is_erased_meanwhile_is_let_go(world: World) -> None:
    admin = known_admin(world)
    ask(world, admin, ERASE)
    now = world.clock.now()
    with world.database.transaction() as tx:
        [claimed] = store.claim_to_look(tx, now, now, 10)
        assert store.erase(tx, admin.organization_id) == 1
    [job] = [job for job in world.service.jobs if job.name == "subject_requests"]
    subject_requests = job.step.__wrapped__.__self__  # type: ignore[attr-defined]
    subject_requests._look(claimed)
    assert len(world.peers.subjects) == 1, "retention was asked already"
    assert "subject_request.handed_over" not in world.kinds(admin.organization_id)


def test_somebody_is_reminded_before_the_deadline_and_at_it_once_each(world: World) -> None:
    admin = world.admin()
    asked = ask(world, admin)
    assert asked.request.due_at.ToDatetime(UTC) == datetime(2026, 4, 1, 12, tzinfo=UTC)
    seen = []
    for day in range(40):
        world.run_jobs()
        seen.append((day, look(world, admin, asked).request.reminders))
        world.clock.advance(timedelta(days=1))
    assert [day for day, count in seen if count != seen[max(0, day - 1)][1]] == [17, 28, 31]
    shown = look(world, admin, asked).request
    assert shown.overdue
    reminded = [entry for entry in world.peers.entries if entry.kind == "subject_request.reminded"]
    assert [entry.facts["overdue"] for entry in reminded] == ["false", "false", "true"]
    done = complete(world, admin, asked)
    assert not done.overdue
    [ended] = [entry for entry in _entries(world) if entry.kind == "subject_request.ended"]
    assert dict(ended.facts) == {"outcome": "DONE", "late": "true"}


def _entries(world: World) -> list[Any]:
    world.run_jobs()
    return list(world.peers.entries)


def test_what_is_answered_reminds_nobody(world: World) -> None:
    admin = world.admin()
    complete(world, admin, ask(world, admin), withdrawn=True)
    world.clock.advance(timedelta(days=60))
    assert own_kinds(world, admin) == ["created", "ended"]


def test_it_counts_from_when_the_customer_got_it(world: World) -> None:
    admin = world.admin()
    now = world.clock.now()
    early = ask(world, admin, received_at=stamp(now - timedelta(days=20)))
    assert early.request.due_at.ToDatetime(UTC) == datetime(2026, 3, 9, 12, tzinfo=UTC)
    late = ask(world, admin, request_id="r-2", received_at=stamp(now - timedelta(days=60)))
    assert late.request.overdue
    world.run_jobs()
    assert look(world, admin, late).request.reminders == 1, "what comes too late is told of at once"
    for outside in (timedelta(seconds=1), -timedelta(days=93)):
        with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
            ask(world, admin, request_id="r-3", received_at=stamp(now + outside))
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        ask(world, admin, request_id="r-3", received_at=Timestamp(seconds=2**62))


def test_two_further_months_once_and_before_the_deadline(world: World) -> None:
    admin = world.admin()
    asked = ask(world, admin)
    longer = extend(world, admin, asked)
    assert longer.due_at.ToDatetime(UTC) == datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert extend(world, admin, asked) == longer
    with refused(reasons_pb2.REASON_WRONG_STATE):
        extend(world, admin, asked, contract.SUBJECT_REQUEST_EXTENSION_MANY)
    world.clock.advance(timedelta(days=60))
    world.run_jobs()
    assert look(world, admin, asked).request.reminders == 0
    late = ask(world, admin, request_id="r-2")
    world.clock.advance(timedelta(days=31))
    with refused(reasons_pb2.REASON_WRONG_STATE):
        extend(world, admin, late)


def test_nobody_else_sees_or_touches_it(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    asked = ask(world, admin)
    for touch in (look, complete, extend, export):
        with refused(reasons_pb2.REASON_NOT_FOUND):
            touch(world, other, asked)
        with refused(reasons_pb2.REASON_ADMIN_REQUIRED):
            touch(world, world.colleague(admin) if touch is look else _colleague(world, admin), asked)
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(other).subjects.ListSubjectRequests(
            contract.ListSubjectRequestsRequest(organization_id=admin.organization_id)
        )
    with refused(reasons_pb2.REASON_CALLER_NOT_ALLOWED):
        world.staff().subjects.GetSubjectRequest(
            contract.GetSubjectRequestRequest(subject_request_id=asked.request.subject_request_id)
        )


def _colleague(world: World, admin: members_pb2.Member) -> members_pb2.Member:
    listed = world.customer(admin).members.ListMembers(
        members_pb2.ListMembersRequest(organization_id=admin.organization_id)
    )
    return next(member for member in listed.members if member.member_id != admin.member_id)


def test_they_are_listed_page_by_page_oldest_first(world: World) -> None:
    admin = world.admin()
    made = [ask(world, admin, request_id=f"r-{number}").request for number in range(3)]
    made[1] = complete(world, admin, look(world, admin, contract.GetSubjectRequestResponse(request=made[1])))
    stub = world.customer(admin).subjects
    wanted = contract.ListSubjectRequestsRequest(organization_id=admin.organization_id, page_size=2)
    first = stub.ListSubjectRequests(wanted)
    wanted.page_token = first.next_page_token
    second = stub.ListSubjectRequests(wanted)
    assert [*first.requests, *second.requests] == made
    assert not second.next_page_token
    still = stub.ListSubjectRequests(
        contract.ListSubjectRequestsRequest(organization_id=admin.organization_id, open_only=True)
    )
    assert list(still.requests) == [made[0], made[2]]


def test_a_closed_organization_passes_nothing_on_and_an_erased_one_leaves_nothing(world: World) -> None:
    admin = world.admin()
    ask(world, admin, ERASE)
    name = admin.organization_id
    retention = world.peer("retention").lifecycle
    retention.CloseOrganization(
        lifecycle_pb2.CloseOrganizationRequest(organization_id=name, erasure_id=ERASURE)
    )
    with refused(reasons_pb2.REASON_CLOSED):
        ask(world, admin, request_id="r-2")
    receipt = retention.EraseOrganization(
        lifecycle_pb2.EraseOrganizationRequest(organization_id=name, erasure_id=ERASURE)
    )
    assert receipt.removed["subject_requests"] == 1
    world.run_jobs()
    assert world.peers.subjects == []
    assert WHO not in everything(world)


@pytest.mark.parametrize(
    "wrong",
    [
        {"end_user": ""},
        {"end_user": "u" * 129},
        {"end_user": "a\nb"},
        {"reference": "Ada Admin"},
        {"kind": 0},
        {"kind": 9},
        {"request_id": "with space"},
    ],
)
def test_bad_input_is_named_and_changes_nothing(world: World, wrong: dict[str, Any]) -> None:
    admin = world.admin()
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT) as caught:
        ask(world, admin, **wrong)
    assert [name for name, _ in caught[0].fields] == list(wrong)
    assert "subject_request.created" not in world.kinds(admin.organization_id)


@pytest.fixture
def strict(url: str) -> Iterator[World]:
    """With a shorter promise than the law's."""
    made = World(url, subject_request_days=10, subject_request_reminder_days=(2,))
    yield made
    made.database.close()


def test_a_shorter_promise_is_a_shorter_deadline(strict: World) -> None:
    admin = strict.admin()
    asked = ask(strict, admin)
    assert asked.request.due_at.ToDatetime(UTC) == strict.clock.now() + timedelta(days=10)
    strict.clock.advance(timedelta(days=8))
    strict.run_jobs()
    assert look(strict, admin, asked).request.reminders == 1
    assert extend(strict, admin, asked).due_at.ToDatetime(UTC) == datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("received", "months", "due"),
    [
        ((2026, 1, 31), 1, (2026, 2, 28)),
        ((2028, 1, 31), 1, (2028, 2, 29)),
        ((2026, 2, 28), 1, (2026, 3, 28)),
        ((2026, 12, 15), 1, (2027, 1, 15)),
        ((2026, 11, 30), 3, (2027, 2, 28)),
        ((2026, 10, 31), 2, (2026, 12, 31)),
    ],
)
def test_a_month_ends_on_the_day_of_its_number(
    received: tuple[int, int, int], months: int, due: tuple[int, int, int]
) -> None:
    assert add_months(datetime(*received, 7, 30, tzinfo=UTC), months) == datetime(*due, 7, 30, tzinfo=UTC)


def test_a_promise_never_makes_the_month_longer() -> None:
    received = datetime(2026, 1, 31, tzinfo=UTC)
    assert due_at(received, timedelta(days=30)) == datetime(2026, 2, 28, tzinfo=UTC)
    assert next_reminder(received, [timedelta(days=1)], received) is None
    assert next_reminder(received, [], received - timedelta(days=1)) == received


@pytest.mark.parametrize("days", [(0,), (91,)])
def test_reminders_that_make_no_sense_are_refused(url: str, days: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="1 to 90"):
        World(url, subject_request_reminder_days=days)
    assert SettingsConfig.model_fields["subject_request_days"].default is None
