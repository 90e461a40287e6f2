"""Characters that show nothing, and marks that only decorate: who reads a text sees the words and numbers that they stand in, and a program
that looks for those has to see past them."""

import unicodedata
from itertools import chain
from typing import Final

# Default_Ignorable_Code_Point of the Unicode Character Database (DerivedCoreProperties.txt; the same from Unicode 14 to 16): soft hyphen,
# joiners, direction marks, fillers, variation selectors, tags, and what is kept free for more of them.
DEFAULT_IGNORABLE: Final = frozenset(
    map(
        chr,
        chain(
            (0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5),
            range(0x180B, 0x1810),
            range(0x200B, 0x2010),
            range(0x202A, 0x202F),
            range(0x2060, 0x2070),
            (0x3164,),
            range(0xFE00, 0xFE10),
            (0xFEFF, 0xFFA0),
            range(0xFFF0, 0xFFF9),
            range(0x1BCA0, 0x1BCA4),
            range(0x1D173, 0x1D17B),
            range(0xE0000, 0xE1000),
        ),
    )
)
_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs"})  # controls, formats, halves of surrogate pairs


def shows_nothing(char: str) -> bool:
    """Whether a character shows nothing at all; white space shows that it is there."""
    if char.isspace():
        return False
    return char in DEFAULT_IGNORABLE or unicodedata.category(char) in _CATEGORIES


def decorates(char: str) -> bool:
    """Whether a mark sits on a letter or a digit without being one: not Indic nuktas (7), kana voicing (8), viramas (9)."""
    if unicodedata.category(char) == "Me":
        return True
    combining = unicodedata.combining(char)
    return combining == 1 or 10 <= combining <= 36 or combining >= 200
