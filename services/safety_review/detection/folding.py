"""What a text looks like to a reader who is being deceived: one folded form for all spellings of a word.

Folding is decided character by character, so that a position in the folded text leads back to the original
without keeping a map while scanning (`original_spans` walks the text again only where something was found).

A character folds through, in this order: look-alikes (Cyrillic, Greek and Latin variants to the ASCII letter
they imitate), compatibility decomposition (NFKD, Unicode Standard Annex #15: full-width, ligatures,
mathematical letters), case folding, decomposition again, and the removal of what shows nothing
(`shared.unseen`: zero-width, soft hyphen, tags, bidi controls, controls, fillers, variation selectors,
surrogates) and of combining marks that decorate a letter. Vowel signs of Indic scripts and the kana
voicing marks *are* letters to their readers and stay. NFKC alone would leave U+200B, U+00AD and the Cyrillic
letter where they are.

Not folded, on purpose: digits for letters ("c4rd"), letters with spaces between them, transliteration. Those
need a classifier, and every one of them makes harmless text match.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.unseen import decorates, shows_nothing

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

_STRETCH = "\u0640"  # Arabic tatweel: lengthens a word, is no letter of it
_LOST = "\ufffd"  # stands for bytes that are no character, and half a pair: whoever sends them inside a word hides it
_BLANKS = "\u2800\u1680\u2028\u2029\u0085"  # show as space, but do not decompose to one

# One character becomes at most this many: U+FDFA alone would become eighteen and let a text grow
# eighteenfold.
MAX_EXPANSION = 4

TAGS = range(0xE0020, 0xE007F)  # Unicode tag characters: invisible, one for each printable ASCII character
_TAG_TO_ASCII = {point: chr(point - 0xE0000) for point in TAGS}
OVERRIDE, _END_OF_OVERRIDE = "\u202e", "\u202c\u2029\n"


@lru_cache(maxsize=10_000)  # of characters, never of text
def fold_character(char: str) -> str:
    """What one character contributes to the folded text: nothing, one character, at most MAX_EXPANSION."""
    if char in _BLANKS or char.isspace():
        return "\n" if char in "\n\r\v\f\u2028\u2029\u0085" else " "
    if shows_nothing(char) or char in (_STRETCH, _LOST):
        return ""
    folded = _IMITATED.get(char)
    if folded is not None:
        return folded
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
    kept = "".join(
        _IMITATED.get(part, part) for part in decomposed if not (decorates(part) or shows_nothing(part))
    )
    return kept if len(kept) <= MAX_EXPANSION else char


# What becomes of each ASCII character, for a pass over bytes: ten times as fast as one over characters.
_OF_ASCII: Final = {point: fold_character(chr(point)) for point in range(128)}
_ASCII_TABLE: Final = bytes(ord(_OF_ASCII.get(point) or chr(point)) for point in range(256))
_ASCII_DROPPED: Final = bytes(point for point, folded in _OF_ASCII.items() if not folded)
_TAG_BEGINS: Final = b"\xf3\xa0"  # in UTF-8
_ELSE: Final = 0x110000  # no code points: what folds to several, and to none
_NOTHING: Final = 0x110001
# The same in two bytes, where what stands there itself counts as several; and what is half of a character.
_NARROW_ELSE, _NARROW_NOTHING, _HALF = 0xFFFD, 0xFFFE, 0xFFFF
_FEW: Final = 16  # so many that fold to several are put in one by one
# Where characters fold to others. Elsewhere are ideographs, private use and what is not assigned.
_FOLDING: Final = (range(0x20000), range(0x2F800, 0x2FA20), range(0xE0000, 0xE1000))


@cache
def _single() -> NDArray[np.uint32]:
    """By code point: the character that it folds to; _NOTHING or, where it folds to several, _ELSE."""
    table = np.arange(_ELSE, dtype=np.uint32)
    for point in chain(*_FOLDING):
        form = fold_character(chr(point))
        table[point] = ord(form) if len(form) == 1 else _ELSE if form else _NOTHING
    return table


@cache
def _narrow() -> NDArray[np.uint16]:
    """The same for what one unit of UTF-16 can be: half as much to move, and nearly every text has nothing else."""
    forms = _single()[:0x10000]
    table = np.minimum(forms, _NARROW_ELSE).astype(np.uint16)
    table[forms == _NOTHING] = _NARROW_NOTHING
    table[0xD800:0xE000] = _HALF
    return table


@cache
def _several() -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint32]]:
    """By code point: how many characters it folds to, and where they begin in the third, whose first part is every character itself."""
    lengths, begins = np.ones(_ELSE, np.int32), _single().astype(np.int32)
    pool = list(range(_ELSE))
    for point in map(int, np.flatnonzero(begins >= _ELSE)):
        form = fold_character(chr(point))
        lengths[point], begins[point] = len(form), len(pool)
        pool += map(ord, form)
    return lengths, begins, np.array(pool, np.uint32)


def folded(text: str) -> tuple[bytes, bool]:
    """The folded form of a text as UTF-8, without surrogates, of at most MAX_EXPANSION times as many characters; and whether something of
    it beyond ASCII shows nothing. Character by character: the folded form of texts behind each other is theirs behind each other."""
    if text.isascii():
        return text.encode("ascii").translate(_ASCII_TABLE, _ASCII_DROPPED), False
    points: NDArray[np.uint16] | NDArray[np.uint32]
    forms: NDArray[np.uint16] | NDArray[np.uint32]
    points = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16)
    forms = _narrow().take(points)
    several, nothing = _NARROW_ELSE, _NARROW_NOTHING
    if (highest := forms.max()) == _HALF:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        forms = _single().take(points)
        several, nothing, highest = _ELSE, _NOTHING, forms.max()
    if highest < 0x80:
        return forms.astype(np.uint8).tobytes(), False
    if highest < several:
        return _utf8(forms), False
    shown = forms != nothing
    hides = not shown.all()
    if hides:
        points, forms = points[shown], forms[shown]
    others = (forms == several).nonzero()[0]
    if len(others) <= _FEW:
        pieces: list[bytes] = []
        begin = 0
        for index in others.tolist():
            pieces += _utf8(forms[begin:index]), fold_character(chr(points[index])).encode("utf-8")
            begin = index + 1
        return b"".join((*pieces, _utf8(forms[begin:]))), hides
    lengths, begins, pool = _several()
    counts = lengths.take(points)
    ends = counts.cumsum(dtype=np.int32)
    places = np.repeat(begins.take(points) - ends + counts, counts)
    places += np.arange(len(places), dtype=np.int32)
    return _utf8(pool.take(places)), hides


def _utf8(points: NDArray[np.uint16] | NDArray[np.uint32]) -> bytes:
    return points.tobytes().decode("utf-16-le" if points.itemsize == 2 else "utf-32-le").encode("utf-8")


def fold(text: str) -> str:
    """The same as a text."""
    return folded(text)[0].decode("utf-8")


def fold_literal(literal: str) -> tuple[str, ...]:
    """The folded forms a word can take in small letters, capitals, and both: Greek look-alikes differ by
    case."""
    forms = (literal, literal.lower(), literal.upper(), literal.title())
    return tuple(sorted({fold(form) for form in forms}))


def original_spans(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans of fold(text) as spans of text, in the order given.

    A folded character that came from an expanded one counts as all of it; what was dropped inside a span
    belongs to it, what was dropped around it does not.
    """
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    reached = _several()[0].take(points).cumsum()
    starts = reached.searchsorted([start for start, _ in spans], side="right")
    lasts = reached.searchsorted([end - 1 for _, end in spans], side="right")
    yield from zip(starts.tolist(), (lasts + 1).tolist(), strict=True)


def has_tags(text: str) -> bool:
    """Whether there may be tag characters in it; never False where there are."""
    if text.isascii():
        return False
    return _TAG_BEGINS in text.encode("utf-8", "surrogatepass")


def decode_tags(text: str) -> str:
    """The same text with tag characters as the ASCII they stand for; same length, so positions stay."""
    return text.translate(_TAG_TO_ASCII)


def visual_order(text: str) -> tuple[str, NDArray[np.int32]]:
    """The text as it shows, as far as right-to-left overrides (U+202E) turn it, and the index in the text of each of its characters.

    A run lasts from the override to its end (U+202C), the end of the line or of the text. This is not the
    whole bidirectional algorithm (UAX #9), only the part with which Latin text is written backwards to be
    read forwards.
    """
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    order = _shown(points)
    return points.take(order).tobytes().decode("utf-32-le", "surrogatepass"), order


def _shown(points: NDArray[np.uint32]) -> NDArray[np.int32]:
    overrides = points == ord(OVERRIDE)
    marks = overrides.copy()  # where a run begins that is turned, behind its override, or one that is not
    for char in _END_OF_OVERRIDE:
        marks |= points == ord(char)
    begins = np.append(marks.nonzero()[0].astype(np.int32), np.int32(len(points)))
    order = np.arange(len(points), dtype=np.int32)
    # In a run that is turned, an index and the one in its place add up to the same.
    sums = np.where(overrides[begins[:-1]], begins[:-1] + begins[1:], np.int32(0))
    turned = np.repeat(sums, np.diff(begins))
    behind = order[begins[0] :]
    np.subtract(turned, behind, out=behind, where=turned > 0)
    shown: NDArray[np.int32] = order[~overrides]
    return shown
