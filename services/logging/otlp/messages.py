"""Messages and their parts, in the forms in use: with "parts" (the GenAI semantic conventions), with "content" and "tool_calls" (the
older events, and what model vendors' own interfaces look like).

Nothing that came is lost: a part of a kind that is not known stays as its JSON, and what a message says beside role and parts stays in a
last part of the kind "message_fields".
"""

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from opentelemetry.proto.common.v1 import common_pb2

from kept.logging.v1 import interactions_pb2
from services.logging.otlp.values import NotReadable, decoded, from_json, mended, plain, to_json

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

    _Messages = RepeatedCompositeFieldContainer[interactions_pb2.Message]

Role = interactions_pb2.MessageRole

SYSTEM: Final = interactions_pb2.MESSAGE_ROLE_SYSTEM
USER: Final = interactions_pb2.MESSAGE_ROLE_USER
ASSISTANT: Final = interactions_pb2.MESSAGE_ROLE_ASSISTANT
TOOL: Final = interactions_pb2.MESSAGE_ROLE_TOOL
_ROLES: Final = {
    "system": SYSTEM,
    "developer": SYSTEM,
    "user": USER,
    "human": USER,
    "assistant": ASSISTANT,
    "model": ASSISTANT,
    "ai": ASSISTANT,
    "tool": TOOL,
    "function": TOOL,
}
_KINDS: Final = {"tool_call_response": "tool_result"}
# Kinds of parts that hold data or say where they are; of which modality is the first half of their kind here, as of "image_url".
_DATA: Final = frozenset({"uri", "file", "blob"})
_MODALITIES: Final = frozenset({"image", "audio", "video"})
_JSON: Final = "application/json"
# The one field of each kind of part that is a text.
_TEXTS: Final = {"text": ("content", "text"), "reasoning": ("content", "text")}
# At least one of these is in every message or part; a JSON without them is somebody's text that happens to be JSON.
_MARKS: Final = frozenset({"role", "parts", "content", "type"})
# What may be said of why a generation ended. It becomes log data, which is not sealed: what is no such token is content.
_FINISH_REASON: Final = re.compile("[A-Za-z0-9_.:-]{0,64}")


class Said:
    """Reads what an interaction says into its content. finish_reasons: what the generations said of it; what a prompt says is content.
    altered: a character that no text can hold was replaced."""

    def __init__(self, content: interactions_pb2.InteractionContent) -> None:
        self.content = content
        self.finish_reasons: list[str] = []
        self.altered = False

    def read_prompt(self, value: common_pb2.AnyValue, role: "Role.ValueType") -> None:
        """Adds the messages of an attribute to the prompt. role: whose they are where they do not say."""
        self._read(value, role, self.content.prompt, None)

    def read_generations(self, value: common_pb2.AnyValue) -> None:
        """Adds the messages of an attribute to the generations."""
        self._read(value, ASSISTANT, self.content.generations, self.finish_reasons)

    def add_prompt(self, message: dict[str, Any], role: "Role.ValueType") -> None:
        """Adds one message, as a plain value, to the prompt."""
        self._add(message, role, self.content.prompt, None)

    def add_generation(self, message: dict[str, Any]) -> None:
        """Adds one message, as a plain value, to the generations."""
        self._add(message, ASSISTANT, self.content.generations, self.finish_reasons)

    def parsed(self, value: common_pb2.AnyValue) -> object:
        """A structure, or the one that a text holds as JSON; the text where it holds none."""
        text = value.string_value
        if not text:
            return plain(value)
        try:
            found, altered = from_json(text)
        except NotReadable:
            return text
        self.altered = self.altered or altered
        return found

    @property
    def has_parts(self) -> bool:
        """Whether anything was said."""
        return any(one.parts for one in self.content.prompt) or any(
            one.parts for one in self.content.generations
        )

    def _read(
        self,
        value: common_pb2.AnyValue,
        role: "Role.ValueType",
        messages: "_Messages",
        finish_reasons: list[str] | None,
    ) -> None:
        """Adds messages and loose parts, or the text that holds none; see _add."""
        text = value.string_value
        try:
            found = decoded(text) if text else plain(value)
            if _add_usual(found, messages, finish_reasons):
                return
            found, altered = mended(text, found)
        except NotReadable:
            found, altered = text, False
        items = found if isinstance(found, list) else [found]
        if not all(map(_is_ours, items)) and value.WhichOneof("value") == "string_value":
            messages.add(role=role).parts.add(text=text)
            return
        self.altered = self.altered or altered
        loose: interactions_pb2.Message | None = None
        for item in items:
            if isinstance(item, dict) and _is_message(item):
                self._add(item, role, messages, finish_reasons)
                loose = None
            elif item is not None:
                loose = messages.add(role=role) if loose is None else loose
                rest: dict[str, Any] = {}
                _add_part(loose, item, rest)
                add_rest(loose, rest)

    def _add(
        self,
        said: dict[str, Any],
        role: "Role.ValueType",
        messages: "_Messages",
        finish_reasons: list[str] | None,
    ) -> None:
        """finish_reasons: where the message's goes; None where it stays with the message."""
        rest = dict(said)
        message = messages.add(role=_role(rest, role))
        finish_reason = rest.pop("finish_reason", None)
        if finish_reasons is not None and is_finish_reason(finish_reason):
            finish_reasons.append(finish_reason)
        elif finish_reason is not None:
            rest["finish_reason"] = finish_reason
        parts = rest.pop("parts", None)
        if isinstance(parts, list):
            for part in parts:
                _add_part(message, part, rest)
        elif parts is not None:
            _add_part(message, parts, rest)
        if message.role == TOOL and rest.get("content") is not None:
            result = {key: rest.pop(key) for key in ("id", "tool_call_id", "name", "content") if key in rest}
            add_json(message, result, "tool_result")
        else:
            content = rest.pop("content", None)
            for part in content if isinstance(content, list) else [content]:
                if part is not None:
                    _add_part(message, part, rest)
        for call in _calls(rest):
            add_json(message, call, "tool_call")
        add_rest(message, rest)


def _add_usual(found: object, messages: "_Messages", finish_reasons: list[str] | None) -> bool:
    """Adds messages that are all of the usual form, as Said._add does them; False, and nothing added, where one of them is not. Most are,
    and this takes a third of the time, for such a form is not deep, and what is no text is not in it."""
    if not isinstance(found, list):
        return False
    usual = []
    for message in found:
        parts = _usual_parts(message, finish_reasons is not None)
        if parts is None:
            return False
        usual.append((_ROLES[message["role"]], parts))
    before = len(messages)
    try:
        for role, parts in usual:
            # Fields that are set take four fifths of the time of fields that are given to add().
            added = messages.add()
            added.role = role
            texts = added.parts
            for part in parts:
                texts.add().text = part["content"]
    except UnicodeEncodeError:  # half a surrogate pair, to be mended first
        del messages[before:]
        return False
    if finish_reasons is not None:
        finish_reasons += [message["finish_reason"] for message in found if "finish_reason" in message]
    return True


def _usual_parts(message: object, is_generation: bool) -> list[dict[str, str]] | None:
    """The parts of a message as most are: {"role": "user", "parts": [{"type": "text", "content": "…"}]}, and why it ended if it is a
    generation. None for any other."""
    if not isinstance(message, dict):
        return None
    role, parts = message.get("role"), message.get("parts")
    if not isinstance(role, str) or role not in _ROLES or not isinstance(parts, list):
        return None
    if len(message) > 2 and not (
        len(message) == 3 and is_generation and is_finish_reason(message.get("finish_reason"))
    ):
        return None
    for part in parts:
        if not (
            isinstance(part, dict)
            and len(part) == 2
            and part.get("type") == "text"
            and isinstance(part.get("content"), str)
        ):
            return None
    return parts


def says(message: interactions_pb2.Message) -> bool:
    """Whether a message says anything: it has a part that is not empty."""
    return any(part.text or part.data for part in message.parts)


def is_finish_reason(said: object) -> TypeGuard[str]:
    """Whether this may be log data: a token of at most 64 characters."""
    return isinstance(said, str) and _FINISH_REASON.fullmatch(said) is not None


def _is_ours(item: object) -> bool:
    return isinstance(item, dict) and not _MARKS.isdisjoint(item)


def _is_message(item: dict[str, Any]) -> bool:
    return "role" in item or "parts" in item or ("content" in item and "type" not in item)


def _role(rest: dict[str, Any], default: "Role.ValueType") -> "Role.ValueType":
    """Takes the role out, unless it is one that has no number here: that stays with the rest."""
    name = rest.get("role")
    if name is None:
        rest.pop("role", None)
        return default
    role = _ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        return interactions_pb2.MESSAGE_ROLE_UNSPECIFIED
    del rest["role"]
    return role


def _calls(rest: dict[str, Any]) -> list[object]:
    calls = rest.pop("tool_calls", None)
    found = list(calls) if isinstance(calls, list) else [] if calls is None else [calls]
    single = rest.pop("function_call", None)
    return found if single is None else [*found, single]


def _add_part(message: interactions_pb2.Message, part: object, rest: dict[str, Any]) -> None:
    """Adds one part. A text with more fields than its text is a text, and what else it says goes to the message's rest."""
    if isinstance(part, str):
        message.parts.add(text=part)
        return
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str):
        add_json(message, part, "")
        return
    for field in _TEXTS.get(kind, ()):
        text = part.get(field)
        if isinstance(text, str):
            more = {key: value for key, value in part.items() if key not in ("type", field)}
            if more:
                rest.setdefault("parts", {})[str(len(message.parts))] = more
            message.parts.add(text=text, kind="" if kind == "text" else kind)
            return
    blob = _blob(part) if kind == "blob" else None
    if blob is not None:
        message.parts.add(data=blob, media_type=part["mime_type"], kind=part.get("modality", kind))
        return
    add_json(message, part, _kind(part, kind))


def _kind(part: dict[str, Any], kind: str) -> str:
    """The kind of a part that is kept as JSON: by it alone is told what was used."""
    if kind in _DATA:
        for said in (part.get("modality"), part.get("mime_type")):
            modality = said.partition("/")[0] if isinstance(said, str) else ""
            if modality in _MODALITIES:
                return f"{modality}_{kind}"
    return _KINDS.get(kind, kind)


def _blob(part: dict[str, Any]) -> bytes | None:
    """The bytes of a part that carries them as base64 and says nothing that would be lost; None where it is kept as JSON."""
    content = part.get("content")
    if (
        not isinstance(content, str)
        or not isinstance(part.get("mime_type"), str)
        or not isinstance(part.get("modality", ""), str)
        or part.keys() - {"type", "mime_type", "modality", "content"}
    ):
        return None
    try:
        data = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data) == content.encode() else None


def add_json(message: interactions_pb2.Message, value: object, kind: str) -> None:
    """Adds a part that is JSON."""
    message.parts.add(data=to_json(value).encode(), media_type=_JSON, kind=kind)


def add_rest(message: interactions_pb2.Message, rest: dict[str, Any]) -> None:
    """Adds what a message says beside role and parts, if that is anything."""
    if rest:
        add_json(message, rest, "message_fields")
