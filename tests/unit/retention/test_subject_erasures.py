"""Erasures of single end users: rows, then who else knows of them, then a certificate that names nobody and claims no more than is so."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy

from kept.evidence.certificates import verify_subject
from kept.retention.v1 import certificates_pb2, erasures_pb2, holds_pb2
from services.retention.erasures.subject_states import sealed_copies, unreadable_by
from shared.errors import Reason
from shared.identity import Caller, CallerKind
from shared.terms import NEVER, Rule, Term, TermKind
from tests.unit.retention.world import ONE, SAFETY, SETTINGS, START, TWO, Crashes, World, refused, staff

WHO = "customer-pseudonym-77"
REQUEST = "request-77"


def order(
    organization_id: str = ONE, end_user: str = WHO, request_id: str = REQUEST, member: str = "0"
) -> erasures_pb2.EraseSubjectRequest:
    return erasures_pb2.EraseSubjectRequest(
        request_id=request_id,
        organization_id=organization_id,
        end_user=end_user,
        requested_by="member_" + member * 26,
    )


def begin(world: World) -> erasures_pb2.EraseSubjectResponse:
    return world.erasures(SETTINGS).EraseSubject(order())


def shown(world: World, erasure_id: str) -> erasures_pb2.Erasure:
    request = erasures_pb2.GetErasureRequest(erasure_id=erasure_id)
    return world.erasures(staff(1, "AUDITOR")).GetErasure(request).erasure


def body(world: World, certificate_id: str) -> dict[str, Any]:
    request = certificates_pb2.GetCertificateRequest(certificate_id=certificate_id)
    answer = world.certificates(staff(1, "AUDITOR")).GetCertificate(request)
    read: dict[str, Any] = json.loads(answer.envelope)["body"]
    return read


def is_done(world: World, times: int = 1) -> Callable[[], bool]:
    """Whether that many erasures have ended, and their entries have arrived."""
    return lambda: len(world.entries("subject_erasure.ended")) == times


def fill(world: World) -> list[bytes]:
    """Five records of the end user on three days, and one of somebody else in each organization."""
    mine = [world.record(ONE, START - timedelta(days=number % 3)) for number in range(5)]
    world.logging.end_users |= dict.fromkeys(mine, WHO)
    for organization_id in (ONE, TWO):
        world.logging.end_users[world.record(organization_id, START)] = "another"
    return mine


def everything(world: World) -> str:
    """Every row of every table as text."""
    with world.database.engine.connect() as connection:
        tables = connection.exec_driver_sql(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).scalars()
        return "\n".join(
            str(row)
            for name in tables.all()
            for row in connection.execute(sqlalchemy.text(f"SELECT t::text FROM {name} t"))
        )


def check_erased(world: World, mine: list[bytes]) -> None:
    again = begin(world)
    erasure = again.erasure
    assert erasure.state == erasures_pb2.ERASURE_STATE_DONE
    assert not erasure.kept
    assert sorted(world.logging.rows.values()) == [ONE, TWO]
    assert world.keys.withheld == {erasure.erasure_id: set(mine)}
    assert world.safety.records == {erasure.erasure_id: set(mine)}
    assert world.logging.forgotten
    assert not world.keys.marks  # keys that serve other people's records stay
    said = body(world, erasure.certificate_id)
    assert said["act_id"] == erasure.erasure_id
    assert {one["service"]: (one["removed"], one["kept"]) for one in said["receipts"]} == {
        "access_control": ({"keys_withheld": 5}, 0),
        "logging": ({"interactions": 5}, 0),
        "safety_review": ({"verdicts": 5}, 0),
    }
    assert (said["records_removed"], said["records_held"], said["kept"], said["further"]) == (5, 0, [], False)
    assert [(day["day"], day["records_removed"], day["records_held"]) for day in said["days"]] == [
        ("2026-02-27", 1, 0),
        ("2026-02-28", 2, 0),
        ("2026-03-01", 2, 0),
    ]
    assert all(day["epoch_key_ids"] == [] for day in said["days"])
    for kind in ("subject_erasure.started", "subject_erasure.ended", "certificate.signed"):
        assert len(world.entries(kind)) == 1, kind
    assert not world.entries("subject_erasure.completed")


def test_an_erasure_from_beginning_to_certificate(world: World) -> None:
    mine = fill(world)
    begun = begin(world)
    assert begun.erasure.state == erasures_pb2.ERASURE_STATE_ERASING
    assert len(begun.subject_salt) == 32
    world.settle(60, until=is_done(world))
    check_erased(world, mine)
    assert begin(world).subject_salt == begun.subject_salt
    world.settle(2)
    assert len(world.entries("subject_erasure.started")) == 1


def test_the_certificate_says_when_sealed_copies_close_and_what_stays_open(world: World) -> None:
    fill(world)
    begin(world)
    world.settle(60, until=is_done(world))
    subject = body(world, begin(world).erasure.certificate_id)["subject"]
    assert [(one["day"], one["records"], one["unreadable_by"]) for one in subject["sealed_copies"]] == [
        ("2026-02-27", 1, "2026-03-29T00:00:00.000000Z"),
        ("2026-02-28", 2, "2026-03-30T00:00:00.000000Z"),
        ("2026-03-01", 2, "2026-03-31T00:00:00.000000Z"),
    ]
    assert subject["sealed_copies_unreadable_by"] == "2026-03-31T00:00:00.000000Z"
    assert subject["fenced_at"].startswith("2026-03-01T12:00:02")
    withheld, sealed, open_ = subject["copies"]
    assert "to nobody" in withheld
    assert "not later than 2026-03-31 00:00 UTC" in sealed
    assert "Log data" in open_
    assert "is not sealed" in open_


def test_the_key_of_a_day_that_was_emptied_goes_by_the_day_that_the_certificate_says(world: World) -> None:
    mine = world.record(ONE, START)
    world.logging.end_users[mine] = WHO
    begin(world)
    world.settle(60, until=is_done(world))
    said = body(world, begin(world).erasure.certificate_id)
    by = datetime.fromisoformat(said["subject"]["sealed_copies_unreadable_by"])
    assert not world.logging.rows
    world.clock.advance(by - timedelta(hours=2) - world.clock.now() - timedelta(minutes=1))
    world.settle(5)
    assert world.keys.epochs == {(ONE, START.date())}  # not before it is due
    world.clock.advance(timedelta(minutes=2))
    world.settle(60, until=lambda: bool(world.entries("run.ended")))
    assert not world.keys.epochs
    assert world.clock.now() < by
    listed = world.certificates(staff(1, "AUDITOR")).ListCertificates(
        certificates_pb2.ListCertificatesRequest(organization_id=ONE)
    )
    run = body(world, listed.certificates[0].certificate_id)
    assert [(day["day"], len(day["epoch_key_ids"])) for day in run["days"]] == [(START.date().isoformat(), 1)]


def test_nobody_learns_whose_erasure_it_is_but_who_has_the_salt(world: World) -> None:
    fill(world)
    begun = begin(world)
    assert WHO in everything(world)  # logging is still to be told
    world.settle(60, until=is_done(world))
    erasure = shown(world, begun.erasure.erasure_id)
    said = body(world, erasure.certificate_id)
    for text in (everything(world), json.dumps(said), str(erasure), str(world.audit.entries)):
        assert WHO not in text
        assert hashlib.sha256(WHO.encode()).hexdigest() not in text
    envelope = {"body": said}
    assert verify_subject(envelope, begun.subject_salt, WHO).ok
    for salt, end_user in ((begun.subject_salt, WHO + "8"), (bytes(32), WHO), (b"", WHO)):
        assert "another" in verify_subject(envelope, salt, end_user).problem
    moved = {"body": said | {"organization_id": TWO}}
    assert not verify_subject(moved, begun.subject_salt, WHO).ok
    assert "subject" in verify_subject({"body": {"organization_id": ONE}}, bytes(32), WHO).problem
    message = b"kept/subject/v1\0" + ONE.encode() + b"\0" + WHO.encode()
    opened = hmac.digest(begun.subject_salt, message, "sha256")
    assert base64.b64decode(said["subject"]["commitment"]) == opened == erasure.subject_commitment
    assert begun.subject_salt.hex() not in str(world.audit.entries)
    (started,) = world.entries("subject_erasure.started")
    assert started.facts["subject_commitment"] == opened.hex()


def test_lost_calls_and_answers_change_nothing_of_what_becomes_of_it(world: World) -> None:
    mine = fill(world)
    world.lose_first = True
    begin(world)
    world.settle(60, until=is_done(world))
    world.lose_first = False
    check_erased(world, mine)


@pytest.mark.parametrize("seed", range(1, 3))
def test_crashes_around_commits_change_nothing_of_what_becomes_of_it(world: World, seed: int) -> None:
    mine = fill(world)
    begin(world)
    world.crash = Crashes(seed)
    world.settle(120, until=is_done(world))
    world.crash = None
    check_erased(world, mine)


@pytest.mark.parametrize(
    "method",
    [
        "EraseSubject",
        "ListErasedRecords",
        "WithholdRecords",
        "EraseRecords",
        "GetSubjectErasure",
        "AppendEntries",
        "GetInclusionProof",
        "ForgetErasedRecords",
    ],
)
def test_no_step_begins_before_the_one_before_it_is_complete(world: World, method: str) -> None:
    mine = fill(world)
    if method == "EraseSubject":  # ours has the same name, so that begins; logging's cannot be reached
        world.logging.pieces = 1_000
    else:
        world.down = {method}
    begun = begin(world)
    world.settle(8)
    erasure = shown(world, begun.erasure.erasure_id)
    assert erasure.state != erasures_pb2.ERASURE_STATE_DONE
    assert not world.entries("subject_erasure.ended")
    if method in (
        "EraseSubject",
        "ListErasedRecords",
        "WithholdRecords",
        "EraseRecords",
        "GetSubjectErasure",
    ):
        assert not world.entries("certificate.signed")
    world.down = set()
    world.logging.pieces = (
        world.logging.subjects[begun.erasure.erasure_id]["calls"] + 1 if method == "EraseSubject" else 2
    )
    world.wire()
    world.settle(60, until=is_done(world))
    check_erased(world, mine)


def test_another_process_carries_it_on_and_one_that_slept_changes_nothing(world: World) -> None:
    mine = fill(world)
    begun = begin(world)
    twin = world.twin()
    slept: list[str] = []

    def overtake(method: str) -> None:
        """The answer of each call arrives after another process has done everything."""
        name = method.rsplit("/", 1)[-1]
        if (
            name in ("EraseSubject", "ListErasedRecords", "GetSubjectErasure", "ForgetErasedRecords")
            and name not in slept
        ):
            slept.append(name)
            world.afterwards = None
            for _ in range(3):
                twin.step("subject_erasures")
            world.afterwards = overtake

    world.afterwards = overtake
    world.settle(60, until=is_done(world))
    world.afterwards = None
    twin.database.close()
    assert slept
    check_erased(world, mine)
    assert begun.erasure.erasure_id == begin(world).erasure.erasure_id


def _held(world: World, *records: bytes, request_id: str, kind: Any = holds_pb2.HOLD_KIND_FLAGGED) -> str:
    placed = world.holds(SAFETY).PlaceHold(world.order(*records, kind=kind, request_id=request_id))
    return placed.hold.hold_id


def _let_go(world: World, request_id: str) -> None:
    world.holds(SAFETY).ReleaseHold(
        holds_pb2.ReleaseHoldRequest(request_id=request_id, reason="No violation")
    )


def test_what_holds_keep_is_said_and_completed_when_the_last_ends(world: World) -> None:
    mine = fill(world)
    first_hold = _held(world, mine[0], mine[1], request_id="hold-first")
    second_hold = _held(world, mine[0], request_id="hold-second")
    begun = begin(world)
    world.settle(60, until=is_done(world))
    erasure = shown(world, begun.erasure.erasure_id)
    assert erasure.state == erasures_pb2.ERASURE_STATE_DONE
    first = body(world, erasure.certificate_id)
    assert first["kept"] == list(erasure.kept)
    assert len(erasure.kept) == 1
    assert first_hold in erasure.kept[0]
    assert second_hold in erasure.kept[0]
    assert (first["records_removed"], first["records_held"]) == (3, 2)
    assert {one["hold_id"]: one["records"] for one in first["holds"]} == {first_hold: 2, second_hold: 1}
    assert world.keys.withheld[erasure.erasure_id] == set(mine[2:])
    assert not world.logging.forgotten

    _let_go(world, "hold-first")
    world.settle(5)
    assert len(world.entries("certificate.signed")) == 1  # one of them still stands
    assert mine[1] not in world.logging.rows  # but what it alone kept is gone

    # Another hold on the same record: the end waits for it too, though it began later.
    third_hold = _held(world, mine[0], request_id="hold-third")
    _let_go(world, "hold-second")
    world.settle(5)
    assert third_hold in shown(world, erasure.erasure_id).kept[0]
    assert len(world.entries("certificate.signed")) == 1
    _let_go(world, "hold-third")
    world.settle(20, until=lambda: bool(world.entries("subject_erasure.completed")))
    after = shown(world, erasure.erasure_id)
    assert not after.kept
    further = body(world, after.certificate_id)
    assert (further["further"], further["completes"]) == (True, first["certificate_id"])
    assert (further["records_removed"], further["records_held"], further["kept"]) == (5, 0, [])
    assert {one["hold_id"] for one in further["holds"]} == {first_hold, second_hold, third_hold}
    assert all(one["ended_at"] for one in further["holds"])
    assert world.keys.withheld[erasure.erasure_id] == set(mine)
    assert world.safety.records[erasure.erasure_id] == set(mine)
    assert sum(one["records"] for one in further["subject"]["sealed_copies"]) == 5
    world.settle(5)
    assert len(world.entries("certificate.signed")) == 2
    assert len(world.entries("subject_erasure.completed")) == 1
    assert world.logging.forgotten[erasure.erasure_id] >= 1


@pytest.mark.parametrize("is_over", [True, False])
def test_one_that_a_restored_logging_does_not_know_ends_and_can_be_passed_on_again(
    world: World, is_over: bool
) -> None:
    mine = fill(world)
    _held(world, mine[0], request_id="hold-first")
    world.down = set() if is_over else {"WithholdRecords"}
    begun = begin(world).erasure
    world.settle(60 if is_over else 5, until=is_done(world))
    world.logging.subjects.clear()  # restored to before it, with rows of theirs
    world.logging.rows |= dict.fromkeys(mine, ONE)
    world.down = set()
    world.wire()
    _let_go(world, "hold-first")
    world.settle(20, until=lambda: bool(world.entries("subject_erasure.failed")))
    (failed,) = world.entries("subject_erasure.failed")
    assert (failed.organization_id, failed.facts["reason"]) == (ONE, "NOT_FOUND")
    assert begin(world).erasure.state == erasures_pb2.ERASURE_STATE_FAILED

    again = world.erasures(SETTINGS).EraseSubject(order(request_id="request-78")).erasure
    world.settle(60, until=is_done(world, 1 + is_over))
    assert shown(world, again.erasure_id).state == erasures_pb2.ERASURE_STATE_DONE
    assert not set(mine) & set(world.logging.rows)
    assert again.erasure_id != begun.erasure_id


def test_a_legal_hold_keeps_what_it_names_and_the_rest_goes(world: World) -> None:
    mine = fill(world)
    legal = world.holds(staff(1, "LEGAL")).PlaceHold(world.order(mine[4])).hold.hold_id
    begun = begin(world)
    world.settle(60, until=is_done(world))
    erasure = shown(world, begun.erasure.erasure_id)
    (sentence,) = erasure.kept
    assert sentence == (
        f"1 record of the end user is kept by a legal hold ({legal}), which is reviewed on 2026-05-30."
    )
    assert mine[4] in world.logging.rows
    assert not set(mine[:4]) & set(world.logging.rows)


def test_a_hold_that_ends_while_others_are_told_is_told_too(world: World) -> None:
    mine = fill(world)
    hold_id = _held(world, min(mine), request_id="hold-first")
    world.keys.asked[hold_id.replace("hold_", "release_")] = 1  # its keys are destroyed at once

    def release(method: str) -> None:
        """After the page that the record would have been on."""
        if method.endswith("/WithholdRecords"):
            world.afterwards = None
            _let_go(world, "hold-first")

    world.afterwards = release
    begun = begin(world)
    world.settle(60, until=is_done(world))
    assert world.keys.withheld[begun.erasure.erasure_id] == set(mine)
    said = body(world, shown(world, begun.erasure.erasure_id).certificate_id)
    assert (said["records_removed"], said["records_held"], said["kept"]) == (5, 0, [])
    assert not said["further"]


def test_bad_input_gets_a_named_reason(world: World) -> None:
    mine = fill(world)
    settings = world.erasures(SETTINGS)
    for end_user in ("", "x" * 129, "two\nlines"):
        with refused(Reason.REASON_INVALID_ARGUMENT):
            settings.EraseSubject(order(end_user=end_user))
    with refused(Reason.REASON_INVALID_ARGUMENT):
        settings.EraseSubject(order(organization_id="org_1"))
    for caller in (
        SAFETY,
        staff(1, "OPERATOR"),
        staff(1, "LEGAL"),
        Caller(CallerKind.SERVICE, name="logging"),
    ):
        with refused(Reason.REASON_CALLER_NOT_ALLOWED):
            world.erasures(caller).EraseSubject(order())
    with refused(Reason.REASON_NOT_FOUND):
        shown(world, "erasure_" + "0" * 26)
    assert set(mine) <= set(world.logging.rows)
    assert not world.entries("subject_erasure.started")
    settings.EraseSubject(order())
    for other in (order(TWO), order(end_user="somebody-else"), order(member="1")):
        with refused(Reason.REASON_REQUEST_ID_REUSED):
            settings.EraseSubject(other)


def test_an_unknown_organization_is_refused_at_once_and_for_ever(world: World) -> None:
    world.logging.unknown = {ONE}
    for _ in range(2):
        with refused(Reason.REASON_UNKNOWN_ORGANIZATION):
            begin(world)
    world.settle(5)
    (started,) = world.entries("subject_erasure.started")
    (failed,) = world.entries("subject_erasure.failed")
    assert failed.facts["reason"] == "UNKNOWN_ORGANIZATION"
    erasure = shown(world, failed.subjects[0])
    assert erasure.state == erasures_pb2.ERASURE_STATE_FAILED
    assert started.subjects[0] == failed.subjects[0]
    assert WHO not in everything(world)
    assert not world.entries("certificate.signed")


def test_an_end_user_of_whom_there_is_nothing_gets_a_certificate_that_says_so(world: World) -> None:
    begun = begin(world)
    world.settle(60, until=is_done(world))
    said = body(world, shown(world, begun.erasure.erasure_id).certificate_id)
    assert (said["records_removed"], said["days"], said["kept"]) == (0, [], [])
    assert said["subject"]["copies"] == []
    assert said["subject"]["sealed_copies_unreadable_by"] is None
    assert len(said["receipts"]) == 3


@pytest.mark.parametrize(
    ("rule", "by"),
    [
        (Rule(Term(TermKind.AT_MOST, 30), timedelta(hours=2)), datetime(2026, 3, 31, tzinfo=UTC)),
        (Rule(Term(TermKind.AT_LEAST, 30), timedelta(hours=2)), datetime(2026, 4, 1, 2, tzinfo=UTC)),
        (Rule(Term(TermKind.AT_MOST, 3), timedelta(0)), datetime(2026, 3, 4, tzinfo=UTC)),
    ],
)
def test_a_days_key_is_gone_by_its_rule(rule: Rule, by: datetime) -> None:
    assert unreadable_by(rule, date(2026, 3, 1)) == by


def test_what_no_calendar_holds_is_never_promised() -> None:
    rule = Rule(Term(TermKind.AT_LEAST, 36_500), timedelta(hours=2))
    assert unreadable_by(rule, date(9990, 1, 1)) == NEVER
    assert sealed_copies([rule], [(date(9990, 1, 1), 0)]) == []
