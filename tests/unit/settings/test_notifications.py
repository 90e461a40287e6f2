"""What settings tells receivers: in the transaction of what it tells of, in ids alone, and as the guide says."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kept.retention.v1 import erasures_pb2
from services.settings.telling.notifications import EVENTS, Ids, Notifications
from tests.unit.settings.test_account_deletion import ask as ask_for_deletion
from tests.unit.settings.test_account_deletion import cancel, confirm
from tests.unit.settings.test_subject_requests import ERASE, ask, known_admin
from tests.unit.settings.test_zero_data_retention import approved, end
from tests.unit.settings.world import World

GUIDE = Path("docs/settings-notifications.md").read_text()
ORG = "org_" + "a" * 26


@pytest.fixture
def told(url: str, tmp_path: Path) -> Iterator[World]:
    """With a receiver that nobody serves: what it would get waits in the outbox."""
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + "A" * 43 + "=")
    endpoint = {"name": "desk", "url": "http://127.0.0.1:9/", "secret_files": [str(secret)]}
    made = World(url, notifications=[endpoint])
    yield made
    made.database.close()


def messages(world: World) -> list[dict[str, Any]]:
    """What waits for the receiver."""
    with world.database.engine.connect() as connection:
        payloads = connection.exec_driver_sql(
            "SELECT payload FROM outbox WHERE kind = 'webhook:desk' ORDER BY message_id"
        ).scalars()
        return [json.loads(bytes(payload).partition(b"\n")[2]) for payload in payloads]


def test_deadlines_are_told_with_ids_alone(told: World) -> None:
    admin = told.admin()
    asked = [ask(told, admin).request, ask(told, admin, ERASE, request_id="r-2").request]
    [job] = [job for job in told.service.jobs if job.name == "subject_requests"]
    for days in (17, 14):
        told.clock.advance(timedelta(days=days))
        job.step()
    sent = messages(told)
    assert [message["type"].removeprefix("subject_request.") for message in sent] == [
        "due_soon",
        "due_soon",
        "overdue",
        "overdue",
    ]
    assert sent[3]["data"] == {
        "organization_id": admin.organization_id,
        "subject_id": asked[1].subject_request_id,
        "actor": "service:settings",
        "tell": "VENDOR",
        "state": "ERASING",
        "due_at": "2026-04-01T12:00:00.000000Z",
    }
    assert sent[0]["data"]["tell"] == "CUSTOMER"


def test_a_customer_is_told_of_an_erasure_that_failed(told: World) -> None:
    admin = known_admin(told)
    asked = ask(told, admin, ERASE).request
    told.peers.subject_erasure.state = erasures_pb2.ERASURE_STATE_FAILED
    [job] = [job for job in told.service.jobs if job.name == "subject_requests"]
    job.step()
    [message] = messages(told)
    assert message["type"] == "subject_request.failed"
    assert message["data"] == {
        "organization_id": admin.organization_id,
        "subject_id": asked.subject_request_id,
        "actor": "service:settings",
        "tell": "CUSTOMER",
        "state": "FAILED",
        "due_at": asked.due_at.ToDatetime().isoformat(timespec="microseconds") + "Z",
    }


def test_a_request_for_zero_data_retention_is_told_as_it_goes(told: World) -> None:
    admin = told.admin()
    request = approved(told, admin)
    end(told, 4, request)
    end(told, 5, request)
    end(told, admin, request)
    sent = [(message["type"].partition(".")[2], message["data"]) for message in messages(told)]
    assert [(event, data["tell"], data["state"]) for event, data in sent] == [
        ("requested", "SALES_REPRESENTATIVE", "REQUESTED"),
        ("decided", "CUSTOMER", "APPROVED"),
        ("ending", "CUSTOMER", "APPROVED"),
        ("ended", "CUSTOMER", "ENDED"),
    ]
    assert "due_at" in sent[2][1]
    assert "sally" not in str(sent)


def test_the_end_of_an_account_is_told_to_its_other_admins(told: World) -> None:
    admin = told.admin()
    deletion = ask_for_deletion(told, admin)
    assert messages(told) == [], "nothing has happened yet"
    confirm(told, admin, deletion)
    cancel(told, admin, deletion)
    confirm(told, admin, ask_for_deletion(told, admin))
    told.clock.advance(timedelta(days=14))
    [job] = [job for job in told.service.jobs if job.name == "account_deletions"]
    job.step()
    sent = messages(told)
    assert [message["type"].partition(".")[2] for message in sent] == [
        "confirmed",
        "cancelled",
        "confirmed",
        "handed_over",
    ]
    assert sent[0]["data"] == {
        "organization_id": admin.organization_id,
        "subject_id": deletion.account_deletion_id,
        "actor": admin.member_id,
        "tell": "CUSTOMER",
        "state": "CONFIRMED",
        "due_at": "2026-03-15T12:00:00.000000Z",
    }


@pytest.mark.parametrize(
    "ids",
    [
        {"subject_id": "DSR-7"},
        {"actor": "ada@acme.test"},
        {"tell": "sally@vendor.test"},
        {"state": "since Monday"},
        {"organization_id": "Acme Ltd"},
    ],
)
def test_a_slip_of_ours_becomes_no_message(ids: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not what a notification may carry"):
        Ids(**{"organization_id": ORG} | ids)  # type: ignore[arg-type]


def test_what_is_no_event_cannot_be_told(world: World) -> None:
    with pytest.raises(KeyError), world.database.transaction() as tx:
        Notifications(world.clock).emit(tx, "subject_request.forgotten", Ids(ORG))


def test_the_guide_names_every_event_and_every_field_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| (.+) \|$", GUIDE, re.MULTILINE))
    assert {row: text for row, text in rows.items() if "." in row} == EVENTS
    table = GUIDE.partition("| in `data` | |")[2].partition("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(field.name for field in fields(Ids))


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_is_told_by_somebody(event: str) -> None:
    code = Path("services/settings").rglob("*.py")
    assert [file for file in code if file.name != "notifications.py" and f'"{event}"' in file.read_text()]
