"""A message of many items, of which one cannot be parsed: that one is put aside, and costs the others nothing.

protobuf parses a message whole or not at all: one string that is no UTF-8, or one part that is nested too deeply, refuses all that came
with it. But items are length-delimited (protobuf's encoding, "Message Structure"): where one ends is known without reading it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

_T = TypeVar("_T")
_LENGTH_DELIMITED: Final = 2
_FIXED: Final = {1: 8, 5: 4}
_VARINT_BYTES: Final = 10
# What has more items than any batch may have is not looked through one by one.
_MOST: Final = 10_000


def by_item(
    parse: Callable[[bytes], _T], levels: Sequence[int], stand_in: Callable[[bytes], Message]
) -> Callable[[bytes], _T]:
    """A `parse` that puts what `stand_in` makes of an item's bytes in the place of each item that cannot be parsed. levels: the fields that
    the items are in, from the outside in, by their numbers. Raises DecodeError, as `parse` does, when the fault is anywhere else."""

    def read(data: bytes) -> _T:
        try:
            return parse(data)
        except DecodeError:
            return parse(mended(data, 0, [_MOST]))

    def mended(data: bytes, depth: int, left: list[int]) -> bytes:
        whole: list[bytes] = []
        for number, payload, raw in fields(data):
            if number == levels[depth] and payload is not None:
                left[0] -= 1
                if left[0] < 0:
                    raise DecodeError("too many items")
                if not parses(payload, depth):
                    better = (
                        mended(payload, depth + 1, left)
                        if depth + 1 < len(levels)
                        else stand_in(payload).SerializeToString()
                    )
                    raw = _as_field(number, better)
            whole.append(raw)
        return b"".join(whole)

    def parses(payload: bytes, depth: int) -> bool:
        """Whether an item can be parsed where it is: what is as deep as protobuf goes by itself is too deep within others."""
        for number in reversed(levels[: depth + 1]):
            payload = _as_field(number, payload)
        try:
            parse(payload)
        except DecodeError:
            return False
        return True

    return read


def fields(data: bytes) -> Iterator[tuple[int, bytes | None, bytes]]:
    """The fields of a message as they lie: number, what it holds if that is length-delimited, and all its bytes. Raises DecodeError."""
    at = 0
    while at < len(data):
        begin = at
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        payload = None
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == _LENGTH_DELIMITED:
            size, at = _varint(data, at)
            payload = data[at : at + size]
            at += size
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise DecodeError("groups are not taken")
        if at > len(data):
            raise DecodeError("the message ends within a field")
        yield number, payload, data[begin:at]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise DecodeError("no varint")


def _as_field(number: int, payload: bytes) -> bytes:
    return _as_varint(number << 3 | _LENGTH_DELIMITED) + _as_varint(len(payload)) + payload


def _as_varint(value: int) -> bytes:
    piece = bytearray()
    while value > 0x7F:
        piece.append(value & 0x7F | 0x80)
        value >>= 7
    piece.append(value)
    return bytes(piece)
