"""Pages of lists whose items are numbered, and page tokens: where the last page ended, for the list that gave the token and no other
(https://google.aip.dev/158)."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from shared.errors import invalid

Item = TypeVar("Item")
DEFAULT_SIZE: Final = 100
_LARGEST: Final = 2**63 - 1


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


def encode(list_name: str, number: int) -> str:
    """The token of a page that ended with the item of that number."""
    return base64.urlsafe_b64encode(f"{list_name}:{number}".encode()).decode("ascii")


def decode(list_name: str, token: str) -> int:
    """The number in a token; 0 for the first page. Raises INVALID_ARGUMENT for a token that this list did not give."""
    if not token:
        return 0
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    match = re.fullmatch(re.escape(list_name) + ":([0-9]{1,19})", text)
    if match is None or int(match[1]) > _LARGEST:
        raise invalid("page_token", "is not one that this list gave")
    return int(match[1])
