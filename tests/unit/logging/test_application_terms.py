"""Terms of single applications: what is stored while one counts is sealed to keys of the application's own, is due by itself, and goes by
itself; the rest of the organization's stays as it was."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from kept.logging.v1 import interactions_pb2, lifecycle_pb2, read_pb2
from kept.retention.v1 import rules_pb2
from services.logging.reading import pages
from services.logging.store.tables import (
    data_keys,
    dropped_counts,
    interactions,
    retained,
    stored_counts,
    unscreened,
)
from shared.terms import lot_of
from tests.unit.logging.peers import GRANT, NOON, ORG, OTHER
from tests.unit.logging.test_lifecycle import HOLD, hold, readable, reason_of, release, rows
from tests.unit.logging.test_replay import Restore, back_up
from tests.unit.logging.test_subjects import erase as erase_subject
from tests.unit.logging.world import World

__all__ = ["back_up"]

DAY = NOON.date()
OWN = "night shift/ü"  # a name that needs care
LOT = lot_of(ORG, OWN)
RUNS = ["run_" + letter * 26 for letter in "rst"]


def own(world: World, text: str, organization_id: str = ORG) -> interactions_pb2.Interaction:
    made = world.interaction(organization_id, text)
    made.application = OWN
    return made


def drop(
    world: World, run: str, *, through: str, stays: bool = True, keep: list[str] | None = None
) -> tuple[int, int]:
    """Of the application's days those through one go; of the organization's none where the partition stays."""
    due = rules_pb2.OrganizationDue(organization_id=ORG, application=OWN, through_day=through)
    answer = world.lifecycle.DropExpired(
        lifecycle_pb2.DropExpiredRequest(
            run_id=run,
            day=DAY.isoformat(),
            applications=[due],
            partition_stays=stays,
            keep_organization_ids=keep,
        )
    )
    return answer.dropped, answer.held


def stored(
    world: World, organization_id: str = "", application: str = ""
) -> list[tuple[str, str, int, int, int]]:
    """A page a line."""
    found: list[tuple[str, str, int, int, int]] = []
    request = lifecycle_pb2.ListStoredDaysRequest(
        through_day="2026-12-31", page_size=1, organization_id=organization_id, application=application
    )
    while True:
        page = world.lifecycle.ListStoredDays(request)
        found += [
            (one.organization_id, one.application, one.records, one.records_with_content, one.held)
            for one in page.days
        ]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def dropped(world: World, *runs: str) -> list[tuple[str, str, int, int]]:
    request = lifecycle_pb2.ListDroppedCountsRequest(day=DAY.isoformat(), run_ids=runs, page_size=1)
    found: list[tuple[str, str, int, int]] = []
    while True:
        page = world.lifecycle.ListDroppedCounts(request)
        found += [(one.organization_id, one.application, one.records, one.held) for one in page.days]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


@pytest.mark.parametrize("lot", [f"{ORG}/%00", f"{ORG}/a%00b", "a\0b"])
def test_a_token_of_no_name_is_refused(world: World, lot: str) -> None:
    days = lifecycle_pb2.ListStoredDaysRequest(
        through_day="2026-12-31", page_token=pages.encode(f"{DAY}|{lot}".encode())
    )
    assert reason_of(lambda: world.lifecycle.ListStoredDays(days)) == "INVALID_ARGUMENT"
    counts = lifecycle_pb2.ListDroppedCountsRequest(
        day=DAY.isoformat(), page_token=pages.encode(lot.encode())
    )
    assert reason_of(lambda: world.lifecycle.ListDroppedCounts(counts)) == "INVALID_ARGUMENT"


def facts(world: World, kind: str) -> list[dict[str, str]]:
    world.jobs["outbox"].step()
    return [dict(one.facts) for one in world.peers.audited if one.kind == kind]


def test_a_shorter_term_takes_one_applications_rows_and_leaves_the_others(world: World) -> None:
    world.peers.set_rule(LOT, days=5)
    world.refresh()
    held, gone, stays = own(world, "held"), own(world, "gone"), world.interaction(text="stays")
    receipts = world.record(held, gone, stays, own(world, "another's", OTHER))
    due = [one.due_at.ToDatetime().date() for one in receipts]
    assert due == [DAY + timedelta(days=days) for days in (4, 4, 29, 29)]
    answer = hold(world, HOLD, held.record_id, stays.record_id)
    assert {one.record_id: one.application for one in answer.held} == {
        held.record_id: OWN,
        stays.record_id: "",
    }
    assert stored(world) == [(ORG, "", 1, 1, 1), (ORG, OWN, 2, 2, 1), (OTHER, "", 1, 1, 0)]
    assert sorted(readable(world)) == ["gone", "held", "stays"]
    assert reason_of(lambda: drop(world, RUNS[0], through=DAY.isoformat())) == "NOT_DUE"
    world.travel(timedelta(days=4, hours=10))
    assert sorted(readable(world)) == ["held", "stays"]  # no run came yet, and what is due is read no more
    first = drop(world, RUNS[0], through=DAY.isoformat())
    assert (first, drop(world, RUNS[0], through=DAY.isoformat())) == ((2, 1), (2, 1))
    assert sorted(readable(world)) == ["held", "stays"]
    assert stored(world) == [(ORG, "", 1, 1, 1), (OTHER, "", 1, 1, 0)]
    assert dropped(world) == [(ORG, OWN, 2, 1)]
    assert rows(world, interactions, retained, data_keys, unscreened) == [2, 2, 2, 3]
    assert facts(world, "rows.removed") == [
        {"day": DAY.isoformat(), "dropped": "2", "held": "1", "application": OWN}
    ]
    # The organization's own goes on its day, and is counted beside what went.
    world.travel(timedelta(days=25))
    assert drop(world, RUNS[1], through=DAY.isoformat(), stays=False) == (2, 1)
    assert dropped(world) == [(ORG, "", 1, 1), (ORG, OWN, 2, 1), (OTHER, "", 1, 0)]
    assert dropped(world, RUNS[1]) == [(ORG, "", 1, 1), (OTHER, "", 1, 0)]
    assert release(world, HOLD) == 2
    assert rows(world, retained, unscreened, stored_counts, data_keys) == [0, 0, 0, 0]


def test_a_longer_term_keeps_one_applications_rows_beyond_their_partition(world: World) -> None:
    world.peers.set_rule(LOT, days=40)
    world.refresh()
    world.record(own(world, "kept"), world.interaction(text="gone"))
    world.travel(timedelta(days=29, hours=10))
    before = (DAY - timedelta(days=1)).isoformat()
    assert readable(world) == ["kept"]
    assert reason_of(lambda: drop(world, RUNS[0], through=DAY.isoformat(), stays=False)) == "NOT_DUE"
    assert drop(world, RUNS[0], through=before, stays=False) == (1, 0)
    assert readable(world) == ["kept"]  # and opened: it took its data key along
    assert (stored(world), rows(world, interactions, retained)) == ([(ORG, OWN, 1, 1, 0)], [0, 1])
    assert facts(world, "rows.kept") == [{"day": DAY.isoformat(), "application": OWN}]
    world.travel(timedelta(days=10))
    assert readable(world) == []
    assert drop(world, RUNS[1], through=DAY.isoformat(), stays=False) == (1, 0)
    assert dropped(world) == [(ORG, "", 1, 0), (ORG, OWN, 1, 0)]
    assert rows(world, retained, stored_counts) == [0, 0]


def test_only_what_is_stored_while_a_term_counts_is_sealed_to_the_applications_keys(world: World) -> None:
    world.record(own(world, "before"))
    world.peers.set_rule(LOT, days=5, at=world.clock.now() + timedelta(seconds=2))
    world.travel(timedelta(minutes=1))
    meanwhile = [own(world, "meanwhile"), world.interaction(text="of another application")]
    meanwhile.append(own(world, "without content"))
    meanwhile[2].ClearField("content")
    world.record(*meanwhile)
    over = rules_pb2.RuleChange(version=len(world.peers.rules.changes) + 1, organization_id=LOT)
    over.effective_at.FromDatetime(world.clock.now())
    world.peers.rules.changes.append(over)
    world.travel(timedelta(minutes=1))
    world.record(own(world, "after"))
    with world.database.transaction() as tx:
        marked = select(interactions.c.record_id).where(interactions.c.by_application)
        assert {one.bytes for one in tx.execute(marked).scalars()} == {
            meanwhile[0].record_id,
            meanwhile[2].record_id,
        }
        keys = select(data_keys.c.application).order_by(data_keys.c.application)
        assert list(tx.execute(keys).scalars()) == ["", OWN]
    assert (ORG, DAY) in world.peers.epochs
    assert (LOT, DAY) in world.peers.epochs
    # Its term is over: its organization's counts for all of it.
    world.travel(timedelta(days=10))
    world.peers.expires_at = world.clock.now() + timedelta(hours=1)
    asked = read_pb2.ListInteractionsRequest(grant_id=GRANT, organization_id=ORG)
    assert len(world.read.ListInteractions(asked).records) == 5
    assert stored(world) == [(ORG, "", 3, 3, 0), (ORG, OWN, 2, 1, 0)]


def test_days_are_listed_on_which_an_application_has_records(world: World) -> None:
    world.record(own(world, "before"), world.interaction())
    world.travel(timedelta(days=1))
    world.record(world.interaction())
    world.peers.set_rule(LOT, days=5)
    world.travel(timedelta(days=1))
    world.record(own(world, "in its own lot"), world.interaction())
    assert len(stored(world, organization_id=ORG)) == 4
    assert stored(world, organization_id=ORG, application=OWN) == [(ORG, "", 2, 2, 0), (ORG, OWN, 1, 1, 0)]
    assert stored(world, organization_id=OTHER, application=OWN) == []
    assert reason_of(lambda: stored(world, application=OWN)) == "INVALID_ARGUMENT"
    assert reason_of(lambda: stored(world, organization_id=ORG, application="a\nb")) == "INVALID_ARGUMENT"
    assert reason_of(lambda: stored(world, organization_id=ORG, application="a" * 201)) == "INVALID_ARGUMENT"


def test_an_erased_end_users_rows_are_counted_off_their_lots(world: World) -> None:
    world.peers.set_rule(LOT, days=5)
    world.refresh()
    for made in (first := own(world, "one"), second := world.interaction()):
        made.end_user = "a-pseudonym"
    world.record(first, second, world.interaction())
    erase_subject(world)
    # A day without rows is still named: its key opens copies.
    assert stored(world) == [(ORG, "", 1, 1, 0), (ORG, OWN, 0, 0, 0)]
    world.travel(timedelta(days=4, hours=10))
    assert drop(world, RUNS[0], through=DAY.isoformat()) == (0, 0)
    assert readable(world) == ["hello"]


def test_a_day_that_is_kept_and_empty_is_still_named_for_its_key(world: World) -> None:
    world.peers.set_rule(LOT, days=40)
    world.refresh()
    gone = own(world, "gone")
    gone.end_user = "a-pseudonym"
    world.record(gone, world.interaction())
    erase_subject(world)
    world.travel(timedelta(days=29, hours=10))
    before = (DAY - timedelta(days=1)).isoformat()
    assert drop(world, RUNS[0], through=before, stays=False) == (1, 0)
    assert stored(world) == [(ORG, OWN, 0, 0, 0)]


@pytest.mark.parametrize("days", [5, 40])
def test_what_went_of_one_application_is_gone_in_a_restored_database_too(
    world: World, back_up: Restore, days: int
) -> None:
    world.peers.set_rule(LOT, days=days)
    world.refresh()
    world.record(own(world, "its own"), world.interaction(text="others"))
    restore = back_up()  # type: ignore[func-returns-value]
    if days == 5:
        world.travel(timedelta(days=4, hours=10))
        drop(world, RUNS[0], through=DAY.isoformat())
    else:
        world.travel(timedelta(days=29, hours=10))
        drop(world, RUNS[0], through=(DAY - timedelta(days=1)).isoformat(), stays=False)
    before = (stored(world), dropped(world), rows(world, interactions, retained, data_keys, dropped_counts))
    restore()  # type: ignore[misc]
    assert (
        stored(world),
        dropped(world),
        rows(world, interactions, retained, data_keys, dropped_counts),
    ) == before
    assert readable(world) == [{5: "others", 40: "its own"}[days]]
