"""What was used in a call, as marks of the fixed list in fields.FEATURES.

Read off the shape of an interaction: whether parts of a kind are there, how many generations. No text is looked at, and nothing of it is
kept; so it is done before content is dropped, for zero data retention does not affect usage data (C17). Of a prompt it is the last message
that is looked at: what came before was counted with the calls before, and a conversation of any length costs the same.
"""

from collections.abc import Sequence
from typing import Final

from kept.logging.v1 import interactions_pb2
from services.logging.records import Row
from services.logging.usage.fields import FEATURES, FIRST_FEATURE

_BIT: Final = {name: 1 << index for index, name in enumerate(FEATURES)}
_TOOL_CALLS, _TOOL_RESULTS = _BIT["tool_calls"], _BIT["tool_results"]
_IMAGES, _AUDIO, _OTHER_DATA = _BIT["images"], _BIT["audio"], _BIT["other_data"]
_REASONING, _SEVERAL = _BIT["reasoning"], _BIT["several_generations"]
_END_USERS, _TRIAL_KEYS = _BIT["end_users"], _BIT["trial_keys"]
# In a shape: there are attributes.
ATTRIBUTES: Final = _BIT["attributes"]

# The words in use for why a model stopped (the GenAI conventions of OpenTelemetry, and the APIs that they describe).
_FINISHED: Final = {
    "tool_calls": _TOOL_CALLS,
    "tool_call": _TOOL_CALLS,
    "tool_use": _TOOL_CALLS,
    "function_call": _TOOL_CALLS,
    "length": _BIT["cut_off"],
    "max_tokens": _BIT["cut_off"],
    "MAX_TOKENS": _BIT["cut_off"],
    "content_filter": _BIT["filtered"],
    "content_filtered": _BIT["filtered"],
    "guardrail_intervened": _BIT["filtered"],
    "SAFETY": _BIT["filtered"],
}
# The kind of the one part of a last message that is of attributes.
_BESIDE: Final = "attributes"
# Kinds of parts that say how a message was written down, not what was used.
_NO_FEATURE: Final = frozenset(("text", "message_fields", _BESIDE))
_TOOL_KINDS: Final = ("tool_call", "tool_use", "function_call", "server_tool")
_ANSWERS: Final = ("_output", "_response", "_result")
_TRIAL: Final[int] = interactions_pb2.API_KEY_KIND_TRIAL
_TOOL: Final = interactions_pb2.MESSAGE_ROLE_TOOL
_IN_PROMPTS: Final = ~(_TOOL_CALLS | _REASONING)  # there they are of a call before this one
_IN_GENERATIONS: Final = ~_TOOL_RESULTS


def shape_of(content: interactions_pb2.InteractionContent) -> int:
    """What was used, by the shape of a content, as bits in the order of fields.FEATURES."""
    found = ATTRIBUTES if content.attributes else 0
    prompt, generations = content.prompt, content.generations
    if prompt:
        last = prompt[-1]
        role = last.role
        if not role:  # nobody's, as attributes are
            last = _last_said(prompt)
            role = last.role
        if role == _TOOL:
            found |= _TOOL_RESULTS
        found |= _of_parts(last.parts) & _IN_PROMPTS
    if len(generations) == 1:
        found |= _of_parts(generations[0].parts) & _IN_GENERATIONS
    elif generations:
        found |= _SEVERAL
        for generation in generations:
            found |= _of_parts(generation.parts) & _IN_GENERATIONS
    return found


def features_of(row: Row, shape: int) -> int:
    """What was used, by its log data and its shape."""
    reason = row.finish_reason
    found = shape | _FINISHED.get(reason, 0)
    if "," in reason:  # those of several choices
        for one in reason.split(","):
            found |= _FINISHED.get(one, 0)
    if row.end_user:
        found |= _END_USERS
    if row.api_key_kind == _TRIAL:
        found |= _TRIAL_KEYS
    return found


def _last_said(prompt: Sequence[interactions_pb2.Message]) -> interactions_pb2.Message:
    """The last message, but of attributes that found no room among the others (docs/otlp.md): nobody said them."""
    last = prompt[-1]
    parts = last.parts
    return prompt[-2] if len(parts) == 1 and parts[0].kind == _BESIDE and len(prompt) > 1 else last


def _of_parts(parts: Sequence[interactions_pb2.Part]) -> int:
    if len(parts) == 1:  # as nearly always: to go through them takes three times as long as to look at one
        part = parts[0]
        return _of_part(part) if part.kind or part.media_type else 0
    found = 0
    for part in parts:
        if part.kind or part.media_type:
            found |= _of_part(part)
    return found


def _of_part(part: interactions_pb2.Part) -> int:
    kind, media_type = part.kind, part.media_type
    if kind.startswith("tool_result") or (kind.startswith(_TOOL_KINDS) and kind.endswith(_ANSWERS)):
        return _TOOL_RESULTS
    if kind.startswith(_TOOL_KINDS):
        return _TOOL_CALLS
    if kind.startswith(("reasoning", "thinking")):
        return _REASONING
    if media_type.startswith("image/") or "image" in kind:
        return _IMAGES
    if media_type.startswith("audio/") or "audio" in kind:
        return _AUDIO
    if kind in _NO_FEATURE or media_type.startswith("text/") or not part.HasField("data"):
        return 0
    return _OTHER_DATA


class _Places(dict[int, tuple[int, ...]]):
    """Where a list of figures has the features of some bits; made as they are met, at most 4,096."""

    def __missing__(self, bits: int) -> tuple[int, ...]:
        places = tuple(FIRST_FEATURE + index for index in range(len(FEATURES)) if bits >> index & 1)
        self[bits] = places
        return places


PLACES: Final = _Places()
