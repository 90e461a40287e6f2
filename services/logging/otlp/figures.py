"""What is counted. No label says anything about a customer."""

from typing import Final

from prometheus_client import Counter

LEFT_ASIDE: Final = Counter(
    "kept_otlp_left_aside_total",
    "Spans and events that came over OTLP and are no GenAI call or carry no content; nothing of them is kept.",
    ["signal"],
)
REJECTED: Final = Counter(
    "kept_otlp_rejected_total",
    "Spans and events that were rejected in a partial success.",
    ["signal", "reason"],
)
ATTRIBUTES_LEFT_OUT: Final = Counter(
    "kept_otlp_attributes_left_out_total",
    "Attributes of recorded spans and events that came twice, said nothing or found no room, and messages that said again what another "
    "form had said.",
)
