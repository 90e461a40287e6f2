"""The story: what Kept promises, played from beginning to end on a running stack, and checked line by line.

`tell` needs nothing but the public contracts, apart from four looks from outside that no contract gives:
the files of the stack, the rows of one database, a copy of another, and the clock.
"""

from pathlib import Path

from rich.console import Console

from deploy.local.stack import Stack
from deploy.local.story import interactions
from deploy.local.story.chapters import (
    access,
    audit,
    consent,
    erasure,
    holds,
    misuse,
    organizations,
    recording,
    retention,
)
from deploy.local.story.plot import Plot
from deploy.local.story.stage import Stage
from deploy.local.story.telling import Broken, Narrator

_CHAPTERS = (
    ("Three customers, and the people who serve them", organizations.play),
    ("The gateway records", recording.play),
    ("Training use is turned off", consent.play),
    ("An engineer gets access, just in time", access.play),
    ("Misuse is found and reviewed", misuse.play),
    ("The law asks for one record", holds.play),
    ("Thirty-one days later", retention.play),
    ("The customer looks at every access", audit.play),
    ("A customer leaves", erasure.play),
)


def tell(stack: Stack, given: Path) -> bool:
    """Plays the story on a stack that has not heard it. `given`: JSON Lines with `prompt` and `generation`. True if every
    expectation held."""
    narrator = Narrator(Console())
    samples, faults = interactions.read(given)
    for fault in faults:
        narrator.warn(fault)
    if not samples:
        narrator.warn(f"{given}: no line of it can be used; the story needs at least one.")
        return False
    with Stage(stack) as stage:
        plot = Plot(stage, narrator, samples)
        try:
            for number, (title, play) in enumerate(_CHAPTERS, start=1):
                with narrator.chapter(number, title):
                    play(plot)
        except Broken:
            pass  # said already; what follows stands on it
    return narrator.conclude()
