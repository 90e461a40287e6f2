"""What a text looks like to a reader who is being deceived: one folded form for all spellings of a word.

Folding is decided character by character, so that a position in the folded text leads back to the original
without keeping a map while scanning (`original_spans` walks the text again only where something was found).

A character folds through, in this order: look-alikes (Cyrillic, Greek and Latin variants to the ASCII letter
they imitate), compatibility decomposition (NFKD, Unicode Standard Annex #15: full-width, ligatures,
mathematical letters), case folding, decomposition again, and the removal of what shows nothing: format
characters (Unicode category Cf: zero-width, soft hyphen, tags, bidi controls), controls, default-ignorable
fillers, surrogates, and combining marks that decorate a letter. Vowel signs of Indic scripts and the kana
voicing marks *are* letters to their readers and stay. NFKC alone would leave U+200B, U+00AD and the Cyrillic
letter where they are.

Not folded, on purpose: digits for letters ("c4rd"), letters with spaces between them, transliteration. Those
need a classifier, and every one of them makes harmless text match.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

# Letter by letter, upper case apart where the two cases imitate different Latin letters (Η looks like H, η
# like n).
_IMITATED = {
    # Cyrillic
    "а": "a", "А": "a", "в": "b", "В": "b", "с": "c", "С": "c", "ԁ": "d", "е": "e", "Е": "e", "һ": "h",
    "Һ": "h", "н": "h", "Н": "h", "і": "i", "І": "i", "ј": "j", "Ј": "j", "к": "k", "К": "k", "ӏ": "l",
    "Ӏ": "l", "м": "m", "М": "m", "о": "o", "О": "o", "р": "p", "Р": "p", "ԛ": "q", "ѕ": "s", "Ѕ": "s",
    "т": "t", "Т": "t", "ѵ": "v", "ԝ": "w", "Ԝ": "w", "х": "x", "Х": "x", "у": "y", "У": "y", "ү": "y",
    "Ү": "y",
    # Greek
    "α": "a", "Α": "a", "β": "b", "Β": "b", "ϲ": "c", "Ϲ": "c", "ε": "e", "Ε": "e", "η": "n", "Η": "h",
    "ι": "i", "Ι": "i", "ϳ": "j", "κ": "k", "Κ": "k", "μ": "u", "Μ": "m", "ν": "v", "Ν": "n", "ο": "o",
    "Ο": "o", "ρ": "p", "Ρ": "p", "τ": "t", "Τ": "t", "υ": "u", "Υ": "y", "ω": "w", "χ": "x", "Χ": "x",
    "γ": "y", "Ζ": "z",
    # Armenian
    "օ": "o", "ո": "n", "ս": "u", "հ": "h",
    # Latin letters that NFKD leaves alone
    "ı": "i", "ɪ": "i", "ɩ": "i", "ɑ": "a", "ɡ": "g", "ø": "o", "Ø": "o", "ł": "l", "Ł": "l", "đ": "d",
    "Đ": "d", "ħ": "h", "Ħ": "h", "ŧ": "t", "Ŧ": "t", "ƶ": "z", "Ƶ": "z", "ʏ": "y", "ᴀ": "a", "ʙ": "b",
    "ᴄ": "c", "ᴅ": "d", "ᴇ": "e", "ɢ": "g", "ʜ": "h", "ᴊ": "j", "ᴋ": "k", "ʟ": "l", "ᴍ": "m", "ɴ": "n",
    "ᴏ": "o", "ᴘ": "p", "ʀ": "r", "ꜱ": "s", "ᴛ": "t", "ᴜ": "u", "ᴠ": "v", "ᴡ": "w", "ᴢ": "z",
}  # fmt: skip
_IMITATED |= {chr(0x1F150 + n): chr(97 + n) for n in range(26)}  # white letters in black circles
_IMITATED |= {chr(0x1F170 + n): chr(97 + n) for n in range(26)}  # and in black squares

# Default-ignorable code points outside category Cf: they show nothing either.
_INVISIBLE = frozenset({0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0xFFF0, 0xFFF9)})
_STRETCH = "\u0640"  # Arabic tatweel: lengthens a word, is no letter of it
_BLANKS = "\u2800\u1680\u2028\u2029\u0085\u180e"  # show as space, but do not decompose to one

# One character becomes at most this many: U+FDFA alone would become eighteen and let a text grow
# eighteenfold.
MAX_EXPANSION = 4

TAGS = range(0xE0020, 0xE007F)  # Unicode tag characters: invisible, one for each printable ASCII character
_TAG_TO_ASCII = {point: chr(point - 0xE0000) for point in TAGS}
OVERRIDE, _END_OF_OVERRIDE = "\u202e", "\u202c\u2029\n"


def _decorates(char: str) -> bool:
    """Whether a mark sits on a letter without being one: not Indic nuktas (7), kana voicing (8), viramas
    (9)."""
    if unicodedata.category(char) == "Me" or 0xFE00 <= ord(char) <= 0xFE0F or 0xE0100 <= ord(char) <= 0xE01EF:
        return True
    combining = unicodedata.combining(char)
    return combining == 1 or 10 <= combining <= 36 or combining >= 200


def _shows_nothing(char: str) -> bool:
    if char in "\t\n\r\v\f" or char in _BLANKS:
        return False
    category = unicodedata.category(char)
    return category in ("Cc", "Cf", "Cs") or ord(char) in _INVISIBLE or 0xE0000 <= ord(char) <= 0xE0FFF


def fold_character(char: str) -> str:
    """What one character contributes to the folded text: nothing, one character, at most MAX_EXPANSION."""
    if char in _BLANKS or char.isspace():
        return "\n" if char in "\n\r\v\f\u2028\u2029\u0085" else " "
    if _shows_nothing(char) or char == _STRETCH:
        return ""
    folded = _IMITATED.get(char)
    if folded is not None:
        return folded
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
    kept = "".join(
        _IMITATED.get(part, part) for part in decomposed if not (_decorates(part) or _shows_nothing(part))
    )
    return kept if len(kept) <= MAX_EXPANSION else char


class _Table(dict[int, str]):
    """The translation of code points, filled as they are met. Bounded: a text of every code point must not
    stay."""

    _MOST = 50_000

    def __missing__(self, point: int) -> str:
        folded = fold_character(chr(point))
        if len(self) < self._MOST:
            self[point] = folded
        return folded


_FOLDS = _Table()


# What becomes of each ASCII character, for a pass over bytes: ten times as fast as one over characters.
_OF_ASCII: Final = {point: fold_character(chr(point)) for point in range(128)}
_ASCII_TABLE: Final = bytes(ord(_OF_ASCII.get(point) or chr(point)) for point in range(256))
_ASCII_DROPPED: Final = bytes(point for point, folded in _OF_ASCII.items() if not folded)
_TAGS: Final = (b"\xf3\xa0\x80", b"\xf3\xa0\x81")  # how they begin in UTF-8


def _fold_run(error: UnicodeError) -> tuple[bytes, int]:
    """What the ASCII encoder calls with each run of characters that it does not know."""
    assert isinstance(error, UnicodeEncodeError)
    return error.object[error.start : error.end].translate(_FOLDS).encode("utf-8"), error.end


# Bytes of UTF-8 a character, above which a text is hardly ASCII.
_DENSE: Final = 1.05
codecs.register_error("kept.folded", _fold_run)


def folded(text: str) -> bytes:
    """The folded form of a text as UTF-8, without surrogates, of at most MAX_EXPANSION times as many characters. Character by character:
    the folded form of texts behind each other is theirs behind each other."""
    if not text.isascii() and len(text.encode("utf-8", "surrogatepass")) > len(text) * _DENSE:
        text = text.translate(_FOLDS)  # a call for each of so many runs would cost more
        return text.encode("utf-8").translate(_ASCII_TABLE, _ASCII_DROPPED)
    return text.encode("ascii", "kept.folded").translate(_ASCII_TABLE, _ASCII_DROPPED)


def fold(text: str) -> str:
    """The same as a text."""
    return folded(text).decode("utf-8")


def fold_literal(literal: str) -> tuple[str, ...]:
    """The folded forms a word can take in small letters, capitals, and both: Greek look-alikes differ by
    case."""
    forms = (literal, literal.lower(), literal.upper(), literal.title())
    return tuple(sorted({fold(form) for form in forms}))


def original_spans(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans of fold(text) as spans of text, in the order given; one walk over the text up to the last of
    them.

    A folded character that came from an expanded one counts as all of it; what was dropped inside a span
    belongs to it, what was dropped around it does not.
    """
    wanted = sorted({start for start, _ in spans} | {end - 1 for _, end in spans})
    source: dict[int, int] = {}
    reached = 0  # characters of the folded text so far
    position = 0
    for index, char in enumerate(text):
        if position == len(wanted):
            break
        reached += len(_FOLDS[ord(char)])
        while position < len(wanted) and wanted[position] < reached:
            source[wanted[position]] = index
            position += 1
    for start, end in spans:
        yield source[start], source[end - 1] + 1


def has_tags(text: str) -> bool:
    """Whether there are tag characters in it."""
    if text.isascii():
        return False
    data = text.encode("utf-8", "surrogatepass")
    return any(tag in data for tag in _TAGS)


def decode_tags(text: str) -> str:
    """The same text with tag characters as the ASCII they stand for; same length, so positions stay."""
    return text.translate(_TAG_TO_ASCII)


def visual_order(text: str) -> list[int]:
    """Indices of the text in the order in which they show, as far as right-to-left overrides (U+202E) turn
    it.

    A run lasts from the override to its end (U+202C), the end of the line or of the text. This is not the
    whole bidirectional algorithm (UAX #9), only the part with which Latin text is written backwards to be
    read forwards.
    """
    order: list[int] = []
    run: list[int] | None = None
    for index, char in enumerate(text):
        if char == OVERRIDE:
            order.extend(reversed(run or []))
            run = []
        elif run is None:
            order.append(index)
        elif char in _END_OF_OVERRIDE:
            order.extend(reversed(run))
            order.append(index)
            run = None
        else:
            run.append(index)
    order.extend(reversed(run or []))
    return order
