"""Makes a dictionary from this project's own text: its documentation, code and contracts, cut into interactions of a prompt and an answer.
Nobody's data are in it. Run by hand, once for each dictionary: python -m services.logging.dictionaries.train NUMBER"""

import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import zstandard

from kept.logging.v1 import interactions_pb2

_ROOT: Final = Path(__file__).parents[3]
# The pages of docs/ itself are left out: benchmarks record pieces of them.
_PROSE: Final = ("README.md", "docs/*/*.md")
_CODE: Final = ("services/**/*.py", "shared/**/*.py", "clients/**/*.py", "protos/**/*.proto")
_BYTES: Final = 8192
_PIECES: Final = 1500
_SHORTEST, _LONGEST = 50, 1500


def pieces(patterns: Sequence[str], chance: random.Random) -> Iterator[bytes]:
    """Serialized contents made of these files."""
    files = sorted(path for pattern in patterns for path in _ROOT.glob(pattern))
    texts = [path.read_text(encoding="utf-8") for path in files]
    long_enough = [text for text in texts if len(text) > 2 * _LONGEST]
    for _ in range(_PIECES):
        text = chance.choice(long_enough)
        size = chance.randrange(_SHORTEST, _LONGEST)
        content = interactions_pb2.InteractionContent()
        for messages, role in (
            (content.prompt, interactions_pb2.MESSAGE_ROLE_USER),
            (content.generations, interactions_pb2.MESSAGE_ROLE_ASSISTANT),
        ):
            start = chance.randrange(len(text) - _LONGEST)
            messages.add(role=role).parts.add(text=text[start : start + size])
        yield content.SerializeToString()


def train(number: int) -> bytes:
    """A dictionary with this number."""
    chance = random.Random(number)  # noqa: S311 - which pieces, not a secret
    samples: list[bytes | bytearray | memoryview[int]] = [*pieces(_PROSE, chance), *pieces(_CODE, chance)]
    return zstandard.train_dictionary(_BYTES, samples, dict_id=number).as_bytes()


if __name__ == "__main__":
    target = Path(__file__).parent / f"{int(sys.argv[1])}.zdict"
    if target.exists():
        sys.exit(f"{target.name} is there: a dictionary never changes")
    target.write_bytes(train(int(sys.argv[1])))
