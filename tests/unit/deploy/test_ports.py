"""Which ports a process takes."""

from __future__ import annotations

from itertools import pairwise

import pytest

from deploy.local.ports import begin_of

# What the largest of our test processes hands out, and more.
ENOUGH = 500
RANGE = 12_000


@pytest.mark.parametrize("apart", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("first", [1, 4_000, 22_980, 4_194_000])
def test_processes_of_neighbouring_ids_do_not_look_in_the_same_place(first: int, apart: int) -> None:
    """As test processes are, which are started one after the other: a part that is started again finds its port taken else."""
    begins = sorted(begin_of(first + number * apart) for number in range(4))
    assert all(after - before > ENOUGH for before, after in pairwise([*begins, begins[0] + RANGE]))
