"""Writing together: nobody goes on before its own is written, order is kept, failures are everybody's of a group and nobody else's."""

import threading
from collections.abc import Sequence

import pytest

from services.access_control.audit.group_commit import GroupCommit


class Writer:
    """Writes numbers; waits at the gate first, and says that it does."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate, self.at_gate = threading.Event(), threading.Event()
        self.error: BaseException | None = None

    def write(self, items: Sequence[int]) -> list[int]:
        self.at_gate.set()
        assert self.gate.wait(10)
        self.groups.append(list(items))
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return [item * 10 for item in items]


class Threads:
    """Threads that submit numbers, in order of their start."""

    def __init__(self, group: GroupCommit[int, int]) -> None:
        self._group = group
        self._threads: list[threading.Thread] = []
        self.outcomes: dict[int, int | str] = {}

    def submit(self, item: int) -> None:
        def run() -> None:
            try:
                self.outcomes[item] = self._group.submit(item)
            except ValueError as error:
                self.outcomes[item] = str(error)

        waiting, waits = len(self._group._queue), self._group._is_writing
        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()
        while waits and len(self._group._queue) == waiting:
            thread.join(0.001)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


def test_who_comes_first_is_written_alone_and_who_waits_together() -> None:
    writer = Writer()
    threads = Threads(GroupCommit(writer.write))
    threads.submit(1)
    assert writer.at_gate.wait(10)
    for item in (2, 3, 4):
        threads.submit(item)
    assert threads.outcomes == {}  # nobody goes on before the write
    writer.gate.set()
    threads.join()
    assert writer.groups == [[1], [2, 3, 4]]
    assert threads.outcomes == {1: 10, 2: 20, 3: 30, 4: 40}


def test_groups_are_no_longer_than_allowed() -> None:
    writer = Writer()
    threads = Threads(GroupCommit(writer.write, longest=2))
    threads.submit(1)
    assert writer.at_gate.wait(10)
    for item in (2, 3, 4, 5, 6):
        threads.submit(item)
    writer.gate.set()
    threads.join()
    assert writer.groups == [[1], [2, 3], [4, 5], [6]]


def test_a_failure_is_the_groups_and_the_next_group_is_written() -> None:
    writer = Writer()
    group = GroupCommit(writer.write)
    threads = Threads(group)
    writer.error = ValueError("lost")
    threads.submit(1)
    assert writer.at_gate.wait(10)
    threads.submit(2)
    writer.gate.set()
    threads.join()
    assert threads.outcomes == {1: "lost", 2: 20}
    assert group.submit(3) == 30  # and it is not stuck


def test_whatever_ends_the_process_goes_through() -> None:
    writer = Writer()
    writer.gate.set()
    writer.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        GroupCommit(writer.write).submit(1)


def test_many_threads_each_get_their_own() -> None:
    group: GroupCommit[int, int] = GroupCommit(lambda items: [item * 10 for item in items], longest=5)
    wrong: list[int] = []

    def run(first: int) -> None:
        wrong.extend(item for item in range(first, first + 200) if group.submit(item) != item * 10)

    threads = [threading.Thread(target=run, args=(first,)) for first in range(0, 3200, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    assert group._queue == []
    assert group._is_writing is False
