"""The figure `stale_records` speaks of 1,000 changes, and is not given for fewer."""

import random

import pytest

from bench.stale_records import changes_of, plans_of, require_measured


def test_in_full_size_a_thousand_changes_are_planned_two_for_each_organization() -> None:
    assert changes_of(small=False) == 1000
    plans = plans_of(changes_of(small=False), random.Random(1))
    assert len({plan.organization_id for plan in plans}) == 500
    assert all(plan.chosen < plan.ended for plan in plans)


@pytest.mark.parametrize(
    ("made", "kept", "stored"), [(999, {1}, {1}), (1001, {1}, {1}), (1000, set(), {1}), (1000, {1}, set())]
)
def test_there_is_no_figure_of_anything_less(made: int, kept: set[int], stored: set[int]) -> None:
    require_measured(1000, 1000, {1}, {1})
    with pytest.raises(RuntimeError, match="not what was to be measured"):
        require_measured(1000, made, kept, stored)
