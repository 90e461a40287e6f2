"""Names that look alike: two people must not be one to the eye of whoever approves.

The skeleton of Unicode Technical Standard #39, section 4: two strings are confusable if their skeletons are equal. The table of confusables
is that of the `confusable-homoglyphs` package (no dependencies), which has each of Unicode's mappings in both directions; which one does
not matter here, only what belongs together.
"""

import unicodedata
from functools import cache
from typing import Final

from confusable_homoglyphs.confusables import confusables_data

from shared.errors import KeptError, Reason
from shared.unseen import shows_nothing

# Direction marks around right-to-left characters are an artefact of how Unicode prints the table.
_MARKS: Final = "\u200e\u200f"


@cache
def _prototypes() -> dict[str, str]:
    """For each confusable character what stands for its whole class: the several characters that it looks like ("rn" for "m"), or else the
    plainest of the class, as in Unicode's table ("l" for "1", "O" for "0")."""
    alike = {
        key.strip(_MARKS): {each["c"].strip(_MARKS) for each in found}
        for key, found in confusables_data.items()
    }
    prototypes: dict[str, str] = {}
    for start in sorted(key for key in alike if len(key) == 1):
        if start in prototypes:
            continue
        members, waiting = {start}, [start]
        while waiting:
            for other in alike.get(waiting.pop(), ()):
                if other not in members:
                    members.add(other)
                    waiting.append(other)
        several = sorted(member for member in members if len(member) > 1)
        prototype = several[0] if several else min(members, key=_plainness)
        prototypes.update({member: prototype for member in members if len(member) == 1})
    return prototypes


def _plainness(character: str) -> tuple[bool, bool, str]:
    return (
        not (character.isascii() and character.islower()),
        not character.isascii() or character.isdigit(),
        character,
    )


def skeleton(text: str) -> str:
    """The skeleton (UTS #39, section 4): for comparison only, never for display. Compatibility forms (full width, ligatures) are decomposed
    too: the standard leaves them to the rules on identifiers, which names are not."""
    seen = "".join(
        character for character in unicodedata.normalize("NFKD", text) if not shows_nothing(character)
    )
    prototypes = _prototypes()
    once = "".join(prototypes.get(character, character) for character in seen)
    # What stands for a class of several characters is made of characters that belong to classes themselves.
    return unicodedata.normalize("NFD", "".join(prototypes.get(character, character) for character in once))


def looks(text: str) -> frozenset[str]:
    """What the text looks like, as it is written and in small letters: texts are alike if they share one of these. Case is ignored after
    that too, for a zero looks like a capital O in Unicode's table, and to people like a small one."""
    words = " ".join(text.split())
    return frozenset(skeleton(each).casefold() for each in (words, words.casefold()))


def confusable(field: str) -> KeptError:
    """Somebody has this name or address, or one that looks the same."""
    return KeptError(
        Reason.REASON_CONFUSABLE,
        "This looks like what somebody else is called; add what tells the two apart.",
        metadata={"field": field},
    )
