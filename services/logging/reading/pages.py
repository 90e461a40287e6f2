"""Page tokens and cursors: a position, in characters that a contract allows. They grant nothing: every page is decided on anew."""

import base64
import binascii

from shared.errors import KeptError, invalid


def encode(position: bytes) -> str:
    """The token of a position; empty for none."""
    return base64.urlsafe_b64encode(position).decode("ascii").rstrip("=")


def decode(token: str, field: str) -> bytes | None:
    """The position of a token; None for an empty one. Raises INVALID_ARGUMENT, naming the field."""
    if not token:
        return None
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _not_ours(field) from None


def decode_record_id(token: str, field: str) -> bytes | None:
    """The record id that a token stands for; None for an empty one. Raises INVALID_ARGUMENT."""
    position = decode(token, field)
    if position is not None and (len(position) != 16 or position == b"\xff" * 16):
        raise _not_ours(field)
    return position


def decode_text(token: str, field: str) -> str:
    """The text that a token stands for; empty for an empty one. Raises INVALID_ARGUMENT."""
    try:
        text = (decode(token, field) or b"").decode()
    except UnicodeDecodeError:
        raise _not_ours(field) from None
    if "\0" in text:
        raise _not_ours(field)
    return text


def _not_ours(field: str) -> KeptError:
    return invalid(field, "is not a token that this service gave out")
