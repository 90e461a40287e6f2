"""Reading under a grant: what is decided before anything is looked up, what is shown, and when it ends."""

from __future__ import annotations

import secrets
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import grpc
import pytest
from sqlalchemy import delete, select, update

from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import interactions_pb2, lifecycle_pb2, read_pb2, read_pb2_grpc
from services.logging.reading.ended_grants import EndedGrants
from services.logging.reading.scope import extent_of
from services.logging.reading.showing import masked
from services.logging.store import reading as store
from services.logging.store.tables import interactions
from shared.errors import KeptError, Reason
from shared.ids import new_record_id, record_time
from shared.pipeline import Pipeline
from shared.terms import lot_of
from tests.unit.logging.peers import ENGINEER, GRANT, NOON, ORG, OTHER
from tests.unit.logging.test_ingest import outcomes
from tests.unit.logging.world import World

FULL, MASKED, METADATA = (grants_pb2.DETAIL_FULL, grants_pb2.DETAIL_MASKED, grants_pb2.DETAIL_METADATA)


def request(**changes: Any) -> read_pb2.ReadInteractionsRequest:
    values: dict[str, Any] = {"grant_id": GRANT, "organization_id": ORG, "detail": FULL} | changes
    return read_pb2.ReadInteractionsRequest(**values)


def texts(world: World, **changes: Any) -> list[str]:
    return [
        answer.record.content.prompt[0].parts[0].text if answer.record.HasField("content") else "-"
        for answer in world.read.ReadInteractions(request(**changes))
    ]


def fill(world: World, *words: str, organization_id: str = ORG) -> list[bytes]:
    """Records these texts, a second apart and oldest first; their ids."""
    made = [
        world.interaction(organization_id, word, age=timedelta(seconds=len(words) - index))
        for index, word in enumerate(words)
    ]
    world.record(*made)
    return [one.record_id for one in made]


def reason_of(act: Callable[[], Any]) -> str:
    with pytest.raises(KeptError) as refused:
        act()
    return refused.value.name


def test_nothing_is_looked_up_without_a_grant(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world, "one")

    def nobody_may(*_: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(world.database, "transaction", nobody_may)
    for grant_id in ("", "grant_" + "x" * 26):
        assert reason_of(partial(texts, world, grant_id=grant_id)) == "GRANT_REQUIRED"
        listing = read_pb2.ListInteractionsRequest(grant_id=grant_id, organization_id=ORG)
        assert reason_of(partial(world.read.ListInteractions, listing)) == "GRANT_REQUIRED"
    # A grant for another organization than the one asked for opens nothing here, whatever access control said.
    assert reason_of(lambda: texts(world, organization_id=OTHER)) == "OUTSIDE_SCOPE"


def test_who_is_denied_is_told_what_access_control_says(world: World) -> None:
    said = {"missing": "one of the roles ENGINEER", "policy": "records.role", "advice": "Ask the desk"}
    world.peers.denial = KeptError(Reason.REASON_NOT_AUTHORIZED, "denied", metadata=said)
    with pytest.raises(KeptError) as denied:
        texts(world)
    assert (denied.value.name, denied.value.metadata) == ("NOT_AUTHORIZED", said)


def test_attributes_key_and_country_are_shown_at_the_level_asked_for(world: World) -> None:
    record = world.interaction()
    record.api_key_kind = interactions_pb2.API_KEY_KIND_TRIAL
    record.api_key_id, record.country = "apikey_" + "a" * 26, "DE"
    attributes = {"ticket": "T-17", "from ada@example.org": "10.0.0.1", "nul\0": "a\0b"}
    record.content.attributes.update(attributes)
    bare = world.interaction(age=timedelta(0))
    bare.ClearField("content")
    bare.content.attributes["only"] = "this"
    world.record(record, bare)
    whole, rest = world.read.ReadInteractions(request())
    assert dict(whole.record.content.attributes) == attributes
    assert dict(rest.record.content.attributes) == {"only": "this"}
    hidden, _ = world.read.ReadInteractions(request(detail=MASKED))
    assert dict(hidden.record.content.attributes) == {
        "ticket": "T-17",
        "from [EMAIL]": "[IP]",
        "nul\0": "a\0b",
    }
    listing = read_pb2.ListInteractionsRequest(grant_id=GRANT, organization_id=ORG)
    least, _ = world.read.ReadInteractions(request(detail=METADATA))
    for shown in (least.record, world.read.ListInteractions(listing).records[0]):
        assert not shown.HasField("content")
        assert shown.has_content
        assert shown.api_key_kind == interactions_pb2.API_KEY_KIND_TRIAL
        assert (shown.api_key_id, shown.country) == (record.api_key_id, "DE")
    assert rest.record.api_key_kind == interactions_pb2.API_KEY_KIND_PRODUCTION
    assert (rest.record.api_key_id, rest.record.country) == ("", "")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"a": "b"}, {"a": "b"}),
        # Several names that become one: none is lost, and their order says nothing of what they were.
        (
            {"z@example.org": "1", "a@example.org": "2", "m@example.org": "2"},
            {"[EMAIL]": "1", "[EMAIL] (2)": "2", "[EMAIL] (3)": "2"},
        ),
        (
            {"a@example.org": "1", "b@example.org": "2", "[EMAIL] (2)": "0"},
            {"[EMAIL]": "1", "[EMAIL] (2)": "2", "[EMAIL] (2) (2)": "0"},
        ),
        # A name says what a value is.
        ({"phone": "5551234567"}, {"phone": "[PHONE]"}),
        ({"order": "5551234567"}, {"order": "5551234567"}),
        ({"phone": "see +49 30 1234567 or 4111 1111 1111 1111"}, {"phone": "see [PHONE] or [CARD]"}),
        ({"4111 1111": "1111 1111"}, {"4111 1111": "1111 1111"}),  # two halves of nothing
    ],
)
def test_masking_of_attributes(attributes: dict[str, str], expected: dict[str, str]) -> None:
    shown = masked(interactions_pb2.InteractionContent(attributes=attributes))
    assert dict(shown.attributes) == expected


def test_what_is_covered_is_shown_oldest_first_at_the_level_asked_for(world: World) -> None:
    fill(world, "call +49 30 1234567", "mail ada@example.org", "plain")
    fill(world, "another's", organization_id=OTHER)
    assert texts(world) == ["call +49 30 1234567", "mail ada@example.org", "plain"]
    assert texts(world, detail=MASKED) == ["call [PHONE]", "mail [EMAIL]", "plain"]
    assert texts(world, detail=METADATA) == ["-", "-", "-"]
    assert len(world.peers.opened) == 3
    assert len(world.peers.entries) == 9  # METADATA is written down like the others


def test_what_masked_fits_into_no_answer_keeps_nobody_from_what_is_behind_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note of thirty bytes stands for each part that is no text, and a part may be of four bytes."""
    large = world.interaction(text="before", age=timedelta(seconds=2))
    large.content.prompt[0].parts.extend(interactions_pb2.Part(data=b"") for _ in range(4000))
    monkeypatch.setattr("services.logging.reading.showing._LARGEST_SHOWN", 100_000)
    assert outcomes(world.record(large, world.interaction(text="behind"))) == ["STORED", "STORED"]
    first, second = [answer.record for answer in world.read.ReadInteractions(request(detail=MASKED))]
    assert (first.unreadable, first.HasField("content")) == (True, False)
    assert second.content.prompt[0].parts[0].text == "behind"


def test_every_page_is_a_decision_of_its_own(world: World) -> None:
    ids = fill(world, *[str(number) for number in range(250)])
    stream = world.read.ReadInteractions(request())
    first = next(stream)
    assert first.record.record_id == ids[0]
    assert world.peers.calls.count("OpenRecords") == 1
    assert len(world.peers.opened) == 100
    assert [answer.record.record_id for answer in stream] == ids[1:]
    assert world.peers.calls.count("OpenRecords") == 3
    # Resumed after a cursor; pages of log data.
    rest = world.read.ReadInteractions(request(cursor=first.cursor))
    assert next(rest).record.record_id == ids[1]
    page = world.read.ListInteractions(
        read_pb2.ListInteractionsRequest(grant_id=GRANT, organization_id=ORG, page_size=249)
    )
    last = world.read.ListInteractions(
        read_pb2.ListInteractionsRequest(
            grant_id=GRANT, organization_id=ORG, page_size=249, page_token=page.next_page_token
        )
    )
    assert [one.record_id for one in [*page.records, *last.records]] == ids
    assert last.next_page_token == ""
    assert not any(one.HasField("content") for one in page.records)


def test_named_records_outside_the_scope_or_absent_get_one_answer(world: World) -> None:
    inside, outside = fill(world, "in", "out")
    absent = new_record_id(NOON)
    world.peers.scope.record_ids.append(inside)
    world.peers.scope.record_ids.append(absent)
    answers = set()
    for wanted in ([outside], [inside, outside], [absent], [new_record_id(NOON)]):
        with pytest.raises(KeptError) as refused:
            texts(world, filter=read_pb2.RecordFilter(record_ids=wanted))
        answers.add((refused.value.name, refused.value.text))
    assert {name for name, _ in answers} == {"OUTSIDE_SCOPE"}
    # What lies outside was put to access control, which writes the refusal down.
    assert world.peers.calls.count("OpenRecords") == 3
    assert not world.peers.opened
    assert texts(world, filter=read_pb2.RecordFilter(record_ids=[inside])) == ["in"]
    assert texts(world) == ["in"]


@pytest.mark.parametrize("bound", ["from", "until"])
def test_a_named_record_outside_the_grants_span_is_refused_and_written_down(world: World, bound: str) -> None:
    first, second = fill(world, "1", "2")
    getattr(world.peers.scope, bound).FromDatetime(record_time(second))
    inside, outside = (second, first) if bound == "from" else (first, second)
    asked = read_pb2.RecordFilter(record_ids=[inside, outside])
    assert reason_of(lambda: texts(world, filter=asked)) == "OUTSIDE_SCOPE"
    assert world.peers.opened == {outside}  # the stand-in knows no spans; the real one writes a refusal down
    assert len(texts(world, filter=read_pb2.RecordFilter(record_ids=[inside]))) == 1
    assert len(texts(world)) == 1


def test_what_the_question_itself_leaves_out_is_not_outside_the_grant(world: World) -> None:
    first, second = fill(world, "1", "2")
    wanted = read_pb2.RecordFilter(record_ids=[first, second])
    wanted.until.FromDatetime(record_time(second))
    assert texts(world, filter=wanted) == ["1"]
    assert world.peers.opened == {first}


def test_a_case_without_records_covers_none() -> None:
    scope = grants_pb2.DataScope(organization_id=ORG, case_id="case_" + "c" * 26)
    assert extent_of(read_pb2.RecordFilter(), scope).record_ids == frozenset()


def test_spans_know_milliseconds() -> None:
    asked, scope = read_pb2.RecordFilter(), grants_pb2.DataScope()
    ids = [new_record_id(NOON + timedelta(milliseconds=number)) for number in range(4)]
    getattr(asked, "from").FromDatetime(NOON + timedelta(microseconds=500))
    scope.until.FromDatetime(NOON + timedelta(milliseconds=2, microseconds=1))
    extent = extent_of(asked, scope)
    assert [extent.low <= one < extent.high for one in ids] == [False, True, True, False]
    scope.until.seconds = -(2**62)
    assert extent_of(asked, scope).high == bytes(16)
    scope.until.seconds = 2**62
    assert extent_of(asked, scope).high > ids[3]


def test_a_budget_is_used_to_its_end(world: World) -> None:
    fill(world, *[str(number) for number in range(9)])
    world.peers.budget = 5
    got: list[str] = []

    def read() -> None:
        got.extend(
            answer.record.content.prompt[0].parts[0].text for answer in world.read.ReadInteractions(request())
        )

    assert reason_of(read) == "BUDGET_EXHAUSTED"
    assert got == ["0", "1", "2", "3", "4"]


def test_a_list_uses_a_budget_to_its_end(world: World) -> None:
    ids = fill(world, *[str(number) for number in range(9)])
    world.peers.budget = 5
    asked = read_pb2.ListInteractionsRequest(grant_id=GRANT, organization_id=ORG)
    got: list[bytes] = []

    def read() -> None:
        while True:
            page = world.read.ListInteractions(asked)
            got.extend(record.record_id for record in page.records)
            asked.page_token = page.next_page_token

    assert reason_of(read) == "BUDGET_EXHAUSTED"
    assert got == ids[:5]


@pytest.mark.parametrize(
    ("how", "expected"),
    [("revoked", "GRANT_REVOKED"), ("expired", "GRANT_EXPIRED"), ("silence", "PEER_UNAVAILABLE")],
)
def test_a_stream_in_progress_ends(world: World, how: str, expected: str) -> None:
    fill(world, "1", "2", "3")
    stream = world.read.ReadInteractions(request())
    next(stream)
    if how == "revoked":
        world.peers.ended.append(GRANT)
        world.jobs["ended_grants"].step()
    elif how == "expired":
        world.peers.expires_at = NOON  # later answers would say so; this stream has to know by itself
        world.travel(timedelta(hours=1))
    else:
        world.clock.advance(timedelta(seconds=1.1))
    assert reason_of(lambda: next(stream)) == expected


def end(world: World, how: str) -> None:
    """The grant ends, or nobody says any more that it stands."""
    if how == "revoked":
        world.peers.ended.append(GRANT)
        world.jobs["ended_grants"].step()
    elif how == "expired":
        world.clock.advance(timedelta(hours=1))
        world.refresh()
    else:
        world.clock.advance(timedelta(seconds=1.1))


@pytest.mark.parametrize("how", ["revoked", "expired", "silence"])
def test_a_stream_whose_reader_takes_nothing_ends_too(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """gRPC has a stream wait for its reader as long as he likes; here over sockets, with more than is on the way at once."""
    for _ in range(3):
        world.record(world.interaction(text=secrets.token_hex(2_000_000)))
    begun: list[str] = []
    stands, over = threading.Event(), threading.Event()
    sending = EndedGrants.sending

    def noticed(
        self: EndedGrants, grant_id: str, expires_at: datetime, cancel: Any
    ) -> AbstractContextManager[None]:
        cancel.__self__.add_callback(over.set)  # the call's end, at the service
        begun.append(grant_id)
        stands.set()
        return sending(self, grant_id, expires_at, cancel)

    monkeypatch.setattr(EndedGrants, "sending", noticed)

    def pass_time(*jobs: str) -> None:
        world.clock.advance(timedelta(seconds=0.6))
        for name in (*jobs, "unread_batches"):
            world.jobs[name].step()

    server = grpc.server(
        ThreadPoolExecutor(2), interceptors=[Pipeline(lambda _: ENGINEER, world.service.authority)]
    )
    world.service.register(server)  # type: ignore[arg-type] # it is given generic handlers only
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = read_pb2_grpc.ReadServiceStub(channel).ReadInteractions(request())
        assert stands.wait(10)
        on_the_way = 0
        while on_the_way < len(begun):  # until no more of it is taken: then it stands before the reader
            on_the_way = len(begun)
            pass_time("ended_grants")
            assert not over.wait(0.3), "the grant stands"
        end(world, how)
        for _ in range(100):
            if over.wait(0.05):
                break
            pass_time()
        assert over.is_set()
        with pytest.raises(grpc.RpcError):
            list(stream)
    server.stop(None)


@pytest.mark.parametrize(
    ("how", "expected"),
    [("revoked", "GRANT_REVOKED"), ("expired", "GRANT_EXPIRED"), ("silence", "PEER_UNAVAILABLE")],
)
@pytest.mark.parametrize("wanted", ["m-1", ""], ids=["filtered", "all"])
def test_an_idle_stream_ends_too_within_a_second(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str, expected: str, wanted: str
) -> None:
    fill(world, "1")
    waits = threading.Semaphore(0)
    wait = EndedGrants.wait

    def waited(self: EndedGrants, seconds: float) -> None:
        waits.release()
        wait(self, seconds)

    monkeypatch.setattr(EndedGrants, "wait", waited)
    stream = world.read.ReadInteractions(request(follow=True, filter=read_pb2.RecordFilter(model=wanted)))
    next(stream)
    ended: list[str] = []
    thread = threading.Thread(target=lambda: ended.append(reason_of(lambda: next(stream))))
    thread.start()
    assert waits.acquire(timeout=5)
    assert waits.acquire(timeout=5)  # it has nothing to do, and has looked again
    end(world, how)
    thread.join(1)
    assert ended == [expected]


def test_a_following_read_sends_what_comes_once(world: World) -> None:
    fill(world, "1", "2")
    stream = world.read.ReadInteractions(request(follow=True))
    got = [next(stream).record.content.prompt[0].parts[0].text for _ in range(2)]
    world.record(world.interaction(text="late", age=timedelta(seconds=9)), world.interaction(text="3"))
    got += [next(stream).record.content.prompt[0].parts[0].text for _ in range(2)]
    world.travel(timedelta(seconds=20))
    world.record(world.interaction(text="4"))
    got.append(next(stream).record.content.prompt[0].parts[0].text)
    stream.cancel()
    assert got == ["1", "2", "late", "3", "4"]


def test_a_following_read_catches_up_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what came while its reader took her time no more is in memory than of a minute."""
    looked_at: list[int] = []
    ids_of = store.ids

    def ids(*args: Any) -> list[bytes]:
        looked_at.append(len(found := ids_of(*args)))
        return found

    monkeypatch.setattr(store, "ids", ids)
    came = fill(world, "first")
    stream = world.read.ReadInteractions(request(follow=True))
    assert next(stream).record.record_id == came[0]
    for _ in range(24):  # twelve minutes, ten records each half
        world.travel(timedelta(seconds=30))
        came += fill(world, *"abcdefghij")
    answers = [next(stream) for _ in range(240)]
    came += fill(world, "last")
    answers.append(next(stream))
    stream.cancel()
    assert [answer.record.record_id for answer in answers] == came[1:]
    assert max(looked_at) <= 40
    again = world.read.ReadInteractions(request(follow=True, cursor=answers[-1].cursor))
    assert next(again).record.record_id in came[-12:], (
        "what came half a minute before may come again, and no more"
    )
    again.cancel()


def test_a_following_read_whose_reader_pauses_sends_what_was_committed_late(world: World) -> None:
    now = [world.interaction(text=str(number), age=timedelta(seconds=1)) for number in range(250)]
    world.record(*now)
    stream = world.read.ReadInteractions(request(follow=True))
    got = [next(stream).record.record_id for _ in range(10)]
    late = world.interaction(text="late", age=timedelta(seconds=5))
    world.record(late)
    world.travel(timedelta(minutes=10))
    got += [next(stream).record.record_id for _ in range(241)]
    stream.cancel()
    assert sorted(got) == sorted([late.record_id, *(one.record_id for one in now)])


def test_a_following_read_that_is_opened_again_misses_nothing(world: World) -> None:
    """Records are committed in another order than that of their ids; what is read again is known by its id."""
    old = world.interaction(text="old", age=timedelta(minutes=2))
    world.record(old)
    fill(world, "1")
    stream = world.read.ReadInteractions(request(follow=True))
    texts_so_far = [next(stream).record.content.prompt[0].parts[0].text for _ in range(2)]
    assert texts_so_far == ["old", "1"]
    late = world.interaction(text="late", age=timedelta(seconds=2))
    world.record(world.interaction(text="2", age=timedelta(seconds=0.1)))
    answer = next(stream)
    assert answer.record.content.prompt[0].parts[0].text == "2"
    stream.cancel()
    world.record(late)
    again = world.read.ReadInteractions(request(follow=True, cursor=answer.cursor))
    assert [next(again).record.content.prompt[0].parts[0].text for _ in range(3)] == ["late", "1", "2"]
    again.cancel()
    # What lies long enough back is not read again.
    world.travel(timedelta(minutes=1))
    world.record(world.interaction(text="3"))
    stream = world.read.ReadInteractions(request(follow=True, cursor=answer.cursor))
    answers = [next(stream) for _ in range(4)]
    stream.cancel()
    again = world.read.ReadInteractions(request(follow=True, cursor=answers[-1].cursor))
    assert next(again).record.content.prompt[0].parts[0].text == "3"
    again.cancel()


def test_a_grant_that_was_extended_carries_a_stream_on(world: World) -> None:
    ids = fill(world, "1", "2", "3")
    stream = world.read.ReadInteractions(request())
    assert next(stream).record.record_id == ids[0]
    world.peers.expires_at += timedelta(hours=1)  # a colleague approved more time
    world.travel(timedelta(hours=1))
    assert next(stream).record.record_id == ids[1]
    world.travel(timedelta(hours=1))
    assert reason_of(lambda: next(stream)) == "GRANT_EXPIRED"


def test_what_access_control_leaves_out_is_not_shown(world: World) -> None:
    ids = fill(world, "1", "2", "3")
    world.peers.left_out = {ids[0], ids[2]}
    assert texts(world) == ["2"]
    listing = read_pb2.ListInteractionsRequest(grant_id=GRANT, organization_id=ORG)
    assert [one.record_id for one in world.read.ListInteractions(listing).records] == [ids[1]]
    world.peers.left_out = set(ids)
    assert texts(world) == []
    # Of records that somebody names, nothing is left out.
    assert {asked.leave_out_gone for asked in world.peers.opened_by} == {True}
    world.peers.left_out = set()
    texts(world, filter=read_pb2.RecordFilter(record_ids=ids))
    assert not world.peers.opened_by[-1].leave_out_gone


def test_the_watch_begins_anew_after_a_failure(world: World) -> None:
    fill(world, "1")
    world.peers.down = {"WatchEndedGrants"}
    assert reason_of(world.jobs["ended_grants"].step) == "PEER_UNAVAILABLE"
    world.clock.advance(timedelta(seconds=1.5))
    for name in ("replica:policies", "replica:rules"):
        world.jobs[name].step()
    assert reason_of(lambda: texts(world)) == "PEER_UNAVAILABLE"
    world.peers.down.clear()
    world.jobs["ended_grants"].step()
    assert texts(world) == ["1"]


def test_due_records_are_not_shown_and_without_rules_none_is(world: World) -> None:
    [old] = fill(world, "old")
    world.clock.advance(timedelta(days=29, hours=9))
    world.peers.expires_at = world.clock.now() + timedelta(days=2)
    world.refresh()
    fill(world, "new")
    assert texts(world) == ["old", "new"]
    world.travel(timedelta(hours=1))  # 2026-04-08T22:00Z
    assert texts(world) == ["new"]
    wanted = read_pb2.RecordFilter(record_ids=[old])
    assert reason_of(lambda: texts(world, filter=wanted)) == "OUTSIDE_SCOPE"
    world.clock.advance(timedelta(seconds=3))
    world.jobs["ended_grants"].step()
    assert reason_of(lambda: texts(world)) == "LEASE_LAPSED"


def test_what_becomes_due_while_a_reader_takes_her_time_is_not_sent(world: World) -> None:
    ids = fill(world, "first", "due", "held", "due too")
    world.lifecycle.HoldRecords(
        lifecycle_pb2.HoldRecordsRequest(hold_id="hold_" + "h" * 26, organization_id=ORG, record_ids=[ids[2]])
    )
    world.clock.advance(timedelta(days=29, hours=9))
    world.peers.expires_at = world.clock.now() + timedelta(days=2)
    world.refresh()
    stream = world.read.ReadInteractions(request())
    assert next(stream).record.record_id == ids[0]
    assert len(world.peers.opened) == 4  # all of them are decrypted as they are sent, not before
    world.travel(timedelta(hours=1))  # 2026-04-08T22:00Z
    assert [answer.record.record_id for answer in stream] == [ids[2]]


def test_a_customer_sees_what_lives_and_nothing_that_only_a_hold_keeps(world: World) -> None:
    """There are holds that the law forbids to tell of: what is there beyond its term would tell."""
    held, living = fill(world, "held", "living")
    world.lifecycle.HoldRecords(
        lifecycle_pb2.HoldRecordsRequest(hold_id="hold_" + "h" * 26, organization_id=ORG, record_ids=[held])
    )
    world.peers.without_held = True
    world.clock.advance(timedelta(days=29, hours=9))
    world.peers.expires_at = world.clock.now() + timedelta(days=2)
    world.refresh()
    stream = world.read.ReadInteractions(request())
    assert next(stream).record.record_id == held  # its term is not over: held or not, it is the customer's
    world.travel(timedelta(hours=1))
    assert list(stream) == []
    listing = read_pb2.ListInteractionsRequest(grant_id=GRANT, organization_id=ORG)
    assert not world.read.ListInteractions(listing).records
    for named in (held, living):
        named_filter = read_pb2.RecordFilter(record_ids=[named])
        assert reason_of(lambda: texts(world, filter=named_filter)) == "OUTSIDE_SCOPE"  # noqa: B023
    flagged = read_pb2.RecordFilter(flagged=True)
    assert reason_of(lambda: texts(world, filter=flagged)) == "INVALID_ARGUMENT"
    world.peers.without_held = False
    assert texts(world) == ["held"]


def test_a_customer_comes_across_nothing_that_only_a_hold_keeps_where_an_application_has_its_own_term(
    world: World,
) -> None:
    """The application's term is longer: reading begins before the other records' term ends, and a held one of them lies there."""
    world.peers.set_rule(lot_of(ORG, "desk"), days=40)
    world.refresh()
    own = world.interaction(text="the application's own")
    own.application = "desk"
    due = world.interaction(text="held", age=timedelta(minutes=1))
    world.record(own, due)
    world.lifecycle.HoldRecords(
        lifecycle_pb2.HoldRecordsRequest(
            hold_id="hold_" + "h" * 26, organization_id=ORG, record_ids=[due.record_id]
        )
    )
    world.travel(timedelta(days=29, hours=10))
    world.peers.expires_at = world.clock.now() + timedelta(days=2)
    world.peers.without_held = True
    assert texts(world) == ["the application's own"]
    assert world.peers.opened == {own.record_id}
    asked = read_pb2.RecordFilter(model=due.model)
    assert texts(world, filter=asked) == ["the application's own"]
    assert world.peers.opened == {own.record_id}, "not even looked up where the question is a filter's"
    world.peers.without_held = False
    assert texts(world) == ["held", "the application's own"]


def test_a_term_of_a_hundred_years_hides_nothing(world: World) -> None:
    world.peers.set_rule("", days=36_500, at=NOON)
    world.refresh()
    fill(world, "one")
    assert texts(world) == ["one"]


def test_what_is_erased_while_a_reader_takes_her_time_is_not_sent(world: World) -> None:
    """The record, or the content of one that stays."""
    ids = fill(world, "first", "erased", "without content", "last")
    stream = world.read.ReadInteractions(request())
    assert next(stream).record.record_id == ids[0]
    with world.database.transaction() as tx:
        tx.execute(delete(interactions).where(interactions.c.record_id == uuid.UUID(bytes=ids[1])))
        tx.execute(
            update(interactions)
            .where(interactions.c.record_id == uuid.UUID(bytes=ids[2]))
            .values(content=None, data_key_id=None)
        )
    world.travel(timedelta(seconds=1.5))
    bare, last = stream
    assert (bare.record.record_id, last.record.record_id) == (ids[2], ids[3])
    shown = bare.record
    assert (shown.HasField("content"), shown.has_content, shown.content_size, shown.unreadable) == (
        False,
        False,
        0,
        False,
    )
    assert last.record.content.prompt[0].parts[0].text == "last"


def test_one_record_that_does_not_open_costs_no_other(world: World) -> None:
    fill(world, "1", "2")
    with world.database.transaction() as tx:
        first = interactions.c.record_id == min(tx.execute(select(interactions.c.record_id)).scalars())
        tx.execute(update(interactions).where(first).values(content=b"n" * 40))
    answers = list(world.read.ReadInteractions(request()))
    assert [answer.record.unreadable for answer in answers] == [True, False]
    assert answers[1].record.content.prompt[0].parts[0].text == "2"


def test_masking_reaches_every_part_and_shows_no_bytes() -> None:
    content = interactions_pb2.InteractionContent()
    message = content.generations.add(role=interactions_pb2.MESSAGE_ROLE_ASSISTANT)
    message.parts.add(text="to ada@example.org", kind="reasoning")
    message.parts.add(data=b'{"to": "ada@example.org"}', media_type="application/json", kind="tool_call")
    message.parts.add(text="tail", kind="ada@example.org", media_type="ada@example.org")
    # A field that a newer sender knows: it is kept in full reads and never slips through here.
    unknown = interactions_pb2.InteractionContent.FromString(content.SerializeToString() + b"\xfa\x01\x03ada")
    shown = masked(unknown)
    parts = shown.generations[0].parts
    assert [part.text for part in parts] == [
        "to [EMAIL]",
        "[not shown: application/json, 25 bytes]",
        "tail",
    ]
    assert [part.kind for part in parts] == ["reasoning", "tool_call", "[EMAIL]"]
    assert b"ada" not in shown.SerializeToString()
    assert b"ada" in unknown.SerializeToString()


def test_batches_are_opened_together_and_hold_no_more_than_a_message_may(world: World) -> None:
    ids = fill(world, *[str(number) for number in range(130)], *["x" * 100_000] * 4)
    answers = list(world.read.ReadInteractions(request(batch_size=120)))
    # What compresses to nothing is measured as it is sent: two of the large ones and no more.
    assert [len(answer.records) for answer in answers] == [120, 12, 2]
    assert [one.record_id for answer in answers for one in answer.records] == ids
    assert not any(answer.HasField("record") for answer in answers)
    assert world.peers.calls.count("OpenRecords") == 2
    rest = list(world.read.ReadInteractions(request(batch_size=500, cursor=answers[0].cursor)))
    assert [one.record_id for answer in rest for one in answer.records] == ids[120:]
    too_many = request(batch_size=2001)
    assert reason_of(lambda: list(world.read.ReadInteractions(too_many))) == "INVALID_ARGUMENT"


def test_an_access_control_that_takes_fewer_at_once_is_asked_for_fewer(world: World) -> None:
    ids = fill(world, *[str(number) for number in range(10)])
    world.peers.most_opened = 4
    answers = list(world.read.ReadInteractions(request(batch_size=2000)))
    assert [one.record_id for answer in answers for one in answer.records] == ids
    assert sorted(len(asked.records) for asked in world.peers.opened_by) == [2, 2, 3, 3]


def test_a_batch_that_waits_for_its_reader_is_looked_at_again(world: World) -> None:
    ids = fill(world, *[str(number) for number in range(4)])
    stream = world.read.ReadInteractions(request(batch_size=2))
    assert [one.record_id for one in next(stream).records] == ids[:2]
    world.peers.ended.append(GRANT)
    world.jobs["ended_grants"].step()
    assert reason_of(lambda: next(stream)) == "GRANT_REVOKED"
