"""Page tokens: where the last page ended, for the list that gave the token and no other."""

import base64
import binascii
import re
from typing import Final

from shared.errors import invalid

DEFAULT_SIZE: Final = 100
_LARGEST: Final = 2**63 - 1


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
