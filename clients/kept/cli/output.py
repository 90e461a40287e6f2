"""What people and programs see of a message: tables and sheets by its fields, or protobuf JSON.

Text that came from elsewhere (names, models, prompts) is shown with its control characters replaced: a record must not be able to
move the cursor, or to hide what is beside it.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kept.client import record_ids
from kept.client.documents import RECORD_ID_FIELDS, is_map

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# Two implementations of protobuf, two sets of types for its descriptors.
FieldDescriptor = Any
EnumDescriptor = Any
# A column of a table: a field's path as text, or (title, path).
Column = Sequence[str]


def to_json(document: Mapping[str, Any], *, one_line: bool = False) -> str:
    """As text; one line for what comes as a stream."""
    return json.dumps(document, ensure_ascii=False, indent=None if one_line else 2)


def plain(text: str, *, lines: bool = False) -> str:
    """The text with control and direction characters shown as U+FFFD; with `lines`, line ends and tabs stay."""
    return "".join(
        character
        if (lines and character in "\n\t") or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
        else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def time_words(instant: datetime) -> str:
    """As "2026-01-31 16:00:00Z"."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def duration_words(duration: timedelta) -> str:
    """As "1 h 30 min", "12.5 s"."""
    seconds = duration.total_seconds()
    if seconds < 60:
        return f"{seconds:g} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(
        part for part in (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "") if part
    )


def enum_words(enum: EnumDescriptor, number: int) -> str:
    """A value in words: GRANT_STATE_APPROVED is "approved"; nothing for UNSPECIFIED, the number for one not known here."""
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper() + "_"
    words = value.name.removeprefix(prefix).lower().replace("_", "-")
    return "" if words == "unspecified" else words


def value_words(message: Message, path: str) -> str:
    """The field at a path like "data.organization_id" in words; empty where it is not set."""
    head, _, rest = path.partition(".")
    field = message.DESCRIPTOR.fields_by_name[head]
    if field.has_presence and not message.HasField(head):
        return ""
    value = getattr(message, head)
    if rest:
        return value_words(value, rest)
    if is_map(field):
        return ", ".join(f"{plain(str(key))}: {plain(str(value[key]))}" for key in sorted(value))
    if field.is_repeated:
        return ", ".join(_one(field, each) for each in value)
    return _one(field, value)


def _one(field: FieldDescriptor, value: Any) -> str:
    if isinstance(value, Timestamp):
        return time_words(value.ToDatetime(UTC))
    if isinstance(value, Duration):
        return duration_words(value.ToTimedelta())
    if isinstance(value, Message):
        return " ".join(words for inner, _ in value.ListFields() if (words := value_words(value, inner.name)))
    if isinstance(value, bytes):
        return record_ids.to_text(value) if field.name in RECORD_ID_FIELDS else value.hex()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if field.enum_type is not None:
        return enum_words(field.enum_type, value)
    return plain(str(value))


def table(messages: Iterable[Message], columns: Sequence[Column], empty: str) -> "RenderableType":
    """One line a message. `empty` is what to say when there is none."""
    from rich.table import Table
    from rich.text import Text

    rows = list(messages)
    if not rows:
        return Text(empty)
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    named = [
        (_title(column), column) if isinstance(column, str) else (column[0], column[1]) for column in columns
    ]
    for title, _ in named:
        shown.add_column(title, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(value_words(row, path)) for _, path in named))
    return shown


def sheet(message: Message, *, skip: Sequence[str] = (), title: str = "") -> "RenderableType":
    """Every field that is set, one a line; those of messages within it indented under their name."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, words in _lines(message, skip, ""):
        grid.add_row(Text(label), Text(words))
    return Group(Text(title, style="bold"), grid) if title else grid


def _lines(message: Message, skip: Sequence[str], indent: str) -> Iterable[tuple[str, str]]:
    for field in message.DESCRIPTOR.fields:
        if field.name in skip:
            continue
        if field.type == field.TYPE_MESSAGE and not is_map(field) and not _is_plain(field):
            inner = getattr(message, field.name)
            present = inner if field.is_repeated else [inner] if message.HasField(field.name) else []
            for each in present:
                yield indent + _title(field.name), ""
                yield from _lines(each, (), indent + "  ")
        elif words := value_words(message, field.name):
            yield indent + _title(field.name), words


def _is_plain(field: FieldDescriptor) -> bool:
    return bool(
        field.message_type is not None and field.message_type.full_name.startswith("google.protobuf.")
    )


def _title(path: str) -> str:
    return path.rpartition(".")[2].replace("_", " ")


def console(*, errors: bool = False) -> "Console":
    """Where tables go. A pipe has no width: nothing is folded there."""
    import sys

    from rich.console import Console

    stream = sys.stderr if errors else sys.stdout
    width = None if stream.isatty() else 100_000
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)
