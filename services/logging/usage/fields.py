"""What is counted, in one list, in the order of everything that is made from it: columns, fields of the contract, docs/usage.md."""

from typing import Final

# Upper limits of the buckets of durations, in milliseconds; a call belongs to the first whose limit is more than it took.
DURATION_LIMITS: Final = (100, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000)
# The buckets: one a limit, what took longer, and what is not known.
DURATIONS: Final = (
    *(f"took_under_{limit}_ms" for limit in DURATION_LIMITS),
    "took_longer",
    "took_unknown",
)
# As kept.logging.v1.UsageFeatures has them. A call counts once in each.
FEATURES: Final = (
    "tool_calls",
    "tool_results",
    "images",
    "audio",
    "other_data",
    "reasoning",
    "several_generations",
    "attributes",
    "end_users",
    "trial_keys",
    "cut_off",
    "filtered",
)
SUMS: Final = ("calls", "prompt_tokens", "generation_tokens", "duration_milliseconds")
FIGURES: Final = (*SUMS, *DURATIONS, *FEATURES)

# Where a list of figures has them.
CALLS, PROMPT_TOKENS, GENERATION_TOKENS, DURATION_MILLISECONDS = range(len(SUMS))
FIRST_DURATION: Final = len(SUMS)
DURATION_UNKNOWN: Final = FIRST_DURATION + len(DURATIONS) - 1
FIRST_FEATURE: Final = FIRST_DURATION + len(DURATIONS)

# No call takes longer, in milliseconds: so much may a report say for each of its calls.
LONGEST_CALL: Final = 86_400_000
# A product analytics cell of fewer organizations is never shown, and is not kept beyond its day.
MINIMUM_GROUP: Final = 10


def no_figures() -> list[int]:
    """A list of figures in which nothing is counted."""
    return [0] * len(FIGURES)
