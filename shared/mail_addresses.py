"""E-mail addresses that are not what they look like.

Contracts take ASCII only, so what another script hides comes as an A-label (RFC 5890 §2.3.2.1): "xn--cme-8cd.example" is shown to people
as "acme.example" with a Cyrillic letter. Two rules of Unicode Technical Standard #39 refuse such domains: letters of several scripts in
one label (§5.2, highly restrictive: Japanese, Korean and Chinese mix with Latin), and a label of another script that as a whole looks like
plain ASCII (§4.2).
"""

import unicodedata
from typing import Final

from confusable_homoglyphs.categories import alias

from shared.errors import KeptError, Reason
from shared.lookalikes import looks, skeleton

_ACE: Final = "xn--"
_CATEGORIES: Final = frozenset({"Ll", "Lm", "Lo", "Mn", "Mc", "Nd"})
_JOINERS: Final = frozenset("\u200c\u200d")
_IN_CONTEXT: Final = frozenset("-\u00b7\u0375\u05f3\u05f4\u30fb") | _JOINERS
_ANYWHERE: Final = frozenset({"COMMON", "INHERITED"})
_MIXES: Final = (
    frozenset({"LATIN", "HAN", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "HAN", "HANGUL"}),
    frozenset({"LATIN", "HAN", "BOPOMOFO"}),
)


def domain(address: str) -> str:
    """What is right of the last "@", in small letters."""
    return address.rpartition("@")[2].lower()


def shown(name: str) -> str:
    """A domain as people are shown it: its A-labels decoded (RFC 3492). Raises ValueError for one that is none."""
    labels = []
    for label in name.lower().split("."):
        if not label.startswith(_ACE):
            labels.append(label)
            continue
        decoded = label.removeprefix(_ACE).encode("ascii").decode("punycode")
        if decoded.isascii():  # says nothing that plain letters would not have said
            raise ValueError("not an A-label")
        labels.append(decoded)
    return ".".join(labels)


def require_honest(address: str, field: str) -> None:
    """Raises DECEPTIVE_ADDRESS where the address's domain looks like another one, or cannot be shown. address: ASCII, with an "@"."""
    try:
        labels = shown(domain(address)).split(".")
    except (ValueError, UnicodeError):
        raise _deceptive(field) from None
    if any(_deceives(label) for label in labels if not label.isascii()):
        raise _deceptive(field)


def alike(one: str, other: str) -> bool:
    """Whether two different addresses, or the domains that they are of, look the same to people."""
    if one.lower() == other.lower():
        return False
    if looks(one) & looks(other):
        return True
    here, there = domain(one), domain(other)
    return here != there and bool(looks(_legible(here)) & looks(_legible(there)))


def _legible(name: str) -> str:
    try:
        return shown(name)
    except (ValueError, UnicodeError):
        return name


def _deceives(label: str) -> bool:
    if not _is_u_label(label):
        return True
    scripts = {alias(character) for character in label} - _ANYWHERE
    if len(scripts) > 1 and not any(scripts <= mix for mix in _MIXES):
        return True
    return "LATIN" not in scripts and skeleton(label).isascii()


def _is_u_label(label: str) -> bool:
    """Whether a label could be registered at all (RFC 5892, roughly): letters, marks, digits, in the form that nothing folds further."""
    if unicodedata.normalize("NFKC", label) != label or label.lower() != label:
        return False
    if any(
        unicodedata.category(character) not in _CATEGORIES and character not in _IN_CONTEXT
        for character in label
    ):
        return False
    return not (_JOINERS & set(label)) or all(alias(character) != "LATIN" for character in label)


def _deceptive(field: str) -> KeptError:
    return KeptError(
        Reason.REASON_DECEPTIVE_ADDRESS,
        "The address's domain is not what it looks like: it hides letters of another script.",
        metadata={"field": field},
    )
