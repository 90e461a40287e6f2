"""What of an interaction is text, in order: what people and models said, what tools were told and gave back, and attributes.

A JSON escape hides a word from whoever reads the bytes ("bo\\u006db"), and many libraries escape every letter outside ASCII. So where a
part is, or may be, JSON and holds a backslash, its unescaped form is looked at as well; and what that is once it is unescaped again, for
JSON carries JSON as a string: the arguments of a tool call do. It is unescaped without being parsed: that is linear, has no depth, and
works for what was cut off in the middle.
"""

import string
from collections.abc import Iterator
from typing import Final, NamedTuple

from kept.logging.v1 import interactions_pb2

# So many times a text is unescaped. Each level of JSON in JSON doubles the backslashes: honest ones end long before.
MAX_UNESCAPED: Final = 8
_HEX: Final = frozenset(string.hexdigits)
_LETTERS: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
# Python knows some codecs that take quadratic time: only those that text comes in.
_CHARSETS: Final = frozenset(
    {"utf-16", "utf-16le", "utf-16be", "iso-8859-1", "windows-1252", "shift_jis", "euc-jp", "gb18030", "big5"}
)


class Texts(NamedTuple):
    """What is looked at of an interaction. is_whole: False where something is still escaped, so that not all of it is there."""

    parts: tuple[str, ...]
    is_whole: bool


def texts_of(content: interactions_pb2.InteractionContent) -> Texts:
    """The texts of all parts of prompt and generations, in order; then of attributes, each as "name: value", by name; after them
    data that claims another charset, read as UTF-8; and the unescaped forms of those that may be JSON, at most MAX_UNESCAPED of each.

    Data counts as text if its media type says text or JSON, or says nothing, and whatever it says if it is UTF-8 (RFC 3629): no word is
    hidden by calling it an image, or by naming a charset that it is not in. Bytes that are not what the charset wants become U+FFFD.
    """
    texts: list[str] = []
    read_again: list[str] = []
    escaped: list[str] = []
    for message in (*content.prompt, *content.generations):
        for part in message.parts:
            text = part.text
            if not text and not part.HasField("text"):
                text, *again = _readings(part)
                read_again += again
                escaped += again
                if not text:
                    continue
            texts.append(text)
            if "\\" in text and _may_be_json(part, text):
                escaped.append(text)
    for name in sorted(content.attributes):
        text = f"{name}: {content.attributes[name]}"
        texts.append(text)
        escaped.append(text)
    forms, is_whole = _unescaped(escaped)
    return Texts((*texts, *read_again, *forms), is_whole)


def _unescaped(texts: list[str]) -> tuple[list[str], bool]:
    """What becomes of them one unescaping after the other; and whether nothing is left to unescape."""
    forms: list[str] = []
    is_whole = True
    for text in texts:
        form = text
        for _ in range(MAX_UNESCAPED):
            if not _is_escaped(form):
                break
            form = _unescape(form)
            forms.append(form)
        is_whole = is_whole and not _is_escaped(form)
    return forms, is_whole


def _is_escaped(text: str) -> bool:
    """Whether unescaping changes it: a backslash at the very end stands for itself."""
    return 0 <= text.find("\\") < len(text) - 1


def _media_type(part: interactions_pb2.Part) -> str:
    return part.media_type.lower().partition(";")[0].strip()


def _is_json(part: interactions_pb2.Part) -> bool:
    media_type = _media_type(part)
    return media_type in ("application/json", "application/x-ndjson") or media_type.endswith("+json")


def _may_be_json(part: interactions_pb2.Part, text: str) -> bool:
    """Whether it is JSON by what it says, where it comes from, or how it begins: answers in a given form are JSON, and say so nowhere."""
    return (
        not part.HasField("text")
        or part.kind.startswith("tool")
        or _is_json(part)
        or text.lstrip()[:1] in ("{", "[", '"')
    )


def _readings(part: interactions_pb2.Part) -> Iterator[str]:
    """Data as text, empty where it is none; and as UTF-8, where it claims another charset and that makes another text of it. Nearly any
    bytes are text in some charset, so whether the claim fits is not asked."""
    media_type = _media_type(part)
    if not media_type or media_type.startswith("text/") or _is_json(part):
        claimed = part.data.decode(_charset(part), "replace")
        plain = part.data.decode("utf-8", "replace")
        yield claimed
        if plain != claimed:
            yield plain
        return
    try:
        yield part.data.decode("utf-8")
    except UnicodeDecodeError:
        yield ""


def _charset(part: interactions_pb2.Part) -> str:
    for name, value in _parameters(part.media_type.lower().partition(";")[2]):
        if name == "charset" and value in _CHARSETS:
            return value
    return "utf-8"


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    for parameter in text.split(";"):
        name, _, value = parameter.partition("=")
        yield name.strip(), value.strip().strip('"')


def _unescape(text: str) -> str:
    """The text with JSON's escapes (RFC 8259 §7) as the characters they stand for; half a pair becomes U+FFFD."""
    first, *pieces = text.split("\\")
    plain = [first]
    is_escaped = True  # whether the backslash before the piece begins an escape
    for number, piece in enumerate(pieces, start=1):
        digits = piece[1:5]
        if not is_escaped:
            plain.append(piece)
            is_escaped = True
        elif not piece:  # two backslashes are one; the last of a text stands for itself
            plain.append("\\")
            is_escaped = number == len(pieces)
        elif piece[0] == "u" and len(digits) == 4 and _HEX.issuperset(digits):
            plain += chr(int(digits, 16)), piece[5:]
        else:
            plain += _LETTERS.get(piece[0], piece[0]), piece[1:]
    return "".join(plain).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
