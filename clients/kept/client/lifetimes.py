"""What recorders do when their process forks or ends.

A child that was forked has the parent's memory and none of its threads: records that the parent still holds are the parent's to send,
so the child begins with nothing. At exit what is left is sent, for a bounded time.
"""

import atexit
import os
import weakref
from collections.abc import Callable
from multiprocessing import util
from typing import Protocol

from kept.client.reports import warn


class Living(Protocol):
    """Whoever wants to be told."""

    def after_fork(self) -> None:
        """Called in the child, before any other code of it runs."""

    def at_exit(self) -> None:
        """Called when the process is about to end; daemon threads still run. May be called twice."""


# In the order in which they began.
_living: "weakref.WeakKeyDictionary[Living, None]" = weakref.WeakKeyDictionary()
_kept: set[Living] = set()


def follow(one: Living) -> None:
    """Tells `one` of forks and of the end, until it is no longer referenced."""
    _living[one] = None


def keep(one: Living) -> None:
    """Holds `one` to the end, for it has something to do that no thread of its own holds it for."""
    _kept.add(one)


def _each(tell: Callable[[Living], None]) -> None:
    """The youngest first: who was made later may stand on who was there. What one raises costs no other its turn."""
    for one in reversed(list(_living)):
        try:
            tell(one)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - there is nobody left to catch it
            warn("kept: a recorder raised %s at a fork or at the end", type(error).__name__)


def _after_fork() -> None:
    _each(lambda one: one.after_fork())


def _at_exit() -> None:
    _each(lambda one: one.at_exit())


def _at_exit_of_child(_: object = None) -> None:
    util.Finalize(None, _at_exit, exitpriority=0)


# None can be taken back, so they are registered once for all and not once for each recorder.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
# A child of multiprocessing may end with os._exit, which runs nothing of atexit. It has an end of its own, and forgets at its beginning
# what was registered for that before.
_at_exit_of_child()
util.register_after_fork(_living, _at_exit_of_child)
