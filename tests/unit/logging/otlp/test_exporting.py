"""What an Export answers, whose a span is, and what happens when something is down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from prometheus_client import REGISTRY

from kept.logging.v1 import interactions_pb2
from services.logging.otlp.facts import Facts, Rejected, facts_of
from services.logging.otlp.messages import USER, Said
from services.logging.otlp.spans import interaction_of
from services.logging.otlp.values import NotReadable, from_json
from services.logging.recording.ingest import MAX_BYTES, MAX_RECORDS, Ingest
from shared.errors import KeptError, Reason
from shared.identity import Caller, CallerKind
from tests.unit.logging.otlp.exports import (
    MARKER,
    STARTED,
    any_value,
    chat,
    event,
    export,
    key_values,
    nanoseconds,
    shown,
    span,
    spans_request,
    stored,
)
from tests.unit.logging.peers import GATEWAY, NOON, ORG, OTHER, PRIVATE, ZDR
from tests.unit.logging.test_ingest import whole_database
from tests.unit.logging.world import World

SPANS = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
EVENTS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
USER_EVENT = "gen_ai.user.message"
HEAD = NOON - timedelta(days=1)


def bind(world: World, *organization_ids: str) -> None:
    """From now on the gateway may record for these alone."""
    world.peers.set_gateway("edge", everywhere=False, organization_ids=organization_ids, at=HEAD)
    world.refresh()


def reason_of(act: Any) -> KeptError:
    with pytest.raises(KeptError) as refused:
        act()
    return refused.value


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@contextmanager
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """How many records, of how many bytes, each call of Ingest got."""
    seen: list[tuple[int, int]] = []
    record = Ingest.record

    def noted(self: Ingest, interactions: Any, gateway: str, *, usage: Any) -> Any:
        seen.append((len(interactions), sum(one.ByteSize() for one in interactions)))
        return record(self, interactions, gateway, usage=usage)

    with monkeypatch.context() as patch:
        patch.setattr(Ingest, "record", noted)
        yield seen


# Whose it is.


def test_another_organizations_id_is_refused_by_name(world: World) -> None:
    bind(world, ORG, ZDR)
    rejected = export(
        world,
        chat(1, "mine"),
        chat(2, MARKER, {"kept.organization_id": OTHER}),
        chat(3, MARKER),
        resource={"kept.organization_id": ORG},
    )
    # A span that names another organization than its resource is believed in neither.
    assert rejected == (1, "rejected: ORGANIZATION_AMBIGUOUS 1")
    assert export(world, chat(4, MARKER), resource={"kept.organization_id": OTHER}) == (
        1,
        "rejected: GATEWAY_NOT_REGISTERED 1",
    )
    assert stored(world, OTHER) == []
    assert len(stored(world)) == 2


def test_one_export_may_hold_several_organizations_spans(world: World) -> None:
    rejected = export(
        world,
        chat(1, "a", {"kept.organization_id": ORG}),
        chat(2, "b", {"kept.organization_id": OTHER}),
        chat(3, MARKER, {"kept.organization_id": ZDR}),
        chat(4, MARKER, {"kept.organization_id": PRIVATE}),
        chat(5, MARKER, {"kept.organization_id": "org_" + "q" * 26}),
        chat(6, MARKER, {"kept.organization_id": "org'; --"}),
        resource={"service.name": "assistant"},
    )
    assert rejected == (
        3,
        "rejected: DEPLOYMENT_SENDS_NO_CONTENT 1, INVALID_ARGUMENT 1, UNKNOWN_ORGANIZATION 1",
    )
    assert [len(stored(world, one)) for one in (ORG, OTHER, ZDR)] == [1, 1, 1]
    assert not stored(world, ZDR)[0].has_content
    everything = whole_database(world)
    assert MARKER not in everything
    assert PRIVATE not in everything


def test_whose_it_is_is_never_guessed(world: World) -> None:
    nobodys = [
        chat(1, MARKER),
        chat(2, MARKER, {"kept.organization_id": ""}),
        chat(3, MARKER, {"kept.organization_id": 7}),
    ]
    assert export(world, *nobodys, resource={}) == (3, "rejected: ORGANIZATION_NOT_NAMED 3")
    bind(world, ORG, OTHER)
    assert export(world, nobodys[0], resource={}) == (1, "rejected: ORGANIZATION_NOT_NAMED 1")
    # Bound to one organization alone, the gateway means that one; what names nobody does not mean it.
    bind(world, ORG)
    assert export(world, *nobodys, resource={}) == (2, "rejected: ORGANIZATION_NOT_NAMED 2")
    assert len(stored(world)) == 1


def test_an_organization_named_twice_over_is_ambiguous(world: World) -> None:
    twice = chat(1, MARKER, {"kept.organization_id": ORG})
    twice.attributes.extend(key_values({"kept.organization_id": OTHER}))
    same = chat(2, "good", {"kept.organization_id": ORG})
    same.attributes.extend(key_values({"kept.organization_id": ORG}))
    assert export(world, twice, same) == (1, "rejected: ORGANIZATION_AMBIGUOUS 1")
    assert len(stored(world)) == 1


def test_of_many_that_are_named_no_more_are_kept_than_make_them_ambiguous() -> None:
    """Whoever names many on a resource, and one more on each span, has them copied for none."""
    keys = ("kept.organization_id", "kept.api_key_kind", "kept.api_key_id")
    many = [one for key in keys for number in range(100) for one in key_values({key: str(number)})]
    facts = facts_of(resource_pb2.Resource(attributes=many))
    assert [len(one) for one in (facts.organizations, facts.key_kinds, facts.key_ids)] == [2, 2, 2]
    with pytest.raises(Rejected, match="ORGANIZATION_AMBIGUOUS"):
        interaction_of(chat(1, more={"kept.organization_id": ORG}), facts, "")


def test_a_kind_of_key_that_is_not_known_selects_no_policy(world: World) -> None:
    rejected = export(
        world,
        chat(1, MARKER, {"kept.api_key_kind": "free"}),
        chat(2, MARKER, {"kept.api_key_kind": 1}),
        chat(3, "good", {"kept.api_key_kind": "trial"}),
    )
    assert rejected == (2, "rejected: INVALID_API_KEY_KIND 2")
    assert export(
        world,
        chat(4, MARKER, {"kept.api_key_kind": "trial"}),
        resource={"kept.organization_id": ORG, "kept.api_key_kind": "production"},
    ) == (1, "rejected: INVALID_API_KEY_KIND 1")
    assert len(stored(world)) == 1


def test_what_is_no_keys_id_and_two_of_them_are_refused_unseen(world: World) -> None:
    key, other = ("apikey_" + letter * 26 for letter in "ab")
    rejected = export(
        world,
        chat(1, MARKER, {"kept.api_key_id": MARKER}),
        chat(2, MARKER, {"kept.api_key_id": other}),
        chat(3, "good", {"kept.api_key_id": key}),
        resource={"kept.organization_id": ORG, "kept.api_key_id": key},
    )
    assert rejected == (2, "rejected: INVALID_API_KEY_ID 2")
    assert len(stored(world)) == 1


def test_only_registered_gateways_may_export(world: World) -> None:
    for caller in (
        Caller(CallerKind.SERVICE, name="settings"),
        Caller(CallerKind.GATEWAY, name="unknown"),
        Caller(CallerKind.PUBLIC),
    ):
        channel: Any = world._channel(caller)
        for path in (SPANS, EVENTS):
            send = channel.unary_unary(path, lambda data: data, lambda data: data)
            assert reason_of(partial(send, b"")).name in ("CALLER_NOT_ALLOWED", "GATEWAY_NOT_REGISTERED")


# What is down.


def test_without_a_lease_nothing_is_taken_and_the_same_export_succeeds_later(world: World) -> None:
    world.clock.advance(timedelta(seconds=3))
    refused = reason_of(lambda: world.otlp_spans.Export(spans_request(chat(1))))
    assert (refused.name, refused.status.name) == ("LEASE_LAPSED", "UNAVAILABLE")
    assert refused.retry_after is not None
    world.refresh()
    assert export(world, chat(1)) == (0, "")
    assert len(stored(world)) == 1


def test_what_cannot_be_sealed_now_is_sent_again_and_the_rest_stored_once(world: World) -> None:
    assert export(world, chat(1)) == (0, "")  # this organization's key is here; the other's is not
    world.peers.down = {"GetEpochKey"}
    both = [chat(2, "mine", {"kept.organization_id": ORG}), chat(3, "b", {"kept.organization_id": OTHER})]
    bad = chat(4, MARKER, {"kept.organization_id": "org'"})
    before = counted("kept_otlp_rejected_total", signal="span", reason="INVALID_ARGUMENT")
    refused = reason_of(lambda: world.otlp_spans.Export(spans_request(*both, bad, resource={})))
    assert (refused.name, refused.status.name) == ("PEER_UNAVAILABLE", "UNAVAILABLE")
    assert refused.retry_after is not None
    assert counted("kept_otlp_rejected_total", signal="span", reason="INVALID_ARGUMENT") == before
    assert len(stored(world)) == 2
    world.peers.down.clear()
    world.travel(timedelta(seconds=2))
    assert export(world, *both, bad, resource={}) == (1, "rejected: INVALID_ARGUMENT 1")
    assert (len(stored(world)), len(stored(world, OTHER))) == (2, 1)
    assert counted("kept_otlp_rejected_total", signal="span", reason="INVALID_ARGUMENT") == before + 1


def test_nothing_is_acknowledged_while_the_database_is_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any, **__: Any) -> Any:
        raise KeptError(Reason.REASON_DATABASE_UNAVAILABLE, "lost")

    with monkeypatch.context() as patch:
        patch.setattr(world.database, "transaction", lost)
        refused = reason_of(lambda: world.otlp_spans.Export(spans_request(chat(1))))
    assert (refused.name, refused.status.name) == ("DATABASE_UNAVAILABLE", "UNAVAILABLE")
    assert export(world, chat(1)) == (0, "")
    assert len(stored(world)) == 1


# Sizes.


def test_an_export_beyond_a_batch_of_ingest_is_several(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [chat(number) for number in range(1, MAX_RECORDS + 3)]
    with batches(monkeypatch) as seen:
        assert export(world, *many) == (0, "")
    assert [count for count, _ in seen] == [MAX_RECORDS, 2]
    big = [chat(number, "x" * 2_500_000) for number in range(1, 4)]
    with batches(monkeypatch) as seen:
        assert export(world, *big, resource={"kept.organization_id": OTHER}) == (0, "")
    assert [count for count, _ in seen] == [2, 1]
    assert all(size <= MAX_BYTES for _, size in seen)
    assert len(stored(world, OTHER)) == 3


def test_a_record_that_is_too_large_is_rejected_alone(world: World) -> None:
    assert export(world, chat(1, "x" * MAX_BYTES), chat(2, "é" * (MAX_BYTES // 2)), chat(3, "good")) == (
        2,
        "rejected: TOO_LARGE 2",
    )
    assert len(stored(world)) == 1


@pytest.mark.parametrize("value", ['"' * (4 * 2**20), b"\xff" * (5 * 2**20)], ids=["quotes", "bytes"])
def test_attributes_that_are_larger_as_json_cost_no_record(world: World, value: Any) -> None:
    counter = "kept_otlp_attributes_left_out_total"
    before = counted(counter)
    more = {"first": "é" * 5000, "largest": value, "last": "b" * 5000}
    assert export(world, chat(1, more=more)) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [
        ("user", ["hello"]),
        ("unspecified", [("attributes", {"first": "é" * 5000, "last": "b" * 5000})]),
    ]
    assert counted(counter) - before == 1


def test_of_attributes_that_are_over_there_are_as_many_as_there_is_room_for() -> None:
    facts = Facts(organizations=frozenset({ORG}))
    counter = "kept_otlp_attributes_left_out_total"

    def read(length: int, more: dict[str, str]) -> tuple[int, list[Any], float]:
        """The interaction's size beside a text of this length, what is over, and how many were left out."""
        before = counted(counter)
        one = interaction_of(chat(1, "x" * length, more), facts, "")
        over = [json.loads(part.data) for message in one.content.prompt[1:] for part in message.parts]
        return one.ByteSize(), over, counted(counter) - before

    some = MAX_BYTES - 30_000
    smaller, both = {"a": "a" * 5000}, {"a": "a" * 5000, "b": "b" * 6000}
    for said, fewer in ((both, [smaller]), (smaller, [])):
        full = some + MAX_BYTES - read(some, said)[0]  # the longest text beside which there is room for it
        assert read(full, said) == (MAX_BYTES, [said], 0)
        size, over, left_out = read(full + 1, said)
        assert (size <= MAX_BYTES, over, left_out) == (True, fewer, 1)
    empty = some + MAX_BYTES - read(some, {})[0]
    for length in (empty - 70, empty):
        assert read(length, both) == (MAX_BYTES - (empty - length), [], 2)


def test_an_empty_export_is_no_failure(world: World) -> None:
    assert export(world) == (0, "")
    assert (
        world.otlp_spans.Export(trace_service_pb2.ExportTraceServiceRequest())
        == trace_service_pb2.ExportTraceServiceResponse()
    )


# Bad input, each beside a good span that must be stored.

ESCAPED_NUL = '[{"role":"user","parts":[{"type":"text","content":"a\\u0000b"}]}]'
LONE = '[{"role":"user","parts":[{"type":"text","content":"a\\ud83d"}]},{"role":"user","content":"\\ude00b"}]'
PAIR = '[{"role":"user","parts":[{"type":"text","content":"\\ud83d\\ude00"}]}]'


def test_nul_and_half_surrogates_come_back_readable(world: World) -> None:
    assert export(
        world,
        chat(1, more={"gen_ai.input.messages": ESCAPED_NUL}),
        span(2, {"gen_ai.prompt.0.content": "a\0b"}),
        chat(3, more={"gen_ai.input.messages": LONE}),
        chat(4, more={"gen_ai.input.messages": PAIR}),
        chat(5, "good", {"nul\0in a key": "nul\0in a value"}),
    ) == (0, "")
    said = {int(one.content.attributes["otel.span_id"], 16): one for one in stored(world)}
    assert shown(said[1].content.prompt) == shown(said[2].content.prompt) == [("user", ["a\0b"])]
    assert shown(said[3].content.prompt) == [("user", ["a\ufffd"]), ("user", ["\ufffdb"])]
    assert shown(said[4].content.prompt) == [("user", ["\U0001f600"])]
    assert said[5].content.attributes["nul\0in a key"] == "nul\0in a value"
    assert [number for number in said if "kept.altered" in said[number].content.attributes] == [3]


def test_one_bad_span_never_costs_the_others(world: World) -> None:
    start = nanoseconds(STARTED)
    bad = {
        "INVALID_TRACE_ID": [
            chat(1, MARKER, trace_id=b""),
            chat(1, MARKER, trace_id=b"x" * 15),
            chat(1, MARKER, trace_id=b"x" * 17),
            chat(1, MARKER, trace_id=b"\0" * 16),
        ],
        "INVALID_SPAN_ID": [chat(1, MARKER, span_id=b"x" * 9), chat(1, MARKER, span_id=b"\0" * 8)],
        "NO_START_TIME": [chat(1, MARKER, start_time_unix_nano=0)],
        "RECORD_FROM_FUTURE": [
            chat(1, MARKER, start_time_unix_nano=2**63),
            chat(2, MARKER, start_time_unix_nano=2**64 - 1),
        ],
        "RECORD_TOO_LATE": [chat(1, MARKER, start_time_unix_nano=1)],
        # What finds a customer's end user again is never cut.
        "INVALID_ARGUMENT": [
            chat(1, MARKER, {"user.id": "u" * 129}),
            chat(2, MARKER, {"gen_ai.request.model": "two\nlines"}),
            chat(3, MARKER, {"gen_ai.request.model": "a\0b"}),
        ],
    }
    good = [
        chat(10, "enum", kind=99),
        chat(11, "no end", end_time_unix_nano=0),
        chat(12, "ended before it began", end_time_unix_nano=start - 1),
        chat(13, "a day and more", end_time_unix_nano=start + 86_400 * 10**9 + 1),
        chat(14, "to the day", end_time_unix_nano=start + 86_400 * 10**9),
        chat(15, "numbers", {"a": float("nan"), "b": float("inf"), "c": float("-inf"), "d": -0.0}),
        chat(16, "tokens", {"gen_ai.usage.input_tokens": -1, "gen_ai.usage.output_tokens": 2**31}),
        chat(
            17, "types", {"gen_ai.request.model": 7, "gen_ai.response.finish_reasons": [1], "session.id": 5}
        ),
        chat(18, "bytes", {"b": b"\xff\0", "none": None, "map": {"x": [1, {"y": "z"}]}}),
    ]
    count, text = export(world, *[one for some in bad.values() for one in some], *good)
    assert count == sum(len(some) for some in bad.values())
    assert text == "rejected: " + ", ".join(f"{name} {len(bad[name])}" for name in sorted(bad))
    assert len(text) < 200
    records = {one.content.prompt[0].parts[0].text: one for one in stored(world)}
    assert len(records) == len(good)
    timed = {text for text, one in records.items() if one.HasField("latency")}
    assert timed == set(records) - {"no end", "ended before it began", "a day and more"}
    numbers = records["numbers"].content.attributes
    assert [numbers[name] for name in "abcd"] == ["NaN", "Infinity", "-Infinity", "-0.0"]
    tokens = records["tokens"]
    assert (tokens.prompt_tokens, tokens.content.attributes["gen_ai.usage.input_tokens"]) == (0, "-1")
    assert (records["types"].model, records["types"].content.attributes["gen_ai.request.model"]) == ("", "7")
    assert records["bytes"].content.attributes["b"] == "/wA="
    assert records["bytes"].content.attributes["map"] == '{"x":[1,{"y":"z"}]}'
    assert "none" not in records["bytes"].content.attributes
    assert MARKER not in whole_database(world)


def test_attributes_beyond_the_limits_are_a_part_of_the_prompt(world: World) -> None:
    """They may be anything, also what was said: a tool's definitions, a conversation in a form that nobody knows here."""
    thousand = {f"key.{number}": "v" for number in range(1000)}
    assert export(world, chat(1, "thousand", thousand)) == (0, "")
    # 64 are kept: two of ours, the operation's name, and 61 of the thousand.
    edges = {
        "k" * 200: "v",
        "k" * 201: "v",
        "é" * 101: "v",
        "": "v",
        "long": "v" * 4096,
        "longer": "v" * 4097,
        "wide": "é" * 2049,
    }
    assert export(world, chat(2, "edges", edges)) == (0, "")
    assert export(world, chat(3, "much", {f"b{number}": "v" * 4000 for number in range(6)})) == (0, "")
    contents = {one.content.prompt[0].parts[0].text: one.content for one in stored(world)}
    records = {text: content.attributes for text, content in contents.items()}
    assert len(records["thousand"]) == 64
    assert set(records["edges"]) == {
        "otel.trace_id",
        "otel.span_id",
        "gen_ai.operation.name",
        "k" * 200,
        "long",
    }
    assert sum(len(key) + len(value) for key, value in records["much"].items()) <= 16 * 1024
    assert {"b0", "b1", "b2", "b3"} <= set(records["much"])
    over = {}
    for text, content in contents.items():
        [(role, [(kind, over[text])])] = shown(content.prompt[1:])
        assert (role, kind) == ("unspecified", "attributes")
    assert over["thousand"] == dict.fromkeys(list(thousand)[61:], "v")
    assert over["edges"] == {name: edges[name] for name in ("k" * 201, "é" * 101, "", "longer", "wide")}
    assert over["much"] == {"b4": "v" * 4000, "b5": "v" * 4000}


def nested(depth: int) -> Any:
    made: Any = any_value("bottom")
    for _ in range(depth):
        made = any_value([made])
    return made


def test_deep_nesting_is_bounded(world: World) -> None:
    parts = '[{"role":"user","parts":[{"type":"x","deep":%s}]}]'
    shallow, deep, abyss = ("[" * depth + "]" * depth for depth in (50, 100, 200_000))
    assert export(
        world,
        chat(1, more={"gen_ai.input.messages": parts % shallow}),
        chat(2, more={"gen_ai.input.messages": parts % deep}),
        chat(3, more={"gen_ai.input.messages": parts % abyss}),
        chat(4, more={"gen_ai.input.messages": '{"a":' * 100_000}),
        chat(5, more={"gen_ai.output.messages": nested(30)}),
        chat(6, "good"),
    ) == (0, "")
    said = {int(one.content.attributes["otel.span_id"], 16): one.content for one in stored(world)}
    assert shown(said[1].prompt) == [("user", [("x", {"type": "x", "deep": json.loads(shallow)})])]
    assert shown(said[2].prompt) == [("user", [parts % deep])]
    assert said[3].prompt[0].parts[0].text == parts % abyss
    assert said[4].prompt[0].parts[0].text == '{"a":' * 100_000
    assert "bottom" in said[5].generations[0].parts[0].data.decode()


@pytest.mark.parametrize("place", ["attribute", "event", "log attribute", "log body"])
def test_what_is_deeper_than_protobuf_goes_costs_no_other(world: World, place: str) -> None:
    """Whatever the depth: what could be parsed by itself may be too deep where it is."""
    send = sending(world, EVENTS if place.startswith("log") else SPANS)
    answers = [send(deep_wire(place, depth)) for depth in range(40, 60)]
    rejected = sum(count for count, _ in answers)
    assert 0 < rejected < 20
    assert answers == [(0, "")] * (20 - rejected) + [(1, "rejected: MALFORMED 1")] * rejected
    assert len(stored(world)) == 1 + 20 - rejected


def deep_wire(place: str, depth: int) -> bytes:
    """A good span or log record, always the same, and one with this many lists in lists somewhere, as bytes, for no protobuf library builds
    the deepest."""

    def field(number: int, data: bytes) -> bytes:
        size, prefix = len(data), bytearray()
        while size > 127:
            prefix.append(size & 127 | 128)
            size >>= 7
        return bytes([number << 3 | 2, *prefix, size]) + data

    value = field(1, b"bottom")
    for _ in range(depth):
        value = field(5, field(1, value))
    attribute = field(1, b"deep") + field(2, value)
    good, other, deep = {
        "attribute": (chat(7), chat(depth), field(9, attribute)),
        "event": (chat(7), chat(depth), field(11, field(2, b"gen_ai.choice") + field(3, attribute))),
        "log attribute": (event(USER_EVENT, "x"), event(USER_EVENT, "y"), field(6, attribute)),
        "log body": (event(USER_EVENT, "x"), event(USER_EVENT), field(5, value)),
    }[place]
    resource = spans_request().resource_spans[0].resource.SerializeToString()
    items = field(2, good.SerializeToString()) + field(2, other.SerializeToString() + deep)
    return field(1, field(1, resource) + field(2, items))


@pytest.mark.parametrize(
    "named", [True, False], ids=["its resource names one", "the gateway is bound to one"]
)
def test_a_span_or_event_that_cannot_be_parsed_costs_no_other(world: World, named: bool) -> None:
    if not named:
        bind(world, ORG)
    of = {} if not named else {"kept.organization_id": ORG}
    spans = spans_request(chat(1, "before"), chat(2, "torn"), chat(3, "after"), resource=of)
    assert sending(world, SPANS)(torn(spans)) == (1, "rejected: MALFORMED 1")
    assert sorted(one.content.prompt[0].parts[0].text for one in stored(world)) == ["after", "before"]
    events = logs_service_pb2.ExportLogsServiceRequest()
    resource = events.resource_logs.add()
    resource.resource.attributes.extend(key_values(of))
    scope = resource.scope_logs.add()
    for number, text in enumerate(("early", "torn", "late")):
        event = scope.log_records.add(
            time_unix_nano=nanoseconds(STARTED) + number, event_name="gen_ai.user.message"
        )
        event.body.CopyFrom(any_value({"content": text}))
    assert sending(world, EVENTS)(torn(events)) == (1, "rejected: MALFORMED 1")
    assert {one.content.prompt[0].parts[0].text for one in stored(world)} == {
        "after",
        "before",
        "early",
        "late",
    }


def test_a_resource_that_cannot_be_parsed_refuses_the_export(world: World) -> None:
    refused = reason_of(partial(sending(world, SPANS), torn(spans_request(chat(1), resource={"torn": "x"}))))
    assert (refused.name, refused.status.name) == ("MALFORMED_MESSAGE", "INVALID_ARGUMENT")
    assert not stored(world)


def torn(request: Message) -> bytes:
    """As bytes, with the first half of a character in the place of a letter of the word."""
    return request.SerializeToString().replace(b"torn", b"to\xc3n")


def sending(world: World, method: str) -> Callable[[bytes], tuple[int, str]]:
    """Sends bytes; how many were rejected, and what is said of them. Both answers have the same fields."""
    call = world._channel(GATEWAY).unary_unary(
        method, lambda data: data, trace_service_pb2.ExportTraceServiceResponse.FromString
    )

    def send(data: bytes) -> tuple[int, str]:
        partial_success = call(data).partial_success
        return partial_success.rejected_spans, partial_success.error_message

    return send


@pytest.mark.parametrize("many", ["0,", '"",', "{},", "[],"])
def test_how_many_values_a_text_may_have_is_bounded(many: str) -> None:
    """Each becomes a part in memory, of some hundred times the two bytes that it takes in the text."""
    value = many.rstrip(",")
    most = (200_000 - 2) // (1 + (value in ("{}", "[]")))
    within, beyond = ("[[" + ",".join([value] * count) + "]]" for count in (most - 2, most + 3))
    assert from_json(within) == (json.loads(within), False)
    with pytest.raises(NotReadable):
        from_json(beyond)
    said = Said(interactions_pb2.InteractionContent())
    raw = '[{"parts":' + beyond[1:-1] + "}]"
    said.read_prompt(any_value(raw), USER)
    assert shown(said.content.prompt) == [("user", [raw])]
