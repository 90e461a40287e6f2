"""Sub-processors: a public, dated list; a change counts 30 days after the last customer was told of it, and may be objected to."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kept.archive.contents import Contents
from kept.client.documents import to_document
from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import lifecycle_pb2, members_pb2
from kept.settings.v1 import trust_pb2 as contract
from services.settings.store.subprocessors import Subprocessor
from services.settings.telling.notices import EVENTS
from services.settings.trust import subprocessors
from services.settings.trust.subprocessors import difference_of
from shared.identity import Caller, CallerKind
from tests.support.receiver import receiving
from tests.unit.settings.world import ERASURE, World, refused

MONTH = timedelta(days=30)


def entry(name: str, location: str = "Ireland") -> contract.Subprocessor:
    return contract.Subprocessor(name=name, purpose="hosting", location=location, data="records, sealed")


def publish(
    world: World, *entries: contract.Subprocessor, request_id: str = "", at: datetime | None = None
) -> contract.SubprocessorList:
    request = contract.PublishSubprocessorsRequest(
        request_id=request_id or f"list of {len(entries)}".replace(" ", "-"), subprocessors=entries
    )
    if at is not None:
        request.effective_at.FromDatetime(at)
    return world.staff().trust.PublishSubprocessors(request).list


def lists(world: World) -> contract.ListSubprocessorsResponse:
    return world.public().trust.ListSubprocessors(contract.ListSubprocessorsRequest())


def names(one: contract.SubprocessorList) -> list[str]:
    return [each.name for each in one.subprocessors]


def instant(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)


def object_to(
    world: World, admin: members_pb2.Member, version: int = 2, reason: str = "not in that country"
) -> contract.SubprocessorObjection:
    return (
        world.customer(admin)
        .trust.ObjectToSubprocessors(
            contract.ObjectToSubprocessorsRequest(
                organization_id=admin.organization_id, version=version, reason=reason
            )
        )
        .objection
    )


def objections(world: World, version: int = 2) -> list[contract.SubprocessorObjection]:
    return list(
        world.staff()
        .trust.ListSubprocessorObjections(contract.ListSubprocessorObjectionsRequest(version=version))
        .objections
    )


def test_the_first_list_counts_at_once_and_is_public(world: World) -> None:
    assert lists(world) == contract.ListSubprocessorsResponse()
    world.organization()
    made = publish(world, entry("Alpha"), entry("Beta"))
    assert (made.version, instant(made.effective_at)) == (1, world.clock.now())
    assert list(made.added) == ["Alpha", "Beta"]
    assert lists(world) == contract.ListSubprocessorsResponse(current=made, newest_version=1)
    assert "subprocessors.announced" not in [one.kind for one in world.peers.entries]
    world.run_jobs()
    assert "subprocessors.announced" not in [one.kind for one in world.peers.entries]


def test_a_change_is_announced_to_every_organization_and_counts_a_month_after_the_last_was_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocessors, "_BATCH", 2)
    publish(world, entry("Alpha"), entry("Beta"))
    organizations = [world.organization(f"org{n}").organization.organization_id for n in range(5)]
    world.clock.advance(timedelta(days=100))
    changed = publish(world, entry("Alpha", "Japan"), entry("Gamma"), request_id="the-second")
    assert (list(changed.added), list(changed.removed), list(changed.changed)) == (
        ["Gamma"],
        ["Beta"],
        ["Alpha"],
    )
    assert instant(changed.effective_at) == world.clock.now() + MONTH
    world.clock.advance(timedelta(days=3))  # the job was down
    late = next(job for job in world.service.jobs if job.name == "subprocessor_notices")
    assert late.step()
    assert not lists(world).upcoming[0].HasField("announced_at")
    world.run_jobs()
    told = [one for one in world.peers.entries if one.kind == "subprocessors.announced"]
    assert sorted(one.organization_id for one in told) == sorted(organizations)
    assert {one.facts["added"] + one.facts["removed"] + one.facts["changed"] for one in told} == {"111"}
    [upcoming] = lists(world).upcoming
    assert instant(upcoming.announced_at) == world.clock.now()
    assert instant(upcoming.effective_at) == world.clock.now() + MONTH, (
        "an outage does not shorten the notice"
    )
    world.clock.advance(MONTH - timedelta(seconds=1))
    assert names(lists(world).current) == ["Alpha", "Beta"]
    world.clock.advance(timedelta(seconds=1))
    answer = lists(world)
    assert (names(answer.current), list(answer.upcoming)) == (["Alpha", "Gamma"], [])
    world.run_jobs()
    assert len([one for one in world.peers.entries if one.kind == "subprocessors.announced"]) == 5


def test_without_an_announcement_no_list_comes_into_force(world: World) -> None:
    publish(world, entry("Alpha"))
    publish(world, entry("Beta"), request_id="the-second")
    world.clock.advance(timedelta(days=400))
    assert names(lists(world).current) == ["Alpha"]


def test_a_later_instant_is_kept_and_an_earlier_one_is_not(world: World) -> None:
    publish(world, entry("Alpha"))
    later = world.clock.now() + timedelta(days=90)
    made = publish(world, entry("Beta"), request_id="the-second", at=later)
    world.run_jobs()
    assert instant(lists(world).upcoming[0].effective_at) == instant(made.effective_at) == later
    world.clock.advance(timedelta(days=90))
    soon = publish(world, request_id="the-third", at=world.clock.now() + timedelta(days=1))
    assert instant(soon.effective_at) == world.clock.now() + MONTH
    with refused(reasons_pb2.REASON_WRONG_STATE):
        publish(world, entry("Delta"), request_id="the-fourth")
    world.staff().trust.WithdrawSubprocessors(contract.WithdrawSubprocessorsRequest(version=3))
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        publish(world, request_id="the-fourth", at=world.clock.now() + timedelta(days=731))
    never = contract.PublishSubprocessorsRequest(request_id="the-fourth")
    never.effective_at.seconds = 2**62
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        world.staff().trust.PublishSubprocessors(never)


def test_a_repeated_publication_is_the_same_list(world: World) -> None:
    first = publish(world, entry("Alpha"))
    world.clock.advance(timedelta(hours=1))
    assert publish(world, entry("Alpha")) == first
    with refused(reasons_pb2.REASON_REQUEST_ID_REUSED):
        publish(world, entry("Beta"))
    assert world.kinds().count("subprocessors.published") == 1


def test_a_list_that_is_to_come_can_be_taken_back_and_one_in_force_cannot(world: World) -> None:
    publish(world, entry("Alpha"))
    publish(world, entry("Beta"), request_id="the-second")
    world.run_jobs()
    staff = world.staff().trust
    for version, reason in ((1, reasons_pb2.REASON_WRONG_STATE), (7, reasons_pb2.REASON_NOT_FOUND)):
        with refused(reason):
            staff.WithdrawSubprocessors(contract.WithdrawSubprocessorsRequest(version=version))
    staff.WithdrawSubprocessors(contract.WithdrawSubprocessorsRequest(version=2))
    with refused(reasons_pb2.REASON_NOT_FOUND):
        staff.WithdrawSubprocessors(contract.WithdrawSubprocessorsRequest(version=2))
    with refused(reasons_pb2.REASON_REQUEST_ID_REUSED):
        publish(world, entry("Beta"), request_id="the-second")
    world.clock.advance(timedelta(days=60))
    assert names(lists(world).current) == ["Alpha"]
    third = publish(world, entry("Gamma"), request_id="the-third")
    assert (third.version, list(third.added), list(third.removed)) == (3, ["Gamma"], ["Alpha"])


def test_an_admin_may_object_until_the_list_is_in_force(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    publish(world, entry("Alpha"))
    with refused(reasons_pb2.REASON_WRONG_STATE):
        object_to(world, admin, version=1)
    publish(world, entry("Beta"), request_id="the-second")
    world.run_jobs()
    made = object_to(world, admin)
    world.clock.advance(timedelta(days=1))
    assert object_to(world, admin) == made
    with refused(reasons_pb2.REASON_ALREADY_EXISTS):
        object_to(world, admin, reason="another one")
    theirs = object_to(world, other)
    assert objections(world) == [made, theirs]
    own = world.customer(other).trust.ListSubprocessorObjections(
        contract.ListSubprocessorObjectionsRequest(version=2)
    )
    assert list(own.objections) == [theirs]
    with refused(reasons_pb2.REASON_NOT_FOUND):
        object_to(world, admin, version=3)
    with refused(reasons_pb2.REASON_ADMIN_REQUIRED):
        object_to(world, world.colleague(admin))
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(other).trust.ObjectToSubprocessors(
            contract.ObjectToSubprocessorsRequest(
                organization_id=admin.organization_id, version=2, reason="x"
            )
        )
    assert world.kinds(admin.organization_id).count("subprocessors.objected") == 1
    world.clock.advance(MONTH)
    with refused(reasons_pb2.REASON_WRONG_STATE):
        object_to(world, admin)


def test_an_organization_takes_its_objections_along_to_lists_taken_back_and_replaced_too(
    world: World,
) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    publish(world, entry("Alpha"))
    made = []
    for version, name in ((2, "Beta"), (3, "Gamma"), (4, "Delta")):
        publish(world, entry(name), request_id=f"list-number-{version}")
        world.run_jobs()
        object_to(world, other, version)
        made.append(object_to(world, admin, version))
        if version == 2:
            world.clock.advance(MONTH)
        else:
            world.staff().trust.WithdrawSubprocessors(contract.WithdrawSubprocessorsRequest(version=version))
    assert lists(world).newest_version == 4
    caller = Caller(CallerKind.CUSTOMER, subject=admin.member_id, organization_id=admin.organization_id)
    contents = Contents(lambda _: world.channel(caller), admin.organization_id)
    assert list(contents.subprocessor_objections()) == [to_document(one) for one in made]


def test_a_closed_organization_is_told_nothing_and_its_objection_goes_with_it(world: World) -> None:
    admin = world.admin()
    publish(world, entry("Alpha"))
    publish(world, entry("Beta"), request_id="the-second")
    object_to(world, admin)
    retention = world.peer("retention").lifecycle
    retention.CloseOrganization(
        lifecycle_pb2.CloseOrganizationRequest(organization_id=admin.organization_id, erasure_id=ERASURE)
    )
    assert "subprocessors.announced" not in world.kinds(admin.organization_id)
    receipt = retention.EraseOrganization(
        lifecycle_pb2.EraseOrganizationRequest(organization_id=admin.organization_id, erasure_id=ERASURE)
    )
    assert receipt.removed["subprocessor_objections"] == 1
    assert objections(world) == []


@pytest.mark.parametrize(
    "entries",
    [
        [entry("Alpha"), entry("ALPHA")],
        [entry("")],
        [entry("x" * 201)],
        [entry("two\nlines")],
        [contract.Subprocessor(name="Alpha", purpose="p", location="l")],
        [entry(f"n{number}") for number in range(201)],
    ],
)
def test_what_is_no_list_is_refused(world: World, entries: list[contract.Subprocessor]) -> None:
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        publish(world, *entries)
    assert lists(world) == contract.ListSubprocessorsResponse()


def test_a_difference_names_what_came_went_and_changed() -> None:
    def one(name: str, purpose: str = "p") -> Subprocessor:
        return Subprocessor(name, purpose, "l", "d")

    made = difference_of([one("a"), one("b", "q"), one("c")], [one("b"), one("a"), one("d")])
    assert (made.added, made.removed, made.changed) == (["c"], ["d"], ["b"])
    assert difference_of([], []) == difference_of([one("a")], [one("a")])


def _told(world: World) -> None:
    for job in world.service.jobs:
        if job.name.startswith("outbox:"):
            while job.step():
                pass


def test_whoever_writes_to_admins_is_told_whom_in_ids(url: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + base64.b64encode(bytes(range(32))).decode())
    with receiving() as mailer:
        world = World(url, notifications=[{"name": "mailer", "url": mailer.url, "secret_files": [secret]}])
        admin = world.admin()
        publish(world, entry("Alpha"))
        second = publish(world, entry("Beta"), request_id="the-second")
        world.run_jobs()
        object_to(world, admin, reason="Ada objects")
        _told(world)
        messages: list[dict[str, Any]] = [json.loads(one.body) for one in mailer.requests]
        world.database.close()
    effective_at = instant(second.effective_at).isoformat()
    assert sorted((one["type"], json.dumps(one["data"], sort_keys=True)) for one in messages) == sorted(
        [
            (
                "subprocessors.announced",
                json.dumps(
                    {"effective_at": effective_at, "organization_id": admin.organization_id, "version": 2}
                ),
            ),
            ("subprocessors.objected", json.dumps({"organization_id": admin.organization_id, "version": 2})),
        ]
    )


def test_the_guide_names_every_event_and_no_other() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "trust.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (.+) \|$", guide, re.MULTILINE))
    assert rows == dict(EVENTS)
