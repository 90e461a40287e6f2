"""What may happen to a hold, as a table of cases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.retention.certificates.destructions import Destruction
from services.retention.holds import hold as holds
from services.retention.holds.hold import Ending, Hold, HoldKind, HoldOrder, HoldState
from shared.errors import KeptError, Reason
from shared.ids import new_record_id

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RECORDS = tuple(new_record_id(NOW - timedelta(days=day)) for day in range(3))
PLACER, OTHER, THIRD = (f"person_{number:026}" for number in range(3))


def order(**changes: object) -> HoldOrder:
    made = HoldOrder("request-1", HoldKind.LEGAL, "org_1", RECORDS, "Matter 12", NOW + timedelta(days=90))
    return replace(made, **changes)  # type: ignore[arg-type]


def hold(state: HoldState = HoldState.ACTIVE, kind: HoldKind = HoldKind.LEGAL, **changes: object) -> Hold:
    placed = holds.place("hold_1", order(kind=kind), PLACER, NOW)
    return replace(placed, state=state, **changes)  # type: ignore[arg-type]


def test_a_hold_begins_pending_and_only_a_legal_one_can_lapse() -> None:
    legal = holds.place("hold_1", order(), PLACER, NOW)
    flagged = holds.place("hold_2", order(kind=HoldKind.FLAGGED), "service:safety_review", NOW)
    assert (legal.state, legal.lapses_at) == (HoldState.PENDING, NOW + timedelta(hours=72))
    assert (flagged.state, flagged.lapses_at) == (HoldState.PENDING, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"review_at": NOW},
        {"review_at": NOW - timedelta(seconds=1)},
        {"review_at": NOW + timedelta(days=3654)},
        {"record_ids": (b"\xff" * 16,)},
        {"record_ids": (RECORDS[0], b"short")},
    ],
)
def test_what_cannot_be_held_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(KeptError) as raised:
        order(**changes).check(NOW)
    assert raised.value.reason == Reason.REASON_INVALID_ARGUMENT
    assert raised.value.fields[0][0].split("[")[0] in changes


@pytest.mark.parametrize(
    ("protected", "state", "lost"),
    [
        (RECORDS, HoldState.ACTIVE, frozenset()),
        (RECORDS[:1], HoldState.ACTIVE, frozenset(RECORDS[1:])),
        ((), HoldState.FAILED, frozenset(RECORDS)),
        ((new_record_id(NOW),), HoldState.FAILED, frozenset(RECORDS)),
    ],
)
def test_only_what_is_known_to_be_protected_is_held(
    protected: tuple[bytes, ...], state: HoldState, lost: frozenset[bytes]
) -> None:
    settled = holds.settle(hold(HoldState.PENDING), protected, NOW)
    assert (settled.state, settled.lost) == (state, lost)
    assert (settled.ended_at is None) is (state is HoldState.ACTIVE)


@pytest.mark.parametrize(
    ("held", "by", "after", "reason"),
    [
        (hold(), OTHER, timedelta(hours=71), None),
        (hold(HoldState.PENDING), OTHER, timedelta(0), None),
        (hold(confirmed_by=OTHER), OTHER, timedelta(days=9), None),
        (hold(), PLACER, timedelta(0), Reason.REASON_SECOND_PERSON_REQUIRED),
        (hold(), "", timedelta(0), Reason.REASON_SECOND_PERSON_REQUIRED),
        (hold(confirmed_by=OTHER), THIRD, timedelta(0), Reason.REASON_WRONG_STATE),
        (hold(), OTHER, timedelta(hours=72), Reason.REASON_WRONG_STATE),
        (hold(kind=HoldKind.FLAGGED), OTHER, timedelta(0), Reason.REASON_WRONG_STATE),
        (hold(HoldState.RELEASING), OTHER, timedelta(0), Reason.REASON_WRONG_STATE),
        (hold(HoldState.RELEASED), OTHER, timedelta(0), Reason.REASON_WRONG_STATE),
        (hold(HoldState.FAILED), OTHER, timedelta(0), Reason.REASON_WRONG_STATE),
    ],
)
def test_confirmation(held: Hold, by: str, after: timedelta, reason: int | None) -> None:
    if reason is None:
        assert holds.confirm(held, by, NOW + after).confirmed_by == by
    else:
        with pytest.raises(KeptError) as raised:
            holds.confirm(held, by, NOW + after)
        assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HoldState.PENDING, HoldState.RELEASING),
        (HoldState.ACTIVE, HoldState.RELEASING),
        (HoldState.RELEASING, HoldState.RELEASING),
        (HoldState.RELEASED, HoldState.RELEASED),
        (HoldState.FAILED, HoldState.FAILED),
    ],
)
def test_release(before: HoldState, after: HoldState) -> None:
    assert holds.release(hold(before)).state is after


@pytest.mark.parametrize(
    ("held", "after", "why"),
    [
        (hold(), timedelta(hours=72) - timedelta(seconds=1), None),
        (hold(), timedelta(hours=72), Ending.LAPSED),
        (hold(HoldState.PENDING), timedelta(hours=72), Ending.LAPSED),
        (hold(confirmed_by=OTHER), timedelta(days=5000), None),
        (hold(kind=HoldKind.FLAGGED), timedelta(days=90) - timedelta(seconds=1), None),
        (hold(kind=HoldKind.FLAGGED), timedelta(days=90), Ending.REVIEW_REACHED),
        (hold(HoldState.RELEASING), timedelta(days=5000), None),
        (hold(HoldState.RELEASED, HoldKind.FLAGGED), timedelta(days=5000), None),
    ],
)
def test_ends_by_itself(held: Hold, after: timedelta, why: Ending | None) -> None:
    assert holds.ending(held, NOW + after) is why


def test_the_same_request_is_the_same_in_any_order_of_records_and_nothing_else() -> None:
    content = order().content_sha256()
    assert order(record_ids=RECORDS[::-1]).content_sha256() == content
    for changes in (
        {"record_ids": RECORDS[:2]},
        {"reference": "Matter 13"},
        {"kind": HoldKind.FLAGGED},
        {"organization_id": "org_2"},
        {"review_at": NOW + timedelta(days=91)},
    ):
        assert order(**changes).content_sha256() != content


def test_sentences_say_what_is_kept_and_until_when() -> None:
    ended = holds.end(hold(HoldState.RELEASING), Destruction(""), 3, NOW)
    one = hold(kind=HoldKind.FLAGGED, lost=frozenset(RECORDS[1:]))
    assert holds.kept_sentences([ended, hold(), one]) == [
        "3 records are kept by a legal hold (hold_1), which is reviewed on 2026-05-30.",
        "1 record is kept by a hold on flagged use (hold_1), which ends on 2026-05-30 at the latest.",
    ]
    later = replace(hold(), hold_id="hold_2", record_ids=RECORDS[2:], review_at=NOW + timedelta(days=91))
    assert holds.kept_sentences([later, hold(), hold(HoldState.RELEASING)]) == [
        "3 records are kept by 2 legal holds (hold_2, hold_1), the first of which is reviewed on 2026-05-30.",
        "3 records are kept by a legal hold (hold_1), which is being released.",
    ]
    assert holds.kept_sentences([one] * 150) == [
        "1 record is kept by 150 holds on flagged use, the last of which ends on 2026-05-30 at the latest."
    ]
