"""What JSON's escapes (RFC 8259, section 7) in a text stand for, where they stand, however deep; the text need not be JSON, nor whole."""

import re
from typing import Final

# A pair of surrogates is one. Each level of JSON in JSON doubles the backslashes, so any number of them counts. What may follow them is
# optional: then no row is looked at twice.
_ESCAPE: Final = re.compile(
    r"\\+(?:u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\+u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})|u(?P<unit>[0-9a-fA-F]{4})"
    r'|(?P<letter>[nrtbf"/]))?'
)
# A backspace would show nothing, and join what it stands between.
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\f", "f": "\f"}


def unescaped(text: str, *, letters: bool) -> tuple[str, list[int]]:
    """The text with each escape as the character that it stands for; and where in the text each character of that begins, and the end.

    letters: also those of one letter. Where they stay, what begins at the letter begins at its backslash, so that nobody cuts an escape in
    two: JSON stays JSON.
    """
    pieces: list[str] = []
    begins: list[int] = []
    end = 0
    for escape in _ESCAPE.finditer(text):
        start = escape.start()
        piece = escape[0] if escape["letter"] and not letters else _stands_for(escape)
        pieces += (text[end:start], piece)
        begins += range(end, start)
        begins += [start] * len(piece)
        end = escape.end()
    pieces.append(text[end:])
    begins += range(end, len(text) + 1)
    return "".join(pieces), begins


def _stands_for(escape: re.Match[str]) -> str:
    high, low, unit, letter = escape.group("high", "low", "unit", "letter")
    if low:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10 | int(low, 16) & 0x3FF))
    if unit:
        return chr(int(unit, 16))
    return _ESCAPED.get(letter, letter) if letter else "\\"
