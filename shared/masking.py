"""Personal data out of a text, for reads at the level MASKED: what is found is replaced by a marker of its
kind.

`KINDS` says, a sentence each, what is found; names, postal addresses and everything else that has neither a
form of its own nor a checksum is *not*. The marker is the same for every value of a kind, so that neither the
length nor a part of what stood there can be told from it; two values of a kind that touch become one marker.

Searching happens on a *shadow* of the text: one ASCII character for each character, digits of any script as
0-9, full-width forms as their ASCII ones, all dashes and spaces as one, letters outside ASCII as one of two
placeholders. Characters that show nothing are left out, marks on others too; but they can also stand between a word and a number,
so a text that has some has a second shadow, in which they are borders. A text with backslashes may be JSON, and
is looked at once more with each escape as what it stands for. All expressions run on RE2
(shared.linear_patterns), and the checks look at a bounded number of characters behind each place, so the time
is linear in the text.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from shared.json_escapes import unescaped
from shared.linear_patterns import LinearPattern
from shared.telephone_numbers import telephone_numbers
from shared.unseen import decorates, shows_nothing


class Kind(NamedTuple):
    """A kind of personal data. `finds` is published: the data inventory and reads at MASKED quote it."""

    marker: str
    finds: str


EMAIL = Kind(
    "[EMAIL]", 'E-mail addresses with a dotted domain, in any script; not those spelled out ("at", "dot").'
)
PHONE = Kind(
    "[PHONE]",
    "Telephone numbers with country code, trunk zero, bracketed area code, a national grouping, or a word "
    'such as "Tel." before them; not bare rows of digits.',
)
CARD = Kind("[CARD]", "Payment card numbers of 13 to 19 digits whose check digit is right (Luhn).")
IBAN = Kind(
    "[IBAN]", "IBANs of the countries in the ISO 13616 registry whose check digits are right (mod 97)."
)
IP = Kind("[IP]", "IPv4 and IPv6 addresses, with or without a prefix length.")

KINDS: tuple[Kind, ...] = (EMAIL, PHONE, CARD, IBAN, IP)
NOT_FOUND = (
    "Names, postal addresses, dates of birth, customer and government numbers, and personal data in free "
    "wording are not found."
)

# What is returned for a text that still changes after MAX_ROUNDS: only one built to do so does (see `mask`).
WITHHELD = "[WITHHELD]"
MAX_ROUNDS = 8


def mask(text: str) -> str:
    """The text with each piece of personal data replaced by its marker. mask(mask(text)) == mask(text).

    A marker is a new border, and a border can make a number of what was glued to another one before; so the
    search is repeated until nothing is found any more. Texts in which that takes more than two rounds do not
    occur by accident; one that takes more than MAX_ROUNDS is withheld as a whole rather than shown half
    masked.
    """
    for _ in range(MAX_ROUNDS):
        masked = _mask_once(text)
        if masked == text:
            return masked
        text = masked
    return WITHHELD


def mask_parts(texts: Sequence[str]) -> list[str]:
    """Each text masked, and what is found only where they are read one after the other, as the pieces of a stream are: its marker stands
    where it begins, and nothing of it in the texts behind. Where a value touches the end of a text, the word on the other side may go with
    it: too much is masked rather than too little."""
    whole = "".join(texts)
    ends = list(accumulate(map(len, texts)))
    found = _found_in(whole) if len(ends) > 1 else []
    if found:  # what together is something else may end in the middle of what is found in a text alone
        for text, end in zip(texts, ends, strict=True):
            begin = end - len(text)
            found += [(begin + start, begin + stop, marker) for start, stop, marker in _found_in(text)]
    places: list[tuple[int, int, str]] = []  # in order, none into another
    for start, end, marker in sorted(found):
        if places and start < places[-1][1]:
            places[-1] = (places[-1][0], max(end, places[-1][1]), places[-1][2])
        else:
            places.append((start, end, marker))
    masked, begin, at = [], 0, 0
    for end_of_text in ends:
        pieces: list[str] = []
        while at < len(places) and places[at][0] < end_of_text:
            start, end, marker = places[at]
            if start >= begin:
                pieces += (whole[begin:start], marker)
            begin = min(end, end_of_text)
            if end > end_of_text:
                break
            at += 1
        masked.append(mask("".join(pieces) + whole[begin:end_of_text]))
        begin = end_of_text
    return masked


def _found_in(text: str) -> list[tuple[int, int, str]]:
    """Where something is found, and its marker, in order; spans may overlap."""
    readings: list[tuple[str, Sequence[int]]] = [(text, range(len(text) + 1))]
    if "\\" in text:
        # Whether it is JSON nobody says, so what is found either way is masked: in "C:\bob@example.org" the b is Bob's.
        readings = [unescaped(text, letters=letters) for letters in (False, True)]
    return sorted(
        (begins[start], begins[end], marker)
        for reading, begins in readings
        for start, end, marker in _places(reading)
    )


def _mask_once(text: str) -> str:
    pieces: list[str] = []
    covered = 0  # up to where the text is masked, or in `pieces`
    for start, end, marker in _found_in(text):
        if start >= covered:
            pieces += (text[covered:start], marker)
            if len(pieces) >= 4 and not pieces[-2] and pieces[-3] == marker:
                del pieces[-2:]  # touches one of its kind
        covered = max(covered, end)
    pieces.append(text[covered:])
    return "".join(pieces)


def _places(text: str) -> Iterator[tuple[int, int, str]]:
    """Where something is found, and its marker. What shows nothing can stand within a number as well as before one: both are tried. A mark
    on its last letter or digit goes with it."""
    shadow = text.translate(_SHADOWS)
    if len(shadow) != len(text):
        places = [index for index, char in enumerate(text) if _SHADOWS[ord(char)]]
        seen = "".join(text[index] for index in places)
        for kind, start, end in _found(shadow.encode("ascii"), seen):
            last = places[end - 1] + 1
            while last < len(text) and decorates(text[last]):  # it belongs to the letter before
                last += 1
            yield places[start], last, kind.marker
        shadow = "".join(_SHADOWS[ord(char)] or _OTHER for char in text)
    for kind, start, end in _found(shadow.encode("ascii"), text):
        yield start, end, kind.marker


def _found(shadow: bytes, text: str) -> Iterator[tuple[Kind, int, int]]:
    """Everything in a shadow, kinds with a checksum first; spans of two kinds may overlap.

    A "_" touches nothing: people write _so_ for emphasis, and programs order_4111… for names.
    """
    # Without letters and full stops of scripts without spaces both find the same.
    are_mixed = _UNSPACED.encode() in shadow or _FULL_STOP.encode() in shadow
    for emails in _EMAILS if are_mixed else _EMAILS[:1]:
        for start, end in emails.spans(shadow):
            yield EMAIL, start, end
    for start, end in _ibans(shadow):
        yield IBAN, start, end
    for start, end in _cards(shadow):
        yield CARD, start, end
    apart = shadow.replace(b"_", _OTHER.encode())  # for RE2's \b it would be a letter
    for start, end in _addresses(apart):
        yield IP, start, end
    for start, end in telephone_numbers(apart, text):
        yield PHONE, start, end


# --- the shadow
# ------------------------------------------------------------------------------------------------------

# Letters of scripts with and without spaces between words; the rest; the full stop of the latter.
_SPACED, _UNSPACED, _OTHER, _FULL_STOP = "\x01", "\x02", "\x03", "\x04"


class _Shadows(dict[int, str]):
    """What each code point looks like in the shadow; filled as they are met, and bounded."""

    _MOST = 50_000

    def __missing__(self, point: int) -> str:
        shadow = _shadow(chr(point))
        if len(self) < self._MOST:
            self[point] = shadow
        return shadow


def _shadow(char: str) -> str:
    if shows_nothing(char) or decorates(char):
        return ""
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category in ("Zs", "Zl", "Zp") or char in "\t":
        return " "
    if category == "Pd" or char == "\u2212":
        return "-"
    folded = unicodedata.normalize("NFKC", char)
    if len(folded) == 1 and folded.isascii():
        return folded.lower() if folded.isprintable() or folded in "\r\n" else _OTHER
    if folded == "\u3002":
        return _FULL_STOP
    if category[0] in "LM":
        unspaced = unicodedata.east_asian_width(char) in ("W", "F", "H") or 0x0E00 <= ord(char) <= 0x0EFF
        return _UNSPACED if unspaced else _SPACED
    return _OTHER


_SHADOWS = _Shadows()

# --- e-mail
# ----------------------------------------------------------------------------------------------------------

# RFC 5321 local parts without quoting, RFC 6531 letters. Words of scripts without spaces touch an address
# that they do not belong to, so such letters count only where a part consists of nothing else. No bounds on
# lengths: a bound would leave the rest of a longer address standing. No assertions either: what is left after
# masking must not match.
_LOCAL_PART = r"(?:[a-z0-9\x01_][a-z0-9\x01!#$%&'*+/=?^_`{|}~.-]*|\"[^\"\r\n@]+\"|\x02+)@"
_LABEL, _LAST_LABEL = r"[a-z0-9\x01][a-z0-9\x01_-]*", r"[a-z\x01][a-z0-9\x01-]*[a-z0-9\x01]"
# Labels of one kind; and of several, which begin with such a letter where they have any, with the full stop of these
# scripts between them too (RFC 3490 §3.1). What one takes too far the other may need to find the next: both count.
_MIXED_LABEL = rf"(?:{_LABEL}|\x02[a-z0-9\x01\x02_-]*)"
_EMAILS = (
    LinearPattern(_LOCAL_PART + rf"(?:(?:{_LABEL}\.)+{_LAST_LABEL}|\x02+(?:\.(?:\x02+|[a-z]+))+)"),
    LinearPattern(
        _LOCAL_PART
        + rf"(?:(?:{_MIXED_LABEL}\.)+(?:{_LAST_LABEL}|\x02+)|(?:{_MIXED_LABEL}\x04)+{_LAST_LABEL})"
    ),
)

# --- payment cards
# ---------------------------------------------------------------------------------------------------

_DIGITS = LinearPattern(r"[0-9]+")
_CARD_GAPS = frozenset((b" ", b"-", b".", b"_", b"  ", b" - "))
_FEWEST_IN_GROUP = 3  # cards are printed 4-4-4-4, 4-6-5, 4-4-4-4-3; this also bounds the rows to look at
_FEWEST, _MOST = 13, 19  # ISO/IEC 7812


def _cards(shadow: bytes) -> Iterator[tuple[int, int]]:
    """Every row of whole digit groups with a right check digit, overlapping ones too: which is the card is
    open.

    First digits 0 and 1 are left out (no issuer that is in use; timestamps in milliseconds begin with 1).
    """
    groups = [span for span in _DIGITS.spans(shadow) if not _in_word(shadow, *span)]
    for index, (start, _) in enumerate(groups):
        if shadow[start] in b"01":
            continue
        digits = b""
        previous = None
        for group_start, group_end in groups[index : index + _MOST]:
            if group_end - group_start < _FEWEST_IN_GROUP:
                break
            if previous is not None and shadow[previous:group_start] not in _CARD_GAPS:
                break
            digits += shadow[group_start:group_end]
            previous = group_end
            if len(digits) > _MOST:
                break
            if len(digits) >= _FEWEST and luhn_holds(digits.decode("ascii")):
                yield start, group_end


def luhn_holds(digits: str) -> bool:
    """Whether the last of the ASCII digits is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


_WORD = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789\x01")


def _in_word(shadow: bytes, start: int, end: int) -> bool:
    """Whether letters or digits touch the span."""
    return (start > 0 and shadow[start - 1] in _WORD) or (end < len(shadow) and shadow[end] in _WORD)


# --- IBAN
# ------------------------------------------------------------------------------------------------------------

# Lengths by country (ISO 13616 registry).
_IBAN_COUNTRIES = {
    15: "no", 16: "be", 18: "dk fi fo gl nl sd", 19: "mk si", 20: "at ba ee kz lt lu mn xk",
    21: "ch hr li lv",
    22: "bg bh cr de gb ge ie me rs va", 23: "ae gi il iq om so tl", 24: "ad cz es md pk ro sa se sk tn vg",
    25: "ly pt st", 26: "is tr", 27: "bi dj fr gr it mc mr sm", 28: "al az by cy do gt hn hu lb ni pl sv",
    29: "br eg ps qa ua", 30: "jo kw mu ye", 31: "mt sc", 32: "lc", 33: "ru",
}  # fmt: skip
_IBAN_LENGTHS = {code: length for length, codes in _IBAN_COUNTRIES.items() for code in codes.split()}
_IBAN_START = LinearPattern(r"[a-z]{2}[0-9]{2}")
_IBAN_REACH = (
    3 * 34
)  # characters behind the start that are looked at: gaps of up to two between any two characters


def _ibans(shadow: bytes) -> Iterator[tuple[int, int]]:
    for start, _ in _IBAN_START.spans(shadow):
        length = _IBAN_LENGTHS.get(shadow[start : start + 2].decode("ascii"))
        if length is None or (start and shadow[start - 1] in _WORD):
            continue
        characters = b""
        gap = 0
        for end in range(start, min(len(shadow), start + _IBAN_REACH)):
            if shadow[end : end + 1].isalnum():
                characters += shadow[end : end + 1]
                gap = 0
            elif shadow[end : end + 1] in b" -._" and gap < 2:
                gap += 1
            else:
                break
            if len(characters) == length:
                if not _in_word(shadow, start, end + 1) and iban_holds(characters.decode("ascii")):
                    yield start, end + 1
                break


def iban_holds(iban: str) -> bool:
    """Whether the check digits of an IBAN without spaces, in small ASCII letters, are right (ISO 7064, mod
    97-10)."""
    return int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97 == 1


# --- IP addresses
# ----------------------------------------------------------------------------------------------------

_IPV4 = LinearPattern(r"[0-9.]*\.[0-9]+(?:/[0-9]{1,2}\b)?")
_IPV6 = LinearPattern(r"[0-9a-f.]*:[0-9a-f:.]*:[0-9a-f:.]*(?:%[0-9a-z]+)?(?:/[0-9]{1,3}\b)?")


def _addresses(shadow: bytes) -> Iterator[tuple[int, int]]:
    """Whole rows of the characters of an address that parse as one; "1.2.3.4.5" and "12:30:45" do not."""
    for pattern, version in ((_IPV4, 4), (_IPV6, 6)):
        for start, end in pattern.spans(shadow):
            while start < end and shadow[start : start + 1] == b".":
                start += 1
            while end > start and shadow[end - 1 : end] == b".":
                end -= 1
            if version == 6 and shadow[start:end].endswith(b":") and not shadow[start:end].endswith(b"::"):
                end -= 1
            if _is_address(shadow, start, end, version):
                yield start, end
                continue
            # What a word and a colon before it have left in the row, as in "[IPv6:2001:db8::1]" (RFC 5321 §4.1.3).
            start = shadow.find(b":", start, end) + 1
            if version == 6 and _is_address(shadow, start, end, version):
                yield start, end


def _is_address(shadow: bytes, start: int, end: int, version: int) -> bool:
    if end - start > 64 or _in_word(shadow, start, end):
        return False
    address = shadow[start:end].decode("ascii").partition("/")[0]
    if version == 6 and not any(char.isdigit() for char in address):
        return False  # "add::face" is a name in a program
    try:
        return ipaddress.ip_address(address).version == version
    except ValueError:
        return False
