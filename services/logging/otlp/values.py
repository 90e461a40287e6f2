"""Attribute values as plain Python values, and JSON as it comes.

Deep nesting is bounded twice: a wire of more than 100 levels is no message for protobuf, and JSON of more than MAX_DEPTH is not read.
"""

import base64
import json
import math
import re
from collections.abc import Sequence
from typing import Final

from opentelemetry.proto.common.v1 import common_pb2

MAX_DEPTH: Final = 64
# Values of one text, as its "{", "[" and "," bound them: every value but the first of its container has a comma before it. A value takes
# two bytes on the wire; in memory an object takes some thirty times that, and so does a part of a message.
_MOST_VALUES: Final = 200_000
# What may stand around a JSON text (RFC 8259 §2).
_SPACE: Final = " \t\n\r"
# How an escape begins that may be half a surrogate pair.
_HALF: Final = re.compile(r"\\u[dD]")
_encoder: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
)


class NotReadable(Exception):
    """This text is no JSON that we read: it is kept as the text that it is."""


def _no_number(text: str) -> float:
    raise NotReadable


def _number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


# Many programs write NaN and Infinity; JSON (RFC 8259 §6) knows neither, and what reads it again may not.
_decoder: Final = json.JSONDecoder(parse_float=_number, parse_constant=_no_number)


def by_name(said: Sequence[common_pb2.KeyValue]) -> dict[str, common_pb2.AnyValue]:
    """Attributes by their names; of a name that comes twice, the last."""
    # A slice of a repeated field is a list; going through the field itself ends in an exception, of 0.2 µs each time. So below.
    return {one.key: one.value for one in said[:]}


def plain(value: common_pb2.AnyValue) -> object:
    """The value with lists and dicts for arrays and maps, base64 text for bytes (as in OTLP's JSON), and texts for what JSON has no
    number for."""
    text = value.string_value
    if text:  # as most are: one look at the message, of which any other takes three
        return text
    match value.WhichOneof("value"):
        case "string_value":
            return ""
        case "int_value":
            return value.int_value
        case "bool_value":
            return value.bool_value
        case "double_value":
            return value.double_value if math.isfinite(value.double_value) else unnumbered(value.double_value)
        case "array_value":
            return [one.string_value or plain(one) for one in value.array_value.values[:]]
        case "kvlist_value":
            return {one.key: plain(one.value) for one in value.kvlist_value.values[:]}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode("ascii")
        case _:
            return None


def unnumbered(value: float) -> str:
    """NaN and the infinities, as protobuf's JSON writes them."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def printed(value: common_pb2.AnyValue) -> str | None:
    """The value as one text: texts as they are, "true" and "false", numbers in decimal, anything else as JSON. None for no value."""
    found = plain(value)
    if isinstance(found, str):
        return found
    return None if value.WhichOneof("value") is None else to_json(found)


def to_json(value: object) -> str:
    """JSON, compact, in the order of the value's keys. Raises ValueError for a number that is none in JSON."""
    return _encoder.encode(value)


def from_json(text: str) -> tuple[object, bool]:
    """What a JSON text says that is an object or an array, and whether it had to be altered: half a surrogate pair is a character that no
    text can hold, so that U+FFFD stands in its place. Raises NotReadable."""
    return mended(text, decoded(text))


def decoded(text: str) -> object:
    """What a JSON text says, before it is looked at for depth and for half surrogate pairs. Raises NotReadable."""
    text = text.strip(_SPACE)
    if text[:1] not in ("[", "{"):
        raise NotReadable
    if len(text) > _MOST_VALUES and sum(map(text.count, "{[,")) > _MOST_VALUES:
        raise NotReadable
    try:
        value, end = _decoder.raw_decode(text)
    except (ValueError, RecursionError):
        raise NotReadable from None
    if end != len(text):
        raise NotReadable
    return value


def mended(text: str, value: object) -> tuple[object, bool]:
    """What `decoded` found in a text, as from_json has it. Raises NotReadable."""
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deep(value):
        raise NotReadable
    # Only an escape can bring one: what came over the wire as UTF-8 holds none.
    if not _HALF.search(text):
        return value, False
    written = json.dumps(value, ensure_ascii=False)
    whole = written.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return (value, False) if whole == written else (_decoder.decode(whole), True)


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level = [one for one in inner if isinstance(one, (dict, list))]
        if not level:
            return False
    return True
