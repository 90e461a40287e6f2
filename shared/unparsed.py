"""What a caller sent, before anybody looked into it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError

from shared.errors import KeptError, Reason

_PARSE: Final = "kept_parse"
_Behavior = TypeVar("_Behavior", bound=Callable[..., Any])


def parsed_with(parse: Callable[[bytes], Any]) -> Callable[[_Behavior], _Behavior]:
    """For a servicer's method whose messages are to be parsed in another way than as a whole (shared/items.py)."""

    def mark(behavior: _Behavior) -> _Behavior:
        setattr(behavior, _PARSE, parse)
        return behavior

    return mark


def parser_of(
    behavior: Callable[..., Any], otherwise: Callable[[bytes], Any] | None
) -> Callable[[bytes], Any] | None:
    """How a method's messages are parsed."""
    return getattr(behavior, _PARSE, otherwise)


@dataclass(repr=False)
class Unparsed:
    """A message as it came. gRPC would parse it before anybody has asked who calls, and 8 MiB of empty messages parsed are most of a
    gigabyte. data: its bytes. parse: makes the message of them. largest: how many bytes it may have, None for what the transport takes."""

    data: bytes
    parse: Callable[[bytes], Any] | None
    largest: int | None

    def parsed(self) -> Any:
        """The message. To be asked once: the bytes are let go. Raises TOO_LARGE, MALFORMED_MESSAGE."""
        data, self.data = self.data, b""
        if self.largest is not None and len(data) > self.largest:
            raise KeptError(
                Reason.REASON_TOO_LARGE,
                f"The message has more than {self.largest} bytes; send less at once.",
                metadata={"limit": str(self.largest)},
            )
        try:
            return data if self.parse is None else self.parse(data)
        except (DecodeError, UnicodeDecodeError, ValueError, RecursionError):
            raise KeptError(
                Reason.REASON_MALFORMED_MESSAGE, "The message cannot be parsed as its declared type."
            ) from None
