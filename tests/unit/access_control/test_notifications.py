"""Who is told what: each event in the transaction of its act, to whoever asked for it, in ids and nothing else."""

import base64
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from kept.access_control.v1 import directory_pb2, grants_pb2
from kept.options.v1 import roles_pb2
from services.access_control import store
from services.access_control.config import AccessControlConfig
from services.access_control.notifications import EVENTS, Ids, Notifications
from services.access_control.store import directory
from shared.ids import new_id
from tests.support.postgres import FreshDatabase
from tests.support.receiver import Receiver, receiving
from tests.unit.access_control.grants.test_break_glass import ON_CALL, review, take
from tests.unit.access_control.grants.test_extension import extend
from tests.unit.access_control.world import (
    ENGINEER,
    OPERATOR,
    ORG,
    WORKFORCE,
    World,
    asked,
    migrated_vault,
    refusal,
)
from tests.unit.shared.test_webhooks import verified

__all__ = ["migrated_vault"]

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
GUIDE = Path("docs/notifications.md").read_text()


class Told(World):
    """A world whose pager is told everything, and whose chat is told of refusals alone."""

    def __init__(self, url: str, home: Path, pager: Receiver, chat: Receiver) -> None:
        (home / "secret").write_text(SECRET)
        endpoints = [
            {"name": "pager", "url": pager.url, "secret_files": [home / "secret"]},
            {
                "name": "chat",
                "url": chat.url,
                "secret_files": [home / "secret"],
                "events": ["grant.denied"],
            },
        ]
        super().__init__(url, home / "keys", notifications=endpoints)
        self.pager, self.chat = pager, chat

    def written(self) -> list[dict[str, Any]]:
        """Messages to the pager that are not sent yet, in order of writing."""
        with self.database.transaction() as tx:
            rows = tx.execute(
                select(store.outbox.c.payload)
                .where(store.outbox.c.kind == "webhook:pager")
                .order_by(store.outbox.c.message_id)
            )
            return [json.loads(row.payload.partition(b"\n")[2]) for row in rows]

    def events(self) -> list[str]:
        """Their types."""
        return [message["type"] for message in self.written()]

    def send(self) -> None:
        """Every endpoint's job, until there is nothing to do."""
        for job in self.service.jobs:
            if job.name.startswith("outbox:"):
                while job.step():
                    pass

    def people(self) -> None:
        self.person("eve", ENGINEER)
        self.person("colin", ENGINEER)


@pytest.fixture
def told(fresh_database: FreshDatabase, migrated_vault: str, tmp_path: Path) -> Iterator[Told]:
    with receiving() as pager, receiving() as chat:
        made = Told(fresh_database("access_control", template=migrated_vault), tmp_path, pager, chat)
        yield made
        made.database.close()


def test_a_request_and_its_approval_arrive(told: Told) -> None:
    told.people()
    grant = told.request("eve")
    approved = told.approve("colin", grant)
    told.send()
    requested, activated = [json.loads(request.body) for request in told.pager.requests]
    assert requested == {
        "type": "grant.requested",
        "timestamp": "2026-03-01T12:00:00.000000Z",
        "data": {
            "grant_id": grant.grant_id,
            "organization_id": ORG,
            "actor": grant.requested_by,
            "requested_by": grant.requested_by,
            "purpose": "ENGINEERING_SUPPORT",
            "detail": "MASKED",
            "state": "REQUESTED",
        },
    }
    assert activated["type"] == "grant.approved"
    assert activated["data"]["state"] == "APPROVED"
    assert activated["data"]["actor"] == approved.approvals[0].approved_by
    assert activated["data"]["expires_at"] == "2026-03-01T12:30:00.000000Z"
    assert all(
        verified(request, SECRET, float(request.headers["webhook-timestamp"]))
        for request in told.pager.requests
    )
    assert not told.chat.requests, "it did not ask for these"
    assert not told.written()


@pytest.mark.parametrize("act", ["deny", "cancel", "revoke"])
def test_every_way_to_an_end_is_told_and_only_to_who_asked(told: Told, act: str) -> None:
    told.people()
    grant = told.request("eve")
    if act == "deny":
        told.grants("colin").DenyGrant(
            grants_pb2.DenyGrantRequest(grant_id=grant.grant_id, reason="not now, please")
        )
    elif act == "cancel":
        told.grants("eve").CancelGrant(grants_pb2.CancelGrantRequest(grant_id=grant.grant_id))
    else:
        told.approve("colin", grant)
        told.grants("colin").RevokeGrant(
            grants_pb2.RevokeGrantRequest(grant_id=grant.grant_id, reason="enough of it")
        )
    event, state = {
        "deny": ("grant.denied", "DENIED"),
        "cancel": ("grant.cancelled", "CANCELLED"),
        "revoke": ("grant.revoked", "REVOKED"),
    }[act]
    last = told.written()[-1]
    assert (last["type"], last["data"]["state"]) == (event, state)
    told.send()
    assert len(told.chat.requests) == (1 if act == "deny" else 0)
    assert set(told.chat.ids) <= set(told.pager.ids), "one event has one id, wherever it goes"


def test_what_ends_because_something_else_does_is_told_too(told: Told) -> None:
    told.people()
    told.person("ada", OPERATOR)
    told.person("bob", OPERATOR)
    power = told.request("ada", power=roles_pb2.POWER_ROLE_ASSIGNMENT)
    told.approve("bob", power)
    grant = told.request("eve")
    told.directory("ada").DisablePerson(directory_pb2.DisablePersonRequest(person_id=grant.requested_by))
    [last] = [message for message in told.written() if message["type"] == "grant.revoked"]
    assert (last["data"]["grant_id"], last["data"]["actor"]) == (grant.grant_id, power.requested_by)


def test_who_has_to_approve_at_the_customer_is_waited_for_aloud(told: Told) -> None:
    told.people()
    told.request("eve")
    assert told.events() == ["grant.requested"]
    told.customer_approval.add(ORG)
    told.renew()
    told.request("eve")
    assert told.events()[1:] == ["grant.requested", "grant.customer_approval_needed"]
    assert told.written()[-1]["data"]["organization_id"] == ORG


def test_a_power_is_told_by_its_name(told: Told) -> None:
    told.person("oscar", OPERATOR)
    told.request("oscar", power=roles_pb2.POWER_OPERATOR)
    assert told.written()[-1]["data"]["power"] == "OPERATOR"
    assert "purpose" not in told.written()[-1]["data"]


def test_what_is_taken_without_asking_is_told_at_once_and_until_it_was_looked_at(told: Told) -> None:
    told.person("eve", ENGINEER, ON_CALL)
    told.person("colin", ENGINEER)
    grant = take(told)
    told.advance(timedelta(hours=18))
    [job] = [job for job in told.service.jobs if job.name == "break_glass"]
    job.step()
    review(told, "colin", grant)
    messages = told.written()
    assert [message["type"] for message in messages] == [
        "break_glass.used",
        "break_glass.review_due",
        "break_glass.reviewed",
    ]
    assert {message["data"]["grant_id"] for message in messages} == {grant.grant_id}
    assert messages[1]["data"]["actor"] == "service:access_control"
    assert messages[1]["data"]["due_at"] == "2026-03-02T12:00:00.000000Z"


def test_more_time_is_told(told: Told) -> None:
    told.people()
    grant = told.approve("colin", told.request("eve"))
    extend(told, grant)
    told.approve("colin", grant)
    requested, extended = told.written()[2:]
    assert (requested["type"], extended["type"]) == ("grant.extension_requested", "grant.extended")
    assert requested["data"]["expires_at"] == "2026-03-01T12:30:00.000000Z"
    assert extended["data"]["expires_at"] == "2026-03-01T13:00:00.000000Z"


def test_no_act_no_message(told: Told) -> None:
    told.people()
    grant = told.request("eve")
    assert refusal(lambda: told.approve("eve", grant)) == "SECOND_PERSON_REQUIRED"
    assert told.events() == ["grant.requested"]


def test_a_repeated_request_is_told_once(told: Told) -> None:
    told.people()
    for _ in range(2):
        told.request("eve", request_id="request_" + "1" * 26)
    assert told.events() == ["grant.requested"]


def test_a_receiver_that_is_down_stops_no_act(told: Told) -> None:
    told.people()
    told.pager.answers(500)
    grant = told.request("eve")
    told.send()
    told.approve("colin", grant)
    told.send()
    assert len(told.written()) == 2
    assert told.service.parts["outbox"]()


CANARY = "canary"
_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_text, min_size=5, max_size=5))
def test_nothing_that_anybody_wrote_is_in_a_message(told: Told, words: list[str]) -> None:
    reason, ticket, why, name, email = (f"{CANARY} {word}" for word in words)
    ticket = f"{CANARY}-{ticket.encode().hex()[:40]}"
    with told.database.transaction() as tx:
        tx.execute(store.outbox.delete())
        if directory.person_of_identity(tx, WORKFORCE, "eve") is None:
            told.people()
        tx.execute(directory.people.update().values(display_name=name))
        tx.execute(
            directory.people.update()
            .where(directory.people.c.email.like("eve@%"))
            .values(email=email, email_folded=email)
        )
    request = asked()
    request.reason, request.ticket = reason, ticket
    denied = told.grants("eve").RequestGrant(request).grant
    told.grants("colin").DenyGrant(grants_pb2.DenyGrantRequest(grant_id=denied.grant_id, reason=why))
    request.request_id = new_id("request")
    revoked = told.grants("eve").RequestGrant(request).grant
    told.approve("colin", revoked)
    told.grants("eve").RevokeGrant(grants_pb2.RevokeGrantRequest(grant_id=revoked.grant_id, reason=why))
    messages = told.written()
    assert len(messages) == 5
    for message in messages:
        assert CANARY not in json.dumps(message)
        assert set(message) == {"type", "timestamp", "data"}
        assert set(message["data"]) <= {field.name for field in fields(Ids)}
        for value in message["data"].values():
            assert re.fullmatch(r"[a-z]+_[0-9a-z]+|[A-Z_]+|\d{4}-\d\d-\d\dT[0-9:.]+Z", value)


@pytest.mark.parametrize(
    "ids",
    [
        {"grant_id": "a failing request"},
        {"actor": "Eve Engineer"},
        {"requested_by": "eve@vendor.test"},
        {"organization_id": "ORG"},
        {"purpose": "Because the customer asked"},
        {"subject_id": "T-1"},
        {"person_id": "person_" + "a" * 41},
        {"actor": "service:eve@vendor.test"},
        {"state": "grant_1"},
    ],
)
def test_a_slip_of_ours_becomes_no_message(ids: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not what a notification may carry"):
        Ids(**ids)  # type: ignore[arg-type]


def test_what_is_no_event_cannot_be_told(told: Told) -> None:
    with pytest.raises(KeyError), told.database.transaction() as tx:
        Notifications(told.clock).emit(tx, "grant.forgotten", Ids())


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_is_told_by_somebody(event: str) -> None:
    code = Path("services/access_control").rglob("*.py")
    assert [file for file in code if file.name != "notifications.py" and f'"{event}"' in file.read_text()]


def test_the_guide_names_every_event_and_every_field_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| (.+) \|$", GUIDE, re.MULTILINE))
    assert {event: rows.get(event) for event in EVENTS} == EVENTS
    assert {row for row in rows if "." in row} == set(EVENTS)
    table = GUIDE.partition("| in `data` | |")[2].partition("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(field.name for field in fields(Ids))


def test_the_guides_configuration_is_one_that_is_taken() -> None:
    block = re.search(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    assert block is not None
    text = block[1].replace("# authority", "authority").replace("# timeout", "timeout")
    base = {
        "environment": "production",
        "trust_domain": "kept.test",
        "services_address": "h:1",
        "people_address": "h:1",
        "health_address": "h:1",
        "metrics_address": "h:1",
        "database_url": "postgresql://",
        "tls": {"certificate": "/c", "key": "/k", "authority": "/a"},
        "audience": "kept:access_control",
        "key_store": "/k",
    }
    config = AccessControlConfig.model_validate(base | tomllib.loads(text))
    assert config.notifications[0].events == ("break_glass.used",)
    with pytest.raises(ValueError, match=r"there is no event break_glass\.user"):
        AccessControlConfig.model_validate(base | tomllib.loads(text.replace("glass.used", "glass.user")))
