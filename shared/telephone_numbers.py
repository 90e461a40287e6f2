"""Telephone numbers in a text, by the shape of their digit groups.

A number is found when it is written as one: with a plus and a country code (E.164), with the prefix 00, with
a trunk zero, with an area code in brackets; in a grouping that some country uses for nothing else; or in any
grouping right after a word such as "phone", "Tel." or "電話". Other rows of digits are left alone: order
numbers and amounts would go with them. A date is not taken for a number, except right after a plus and a
country code.

Works on the *shadow* that `masking` makes of a text: one ASCII character for each of the text's, digits of
any script as 0-9. Positions are the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from shared.linear_patterns import LinearPattern

MOST_DIGITS = 15  # E.164, without the prefix 00
_FEWEST_INTERNATIONAL = 8  # with the country code


class Group(NamedTuple):
    """A row of digits. `gap` is what stands between it and the one before: "" for the first of a run."""

    start: int
    end: int
    digits: str
    gap: str


def telephone_numbers(shadow: bytes, text: str) -> Iterator[tuple[int, int]]:
    """Spans of telephone numbers, which do not overlap; `text` is read for the words before a number only."""
    dates = list(_DATES.spans(shadow))
    passed, no_date = 0, -1
    for start, end in _RUN.spans(shadow):
        while passed < len(dates) and dates[passed][1] <= start:
            passed += 1
        run: list[Group] = []
        previous = start
        for group_start, group_end in _groups(shadow, start, end):
            if passed < len(dates) and group_start >= dates[passed][1]:
                passed += 1
            in_date = passed < len(dates) and passed != no_date and dates[passed][0] < group_end
            if in_date and _awaits_digits(shadow, run, group_start):
                no_date, in_date = passed, False
            if in_date or _glued(shadow, group_start, group_end):
                yield from _in_run(shadow, text, run)
                run = []
            else:
                gap = shadow[previous:group_start].decode("ascii") if run else ""
                run.append(Group(group_start, group_end, shadow[group_start:group_end].decode("ascii"), gap))
            previous = group_end
        yield from _in_run(shadow, text, run)


# Between the groups of one number stand up to three characters, so that " (0) " and " - " fit.
_RUN = LinearPattern(r"[0-9]+(?:[ \t()./-]{1,3}[0-9]+)*")
_DIGITS = LinearPattern(r"[0-9]+")
_DATES = LinearPattern(
    r"\b[0-9]{1,2}(?:\. ?[0-9]{1,2}\. ?|/[0-9]{1,2}/|-[0-9]{1,2}-)(?:19|20)[0-9]{2}\b"
    r"|\b(?:19|20)[0-9]{2}[-/.][0-9]{1,2}[-/.][0-9]{1,2}\b"
)


def _groups(shadow: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    for group_start, group_end in _DIGITS.spans(shadow[start:end]):
        yield start + group_start, start + group_end


_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz\x01")


def _glued(shadow: bytes, start: int, end: int) -> bool:
    """Whether letters touch the digits: part of a name ("A320"), not a number."""
    before = shadow[start - 1] if start else 0
    after = shadow[end] if end < len(shadow) else 0
    return before in _LETTERS or after in _LETTERS


def _awaits_digits(shadow: bytes, run: Sequence[Group], start: int) -> bool:
    """Whether the digits at `start` belong to a number after a plus that is too short without them: "+49 12-12-1999" is no date."""
    first = run[0].start if run else start
    follows_plus = first > 0 and shadow[first - 1 : first] == b"+"
    return follows_plus and sum(len(group.digits) for group in run) < _FEWEST_INTERNATIONAL


def _in_run(shadow: bytes, text: str, run: Sequence[Group]) -> Iterator[tuple[int, int]]:
    """Numbers in one run, from the left; each form looks at 17 digits at most, so the work is linear."""
    index = 0
    while index < len(run):
        last = _last_group(shadow, text, run, index)
        if last is None:
            index += 1
            continue
        start = run[index].start
        while start and shadow[start - 1 : start] in (b"+", b"("):
            start -= 1
        yield start, run[last].end
        index = last + 1


def _last_group(shadow: bytes, text: str, run: Sequence[Group], index: int) -> int | None:
    """Index of the last group of the number that begins with group `index`, or None where none begins."""
    before = shadow[max(0, run[index].start - 2) : run[index].start]
    if before.endswith(b"+"):
        return _international(run, index)
    for form in (_with_exit_prefix, _with_trunk_zero, _grouped):
        last = form(run, index)
        if last is not None:
            return last
    if before.endswith(b"("):
        last = _with_bracketed_area(run, index)
        if last is not None:
            return last
    last = _longest(run, index, 6, MOST_DIGITS)
    if last is not None and _announced(text[max(0, run[index].start - _LOOK_BACK) : run[index].start]):
        return last
    return None


def _longest(run: Sequence[Group], index: int, fewest: int, most: int) -> int | None:
    """The last group at which the digits from group `index` on number `fewest` to `most`, or None."""
    total = 0
    found = None
    for position in range(index, len(run)):
        total += len(run[position].digits)
        if total > most:
            break
        if total >= fewest:
            found = position
    return found


def _international(run: Sequence[Group], index: int) -> int | None:
    """+CC …; with +1 and +7 exactly eleven digits, so that "+1 250 000" stays an amount."""
    first = run[index].digits
    if first.startswith("0"):
        return None
    if first.startswith(("1", "7")):
        return _longest(run, index, 11, 11)
    return _longest(run, index, _FEWEST_INTERNATIONAL, MOST_DIGITS)


def _with_exit_prefix(run: Sequence[Group], index: int) -> int | None:
    """00CC …"""
    following = run[index + 1].digits if index + 1 < len(run) else ""
    digits = (run[index].digits + following)[:3] if run[index].digits == "00" else run[index].digits[:3]
    if len(digits) < 3 or not digits.startswith("00") or digits[2] == "0":
        return None
    return _longest(run, index, 10, MOST_DIGITS + 2)


def _with_trunk_zero(run: Sequence[Group], index: int) -> int | None:
    """0 and an area or mobile code: 030 1234567, 01 23 45 67 89, 07700 900123, 03-1234-5678, (0)30 …"""
    digits = run[index].digits
    if len(digits) < 2 or digits[0] != "0" or digits[1] == "0":
        return None
    return _longest(run, index, 9, 12)


def _with_bracketed_area(run: Sequence[Group], index: int) -> int | None:
    """(212) 555-0100, (11) 91234-5678; a bracketed year is none."""
    area = run[index].digits
    if index + 1 >= len(run) or not run[index + 1].gap.startswith(")") or not 2 <= len(area) <= 5:
        return None
    if len(run[index + 1].digits) < 3 or (len(area) == 4 and area.startswith(("19", "20"))):
        return None
    return _longest(run, index, 8, 12)


# Lengths of the groups, the gaps that may stand between them, and what the first digits must be.
_GROUPINGS: tuple[tuple[tuple[int, ...], str, Callable[[str], bool]], ...] = (
    ((1, 3, 3, 4), "-. ", lambda digits: digits[0] == "1" and digits[1] in "23456789"),  # North America
    ((3, 3, 4), "-. ", lambda digits: digits[0] in "23456789" and digits[3] in "23456789"),
    ((2, 5, 4), "- ", lambda digits: digits[2] == "9"),  # Brazil, mobile
    ((5, 5), "- ", lambda digits: digits[0] in "6789"),  # India, mobile
    ((3, 4, 4), "- ", lambda digits: digits[0] == "1" and digits[1] in "3456789"),  # China, mobile
    ((11,), "", lambda digits: digits[0] == "1" and digits[1] in "3456789"),
    ((3, 3, 3), "-", lambda _: True),  # Poland, Spain; with spaces it is how amounts are written
    ((3, 2, 2, 2), "-. ", lambda digits: digits[0] in "6789"),  # Spain, Switzerland without its zero
)
_BY_FIRST_LENGTH = {
    first: [grouping for grouping in _GROUPINGS if grouping[0][0] == first] for first in range(1, 12)
}


def _grouped(run: Sequence[Group], index: int) -> int | None:
    for lengths, gaps, begins in _BY_FIRST_LENGTH.get(len(run[index].digits), ()):
        groups = run[index : index + len(lengths)]
        if tuple(len(group.digits) for group in groups) != lengths:
            continue
        if all(len(group.gap) == 1 and group.gap in gaps for group in groups[1:]) and begins(
            "".join(group.digits for group in groups)
        ):
            return index + len(lengths) - 1
    return None


_LOOK_BACK = 32  # characters before a number in which the word that announces it is looked for
_WORDS = frozenset(
    {"tel", "telephone", "telefon", "telefonnummer", "telefono", "telefone", "téléphone", "teléfono", "phone",
     "fon", "fax", "mobile", "mobil", "mobilnummer", "handy", "handynummer", "movil", "móvil", "celular",
     "cell",
     "komórka", "whatsapp", "hotline", "durchwahl", "телефон", "тел",
     "هاتف", "الهاتف", "جوال",
     "फ़ोन", "फोन", "मोबाइल"}
)  # fmt: skip
_VOWEL_SIGNS = frozenset("".join(chr(point) for point in (*range(0x0900, 0x0904), *range(0x093A, 0x0950))))
_FILLERS = frozenset(
    {"number", "no", "nr", "nummer", "numero", "número", "is", "ist", "es", "est", "to", "the", "at", "unter",
     "under", "à", "au", "नंबर", "رقم"}
)  # fmt: skip
_UNSPACED = (
    "電話",
    "電話番号",
    "携帯",
    "携帯番号",
    "电话",
    "电话号码",
    "手机",
    "手机号",
    "手机号码",
    "전화",
    "전화번호",
)


def _announced(before: str) -> bool:
    """Whether the text just before a number says that one follows; a marker before it says nothing."""
    before = before.rpartition("]")[2].casefold().rstrip(" \t\r\n:：.=\"'(+#_*`<はが为是")
    if not before or not (before[-1].isalpha() or before[-1] in _VOWEL_SIGNS):
        return False
    if before.endswith(_UNSPACED):
        return True
    words = "".join(char if char.isalpha() or char in _VOWEL_SIGNS else " " for char in before).split()
    while words and words[-1] in _FILLERS:
        words.pop()
    return bool(words) and words[-1] in _WORDS
