"""Log data from a span's attributes, and whatever else they say, within the limits of InteractionContent.attributes."""

from contextlib import suppress
from typing import Any, Final

from opentelemetry.proto.common.v1 import common_pb2

from kept.logging.v1 import interactions_pb2
from services.logging.otlp.facts import Attributes
from services.logging.otlp.figures import ATTRIBUTES_LEFT_OUT
from services.logging.otlp.messages import add_json, is_finish_reason
from services.logging.otlp.values import NotReadable, from_json, plain, printed, to_json
from services.logging.recording.ingest import MAX_BYTES
from services.logging.records import (
    COUNTRY_FORM,
    MAX_ATTRIBUTES,
    MAX_ATTRIBUTES_BYTES,
    MAX_NAME_BYTES,
    MAX_VALUE_BYTES,
    byte_length,
)

# Ours: read, or for others than us to say nothing under.
OUR_PREFIX: Final = "kept."
# So that events find their span and spans their trace.
TRACE_ID: Final = "otel.trace_id"
SPAN_ID: Final = "otel.span_id"
ALTERED: Final = "kept.altered"

_MODEL: Final = ("gen_ai.response.model", "gen_ai.request.model")
_END_USER: Final = ("enduser.pseudo.id", "user.id")
_COUNTRY: Final = "geo.country.iso_code"
_PROMPT_TOKENS: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_GENERATION_TOKENS: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_TOKENS: Final = (*_PROMPT_TOKENS, *_GENERATION_TOKENS)
_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
_OPERATION: Final = "gen_ai.operation.name"
_CALLS: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
# Spans around calls of a model, which take the time, and repeat the tokens, of the calls within them; and spans of what calls no model.
_NO_CALLS: Final = frozenset(
    {
        "invoke_agent",
        "create_agent",
        "invoke_workflow",
        "execute_tool",
        "plan",
        "retrieval",
        "fetch_response",
        "search_memory",
        "create_memory",
        "update_memory",
        "upsert_memory",
        "delete_memory",
        "create_memory_store",
        "delete_memory_store",
    }
)
_LONGEST_FINISH_REASON: Final = 64
_MOST_TOKENS: Final = 2**31 - 1
_OVER: Final = "attributes"
# The most that such a part adds to an interaction beside its JSON: its kind and media type, and the lengths of all that it is within.
_AROUND_OVER: Final = 64


def take_names(attributes: Attributes, interaction: interactions_pb2.Interaction) -> None:
    """Takes model, end user and country out. The model that answered comes before the one that was asked for, which then stays an
    attribute; so does what is no country's code."""
    interaction.model = _take_text(attributes, _MODEL)
    interaction.end_user = _take_text(attributes, _END_USER, numbers=True)
    if _COUNTRY in attributes and COUNTRY_FORM.fullmatch(attributes[_COUNTRY].string_value):
        interaction.country = attributes.pop(_COUNTRY).string_value


def is_call(attributes: Attributes, interaction: interactions_pb2.Interaction) -> bool:
    """Whether a span is of a call of a model, not of what such calls are made within. One that does not say, or not in a word that is
    known, is if it names a model or counts tokens. interaction: with its names."""
    operation = attributes.get(_OPERATION)
    name = "" if operation is None else operation.string_value
    if name in _CALLS:
        return True
    return name not in _NO_CALLS and (bool(interaction.model) or any(one in attributes for one in _TOKENS))


def take_tokens(attributes: Attributes, interaction: interactions_pb2.Interaction) -> None:
    """Takes token counts out; a count that is none stays an attribute."""
    interaction.prompt_tokens = _take_count(attributes, _PROMPT_TOKENS)
    interaction.generation_tokens = _take_count(attributes, _GENERATION_TOKENS)


def take_finish_reason(attributes: Attributes, said: list[str]) -> str:
    """The finish reason: of the attribute, which stays one where it says anything but such reasons (is_finish_reason), or those that the
    generations said. Several are joined by commas, once where all are the same, and the different ones, or the first alone, where they are
    too long together."""
    reasons = said
    value = attributes.get(_FINISH_REASONS)
    if value is not None:
        listed = _listed(value)
        if listed and all(map(is_finish_reason, listed)):
            del attributes[_FINISH_REASONS]
            reasons = listed
    different = list(dict.fromkeys(reasons))
    if len(different) < 2:
        return "".join(different)
    for choice in (reasons, different):
        joined = ",".join(choice)
        if len(joined) <= _LONGEST_FINISH_REASON:
            return joined
    return different[0]


def take_rest(
    attributes: Attributes, interaction: interactions_pb2.Interaction, ours: dict[str, str], left_out: int
) -> None:
    """What else is said, in the order it came in, as far as it fits; what does not is a last part of the prompt, of the kind "attributes".
    ours: what comes first. left_out: how many were said before; they are counted, as are those that say nothing or find no room there.
    Comes last: what the interaction has room for is what the rest of it leaves."""
    kept = interaction.content.attributes
    size = 0
    for name, text in ours.items():
        kept[name] = text
        size += len(name) + len(text)
    count = len(ours)
    over: dict[str, Any] = {}
    for name, value in attributes.items():
        if name.startswith(OUR_PREFIX):
            continue
        shown = printed(value) if count < MAX_ATTRIBUTES and name and name not in ours else None
        if shown is not None:
            name_bytes, text_bytes = byte_length(name), byte_length(shown)
            if (
                name_bytes <= MAX_NAME_BYTES
                and text_bytes <= MAX_VALUE_BYTES
                and size + name_bytes + text_bytes <= MAX_ATTRIBUTES_BYTES
            ):
                kept[name] = shown
                size += name_bytes + text_bytes
                count += 1
                continue
        if value.WhichOneof("value") is None:
            left_out += 1
        else:
            over[name] = plain(value)
    if over:
        left_out += _add_over(over, interaction)
    if left_out:
        ATTRIBUTES_LEFT_OUT.inc(left_out)


def _add_over(over: dict[str, Any], interaction: interactions_pb2.Interaction) -> int:
    """Adds the part of what is over, without the largest of it where the interaction would be larger than one may be: as JSON it may be
    several times what came. Returns how many were left out."""
    prompt = interaction.content.prompt
    add_json(prompt.add(), over, _OVER)
    if interaction.ByteSize() <= MAX_BYTES:
        return 0
    del prompt[-1]
    room = MAX_BYTES - interaction.ByteSize() - _AROUND_OVER
    # Each with a comma; the last one's is the second brace.
    sizes = {name: byte_length(to_json({name: value})) - 1 for name, value in over.items()}
    size = 1 + sum(sizes.values())
    fitting = dict(over)
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if size <= room:
            break
        size -= sizes[name]
        del fitting[name]
    if fitting:
        add_json(prompt.add(), fitting, _OVER)
    return len(over) - len(fitting)


def _listed(value: common_pb2.AnyValue) -> list[Any]:
    """What a value lists, also as JSON, or the one thing that it is."""
    found = plain(value)
    if isinstance(found, str) and found.startswith("["):
        with suppress(NotReadable):
            found, _ = from_json(found)
    return found if isinstance(found, list) else [found]


def _take_text(attributes: Attributes, names: tuple[str, ...], *, numbers: bool = False) -> str:
    for name in names:
        value = attributes.get(name)
        if value is None:
            continue
        text = value.string_value
        if numbers and value.WhichOneof("value") == "int_value":
            text = str(value.int_value)
        if text:
            del attributes[name]
            return text
    return ""


def _take_count(attributes: Attributes, names: tuple[str, ...]) -> int:
    for name in names:
        value = attributes.get(name)
        if value is None:
            continue
        number = value.int_value or plain(value)  # a whole number, as most are, at one look
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _MOST_TOKENS:
            del attributes[name]
            return number
    return 0
