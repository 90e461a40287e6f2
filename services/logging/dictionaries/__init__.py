"""What small contents are compressed with: a dictionary (RFC 8878 §5), which knows the words, and how often each byte comes, before the
first of them is read.

Without one, a small content is mostly the tables that say how it is packed: with one it takes a third less processor time and some 10 %
less room. Above 2 KiB the tables pay, and two places to look for matches cost more than one.

A dictionary is part of a format: what was packed with it is readable with it alone, so none here ever changes or goes. Which one was used a
frame says itself. Another one gets another number, is read a version before it is written (store/dictionaries.py says from when on), and is
made by `python -m services.logging.dictionaries.train`.
"""

from pathlib import Path
from typing import Final

import zstandard

# Private numbers begin at 32,768 (RFC 8878 §5).
CURRENT: Final = 32_769
# Bytes of the largest content that it is used for.
LARGEST: Final = 2048


def load(number: int = CURRENT) -> zstandard.ZstdCompressionDict:
    """A dictionary, by its number. Raises FileNotFoundError."""
    data = (Path(__file__).parent / f"{number}.zdict").read_bytes()
    return zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT)
