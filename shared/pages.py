"""Pages of lists whose items are numbered, or have a place by an instant and an id, and page tokens: where the last page ended, for the
list that gave the token and no other (https://google.aip.dev/158)."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from shared.errors import KeptError, invalid

Item = TypeVar("Item")
DEFAULT_SIZE: Final = 100
_LARGEST: Final = 2**63 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# Where an item stands that has no number: an instant, to the microsecond, and of several of that instant the id.
Place = tuple[datetime, str]


def page(
    list_name: str,
    size: int,
    token: str,
    read: Callable[[int, int], Sequence[Item]],
    number: Callable[[Item], int],
) -> tuple[Sequence[Item], str]:
    """A page of a list, and the token of the next; empty on the last. size, token: of the request; 0 and empty where it leaves that to us.
    read: (number of the last page's last item, or 0; how many at most) → items. Raises INVALID_ARGUMENT for a token that this list did not
    give."""
    size = size or DEFAULT_SIZE
    found = read(decode(list_name, token), size + 1)
    return found[:size], encode(list_name, number(found[size - 1])) if len(found) > size else ""


def page_by_place(
    list_name: str,
    size: int,
    token: str,
    read: Callable[[Place | None, int], Sequence[Item]],
    place: Callable[[Item], Place],
) -> tuple[Sequence[Item], str]:
    """As `page`, of a list without numbers. size: not 0. read: (place of the last page's last item, or None; how many at most) → items."""
    found = read(_decode_place(list_name, token), size + 1)
    if len(found) <= size:
        return found, ""
    at, item_id = place(found[size - 1])
    return found[:size], _encoded(f"{list_name}:{(at - _EPOCH) // _MICROSECOND}:{item_id}")


def encode(list_name: str, number: int) -> str:
    """The token of a page that ended with the item of that number."""
    return _encoded(f"{list_name}:{number}")


def decode(list_name: str, token: str) -> int:
    """The number in a token; 0 for the first page. Raises INVALID_ARGUMENT for a token that this list did not give."""
    if not token:
        return 0
    match = _matched(token, re.escape(list_name) + ":([0-9]{1,19})")
    if int(match[1]) > _LARGEST:
        raise _not_given()
    return int(match[1])


def _decode_place(list_name: str, token: str) -> Place | None:
    if not token:
        return None
    # 17 digits of microseconds end in the year 5138.
    match = _matched(token, re.escape(list_name) + ":([0-9]{1,17}):([a-z]+_[0-9a-z]{26})")
    return _EPOCH + int(match[1]) * _MICROSECOND, match[2]


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode("ascii")


def _matched(token: str, pattern: str) -> re.Match[str]:
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    match = re.fullmatch(pattern, text)
    if match is None:
        raise _not_given()
    return match


def _not_given() -> KeptError:
    return invalid("page_token", "is not one that this list gave")
