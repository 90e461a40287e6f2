"""What several threads want written at the same time is written in one transaction; each goes on once its own is durable.

The first to come writes at once and alone. Whoever comes while it writes waits, and all who wait are written together as soon as it is
done: nobody waits for company, and the more there are, the larger the groups.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class _Place(Generic[Item, Outcome]):
    """One thread's place in the queue. `wake` is held until there is something to do: to look at the outcome, or to lead the next group."""

    __slots__ = ("done", "error", "item", "outcome", "wake")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.wake = threading.Lock()
        self.wake.acquire()
        self.done = False
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None


class GroupCommit(Generic[Item, Outcome]):
    """write: writes items durably and gives an outcome for each, in order; what it raises, all of the group get. longest: of a group."""

    def __init__(self, write: Callable[[Sequence[Item]], Sequence[Outcome]], *, longest: int = 64) -> None:
        self._write = write
        self._longest = longest
        self._mutex = threading.Lock()
        self._queue: list[_Place[Item, Outcome]] = []
        self._is_writing = False

    def submit(self, item: Item) -> Outcome:
        """The outcome of this item, once it is durable. Raises what `write` raised."""
        place: _Place[Item, Outcome] = _Place(item)
        with self._mutex:
            self._queue.append(place)
            leads, self._is_writing = not self._is_writing, True
        if not leads:
            place.wake.acquire()
        if not place.done:
            self._lead()
        if place.error is not None:
            raise place.error
        return place.outcome  # type: ignore[return-value] # done, and no error

    def _lead(self) -> None:
        """Writes the group at the head of the queue, in which this thread's own item is the first; then has the next one led."""
        with self._mutex:
            group, self._queue = self._queue[: self._longest], self._queue[self._longest :]
        try:
            outcomes = self._write([place.item for place in group])
            for place, outcome in zip(group, outcomes, strict=True):
                place.outcome = outcome
        except BaseException as error:  # noqa: BLE001 - it is everybody's
            for place in group:
                place.error = error
        with self._mutex:
            following = self._queue[0] if self._queue else None
            self._is_writing = following is not None
        if following is not None:
            following.wake.release()
        for place in group:
            place.done = True
        for place in group[1:]:
            place.wake.release()
