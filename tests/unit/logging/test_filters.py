"""Reading what is wanted of what a grant covers: the right records, in order, each once, however few match; and never more."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import interactions_pb2, lifecycle_pb2, read_pb2
from kept.retention.v1 import holds_pb2
from services.logging.store import reading
from shared.errors import KeptError
from shared.ids import new_record_id, record_time
from tests.unit.logging.peers import GRANT, NOON, ORG, OTHER
from tests.unit.logging.world import World

FLAGGED, LEGAL = holds_pb2.HOLD_KIND_FLAGGED, holds_pb2.HOLD_KIND_LEGAL
Filter = read_pb2.RecordFilter
KEYS = ("apikey_" + "a" * 26, "", "apikey_" + "b" * 26)


@dataclass
class Shelf:
    """Records of one organization, oldest first, and which of them safety review holds."""

    world: World
    records: list[interactions_pb2.Interaction]
    flagged: set[bytes]

    def expected(self, asked: Filter) -> list[bytes]:
        """What a filter wants, by another way than the service's."""
        return [one.record_id for one in self.records if self._is_wanted(one, asked)]

    def _is_wanted(self, one: interactions_pb2.Interaction, asked: Filter) -> bool:
        words = all(
            getattr(asked, name) in ("", getattr(one, name))
            for name in ("application", "model", "end_user", "finish_reason", "api_key_id", "country")
        )
        prompt = asked.min_prompt_tokens <= one.prompt_tokens <= (asked.max_prompt_tokens or 2**31)
        generation = (
            asked.min_generation_tokens <= one.generation_tokens <= (asked.max_generation_tokens or 2**31)
        )
        named = not asked.record_ids or one.record_id in asked.record_ids
        begins = not asked.HasField("from") or record_time(one.record_id) >= getattr(
            asked, "from"
        ).ToDatetime(NOON.tzinfo)
        return words and prompt and generation and named and begins and (not asked.flagged or self.held(one))

    def held(self, one: interactions_pb2.Interaction) -> bool:
        return one.record_id in self.flagged

    def pages(self, asked: Filter, size: int) -> list[list[bytes]]:
        """Every page of a list, until one names no next."""
        return list(itertools.islice(self._pages(asked, size), 500))

    def _pages(self, asked: Filter, size: int) -> Any:
        token = ""
        while True:
            page = self.world.read.ListInteractions(
                read_pb2.ListInteractionsRequest(
                    grant_id=GRANT, organization_id=ORG, filter=asked, page_size=size, page_token=token
                )
            )
            yield [one.record_id for one in page.records]
            token = page.next_page_token
            if not token:
                return

    def stream(self, asked: Filter, cursor: str = "") -> list[read_pb2.ReadInteractionsResponse]:
        return list(
            self.world.read.ReadInteractions(
                read_pb2.ReadInteractionsRequest(
                    grant_id=GRANT,
                    organization_id=ORG,
                    filter=asked,
                    detail=grants_pb2.DETAIL_METADATA,
                    cursor=cursor,
                )
            )
        )


def hold(world: World, letter: str, kind: holds_pb2.HoldKind.ValueType, *ids: bytes) -> None:
    world.lifecycle.HoldRecords(
        lifecycle_pb2.HoldRecordsRequest(
            hold_id="hold_" + letter * 26, organization_id=ORG, record_ids=ids, kind=kind
        )
    )


@pytest.fixture
def shelf(world: World) -> Shelf:
    """48 records of all combinations over two seconds, some held; and as many of another organization."""
    world.peers.budget = 10**9
    made: list[interactions_pb2.Interaction] = []
    shapes = itertools.product(("a", "b"), ("m-1", "m-2"), ("u1", "", "u2"), ("stop", "length"), (0, 9))
    for number, (application, model, end_user, finish, tokens) in enumerate(shapes):
        one = world.interaction(age=timedelta(milliseconds=2000 - 40 * number))
        one.application, one.model, one.end_user, one.finish_reason = application, model, end_user, finish
        one.api_key_kind = interactions_pb2.API_KEY_KIND_TRIAL
        one.api_key_id, one.country = KEYS[number % 3], ("DE", "", "FR", "KP")[number % 4]
        one.prompt_tokens, one.generation_tokens = tokens, (number % 4) * 100
        made.append(one)
    # Ids are in order of time; what came first in the batch is not.
    world.record(*reversed(made))
    foreign = [interactions_pb2.Interaction.FromString(one.SerializeToString()) for one in made]
    for one in foreign:
        one.organization_id = OTHER
        one.record_id = new_record_id(record_time(one.record_id))
    world.record(*foreign)
    ids = [one.record_id for one in made]
    hold(world, "f", FLAGGED, *ids[::7])
    hold(world, "j", LEGAL, *ids[::3])
    hold(world, "k", holds_pb2.HOLD_KIND_UNSPECIFIED, *ids[1::7])
    return Shelf(world, made, set(ids[::7]))


def questions(records: list[interactions_pb2.Interaction]) -> st.SearchStrategy[Filter]:
    """Filters over what the shelf has, and a little of what it has not."""
    ids = st.lists(st.sampled_from([one.record_id for one in records]), max_size=6, unique=True)
    least = st.sampled_from([0, 0, 1, 9, 100])

    @st.composite
    def drawn(draw: st.DrawFn) -> Filter:
        asked = Filter(
            application=draw(st.sampled_from(["", "", "a", "b", "c"])),
            model=draw(st.sampled_from(["", "", "m-1", "m-2"])),
            end_user=draw(st.sampled_from(["", "", "u1", "u2"])),
            finish_reason=draw(st.sampled_from(["", "", "stop", "length"])),
            api_key_id=draw(st.sampled_from(["", "", *KEYS])),
            country=draw(st.sampled_from(["", "", "DE", "KP", "IT"])),
            min_prompt_tokens=draw(least),
            min_generation_tokens=draw(least),
            flagged=draw(st.booleans()),
            record_ids=draw(st.one_of(st.just([]), ids)),
        )
        asked.max_prompt_tokens = draw(st.sampled_from([0, asked.min_prompt_tokens + 8]))
        asked.max_generation_tokens = draw(st.sampled_from([0, asked.min_generation_tokens + 100]))
        if draw(st.booleans()):
            begins = record_time(draw(st.sampled_from(records)).record_id)
            getattr(asked, "from").FromDatetime(begins)
        return asked

    return drawn()


def test_the_pages_together_are_what_is_wanted_in_order_and_each_once(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: set[int] = set()

    @settings(max_examples=60)
    @given(questions(shelf.records), st.integers(1, 20), st.integers(1, 60))
    def hold_for(asked: Filter, size: int, scanned: int) -> None:
        monkeypatch.setattr(reading, "SCANNED", scanned)
        expected = shelf.expected(asked)
        found.add(len(expected))
        pages = shelf.pages(asked, size)
        assert [one for page in pages for one in page] == expected
        assert all(len(page) <= size for page in pages)
        answers = shelf.stream(asked)
        assert [one.record.record_id for one in answers] == expected
        if answers:  # resumed in the middle
            middle = len(answers) // 2
            rest = shelf.stream(asked, answers[middle].cursor)
            assert [one.record.record_id for one in rest] == expected[middle + 1 :]

    hold_for()
    assert len(found) > 5  # else the questions are not worth asking


@pytest.mark.parametrize(
    "asked",
    [
        Filter(application="a"),
        Filter(model="m-2", end_user="u2"),
        Filter(finish_reason="length", min_prompt_tokens=1),
        Filter(max_prompt_tokens=8),
        Filter(api_key_id=KEYS[2]),
        Filter(country="KP"),
        Filter(min_generation_tokens=100, max_generation_tokens=200),
        Filter(flagged=True),
        Filter(flagged=True, application="b", end_user="u2"),
    ],
    ids=str,
)
def test_each_part_of_a_filter_leaves_something_out_and_something_in(shelf: Shelf, asked: Filter) -> None:
    expected = shelf.expected(asked)
    assert 0 < len(expected) < len(shelf.records)
    assert shelf.pages(asked, 500) == [expected]


def test_what_matches_nothing_costs_a_page_no_more_than_it_may_look_at(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SCANNED", 10)
    assert shelf.pages(Filter(application="nobody's"), 5) == [[]] * 5  # 48 records, ten at a time
    assert shelf.stream(Filter(application="nobody's")) == []
    # What holds keep is looked at by itself: 25 records.
    assert shelf.pages(Filter(flagged=True, application="nobody's"), 5) == [[]] * 3
    assert not shelf.world.peers.opened
    # Without a filter nothing is counted off: pages are full.
    assert [len(page) for page in shelf.pages(Filter(), 30)] == [30, 18]


def test_a_read_that_finds_nothing_for_long_ends_with_its_grant(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SCANNED", 10)
    looks = 0
    page = reading.page

    def counted(*arguments: Any, **options: Any) -> reading.Page:
        nonlocal looks
        looks += 1
        if looks == 2:
            shelf.world.peers.ended.append(GRANT)
            shelf.world.jobs["ended_grants"].step()
        return page(*arguments, **options)

    monkeypatch.setattr(reading, "page", counted)
    with pytest.raises(KeptError) as ended:
        shelf.stream(Filter(application="nobody's"))
    assert (ended.value.name, looks) == ("GRANT_REVOKED", 2)


def test_a_filter_never_reaches_beyond_the_grant(shelf: Shelf) -> None:
    ids = [one.record_id for one in shelf.records]
    shelf.world.peers.scope.record_ids.extend(ids[:20])
    getattr(shelf.world.peers.scope, "from").FromDatetime(record_time(ids[4]))
    for asked in (Filter(application="a"), Filter(flagged=True), Filter(max_prompt_tokens=8)):
        inside = [one for one in shelf.expected(asked) if one in ids[4:20]]
        assert inside
        assert shelf.pages(asked, 3) == [inside[at : at + 3] for at in range(0, len(inside), 3)]
    assert shelf.world.peers.opened <= set(ids[4:20])


def test_what_is_flagged_follows_the_holds_of_safety_review(shelf: Shelf) -> None:
    world, asked = shelf.world, Filter(flagged=True)
    first = shelf.records[0].record_id  # a legal hold keeps it too
    world.lifecycle.ReleaseRecords(lifecycle_pb2.ReleaseRecordsRequest(hold_id="hold_" + "f" * 26))
    assert shelf.pages(asked, 100) == [[]]
    hold(world, "n", FLAGGED, first)
    hold(world, "n", LEGAL, first)  # repeated with another kind: what was said first counts
    assert shelf.pages(asked, 100) == [[first]]
    # Beyond its day it is found like any other.
    world.travel(timedelta(days=31))
    world.peers.expires_at = world.clock.now() + timedelta(hours=1)
    assert shelf.pages(asked, 100) == [[first]]
    [kept] = shelf.stream(asked)
    assert kept.record.api_key_kind == interactions_pb2.API_KEY_KIND_TRIAL


def test_a_following_read_sends_only_what_is_wanted(world: World) -> None:
    wanted, other = world.interaction(text="one"), world.interaction(text="two")
    other.model = "m-2"
    world.record(wanted, other)
    stream = world.read.ReadInteractions(
        read_pb2.ReadInteractionsRequest(
            grant_id=GRANT,
            organization_id=ORG,
            detail=grants_pb2.DETAIL_FULL,
            filter=Filter(model="m-1"),
            follow=True,
        )
    )
    got = [next(stream).record.record_id]
    later = [world.interaction(), world.interaction(), world.interaction()]
    later[1].model = "m-2"
    world.record(*later)
    got += [next(stream).record.record_id for _ in range(2)]
    stream.cancel()
    assert got == [wanted.record_id, *sorted(one.record_id for one in (later[0], later[2]))]


def test_named_records_that_are_gone_say_what_those_that_never_were_say_whatever_else_is_asked(
    shelf: Shelf,
) -> None:
    there, gone = shelf.records[0], shelf.records[1]
    with shelf.world.database.transaction() as tx:
        for table in ("interactions", "retained"):
            tx.exec_driver_sql(f"DELETE FROM {table} WHERE record_id = '{gone.record_id.hex()}'")
    never = new_record_id(record_time(gone.record_id))
    said = set()
    others = (Filter(), Filter(model=gone.model), Filter(model="nobody's"), Filter(flagged=True))
    for absent, wanted in itertools.product((gone.record_id, never), others):
        asked = Filter(record_ids=[there.record_id, absent])
        asked.MergeFrom(wanted)
        reads: tuple[Callable[[], Any], ...] = (partial(shelf.pages, asked, 5), partial(shelf.stream, asked))
        for read in reads:
            with pytest.raises(KeptError) as refused:
                read()
            said.add((refused.value.name, refused.value.text))
    assert {name for name, _ in said} == {"OUTSIDE_SCOPE"}
    assert len(said) == 1
    # One that is there and not wanted is left out, no more.
    assert shelf.pages(Filter(record_ids=[there.record_id], model="nobody's"), 5) == [[]]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (Filter(min_prompt_tokens=9, max_prompt_tokens=8), "filter.max_prompt_tokens"),
        (Filter(min_generation_tokens=2, max_generation_tokens=1), "filter.max_generation_tokens"),
        (Filter(min_prompt_tokens=-1), "filter.min_prompt_tokens"),
        (Filter(application="a\0b"), "filter.application"),
        (Filter(model="x" * 201), "filter.model"),
        (Filter(end_user="two\nlines"), "filter.end_user"),
        (Filter(finish_reason="x" * 65), "filter.finish_reason"),
        (Filter(api_key_id="sk-live-secret"), "filter.api_key_id"),
        (Filter(country="Germany"), "filter.country"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_filter_that_cannot_be_meant_is_refused_by_name(world: World, asked: Filter, field: str) -> None:
    listing = read_pb2.ListInteractionsRequest(grant_id=GRANT, organization_id=ORG, filter=asked)
    with pytest.raises(KeptError) as refused:
        world.read.ListInteractions(listing)
    assert refused.value.name == "INVALID_ARGUMENT"
    assert [name for name, _ in refused.value.fields] == [field]
    assert "Authorize" not in world.peers.calls
