"""What never appears in a log line, an error, a metric or a trace: content, tokens, keys.

Such values travel in types that print as `[redacted]`, and the log processor below drops whatever bytes or messages come its way all the
same.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from google.protobuf.message import Message

REDACTED: Final = "[redacted]"


class Secret:
    """A string that prints as `[redacted]`; `reveal()` at the one place where it is used."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself."""
        return self._value

    def __repr__(self) -> str:
        return REDACTED

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._value)


class SecretBytes:
    """Bytes that print as `[redacted]`: keys and content."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The bytes themselves."""
        return self._value

    def __repr__(self) -> str:
        return REDACTED

    __str__ = __repr__


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= 400 else value[:400] + "…"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(item) for item in list(value)[:50]]
    if isinstance(value, bytes | bytearray | memoryview | Message | Secret | SecretBytes | BaseException):
        return REDACTED
    return _safe(str(value))


def redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: lets through short text and numbers only. An exception's text may quote a row, so it goes too."""
    return {key: _safe(value) for key, value in event.items()}


def where(error: BaseException, places: int = 1) -> str:
    """Files and lines of an exception, the innermost last, without its text or locals."""
    trace, found = error.__traceback__, []
    while trace is not None:
        found.append(f"{trace.tb_frame.f_code.co_filename.rsplit('/', 2)[-1]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " > ".join(found[-places:]) or "?"
