"""What recorders do when their process forks or ends.

A child that was forked has the parent's memory and none of its threads: records that the parent still holds are the parent's to send,
so the child begins with nothing. At exit what is left is sent, for a bounded time.
"""

import atexit
import os
import weakref
from typing import Protocol


class Living(Protocol):
    """Whoever wants to be told."""

    def after_fork(self) -> None:
        """Called in the child, before any other code of it runs."""

    def at_exit(self) -> None:
        """Called when the interpreter is about to end; daemon threads still run."""


_living: "weakref.WeakSet[Living]" = weakref.WeakSet()


def follow(one: Living) -> None:
    """Tells `one` of forks and of the end, until it is no longer referenced."""
    _living.add(one)


def _after_fork() -> None:
    for one in list(_living):
        one.after_fork()


def _at_exit() -> None:
    for one in list(_living):
        one.at_exit()


# Neither can be taken back, so they are registered once for all and not once for each recorder.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
