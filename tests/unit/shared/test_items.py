"""Of a message of many items, those that can be parsed are, whatever the others are."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from shared.items import by_item, fields

# A file holds messages, in field 4, and a message holds messages, in field 3: two levels of what protobuf brings along.
_LEVELS = [FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, DescriptorProto.NESTED_TYPE_FIELD_NUMBER]
read = by_item(FileDescriptorProto.FromString, _LEVELS, lambda _: DescriptorProto(name="(stand-in)"))


def wire(number: int, payload: bytes) -> bytes:
    size = len(payload)
    assert size < 1 << 14
    return bytes([number << 3 | 2, *([size & 127 | 128, size >> 7] if size > 127 else [size])]) + payload


@given(st.lists(st.lists(st.booleans(), max_size=4), max_size=4))
def test_each_item_that_can_be_parsed_is_there_in_its_place(good: list[list[bool]]) -> None:
    # descriptor.proto is proto2, whose strings may be anything: what cannot be parsed is made of a field that ends too late.
    broken = b"\x0a\x7f"
    data = b"".join(
        wire(4, b"".join(wire(3, wire(1, b"ok") if one else broken) for one in inner)) for inner in good
    )
    names = [[one.name for one in outer.nested_type] for outer in read(data).message_type]
    assert names == [["ok" if one else "(stand-in)" for one in inner] for inner in good]


@pytest.mark.parametrize("depth", range(90, 106))
def test_an_item_that_is_too_deep_only_within_the_others_costs_them_nothing(depth: int) -> None:
    deep = b""
    for _ in range(depth):
        deep = wire(3, deep)
    found = read(wire(4, wire(3, wire(1, b"ok")) + wire(3, wire(1, b"deep") + deep)))
    [good, other] = found.message_type[0].nested_type
    assert good.name == "ok"
    # protobuf goes 100 levels deep, of which these items are on the second.
    assert other.name == ("deep" if depth <= 98 else "(stand-in)")


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x7f",  # the fault is in the message itself
        wire(4, b"\x0a\x7f"),  # in an outer item, beside its items
        b"\xff" * 11,  # no varint
        wire(4, wire(3, b"\x0a\x7f")) + b"\x23",  # a group, which nobody closes
    ],
)
def test_a_fault_anywhere_else_is_one_of_the_message(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read(data)


def test_what_has_more_items_than_any_batch_is_not_looked_through() -> None:
    with pytest.raises(DecodeError, match="too many"):
        read(wire(4, b"") * 10_001 + wire(4, wire(3, b"\x0a\x7f")))


@given(st.binary(max_size=60))
def test_fields_are_all_there_is_or_an_error(data: bytes) -> None:
    try:
        found = list(fields(data))
    except DecodeError:
        return
    assert b"".join(raw for _, _, raw in found) == data
