"""The older form: an attribute for each field of each message, such as gen_ai.prompt.0.role and gen_ai.completion.0.tool_calls.1.name."""

from typing import Any, Final

from services.logging.otlp.facts import Attributes
from services.logging.otlp.values import plain

PROMPT: Final = "gen_ai.prompt."
COMPLETION: Final = "gen_ai.completion."
_LONGEST_INDEX: Final = 6
_NESTED: Final = "tool_calls"


def take_messages(attributes: Attributes, prefix: str) -> list[dict[str, Any]]:
    """Takes the messages under PROMPT or COMPLETION out of the attributes, as plain values in the order of their numbers. What is there and
    belongs to no message stays."""
    found: dict[int, dict[str, Any]] = {}
    for key in [key for key in attributes if key.startswith(prefix)]:
        number, _, field = key[len(prefix) :].partition(".")
        if not field or not _is_index(number):
            continue
        value = plain(attributes.pop(key))
        message = found.setdefault(int(number), {})
        group, _, rest = field.partition(".")
        if group == _NESTED and rest:
            which, _, name = rest.partition(".")
            calls = message.setdefault(_NESTED, {})
            if _is_index(which) and name and isinstance(calls, dict):
                calls.setdefault(int(which), {})[name] = value
                continue
        elif group == "function_call" and rest:
            call = message.setdefault(group, {})
            if isinstance(call, dict):
                call[rest] = value
                continue
        message[field + "." if field in message else field] = value  # what said it field by field stays
    messages = [message for _, message in sorted(found.items())]
    for message in messages:
        calls = message.get(_NESTED)
        if isinstance(calls, dict) and all(isinstance(one, int) for one in calls):
            message[_NESTED] = [call for _, call in sorted(calls.items())]
    return messages


def _is_index(text: str) -> bool:
    """Whether this is a number as a program counts: 0, 1, 2…, without zeros before it, so that no two texts are one number."""
    return text.isascii() and text.isdecimal() and len(text) <= _LONGEST_INDEX and text == str(int(text))
