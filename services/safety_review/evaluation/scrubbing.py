"""Texts that name no customer: personal data of the published kinds goes as for every masked read (`shared.masking`), and beside it the
names, domains and people of the organizations behind a set, which no pattern could know.

What cannot be cleaned is not kept: a text in which an identifier still stands once look-alike letters and invisible characters are folded
away (somebody spelled it so that it would not be found), or JSON's escapes are taken for what they stand for, is withheld as a whole.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from services.safety_review.detection.folding import fold
from shared import masking
from shared.json_escapes import unescaped

CUSTOMER: Final = "[CUSTOMER]"
PERSON: Final = "[PERSON]"
DOMAIN: Final = "[DOMAIN]"
_SHORTEST: Final = 3
_FOUND_INSIDE: Final = 5
# What says what kind of company it is, and not which.
_LEGAL_FORMS: Final = frozenset(
    {"ab", "ag", "and", "bv", "co", "company", "corp", "corporation", "gbr", "gmbh", "group", "holding", "inc", "kg", "kgaa", "limited"}
    | {"llc", "llp", "ltd", "nv", "oy", "plc", "pty", "sa", "sarl", "se", "spa", "srl", "the", "und", "ug"}
)  # fmt: skip
_MARKERS: Final = (*(kind.marker for kind in masking.KINDS), masking.WITHHELD, CUSTOMER, PERSON, DOMAIN)


@dataclass(frozen=True)
class Identifiers:
    """What names the customers behind a set: names of organizations, e-mail addresses, (first, last) names of people."""

    organizations: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    people: tuple[tuple[str, str], ...] = ()


class Scrubber:
    """Takes out what `identifiers` name. removed: how many pieces, by marker."""

    def __init__(self, identifiers: Identifiers) -> None:
        words: dict[str, str] = {}
        for domain in sorted({email.rpartition("@")[2] for email in identifiers.emails}):
            labels = domain.split(".")
            # The domain, and what is before its ending: "acme" of "mail.acme.example".
            for word in (domain, *labels[:-1]):
                words |= dict.fromkeys(_spellings(word) - words.keys(), DOMAIN)
        for email in identifiers.emails:
            words |= dict.fromkeys(_spellings(email.rpartition("@")[0]) - words.keys(), PERSON)
        for first, last in identifiers.people:
            for word in (f"{first} {last}", f"{last} {first}", first, last):
                words |= dict.fromkeys(_spellings(word) - words.keys(), PERSON)
        for name in identifiers.organizations:
            for word in _names(name):
                words |= dict.fromkeys(_spellings(word), CUSTOMER)
        # Short is a name, too, of which little is seen.
        words = {
            word: marker for word, marker in words.items() if min(len(word), len(_plain(word))) >= _SHORTEST
        }
        plain = {_plain(word): marker for word, marker in words.items()}
        # The plain words go as well: a name in look-alike letters would have all texts withheld that a common word stands in.
        self._pattern, self._markers = _any_of(plain | words)
        self._hidden, _ = _any_of(plain)
        self.removed: Counter[str] = Counter()

    def scrub(self, text: str) -> str:
        """The text without them; the marker of what was withheld where that cannot be had."""
        plain = unicodedata.normalize("NFKC", text)
        clean = masking.mask(self._pattern.sub(self._marker, masking.mask(plain)))
        if self._still_names(clean):
            clean = masking.WITHHELD
        for marker in _MARKERS:
            if more := clean.count(marker) - text.count(marker):
                self.removed[marker.strip("[]").lower()] += max(more, 0)
        return clean

    def _marker(self, found: re.Match[str]) -> str:
        """Of the word that matched, not of what it matched: a pattern without regard to case takes i, ı and İ for one letter."""
        assert found.lastindex is not None
        return self._markers[found.lastindex - 1]

    def _still_names(self, text: str) -> bool:
        """Whether somebody is named by what looks like their letters, or by what these stand for in JSON."""
        for marker in _MARKERS:
            text = text.replace(marker, " ")
        readings = (text, unescaped(text, letters=True)[0]) if "\\" in text else (text,)
        return any(self._hidden.search(fold(reading)) for reading in readings)


def says_something(text: str) -> bool:
    """Whether anything that can be read is left of a text."""
    for marker in _MARKERS:
        text = text.replace(marker, " ")
    return any(map(str.isalnum, text))


def _names(name: str) -> Iterable[str]:
    """The name, the name without its legal form, and each word of it that is long enough to name somebody."""
    words = [word for word in re.findall(r"\w[\w&.-]*", name) if _folded(word).strip(".") not in _LEGAL_FORMS]
    return (name, " ".join(words), *(word for word in words if len(word) > _SHORTEST))


def _folded(word: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", word).casefold().split())


def _plain(word: str) -> str:
    """What a word looks like."""
    return " ".join(fold(word).split())


def _spellings(word: str) -> set[str]:
    """A word without its case, and as it is given where that is longer or shorter: a pattern without regard to case takes letter for
    letter, and finds no "Straße" by "strasse" and no "İzmir" by what that becomes."""
    given = " ".join(unicodedata.normalize("NFKC", word).split())
    folded = _folded(word)
    return {folded} if len(given) == len(folded) else {folded, given}


def _any_of(words: Mapping[str, str]) -> tuple[re.Pattern[str], list[str]]:
    """One of these, the longest first, each in a group of its own; and the marker of each group. Short ones and people's names stand alone;
    a customer's longer name is found inside words too."""
    choices, markers = [], []
    for word in sorted(words, key=lambda word: (-len(word), word)):
        if not word.strip():
            continue
        spaced = r"\s+".join(re.escape(part) for part in word.split())
        inside = words[word] != PERSON and len(word) >= _FOUND_INSIDE
        choices.append(f"({spaced})" if inside else rf"(?<![^\W_])({spaced})(?![^\W_])")
        markers.append(words[word])
    return re.compile("|".join(choices) or r"(?!)", re.IGNORECASE), markers
