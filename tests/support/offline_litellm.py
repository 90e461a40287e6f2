"""LiteLLM as tests want it: no callback of one test is there in the next, and what it does after a call has returned can be waited for."""

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kept.client import BackgroundRecorder
from kept.logging.v1 import interactions_pb2


class _Later:
    """LiteLLM, imported when something of it is asked for: that takes seconds, and every test process would do it to collect its tests."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("_", "pytest")):  # what pytest asks of whatever is in a module
            raise AttributeError(name)
        return getattr(importlib.import_module("litellm"), name)


litellm: Any = _Later()


class WatchedRecorder(BackgroundRecorder):
    """LiteLLM calls its callbacks from threads of its own, after the call has returned; here one can wait for that."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._taken = threading.Semaphore(0)

    def record(self, interaction: interactions_pb2.Interaction) -> bytes | None:
        record_id = super().record(interaction)
        self._taken.release()
        return record_id

    def wait(self, count: int = 1) -> None:
        """Until so many more calls were recorded and answered."""
        for _ in range(count):
            assert self._taken.acquire(timeout=30)
        assert self.flush(30)


@contextmanager
def callbacks(*loggers: Any) -> Iterator[None]:
    """LiteLLM with these callbacks and no others."""
    module = importlib.import_module("litellm")
    module.logging_callback_manager._reset_all_callbacks()
    module.callbacks = list(loggers)  # type: ignore[attr-defined]
    module.suppress_debug_info = True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.logging_callback_manager._reset_all_callbacks()


__all__ = ["WatchedRecorder", "callbacks", "litellm"]
