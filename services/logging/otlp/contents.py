"""Which attributes and events carry content: message attributes, the older indexed ones, and events, on a span or as log records.

Instrumentations move from one form to the next and send two at a time meanwhile; so of each side, prompt and generations, the first form
that is there counts, and the others say it again.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from opentelemetry.proto.common.v1 import common_pb2

from kept.logging.v1 import interactions_pb2
from services.logging.otlp.attributes import OUR_PREFIX
from services.logging.otlp.facts import Attributes
from services.logging.otlp.indexed import COMPLETION, PROMPT, take_messages
from services.logging.otlp.messages import ASSISTANT, SYSTEM, TOOL, USER, Role, Said, add_rest, says
from services.logging.otlp.values import by_name, plain, to_json

_INSTRUCTIONS: Final = "gen_ai.system_instructions"
_INPUT: Final = "gen_ai.input.messages"
_OUTPUT: Final = "gen_ai.output.messages"
# A tool's own span carries what it was called with and what it answered.
_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
_RESULT: Final = "gen_ai.tool.call.result"
_DETAILS: Final = "gen_ai.client.inference.operation.details"
_MESSAGE_EVENTS: Final[Mapping[str, "Role.ValueType"]] = {
    "gen_ai.system.message": SYSTEM,
    "gen_ai.user.message": USER,
    "gen_ai.assistant.message": ASSISTANT,
    "gen_ai.tool.message": TOOL,
}
_CHOICE: Final = "gen_ai.choice"
_OLD_EVENTS: Final[Mapping[str, str]] = {
    "gen_ai.content.prompt": "gen_ai.prompt",
    "gen_ai.content.completion": "gen_ai.completion",
}
# A span event has no body: what would be in it is one attribute as JSON, or each field an attribute.
_EVENT_CONTENT: Final = "gen_ai.event.content"
_FIELDS: Final = ("role", "content", "parts", "id", "name", "tool_calls", "index", "finish_reason", "message")
_EMPTY: Final[tuple[object, ...]] = (None, "", [], {})  # of these, a field says nothing
_STRUCTURES: Final = frozenset({"parts", "tool_calls", "message"})
_ANSWERS: Final = frozenset({_CHOICE, "gen_ai.content.completion"})
CONTENT_EVENTS: Final = frozenset({_DETAILS, _CHOICE, *_MESSAGE_EVENTS, *_OLD_EVENTS})
# The oldest form: one attribute for all that was asked, and one for all that was answered.
_WHOLE: Final[Mapping[str, str]] = {PROMPT: "gen_ai.prompt", COMPLETION: "gen_ai.completion"}
_OLDER: Final = tuple(_WHOLE.values())  # what the indexed ones begin with too
# Forms: attributes of the span, and events of which each is one message. Every other event is a form by itself.
_ATTRIBUTES: Final = "attributes"
_MESSAGES: Final = "messages"
# The sides, and what says each in the details.
_SIDES: Final = ((_INSTRUCTIONS,), (_INPUT, _ARGUMENTS), (_OUTPUT, _RESULT))


def read_attributes(
    attributes: Attributes, said: Said, *, asked: bool = False, generated: bool = False
) -> int:
    """Takes content out of a span's attributes, or those of details. Returns how many messages said again what another form had said.
    asked, generated: whether the prompt, apart from instructions, and the generations say anything already."""
    prompt, generations = said.content.prompt, said.content.generations
    before, answered = len(prompt), len(generations)
    for key, role in ((_INSTRUCTIONS, SYSTEM), (_INPUT, USER)):
        if key in attributes:
            said.read_prompt(attributes.pop(key), role)
    if _OUTPUT in attributes:
        said.read_generations(attributes.pop(_OUTPUT))
    if _ARGUMENTS in attributes or _RESULT in attributes:
        _read_tool(attributes, said)
    # One look, for most spans have none of them.
    for key in attributes:
        if key.startswith(_OLDER):
            # Instructions alone are no prompt: whoever sends them beside indexed messages means both.
            _, has_prompt, has_generations = _sides(prompt[before:], generations[answered:])
            return _read_older(attributes, said, asked or has_prompt, generated or has_generations)
    return 0


def _read_older(attributes: Attributes, said: Said, asked: bool, generated: bool) -> int:
    again = 0
    for prefix, is_known in ((PROMPT, asked), (COMPLETION, generated)):
        messages = take_messages(attributes, prefix)
        whole = attributes.pop(_WHOLE[prefix], None)
        if is_known:
            again += len(messages) + (whole is not None)
            continue
        added = said.content.prompt if prefix == PROMPT else said.content.generations
        before = len(added)
        for message in messages:
            if prefix == PROMPT:
                said.add_prompt(message, USER)
            else:
                said.add_generation(message)
        if whole is not None:
            if any(map(says, added[before:])):
                again += 1
            else:
                _read_whole(prefix == PROMPT, whole, said)
    return again


def _read_whole(is_prompt: bool, value: common_pb2.AnyValue, said: Said) -> None:
    if is_prompt:
        said.read_prompt(value, USER)
    else:
        said.read_generations(value)


def _read_tool(attributes: Attributes, said: Said) -> None:
    names = {"name": "gen_ai.tool.name", "id": "gen_ai.tool.call.id"}
    about = {name: plain(attributes[key]) for name, key in names.items() if key in attributes}
    if _ARGUMENTS in attributes:
        call = about | {"arguments": plain(attributes.pop(_ARGUMENTS))}
        said.add_prompt({"tool_calls": [call]}, ASSISTANT)
    if _RESULT in attributes:
        said.add_generation({"role": "tool", "content": plain(attributes.pop(_RESULT))} | about)


def read_event(name: str, body: common_pb2.AnyValue | None, attributes: Attributes, said: Said) -> None:
    """Takes content out of an event that is one of CONTENT_EVENTS. body: a log record's; None for a span event, which has none."""
    if body is not None and not _is_there(body):
        body = None
    if name == _DETAILS:
        if body is not None and not _take_in(body, attributes, said):
            said.read_prompt(body, USER)
        _, asked, _ = _sides(said.content.prompt, ())
        read_attributes(attributes, said, asked=asked)
        return
    if name in _OLD_EVENTS:
        key = _OLD_EVENTS[name]
        value = attributes.pop(key, None)
        if body is not None and _second_counts(key, value, body):
            value = body
        if value is not None and _is_there(value):
            _read_whole(name == "gen_ai.content.prompt", value, said)
        return
    fields = _fields(body, attributes, said)
    if not fields:
        return
    if name == _CHOICE:
        message = fields.pop("message", None)
        if message is not None:
            fields = _joined(message if isinstance(message, dict) else {"content": message}, fields)
        if fields.get("index") == len(said.content.generations):
            del fields["index"]  # its place says so
        said.add_generation(fields)
    else:
        said.add_prompt(fields, _MESSAGE_EVENTS[name])


def _joined(message: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    """A choice's message and what it says beside that, as one. Of a field of both the choice's counts where that says anything; what the
    message says otherwise stays under "message"."""
    counting = {key: value for key, value in choice.items() if key not in message or value not in _EMPTY}
    hidden = {
        key: value
        for key, value in message.items()
        if key == "message" or (key in counting and value not in _EMPTY and value != counting[key])
    }
    return message | counting | ({"message": hidden} if hidden else {})


def _is_there(value: common_pb2.AnyValue) -> bool:
    """Whether a value is one, and no empty map."""
    kind = value.WhichOneof("value")
    return kind is not None and not (kind == "kvlist_value" and not value.kvlist_value.values)


def _says(name: str, value: common_pb2.AnyValue) -> bool:
    """Whether an attribute says anything: it is no empty text or structure, and of messages one does."""
    if plain(value) in _EMPTY:
        return False
    content = interactions_pb2.InteractionContent()
    others = {name: value}
    read_attributes(others, Said(content))
    return bool(others) or any(_sides(content.prompt, content.generations))


def _second_counts(name: str, first: common_pb2.AnyValue | None, second: common_pb2.AnyValue) -> bool:
    """Which of two values of an attribute counts: the first that is there, unless the second alone says anything."""
    return first is None or (not _says(name, first) and _says(name, second))


def _take_in(body: common_pb2.AnyValue, attributes: Attributes, said: Said) -> bool:
    """Takes the fields of a body among the attributes, which come first where they say anything. False where it is no map."""
    fields = by_name(body.kvlist_value.values)
    if not fields:
        was_altered = said.altered
        found = said.parsed(body)
        if not isinstance(found, dict):
            said.altered = was_altered
            return False
        fields = {
            name: common_pb2.AnyValue(string_value=field if isinstance(field, str) else to_json(field))
            for name, field in found.items()
        }
    for name, value in fields.items():
        if _second_counts(name, attributes.get(name), value):
            attributes[name] = value
    return True


def _fields(body: common_pb2.AnyValue | None, attributes: Attributes, said: Said) -> dict[str, Any]:
    """The fields of the message that an event is."""
    whole = attributes.pop(_EVENT_CONTENT, None) if body is None else body
    if whole is None:
        # What somebody said stays the text that it is; structures may come as JSON, for attributes of events held no structures once.
        return {
            key: said.parsed(attributes.pop(key)) if key in _STRUCTURES else plain(attributes.pop(key))
            for key in _FIELDS
            if key in attributes
        }
    was_altered = said.altered
    found = said.parsed(whole)
    if isinstance(found, dict) and any(key in found for key in _FIELDS):
        return dict(found)
    if whole.WhichOneof("value") == "string_value":
        said.altered = was_altered
        return {"content": whole.string_value}
    return {"content": found} if found else {}


def read_events(events: list[tuple[str, Attributes]], span: Attributes, said: Said) -> int:
    """Takes content out of the events of a span, in their order. Returns how many said again what its attributes had said. span: the
    attributes that are left of it, among which goes what else the details say; what another one says beside its message stays with that."""
    content = said.content
    # The form that each side came in first; None while it is missing.
    forms = [_ATTRIBUTES if is_there else None for is_there in _sides(content.prompt, content.generations)]
    again = 0
    numbers: dict[str, int] = {}
    for name, attributes in events:
        form = _MESSAGES if name in _MESSAGE_EVENTS else name
        known = [one not in (None, form) for one in forms]
        before, answered = len(content.prompt), len(content.generations)
        if name == _DETAILS:
            for is_known, keys in zip(known, _SIDES, strict=True):
                if is_known:
                    again += sum(attributes.pop(key, None) is not None for key in keys)
            _, asked, generated = (one is not None for one in forms)
            again += read_attributes(attributes, said, asked=asked, generated=generated)
            _add_details(attributes, span, numbers)
        elif known[2 if name in _ANSWERS else 0 if _MESSAGE_EVENTS.get(name) == SYSTEM else 1]:
            again += 1
            continue
        else:
            read_event(name, None, attributes, said)
        # What is new: an event a message, and all of them looked at each time, would be a square. What an event says beside its message is
        # added only then, for it is none of what the side says.
        there = _sides(content.prompt[before:], content.generations[answered:])
        if name != _DETAILS:
            _add_beside(name, _beside(attributes, span), before, answered, said)
        forms = [
            form if one is None and is_there else one for one, is_there in zip(forms, there, strict=True)
        ]
    return again


def _add_details(attributes: Attributes, span: Attributes, numbers: dict[str, int]) -> None:
    """Adds what details say beside messages to the attributes of their span: what it says otherwise by a name of the details' own, numbered
    where that is taken. numbers: the last number by name, so that nobody who sends many of them has us look at all each time."""
    for key, value in attributes.items():
        name, number = key, numbers.get(key, 1)
        while name in span and span[name] != value:
            if name != key:
                number += 1
            name = f"{_DETAILS}.{key}" if number == 1 else f"{_DETAILS}.{key}.{number}"
        span.setdefault(name, value)
        if number > 1:
            numbers[key] = number


def _beside(attributes: Attributes, span: Attributes) -> dict[str, Any]:
    """What an event says beside its message. Names of the conventions are as good as the span's own, where that does not say otherwise."""
    rest: dict[str, Any] = {}
    for key, value in attributes.items():
        if key.startswith("gen_ai."):
            span.setdefault(key, value)
        if span.get(key) != value and not key.startswith(OUR_PREFIX):
            rest[key] = plain(value)
    return rest


def _add_beside(name: str, rest: dict[str, Any], before: int, answered: int, said: Said) -> None:
    """Adds what an event says beside its message: to that, or as one where it made none. before, answered: how many messages there were
    until then."""
    messages, count = (
        (said.content.generations, answered) if name in _ANSWERS else (said.content.prompt, before)
    )
    if not rest:
        return
    if len(messages) > count:
        add_rest(messages[-1], rest)
    elif name in _ANSWERS:
        said.add_generation(rest)
    else:
        said.add_prompt(rest, _MESSAGE_EVENTS.get(name, USER))


def _sides(
    prompt: Iterable[interactions_pb2.Message], generations: Iterable[interactions_pb2.Message]
) -> tuple[bool, bool, bool]:
    """Whether instructions, other messages of a prompt, and generations say anything. Instructions alone are no prompt."""
    roles = {one.role for one in prompt if says(one)}
    return SYSTEM in roles, bool(roles - {SYSTEM}), any(map(says, generations))
