"""Recording in the background for programs that run an event loop: BackgroundRecorder's thread and promises, its waiting awaited."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from kept.client.sending import Sending
from kept.logging.v1 import interactions_pb2


class AsyncRecorder(Sending):
    """Records for one gateway, in the background of event loops, one or several. Arguments and counters are described at Sending. Close
    it, or use it in an `async with`."""

    async def record(self, interaction: interactions_pb2.Interaction) -> bytes | None:
        """Takes a copy, to be sent soon. Returns its record id, a new one where it has none; None when it was dropped: no room, or
        closed. Never raises for what the service does."""
        entry = self._entry(interaction)
        try:
            await self._wait_for(lambda: self._is_decided(entry), self._wait_when_full)
        finally:  # who waited for room may have been cancelled
            record_id = self._settle(entry)
        return record_id

    async def flush(self, timeout: float | None = None) -> bool:
        """Sends what is held without waiting for company. True when every record that was taken before this call has its answer,
        delivered or refused; False when `timeout` seconds were not enough, or the recorder was closed. None waits for ever."""
        return await self._flushed(timeout)

    async def close(self, timeout: float | None = None) -> bool:
        """Flushes for `timeout` seconds (None: exit_timeout) and ends. What is left then is dropped, and said. Returns whether nothing
        was left. Closing again does nothing."""
        if not self._closed:
            await self._flushed(self._exit_timeout if timeout is None else timeout, last_chance=True)
        return await asyncio.to_thread(self._end)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _flushed(self, timeout: float | None, *, last_chance: bool = False) -> bool:
        with self._hurrying(last_chance=last_chance) as last:
            await self._wait_for(lambda: self._delivery.is_done(last), timeout)
        with self._changed:
            return self._delivery.is_answered(last)

    async def _wait_for(self, is_met: Callable[[], bool], seconds: float | None) -> None:
        """What Condition.wait_for does, for a task: is_met is asked with the lock held, at once and at each change."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # a loop that was closed; its tasks wait for nothing any more
                loop.call_soon_threadsafe(changed.set)

        with self._changed:
            if is_met():
                return
            self._on_change.add(tell)
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await changed.wait()
                    changed.clear()
                    with self._changed:
                        if is_met():
                            return
        except TimeoutError:
            return
        finally:
            with self._changed:
                self._on_change.discard(tell)
