"""What becomes of the promise without each rule, and without each thing that the rules rest on."""

from dataclasses import dataclass, replace
from typing import Final

from tests.models.leases import IGNORANT, OUT_OF_ORDER, STALE, Leases, Rules, Size

# One change at a time, whichever way, on any number of replicas; one receiver that records.
SMALL: Final = Size(live=1, lease=2)
# Two changes that are not over yet; two receivers; longer leases. Minutes.
LARGE: Final = (
    Size(live=1, lease=3, spread=2),
    Size(live=2),
    Size(live=2, lease=2, page=2),
    Size(live=1, receivers=2),
)


@dataclass(frozen=True)
class Weakening:
    """One rule or assumption taken out. broken: the promise that goes with it. size: of the model that shows it."""

    rule: str
    broken: str
    size: Size = SMALL

    def model(self) -> Leases:
        """The protocol without it."""
        return Leases(self.size, replace(Rules(), **{self.rule: False}))


WEAKENINGS: Final = {
    weakening.rule: weakening
    for weakening in (
        Weakening("clock_after_lock", IGNORANT),
        Weakening("order_kept", OUT_OF_ORDER, replace(SMALL, live=2)),
        Weakening("visible_before_release", IGNORANT),
        Weakening("polls_take_lock", IGNORANT),
        Weakening("rows_after_lock", IGNORANT),
        Weakening("from_sending", IGNORANT),
        Weakening("complete_only", IGNORANT),
        Weakening("lease_at_use", STALE),
        Weakening("after_last_byte", STALE),
        Weakening("clock_at_use", STALE),
        Weakening("round_trip_in_doubt", STALE),
        Weakening("tolerance_before", STALE),
        Weakening("tolerance_after", STALE),
        Weakening("throughout", STALE),
        Weakening("on_primary", IGNORANT),
        Weakening("boottime_runs", IGNORANT),
        Weakening("gateways_in_time", STALE),
    )
}
