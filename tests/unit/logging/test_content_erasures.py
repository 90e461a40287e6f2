"""The erasure of what was logged before zero data retention: contents go, log data stays, and no older content is written behind it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import func, select, update

from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import lifecycle_pb2, read_pb2
from services.logging.store import stripes
from services.logging.store.tables import (
    content_erasures,
    data_keys,
    interactions,
    retained,
    stored_counts,
    unscreened,
)
from shared.telemetry import ALERT
from tests.unit.logging.peers import GRANT, NOON, ORG, OTHER, ZDR
from tests.unit.logging.test_confidential_holds import disclose
from tests.unit.logging.test_confidential_holds import keep as keep_in_secret
from tests.unit.logging.test_ingest import outcomes, whole_database
from tests.unit.logging.test_lifecycle import (
    DAY,
    HOLD,
    RUN,
    drop,
    hold,
    reason_of,
    release,
    rows,
    stored_days,
)
from tests.unit.logging.test_subjects import WHO, copy, said
from tests.unit.logging.test_subjects import erase as erase_subject
from tests.unit.logging.test_terms import drop as drop_day
from tests.unit.logging.world import World

ERASURE, SECOND = ("erasure_" + letter * 26 for letter in "ef")


def into_force(world: World, organization_id: str = ORG) -> datetime:
    """Zero data retention counts from a minute from now on, with the erasure of what was before; the instant, which is over then."""
    at = world.clock.now() + timedelta(minutes=1)
    world.peers.set_organization(organization_id, zero_data_retention=True, content_erased_before=at, at=at)
    world.travel(timedelta(minutes=1, seconds=10))
    return at


def ask(
    world: World, before: datetime, erasure_id: str = ERASURE, organization_id: str = ORG
) -> lifecycle_pb2.ContentErasure:
    """One call."""
    request = lifecycle_pb2.EraseContentRequest(organization_id=organization_id, erasure_id=erasure_id)
    request.before.FromDatetime(before)
    answer: lifecycle_pb2.EraseContentResponse = world.lifecycle.EraseContent(request)
    return answer.erasure


def erase(world: World, before: datetime, erasure_id: str = ERASURE) -> lifecycle_pb2.ContentErasure:
    """Calls until it is done."""
    for _ in range(20):
        erasure = ask(world, before, erasure_id)
        if erasure.done:
            return erasure
    raise AssertionError("the erasure does not end")


def fence(world: World, before: datetime) -> datetime:
    """Raises the erasure's fence alone; since when it stands."""
    request = lifecycle_pb2.RaiseFenceRequest(organization_id=ORG, erasure_id=ERASURE)
    request.before.FromDatetime(before)
    since: datetime = world.lifecycle.RaiseFence(request).fenced_at.ToDatetime(tzinfo=UTC)
    return since


def status(world: World) -> lifecycle_pb2.ContentErasure:
    answer: lifecycle_pb2.GetContentErasureResponse = world.lifecycle.GetContentErasure(
        lifecycle_pb2.GetContentErasureRequest(erasure_id=ERASURE)
    )
    return answer.erasure


def words(world: World) -> list[str]:
    """What the records say that a reader gets; nothing of those without content."""
    world.peers.expires_at = world.clock.now() + timedelta(hours=1)
    asked = read_pb2.ReadInteractionsRequest(
        grant_id=GRANT, organization_id=ORG, detail=grants_pb2.DETAIL_FULL
    )
    found = [one.record.content for one in world.read.ReadInteractions(asked)]
    return [content.prompt[0].parts[0].text for content in found if content.prompt]


def filled(world: World) -> list[tuple[int, int]]:
    """By day and organization: how many records, and how many of them with content."""
    return [(records, with_content) for _, _, records, with_content, _ in stored_days(world)]


def contents(world: World) -> list[str]:
    """Organizations of rows in partitions that have content."""
    with world.database.transaction() as tx:
        found = tx.execute(select(interactions.c.organization_id).where(interactions.c.content.is_not(None)))
        return sorted(found.scalars())


def test_contents_go_and_log_data_stays(world: World) -> None:
    world.record(
        said(world, "one", age=86_000), said(world, "two"), said(world, "theirs", organization_id=OTHER)
    )
    before = into_force(world)
    world.record(said(world, "after", age=1))
    erasure = erase(world, before)
    assert dict(erasure.removed) == {"contents": 2, "data_keys": 2, "unscreened": 2}
    assert (erasure.held, list(erasure.holds)) == (0, [])
    assert contents(world) == [OTHER]
    assert rows(world, interactions, unscreened, data_keys) == [4, 1, 1]
    # Counts of days say so too, and nothing of log data is lost.
    assert [(day, of, records, filled) for day, of, records, filled, _ in stored_days(world)] == [
        ((DAY - timedelta(days=1)).isoformat(), ORG, 1, 0),
        (DAY.isoformat(), ORG, 2, 0),
        (DAY.isoformat(), OTHER, 1, 1),
    ]
    assert ask(world, before) == erasure  # once more changes nothing
    world.jobs["outbox"].step()
    kinds = [one.kind for one in world.peers.audited]
    assert (kinds.count("content.fenced"), kinds.count("content.erased")) == (1, 1)


def test_a_record_of_before_that_comes_late_leaves_log_data_and_no_content(world: World) -> None:
    late, later = said(world, "late", age=3600), said(world, "later", age=7200)
    before = into_force(world)
    assert outcomes(world.record(late)) == ["STORED_WITHOUT_CONTENT"]
    erase(world, before)
    assert outcomes(world.record(copy(late), later)) == ["DUPLICATE", "STORED_WITHOUT_CONTENT"]
    assert not contents(world)
    assert rows(world, interactions) == [2]


@pytest.mark.parametrize("alone", [True, False], ids=["one record", "a batch"])
def test_what_a_process_had_in_hand_is_stored_without_its_content(
    world: World, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged and sealed before the instant, written after the erasure."""
    world.record(said(world, "first"))  # its data key is known, and how to lock
    world.record(said(world, "second"))
    batch = [said(world, "in hand", age=1)] + ([] if alone else [said(world, "too", age=2)])
    share = stripes.share
    erased: list[lifecycle_pb2.ContentErasure] = []

    def late(tx: Any, organization_ids: Any) -> None:
        monkeypatch.setattr(stripes, "share", share)
        erased.append(erase(world, into_force(world)))
        share(tx, organization_ids)

    monkeypatch.setattr(stripes, "share", late)
    receipts = world.record(*batch)
    assert erased[0].done
    assert set(outcomes(receipts)) == {"STORED_WITHOUT_CONTENT"}
    assert not contents(world)
    assert rows(world, interactions, data_keys, unscreened) == [2 + len(batch), 0, 0]
    assert "in hand" not in whole_database(world)


def test_what_a_hold_keeps_stays_readable_with_it_and_goes_with_it(world: World) -> None:
    kept, gone = said(world, "kept"), said(world, "gone")
    kept_id = kept.record_id
    world.record(kept, gone)
    hold(world, HOLD, kept_id)
    erasure = erase(world, into_force(world))
    assert (erasure.removed["contents"], erasure.held) == (1, 1)
    assert filled(world) == [(2, 1)]
    assert [(one.hold_id, one.records) for one in erasure.holds] == [(HOLD, 1)]
    assert words(world) == ["kept"]
    assert rows(world, interactions, retained, unscreened) == [2, 1, 1]
    # What was erased cannot be held any more but for its log data.
    assert not hold(world, "hold_" + "k" * 26, gone.record_id).held[0].data_key_id
    assert status(world).held == 1
    release(world, HOLD)
    after = status(world)
    assert (after.held, list(after.holds), after.removed["contents"]) == (0, [], 1)
    assert not words(world)
    assert not contents(world)
    assert rows(world, interactions) == [2]
    assert filled(world) == [(2, 0)]


def test_what_its_last_hold_lets_go_while_the_erasure_goes_on_is_removed_by_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.logging.lifecycle.contents._LOOKED_AT", 2)
    monkeypatch.setattr("services.logging.lifecycle.contents._STEPS", 1)
    records = sorted((said(world, str(number)) for number in range(3)), key=lambda one: one.record_id)
    ids = [one.record_id for one in records]
    world.record(*records)
    hold(world, HOLD, ids[0], ids[2])
    before = into_force(world)
    assert ask(world, before).removed["contents"] == 1  # two were looked at, and one of them is held
    release(world, HOLD)
    erasure = erase(world, before)
    assert (erasure.removed["contents"], erasure.held, filled(world)) == (3, 0, [(3, 0)])


@pytest.mark.parametrize("other", ["another erasure of content", "its end user's"])
def test_what_a_hold_lets_go_is_one_erasures(
    world: World, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.setattr("services.logging.lifecycle.contents._LOOKED_AT", 2)
    monkeypatch.setattr("services.logging.lifecycle.contents._STEPS", 1)
    records = sorted((said(world, str(number)) for number in range(3)), key=lambda one: one.record_id)
    world.record(*records)
    hold(world, HOLD, records[0].record_id)
    before = into_force(world)
    ask(world, before)
    later = into_force(world)
    if other == "its end user's":
        erase_subject(world)
    else:
        ask(world, later, SECOND)
    release(world, HOLD)
    of_content = erase(world, before).removed["contents"]
    if other == "its end user's":
        of_others = sum(day.removed_with_content for day in erase_subject(world).days)
    else:
        of_others = erase(world, later, SECOND).removed["contents"]
    assert of_content + of_others == 3


@pytest.mark.parametrize("is_done", [True, False])
def test_what_the_version_before_counted_off_too_early_is_counted_in(
    world: World, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    records = [said(world, str(number)) for number in range(3)]
    world.record(*records)
    hold(world, HOLD, *(one.record_id for one in records[:2]))
    before = into_force(world)
    erase(world, before)
    migration = import_module("services.logging.migrations.versions.0020_contents_of_holds")
    with world.database.engine.begin() as connection:
        # As it left them: what a hold keeps was removed once its row had no content.
        connection.execute(
            update(stored_counts)
            .where(stored_counts.c.records == 0)
            .values(records_with_content=stored_counts.c.records_with_content - 2)
        )
        erased_at = {} if is_done else {"erased_at": None}
        connection.execute(
            update(content_erasures).values(contents=content_erasures.c.contents + 2, **erased_at)
        )
        with Operations.context(MigrationContext.configure(connection)):
            migration.upgrade()
    assert filled(world) == [(3, 2)]
    release(world, HOLD)
    assert filled(world) == [(3, 0)]
    assert erase(world, before).removed["contents"] == 3


def test_content_of_after_its_end_is_stored_again(world: World) -> None:
    world.record(said(world, "before"))
    before = into_force(world)
    # Not on the same day, as settings sees to: keys of that day are gone.
    ended = world.clock.now() + timedelta(days=1)
    world.peers.set_organization(ORG, content_erased_before=before, at=ended)
    world.travel(timedelta(days=1, minutes=1))
    assert outcomes(world.record(said(world, "again", age=1))) == ["STORED"]
    erase(world, before)  # retention could not be reached until now
    assert words(world) == ["again"]
    assert outcomes(world.record(said(world, "and again", age=1))) == ["STORED"]
    # A second time takes what came between.
    second = into_force(world)
    assert erase(world, second, SECOND).removed["contents"] == 2
    assert not contents(world)


def test_it_goes_piece_by_piece_and_on_after_a_crash(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.logging.lifecycle.contents._LOOKED_AT", 2)
    monkeypatch.setattr("services.logging.lifecycle.contents._STEPS", 1)
    world.record(*(said(world, f"text {number}") for number in range(5)))
    before = into_force(world)
    seen = []
    for _ in range(10):
        one = ask(world, before)
        seen.append(one.removed["contents"])
        if one.done:
            break
        world.start()
    assert seen == [2, 4, 5, 5]  # the last looks at what terms keep
    assert not contents(world)


def test_a_day_is_dropped_as_ever(world: World) -> None:
    world.record(said(world, "one"), said(world, "two"))
    erase(world, into_force(world))
    world.travel(timedelta(days=32))
    assert drop(world) == (2, 0)


def test_bad_input_gets_a_named_reason_and_nothing_goes(world: World) -> None:
    world.record(said(world, "one"))
    at = world.clock.now() + timedelta(minutes=1)
    assert reason_of(lambda: ask(world, NOON)) == "NOT_DUE", "no policy says so"
    world.peers.set_organization(ORG, zero_data_retention=True, content_erased_before=at, at=at)
    world.refresh()
    assert reason_of(lambda: ask(world, at)) == "NOT_DUE", "it is not in force yet"
    world.travel(timedelta(minutes=2))
    assert reason_of(lambda: ask(world, at + timedelta(microseconds=1))) == "NOT_DUE", "more than is wanted"
    assert reason_of(lambda: ask(world, at, organization_id=ZDR)) == "NOT_DUE"
    world.clock.advance(timedelta(seconds=10))
    assert reason_of(lambda: ask(world, at)) == "LEASE_LAPSED"
    world.refresh()
    for wrong in ("erasure_1", ""):
        assert reason_of(lambda: ask(world, at, erasure_id=wrong)) == "INVALID_ARGUMENT"  # noqa: B023 - asked at once
    without = lifecycle_pb2.EraseContentRequest(organization_id=ORG, erasure_id=ERASURE)
    assert reason_of(lambda: world.lifecycle.EraseContent(without)) == "INVALID_ARGUMENT"
    assert reason_of(lambda: status(world)) == "NOT_FOUND"
    assert contents(world) == [ORG]
    erase(world, at)
    assert reason_of(lambda: ask(world, at - timedelta(days=1))) == "CONFLICT"
    assert reason_of(lambda: ask(world, at, organization_id=OTHER)) == "CONFLICT"


def test_content_that_goes_with_its_hold_waits_for_no_screening_any_more(world: World) -> None:
    """Nothing is left of it that anybody could look at: no person is called to it. What has its content waits on."""
    erased, there = said(world, "erased"), said(world, "there", organization_id=OTHER)
    world.record(erased)
    world.record(there)
    hold(world, HOLD, erased.record_id)
    hold(world, HOLD, there.record_id, organization_id=OTHER)
    erase(world, into_force(world))
    release(world, HOLD)
    assert rows(world, interactions, retained) == [2, 0]
    with world.database.transaction() as tx:
        assert tx.execute(select(unscreened.c.organization_id)).scalars().all() == [OTHER]
    world.start()
    world.travel(timedelta(minutes=5))
    assert not world.jobs["screening_backlog"].step()
    assert rows(world, unscreened) == [0]
    assert not ALERT.labels("screening_given_up")._value.get()


@pytest.mark.parametrize("by_term", [False, True], ids=["in its partition", "kept by a term"])
def test_what_comes_back_with_a_hold_that_was_confidential_counts_until_it_goes(
    world: World, by_term: bool
) -> None:
    record = said(world, "kept")
    record_id = record.record_id
    world.record(record, said(world, "gone"))
    keep_in_secret(world, record_id)
    if by_term:
        outlive_their_day(world)
    erasure = erase(world, into_force(world))
    assert (erasure.removed["contents"], erasure.held, filled(world)) == (2, 0, [(2, 0)])
    assert disclose(world)
    assert (words(world), status(world).held, filled(world)) == (["kept"], 1, [(2, 1)])
    release(world, HOLD)
    assert (words(world), filled(world)) == ([], [(2, 0)])


# --- what a contract's term keeps beyond its day ---------------------------------------------------------------------------------


def outlive_their_day(world: World) -> None:
    """A longer term keeps the organization's rows, and their day is dropped."""
    world.peers.set_rule(ORG, days=60)
    world.travel(timedelta(days=31))
    drop_day(world, RUN, keep=[ORG])


def kept_by_term(world: World, *held: str) -> None:
    """Two records of before that a longer term keeps in `retained`, their day dropped. held: texts of those that a hold keeps too."""
    records = {text: said(world, text) for text in ("one", "two")}
    world.record(*records.values())
    for text in held:
        hold(world, HOLD, records[text].record_id)
    outlive_their_day(world)
    assert rows(world, interactions, retained, unscreened) == [0, 2, 2]
    assert sorted(words(world)) == ["one", "two"]


def sealed(world: World) -> int:
    """How many kept rows have anything that opens."""
    opens = retained.c.content.is_not(None) | retained.c.sealed_data_key.is_not(None)
    with world.database.transaction() as tx:
        return len(
            tx.execute(select(retained.c.record_id).where(opens | retained.c.data_key_id.is_not(None))).all()
        )


def test_content_that_a_term_keeps_goes_and_its_log_data_stays_for_the_term(world: World) -> None:
    kept_by_term(world)
    erasure = erase(world, into_force(world))
    assert (dict(erasure.removed), erasure.held) == ({"contents": 2, "data_keys": 0, "unscreened": 2}, 0)
    assert (rows(world, retained, unscreened), sealed(world)) == ([2, 0], 0)
    assert not words(world)
    assert filled(world) == [(2, 0)]


def test_content_that_a_term_and_a_hold_keep_goes_when_the_hold_ends(world: World) -> None:
    kept_by_term(world, "two")
    erasure = erase(world, into_force(world))
    assert (erasure.removed["contents"], erasure.removed["unscreened"], erasure.held) == (1, 1, 1)
    assert (words(world), sealed(world), rows(world, unscreened)) == (["two"], 1, [1])
    assert filled(world) == [(2, 1)]
    assert release(world, HOLD) == 0  # the row stays for its term
    assert (rows(world, retained, unscreened), sealed(world)) == ([2, 0], 0)
    assert not words(world)
    assert (status(world).held, list(status(world).holds), filled(world)) == (0, [], [(2, 0)])


def between_the_copy_and_the_drop(world: World) -> None:
    """Two records lie in both places: a longer term keeps them, and a slow reader keeps their partition from being dropped."""
    outlives = said(world, "one"), said(world, "two")
    world.record(*outlives, said(world, "theirs", organization_id=OTHER))
    world.peers.set_rule(ORG, days=40)
    world.travel(timedelta(days=29, hours=10))
    with world.database.engine.connect() as reader:
        reader.execute(select(interactions.c.record_id)).all()
        assert reason_of(lambda: drop_day(world, RUN, keep=[ORG])) == "DATABASE_UNAVAILABLE"
    assert rows(world, interactions, retained) == [3, 2]


@pytest.mark.parametrize("is_held", [False, True])
def test_content_that_lies_in_both_places_counts_once(world: World, is_held: bool) -> None:
    between_the_copy_and_the_drop(world)
    if is_held:
        with world.database.transaction() as tx:
            one = tx.execute(select(retained.c.record_id)).scalars().first()
        assert one is not None
        hold(world, HOLD, one.bytes)
    erasure = erase(world, into_force(world))
    theirs = (1, 1)
    assert (erasure.removed["contents"], erasure.held) == (2 - is_held, is_held)
    assert filled(world) == [(2, int(is_held)), theirs]
    assert drop_day(world, RUN, keep=[ORG]) == (1, 0)
    assert filled(world) == [(2, int(is_held))]
    release(world, HOLD)
    assert (filled(world), sealed(world)) == ([(2, 0)], 0)


@pytest.mark.parametrize("pieces", range(4))
def test_an_end_user_whose_content_is_being_erased_counts_once(
    world: World, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far that has come: content may be in one of the two places."""
    monkeypatch.setattr("services.logging.lifecycle.contents._LOOKED_AT", 2)
    monkeypatch.setattr("services.logging.lifecycle.contents._STEPS", 1)
    between_the_copy_and_the_drop(world)
    before = into_force(world)
    taken = [ask(world, before).removed["contents"] for _ in range(pieces)][-1:]
    request = lifecycle_pb2.EraseSubjectRequest(organization_id=ORG, end_user=WHO, erasure_id=SECOND)
    erased = world.lifecycle.EraseSubject(request).erasure
    assert [(one.removed, one.removed_with_content) for one in erased.days] == [(2, 2 - sum(taken))]
    with world.database.transaction() as tx:
        mine = stored_counts.c.organization_id == ORG
        counted = select(func.sum(stored_counts.c.records), func.sum(stored_counts.c.records_with_content))
        assert tx.execute(counted.where(mine)).one() == (0, 0)


def test_its_fence_can_come_before_anything_goes(world: World) -> None:
    world.record(said(world, "there"))
    at = world.clock.now() + timedelta(minutes=1)
    assert reason_of(lambda: fence(world, at)) == "NOT_DUE"
    assert into_force(world) == at
    since = fence(world, at)
    assert words(world) == ["there"]
    world.travel(timedelta(seconds=5))
    assert fence(world, at) == since
    assert reason_of(lambda: fence(world, at + timedelta(seconds=1))) == "CONFLICT"
    erased = erase(world, at)
    assert (erased.fenced_at.ToDatetime(tzinfo=UTC), erased.removed["contents"]) == (since, 1)
