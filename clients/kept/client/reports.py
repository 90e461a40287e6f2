"""What a recorder says: callbacks of its owner, and log lines of counts and reasons. Never content, never ids."""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from kept.client.delivery import News
from kept.logging.v1 import ingest_pb2

_LOG: Final = logging.getLogger("kept")

OnDrop = Callable[[int], object]
OnRefusal = Callable[[ingest_pb2.Receipt], object]


def warn(text: str, *arguments: Any) -> None:
    """A log line. Handlers and filters are the program's, and logging lets pass what a filter raises, into whoever logs: here it goes no
    further. There is nobody to tell, for telling is what failed."""
    with suppress(Exception, SystemExit):
        _LOG.warning(text, *arguments)


class Reports:
    """on_drop: told how many records were dropped, each time. on_refusal: told each final refusal. What they raise, sys.exit too, is logged
    by the exception's name and goes no further: it is not the recorder's to fail for, nor the gateway's."""

    def __init__(self, on_drop: OnDrop | None, on_refusal: OnRefusal | None) -> None:
        self._on_drop = on_drop
        self._on_refusal = on_refusal

    def dropped(self, count: int) -> None:
        """So many more were dropped."""
        if count and self._on_drop is not None:
            _tell("on_drop", self._on_drop, count)

    def refused(self, receipts: Iterable[ingest_pb2.Receipt]) -> None:
        """These are final."""
        for receipt in receipts:
            if self._on_refusal is not None:
                _tell("on_refusal", self._on_refusal, receipt)

    def say(self, news: News | None) -> None:
        """One warning for all that happened since the last one."""
        if news is None:
            return
        parts = []
        if news.dropped:
            parts.append(f"{news.dropped} records DROPPED, they are lost")
        if news.refused:
            reasons = ", ".join(f"{count} {reason}" for reason, count in news.refused)
            parts.append(f"records refused: {reasons}")
        if news.failing:
            parts.append(f"sending fails ({news.failing}) and is tried again")
        warn("kept: %s; %d records waiting", "; ".join(parts), news.waiting)


def _tell(name: str, owner: Callable[[Any], object], what: Any) -> None:
    try:
        owner(what)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - an owner's callback may raise anything
        warn("kept: %s raised %s", name, type(error).__name__)
