"""Messages as LiteLLM has them (OpenAI's chat format, and Anthropic's content blocks within it) as messages of the contract.

Nothing is left out and nothing is changed: what has no field of its own goes as JSON, either a part of its own kind or, for fields
of a message, a part of kind "message_fields". Text that is no valid Unicode goes as bytes (WTF-8), so that the same comes back. Bytes
go as bytes, and within JSON as {"base64": "…"}.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from kept.logging.v1 import interactions_pb2

_Role = interactions_pb2.MessageRole
_ROLES: Final = {
    "system": _Role.MESSAGE_ROLE_SYSTEM,
    "developer": _Role.MESSAGE_ROLE_SYSTEM,
    "user": _Role.MESSAGE_ROLE_USER,
    "assistant": _Role.MESSAGE_ROLE_ASSISTANT,
    "tool": _Role.MESSAGE_ROLE_TOOL,
    "function": _Role.MESSAGE_ROLE_TOOL,
}
# Items of OpenAI's Responses that other formats have too.
_ITEM_KINDS: Final = {"function_call": "tool_call", "function_call_output": "tool_result"}
_JSON: Final = "application/json"
_BYTES: Final = (bytes, bytearray, memoryview)
# What a request says to a model beside its messages, by the names that the formats of OpenAI, Anthropic and Google have for it: before the
# messages as a message of the system's, or after them as JSON parts of one kind.
_INSTRUCTIONS: Final = ("instructions", "system", "systemInstruction", "system_instruction")
_BESIDE: Final = (
    ("tools", "tool_definition", _Role.MESSAGE_ROLE_SYSTEM),
    ("functions", "tool_definition", _Role.MESSAGE_ROLE_SYSTEM),
    ("response_format", "response_format", _Role.MESSAGE_ROLE_SYSTEM),
    ("documents", "document", _Role.MESSAGE_ROLE_USER),
    ("prompt", "prompt", _Role.MESSAGE_ROLE_USER),
    ("prediction", "prediction", _Role.MESSAGE_ROLE_USER),
)
# The fields of a request that add_request reads.
BESIDE: Final = (*_INSTRUCTIONS, *(name for name, _, _ in _BESIDE))
_MEDIA_TYPE: Final = re.compile("[a-z]+/[a-z0-9.+-]{1,100}")
# The encoding of text with lone surrogates, https://simonsapin.github.io/wtf-8/.
_WTF_8: Final = "text/plain;charset=wtf-8"


def add_prompt(content: interactions_pb2.InteractionContent, messages: Any) -> None:
    """Adds what went into the model: a list of messages, one text, or a list of texts."""
    for one in messages if isinstance(messages, list) else [messages]:
        if one is None:
            continue
        if isinstance(one, Mapping):
            _add_item(content.prompt.add(), one)
        else:
            message = content.prompt.add(role=_Role.MESSAGE_ROLE_USER)
            _add_part(message, one, "")


def add_request(
    content: interactions_pb2.InteractionContent, messages: Any, places: Sequence[Mapping[str, Any]]
) -> None:
    """Adds all that went into the model: the messages, and what the request says beside them. places: where LiteLLM has the fields of the
    request, the caller's own words first."""

    def said(name: str) -> Any:
        return next((place[name] for place in places if place.get(name)), None)

    among = interactions_pb2.InteractionContent()
    add_prompt(among, messages)
    for name in _INSTRUCTIONS:
        instructions = said(name)
        message = interactions_pb2.Message(role=_Role.MESSAGE_ROLE_SYSTEM)
        for part in instructions if isinstance(instructions, list) else [instructions]:
            if part is not None:
                _add_part(message, part, "")
        # LiteLLM may have made them of a message, or a message of them.
        if message.parts and message not in (*among.prompt, *content.prompt):
            content.prompt.append(message)
    content.prompt.extend(among.prompt)
    for name, kind, role in _BESIDE:
        value = said(name)
        # A prompt that is no template is among the messages; a type of Python's, in another place, as JSON.
        if isinstance(value, Mapping) or (isinstance(value, list) and name != "prompt"):
            message = content.prompt.add(role=role)
            for one in value if isinstance(value, list) else [value]:
                _add_json(message, one, kind)


def add_choices(content: interactions_pb2.InteractionContent, choices: Any) -> str:
    """Adds what came out, a generation for each choice; the first finish reason, empty where there is none."""
    reason = ""
    for choice in choices:
        generation = content.generations.add(role=_Role.MESSAGE_ROLE_ASSISTANT)
        if not isinstance(choice, Mapping):
            _add_part(generation, choice, "")
            continue
        reason = reason or str(choice.get("finish_reason") or "")
        if isinstance(choice.get("message"), Mapping):
            _fill(generation, choice["message"])
        elif choice.get("text") is not None:
            _add_part(generation, choice["text"], "")
    return reason


def add_output(content: interactions_pb2.InteractionContent, output: Any) -> None:
    """Adds what came out in the format of OpenAI's Responses: a list of items, each a message, a call or a thought."""
    for item in output:
        generation = content.generations.add(role=_Role.MESSAGE_ROLE_ASSISTANT)
        if isinstance(item, Mapping):
            _add_item(generation, item)
        else:
            _add_part(generation, item, "")


def add_bytes(content: interactions_pb2.InteractionContent, data: bytes, media_type: str) -> None:
    """Adds an answer that is no text, such as speech. media_type: as its sender calls it."""
    generation = content.generations.add(role=_Role.MESSAGE_ROLE_ASSISTANT)
    named = media_type.partition(";")[0].strip().lower()
    known = named if _MEDIA_TYPE.fullmatch(named) else "application/octet-stream"
    generation.parts.add(data=data, media_type=known, kind=known.partition("/")[0])


def add_response(content: interactions_pb2.InteractionContent, response: Any, kind: str) -> None:
    """Adds an answer that has no choices, whole, as JSON."""
    generation = content.generations.add(role=_Role.MESSAGE_ROLE_ASSISTANT)
    _add_json(generation, response, kind)


def _add_item(message: interactions_pb2.Message, item: Mapping[str, Any]) -> None:
    """A message, or an item of the Responses format that is none."""
    what = item.get("type")
    if "role" in item or "content" in item or not isinstance(what, str):
        _fill(message, item)
        return
    if what == "function_call_output":
        message.role = _Role.MESSAGE_ROLE_TOOL
    _add_json(message, item, _ITEM_KINDS.get(what, what))


def _fill(message: interactions_pb2.Message, source: Mapping[str, Any]) -> None:
    rest = {key: value for key, value in source.items() if value is not None}
    role = rest.get("role")
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is not None:
        message.role = known
        if role not in ("developer", "function"):
            del rest["role"]  # the others share their number, so the word is kept
    reasoning = rest.get("reasoning_content")
    if isinstance(reasoning, str):
        del rest["reasoning_content"]
        _add_text(message, reasoning, "reasoning")
    content = rest.pop("content", None)
    kind = "tool_result" if message.role == _Role.MESSAGE_ROLE_TOOL else ""
    for part in content if isinstance(content, list) else [content]:
        if part is not None:
            _add_part(message, part, kind)
    refusal = rest.get("refusal")
    if isinstance(refusal, str):
        del rest["refusal"]
        _add_text(message, refusal, "refusal")
    calls = rest.get("tool_calls")
    if isinstance(calls, list):
        del rest["tool_calls"]
        for call in calls:
            _add_json(message, call, "tool_call")
    if "function_call" in rest:
        _add_json(message, rest.pop("function_call"), "tool_call")
    if rest:
        _add_json(message, rest, "message_fields")


def _add_part(message: interactions_pb2.Message, part: Any, kind: str) -> None:
    """kind: of plain text."""
    if isinstance(part, str):
        _add_text(message, part, kind)
        return
    if isinstance(part, _BYTES):
        message.parts.add(data=bytes(part), media_type="application/octet-stream", kind=kind)
        return
    if not isinstance(part, Mapping):
        _add_json(message, part, kind)
        return
    what = part.get("type")
    if what in ("text", "input_text", "output_text") and _says_only(part, "text"):
        _add_text(message, part["text"], kind)
    elif what == "image_url" and (url := _image_url(part)) is not None:
        _add_url(message, url, "image")
    elif what == "image" and (blob := _anthropic_image(part)) is not None:
        message.parts.add(data=blob[0], media_type=blob[1], kind="image")
    elif what == "input_audio" and (blob := _audio(part)) is not None:
        message.parts.add(data=blob[0], media_type=blob[1], kind="audio")
    else:
        _add_json(message, part, what if isinstance(what, str) else kind)


def _says_only(part: Mapping[str, Any], field: str) -> bool:
    """Whether the part is its type and one text: what says more is kept as JSON."""
    said = {key for key, value in part.items() if value is not None and value != []}
    return said == {"type", field} and isinstance(part[field], str)


def _image_url(part: Mapping[str, Any]) -> str | None:
    """The URL, where there is nothing beside it that would be lost."""
    image = part.get("image_url")
    if part.keys() != {"type", "image_url"}:
        return None
    if isinstance(image, Mapping) and image.keys() == {"url"}:
        image = image["url"]
    return image if isinstance(image, str) else None


def _anthropic_image(part: Mapping[str, Any]) -> tuple[bytes, str] | None:
    source = part.get("source")
    if part.keys() != {"type", "source"} or not isinstance(source, Mapping):
        return None
    if source.keys() != {"type", "media_type", "data"} or source["type"] != "base64":
        return None
    return _decoded(source["data"], source["media_type"])


def _audio(part: Mapping[str, Any]) -> tuple[bytes, str] | None:
    audio = part.get("input_audio")
    if part.keys() != {"type", "input_audio"} or not isinstance(audio, Mapping):
        return None
    if audio.keys() != {"data", "format"}:
        return None
    return _decoded(audio["data"], f"audio/{audio['format']}")


def _decoded(data: Any, media_type: Any) -> tuple[bytes, str] | None:
    """None where it is no base64 of a type that can be named: then it is kept as it came."""
    if not isinstance(data, str) or not isinstance(media_type, str) or not _is_unicode(media_type):
        return None
    try:
        return base64.b64decode(data, validate=True), media_type
    except (binascii.Error, ValueError):
        return None


def _add_url(message: interactions_pb2.Message, url: str, kind: str) -> None:
    """The bytes of a data: URL (RFC 2397); any other URL as text."""
    blob = _data_url(url)
    if blob is None:
        _add_text(message, url, kind)
    else:
        message.parts.add(data=blob[0], media_type=blob[1], kind=kind)


def _data_url(url: str) -> tuple[bytes, str] | None:
    head, comma, body = url.partition(",")
    if not comma or head[:5].lower() != "data:" or not _is_unicode(url):
        return None
    media_type = head[5:]
    if media_type.lower().endswith(";base64"):
        return _decoded(body, media_type[: -len(";base64")] or "text/plain;charset=US-ASCII")
    return unquote_to_bytes(body), media_type or "text/plain;charset=US-ASCII"


def _add_text(message: interactions_pb2.Message, text: str, kind: str) -> None:
    if _is_unicode(text):
        message.parts.add(text=text, kind=kind)
    else:
        message.parts.add(data=text.encode("utf-8", "surrogatepass"), media_type=_WTF_8, kind=kind)


def _is_unicode(text: str) -> bool:
    """Whether a field of text can have it: lone surrogates have no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _add_json(message: interactions_pb2.Message, value: Any, kind: str) -> None:
    # The JSON has the word as it came.
    message.parts.add(data=to_json(value), media_type=_JSON, kind=kind.encode("utf-8", "replace").decode())


def to_json(value: Any) -> bytes:
    """JSON in UTF-8. What JSON has no word for, an object of a library, goes by its fields or as text."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain).encode()
    except UnicodeEncodeError:  # lone surrogates have an escape and no UTF-8
        return json.dumps(value, separators=(",", ":"), default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, _BYTES):
        return {"base64": base64.b64encode(value).decode()}
    dump = getattr(value, "model_dump", None)
    return dump(exclude_none=True) if callable(dump) else str(value)
