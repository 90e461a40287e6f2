"""The ways in which the parts of one interaction are read, folded, and where a place in one of them lies in the parts.

Joined without anything between, and joined by a line break; with Unicode tag characters read as the ASCII they stand for, where there
are any; in the order in which they show, where there is a right-to-left override. At most eight, whatever the parts hold: where only
pieces of a reading are looked in, they are one view.
"""

from __future__ import annotations

import string
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.safety_review.detection.folding import (
    MAX_EXPANSION,
    OVERRIDE,
    decode_tags,
    folded,
    has_tags,
    original_spans,
    visual_order,
)
from services.safety_review.detection.rules import MAX_LITERAL, MAX_WITHIN

# Bytes in a row that an expression can need; literals are shorter (rules.MAX_LITERAL).
_REACH: Final = 256
# Bytes of the folded form to either side of where two parts meet, in which a word that is cut there is looked for with what belongs to it:
# three words, each as long as a literal can become, and what may be between them, at four bytes a character.
_NEAR: Final = 4 * (3 * MAX_LITERAL * MAX_EXPANSION + 2 * MAX_WITHIN)
# Stands between pieces, and where there is more of the text: no UTF-8, so that nothing matches it or over it (RE2 knows whole characters).
_BETWEEN: Final = b"\xff"
_WORD: Final = (string.ascii_letters + string.digits + "_").encode()  # of these `\b` knows words


class Position(NamedTuple):
    """A place in the original text: index of the part, offset in it in code points."""

    part: int
    offset: int


@dataclass(frozen=True)
class _Reading:
    """Parts joined, as they are and folded. `order` leads from the characters of the text to those of the joined parts; None where they are
    the same."""

    text: str = field(repr=False)
    data: bytes = field(repr=False)
    order: NDArray[np.int32] | None
    starts: tuple[int, ...]  # where each part begins in the joined text
    lengths: tuple[int, ...]

    def positions(self, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[Position, Position]]:
        """Spans of `data` as positions in the original parts, in the order given; where the order is another, the smallest that cover
        them."""
        if not self.data.isascii():
            spans = _as_characters(self.data, spans)
        for start, end in original_spans(self.text, spans):
            first, last = start, end - 1
            if self.order is not None:
                covered = self.order[start:end]
                first, last = int(covered.min()), int(covered.max())
            opened, closed = self._position(first), self._position(last)
            # A hit can end on the line break between two parts, which belongs to neither.
            yield opened, Position(closed.part, min(closed.offset + 1, self.lengths[closed.part]))

    def _position(self, index: int) -> Position:
        part = bisect_right(self.starts, index) - 1
        return Position(part, index - self.starts[part])


@dataclass(frozen=True)
class View:
    """What to look in, folded: a way of reading the parts, or pieces of one. The text itself is put together only where something was
    found, once for all that was."""

    data: bytes = field(repr=False)
    places: tuple[int, ...]  # where each piece begins in the data
    begins: tuple[int, ...]  # and where in the folded form of the reading
    reading: Callable[[], _Reading] = field(repr=False)

    def positions(self, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[Position, Position]]:
        """Spans of `data` as positions in the original parts, in the order given."""
        moved = []
        for start, end in spans:
            piece = bisect_right(self.places, start) - 1
            by = self.begins[piece] - self.places[piece]
            moved.append((start + by, end + by))
        return self.reading().positions(moved)


class Folded:
    """The parts of an interaction, each folded once."""

    def __init__(self, parts: Sequence[str]) -> None:
        self._parts = parts
        pieces = [folded(part) for part in parts]
        self._pieces = [data for data, _ in pieces]
        # Overrides and tags show nothing themselves.
        hiding = [part for part, (_, hides) in zip(parts, pieces, strict=True) if hides]
        self._is_plain = not any(OVERRIDE in part or has_tags(part) for part in hiding)

    def haystack(self) -> bytes:
        """What to look in for what expressions need: all views behind each other.

        The view with line breaks differs from the one without only around them. What an expression needs is letters in a row, and no row
        of them is longer than _REACH.
        """
        if not self._is_plain:
            return b"\n".join(view.data for view in self.views())
        pieces = self._pieces
        if len(pieces) == 1:
            return pieces[0]
        lines = b"\n".join(pieces)
        if len(lines) <= 2 * _REACH * len(pieces):
            return b"".join((*pieces, b"\n", lines))
        breaks = accumulate((len(piece) + 1 for piece in pieces[1:-1]), initial=len(pieces[0]))
        around = (lines[max(0, place - _REACH) : place + 1 + _REACH] for place in breaks)
        return b"\n".join((b"".join(pieces), *around))

    def views(self) -> Iterator[View]:
        """All of them. Joined without anything between, parts differ from what line breaks join only where they meet: of long ones no more
        is read twice."""
        for joint in ("\n", "") if len(self._parts) > 1 else ("",):
            data = joint.encode().join(self._pieces)
            plain = partial(self._reading, joint, data)
            if self._is_plain and joint == "" and len(data) > 2 * _NEAR * (len(self._pieces) - 1) > 0:
                yield _around(data, accumulate(map(len, self._pieces[:-1])), plain)
                continue
            yield View(data, (0,), (0,), plain)
            if not self._is_plain:
                yield from _deceptive(plain())

    def _reading(self, joint: str, data: bytes) -> _Reading:
        lengths = tuple(map(len, self._parts))
        starts = tuple(accumulate((length + len(joint) for length in lengths[:-1]), initial=0))
        text = joint.join(self._parts)
        return _Reading(text, data, None, starts, lengths)


def _deceptive(plain: _Reading) -> Iterator[View]:
    """What a text shows beside what it says: tag characters read as ASCII, and the order in which it shows."""
    decoded = decode_tags(plain.text)
    readings: list[tuple[str, NDArray[np.int32] | None]] = [(decoded, None)] if decoded != plain.text else []
    readings += [visual_order(text) for text in {plain.text, decoded} if OVERRIDE in text]
    for text, order in readings:
        data = folded(text)[0]
        yield View(data, (0,), (0,), partial(_Reading, text, data, order, plain.starts, plain.lengths))


def _around(data: bytes, meetings: Iterable[int], reading: Callable[[], _Reading]) -> View:
    """What is near the places where parts meet, no byte of it twice. Nothing is left out within a word: where a word ends in a piece it
    ends in the whole, too."""
    pieces: list[tuple[int, int]] = []
    begin = end = 0
    for meeting in meetings:
        near = _character(data, max(0, meeting - _NEAR))
        between = data[end:near]
        if before := between.rstrip(_WORD):
            if end:
                pieces.append((begin, near - len(between.lstrip(_WORD))))
            begin = end + len(before)
        end = _character(data, meeting + _NEAR)
    pieces.append((begin, len(data) - len(data[end:].lstrip(_WORD))))
    joined = _BETWEEN.join(data[begin:end] for begin, end in pieces)
    before = _BETWEEN if pieces[0][0] > 0 else b""
    after = _BETWEEN if pieces[-1][1] < len(data) else b""
    places = accumulate((end - begin + 1 for begin, end in pieces[:-1]), initial=len(before))
    return View(before + joined + after, tuple(places), tuple(begin for begin, _ in pieces), reading)


def _character(data: bytes, index: int) -> int:
    """The index, or the next, at which a character of UTF-8 begins (RFC 3629), or the end."""
    while index < len(data) and data[index] & 0xC0 == 0x80:
        index += 1
    return min(index, len(data))


def _as_characters(data: bytes, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Byte offsets of UTF-8 as character offsets, in one pass."""
    offsets = sorted({offset for span in spans for offset in span})
    characters: dict[int, int] = {}
    previous = count = 0
    for offset in offsets:
        count += len(data[previous:offset].decode("utf-8"))
        characters[offset] = count
        previous = offset
    return [(characters[start], characters[end]) for start, end in spans]
