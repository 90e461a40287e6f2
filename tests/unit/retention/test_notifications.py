"""What retention tells receivers: in ids alone, as the guide says, and nothing of what the customer must not know of."""

import json
import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kept.retention.v1 import contracts_pb2, holds_pb2
from services.retention.notifications import EVENTS, Ids
from tests.unit.retention.test_confidential_holds import ALICE, BOB, FLAGGED, review, secret
from tests.unit.retention.test_contract_terms import LENA, LUCA, end_of, order, put_in_force
from tests.unit.retention.world import ONE, SAFETY, START, World

GUIDE = Path("docs/retention-notifications.md").read_text()


@pytest.fixture
def told(world: World, tmp_path: Path) -> World:
    """With a receiver that nobody serves: what it would get waits in the outbox."""
    secret_file = tmp_path / "webhook"
    secret_file.write_text("whsec_" + "A" * 43 + "=")
    world.notifications = [{"name": "desk", "url": "http://127.0.0.1:9/", "secret_files": [str(secret_file)]}]
    world.wire()
    world.settle(4)
    return world


def messages(world: World) -> list[tuple[str, dict[str, Any]]]:
    """What waits for the receiver."""
    with world.database.engine.connect() as connection:
        payloads = connection.exec_driver_sql(
            "SELECT payload FROM outbox WHERE kind = 'webhook:desk' ORDER BY message_id"
        ).scalars()
        sent = [json.loads(bytes(payload).partition(b"\n")[2]) for payload in payloads]
    return [(message["type"], message["data"]) for message in sent]


def test_a_legal_hold_is_told_of_when_it_keeps_and_when_it_is_let_go(told: World) -> None:
    one, other, flagged = (told.record(ONE, START) for _ in range(3))
    hold = told.holds(ALICE).PlaceHold(told.order(one)).hold
    told.holds(BOB).ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold.hold_id))
    lapsing = told.holds(ALICE).PlaceHold(told.order(other, request_id="request-2")).hold
    told.holds(SAFETY).PlaceHold(told.order(flagged, kind=FLAGGED, request_id="request-3"))
    told.clock.advance(timedelta(hours=73))
    told.settle(4)
    told.holds(ALICE).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="settled"))
    sent = messages(told)
    assert [(kind, data["subject_id"], data["state"]) for kind, data in sent] == [
        ("hold.activated", hold.hold_id, "ACTIVE"),
        ("hold.activated", lapsing.hold_id, "ACTIVE"),
        ("hold.lapsed", lapsing.hold_id, "RELEASING"),
        ("hold.released", hold.hold_id, "RELEASING"),
    ]
    assert {(data["organization_id"], data["tell"]) for _, data in sent} == {(ONE, "CUSTOMER")}
    assert "Matter" not in str(sent)
    assert "settled" not in str(sent)


def test_of_a_confidential_hold_nothing_is_told_until_it_is_disclosed(told: World) -> None:
    hold = secret(told, told.record(ONE, START))
    review(told, hold.hold_id, review_at=told.clock.now() + timedelta(days=30))
    told.settle(3)
    assert messages(told) == []
    review(told, hold.hold_id, ends=True)
    told.settle(3)
    assert [(kind, data["subject_id"]) for kind, data in messages(told)] == [("hold.disclosed", hold.hold_id)]
    told.holds(ALICE).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="settled"))
    assert [kind for kind, _ in messages(told)] == ["hold.disclosed", "hold.released"]


def test_a_term_is_told_of_when_it_counts_and_when_no_more(told: World) -> None:
    first = put_in_force(told, order(10))
    told.settle(3)
    second = put_in_force(told, order(20, name="request-2"))
    told.settle(30)
    told.contracts(LENA).EndTerm(contracts_pb2.EndTermRequest(term_id=second.term_id, reason="over"))
    told.contracts(LUCA).ConfirmTerm(end_of(second))
    told.settle(30)
    sent = messages(told)
    assert [(kind, data["subject_id"]) for kind, data in sent] == [
        ("term.begun", first.term_id),
        ("term.ended", first.term_id),
        ("term.begun", second.term_id),
        ("term.ended", second.term_id),
    ]
    assert all(data["effective_at"] for _, data in sent)


@pytest.mark.parametrize(
    "ids",
    [{"subject_id": "Matter 12"}, {"state": "since Monday"}, {"organization_id": "Acme"}, {"tell": "A"}],
)
def test_a_slip_of_ours_becomes_no_message(ids: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not what a notification may carry"):
        Ids(**{"organization_id": ONE, "subject_id": "hold_" + "h" * 26, "state": "ACTIVE"} | ids)  # type: ignore[arg-type]


def test_the_guide_names_every_event_and_every_field_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| (.+) \|$", GUIDE, re.MULTILINE))
    assert {row: text for row, text in rows.items() if "." in row} == EVENTS
    assert sorted(row for row in rows if "." not in row) == sorted(field.name for field in fields(Ids))
