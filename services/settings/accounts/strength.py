"""Passwords that are too easy to guess, refused.

Judged by zxcvbn (D. Wheeler, USENIX Security 2016), which estimates how many guesses an informed attacker needs; no rules on kinds of
characters, as NIST SP 800-63B §5.1.1.2 wants it. The library brings its word lists; we have none of our own. Its time is bounded: it looks
at a hundred characters, and 256 take some ten milliseconds.
"""

import re
from collections.abc import Iterable
from itertools import permutations
from typing import Final

from zxcvbn_rs_py import zxcvbn

from shared.errors import KeptError, Reason
from shared.redaction import Secret

# Of 0 to 4: "safely unguessable: moderate protection from offline slow-hash scenario", at least 10^8 guesses.
_LEAST_SCORE: Final = 3
_SHORTEST_WORD: Final = 3
_MOST_WORDS: Final = 12


def require_strong(password: Secret, about: Iterable[str]) -> None:
    """Raises WEAK_PASSWORD. about: what others know of the person, such as names and address; words of it, and two of them together, make a
    password weaker."""
    texts = [text.lower() for text in about]
    words = [word for text in texts for word in re.split(r"[^\w]+", text) if len(word) >= _SHORTEST_WORD]
    pairs = permutations(sorted(set(words))[:_MOST_WORDS], 2)
    known = {*texts, *words, *(between.join(pair) for pair in pairs for between in ("", " "))}
    estimate = zxcvbn(password.reveal(), [*sorted(known), "kept"])
    if int(estimate.score) >= _LEAST_SCORE:
        return
    said = [] if estimate.feedback is None else [estimate.feedback.warning, *estimate.feedback.suggestions]
    advice = " ".join(str(each).rstrip(".") + "." for each in said if each is not None)
    raise KeptError(
        Reason.REASON_WEAK_PASSWORD,
        "The password is too easy to guess; nothing was changed.",
        metadata={"advice": advice} if advice else {},
    )
