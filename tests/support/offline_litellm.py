"""LiteLLM as tests want it: no callback of one test is there in the next, and what it does after a call has returned can be waited for."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import litellm

from kept.client import BackgroundRecorder
from kept.logging.v1 import interactions_pb2


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
    litellm.logging_callback_manager._reset_all_callbacks()
    litellm.callbacks = list(loggers)
    litellm.suppress_debug_info = True
    try:
        yield
    finally:
        litellm.logging_callback_manager._reset_all_callbacks()


__all__ = ["WatchedRecorder", "callbacks", "litellm"]
