"""Attribute values as plain Python values, and JSON as it comes.

Deep nesting is bounded twice: a wire of more than 100 levels is no message for protobuf, and JSON of more than MAX_DEPTH is not read.
"""

import base64
import json
import math
from typing import Final

from opentelemetry.proto.common.v1 import common_pb2

MAX_DEPTH: Final = 64
# Values of one text, as its "{", "[" and "," bound them: every value but the first of its container has a comma before it. A value takes
# two bytes on the wire; in memory an object takes some thirty times that, and so does a part of a message.
_MOST_VALUES: Final = 200_000
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


def plain(value: common_pb2.AnyValue) -> object:
    """The value with lists and dicts for arrays and maps, base64 text for bytes (as in OTLP's JSON), and texts for what JSON has no
    number for."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "bool_value":
            return value.bool_value
        case "double_value":
            return value.double_value if math.isfinite(value.double_value) else unnumbered(value.double_value)
        case "array_value":
            return [plain(one) for one in value.array_value.values]
        case "kvlist_value":
            return {one.key: plain(one.value) for one in value.kvlist_value.values}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode("ascii")
        case _:
            return None


def unnumbered(value: float) -> str:
    """NaN and the infinities, as protobuf's JSON writes them."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def printed(value: common_pb2.AnyValue) -> str:
    """The value as one text: texts as they are, "true" and "false", numbers in decimal, anything else as JSON."""
    found = plain(value)
    return found if isinstance(found, str) else to_json(found)


def to_json(value: object) -> str:
    """JSON, compact, in the order of the value's keys. Raises ValueError for a number that is none in JSON."""
    return _encoder.encode(value)


def from_json(text: str) -> tuple[object, bool]:
    """What a JSON text says, and whether it had to be altered: half a surrogate pair is a character that no text can hold, so that
    U+FFFD stands in its place. Raises NotReadable."""
    containers = text.count("{") + text.count("[")
    if len(text) > _MOST_VALUES and containers + text.count(",") > _MOST_VALUES:
        raise NotReadable
    try:
        value = _decoder.decode(text)
        altered = False
        # Only an escape can bring one: what came over the wire as UTF-8 holds none.
        if "\\u" in text and ("\\ud" in text or "\\uD" in text):
            written = json.dumps(value, ensure_ascii=False)
            mended = written.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            altered = mended != written
            if altered:
                value = _decoder.decode(mended)
    except (ValueError, RecursionError):
        raise NotReadable from None
    if containers > MAX_DEPTH and _is_deep(value):
        raise NotReadable
    return value, altered


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
