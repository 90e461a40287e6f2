"""Recording in the background, for gateways that may not wait: `record` returns at once, a thread sends batches.

What is promised: at least once (the same id goes again until it is answered, and the service stores an id once), bounded memory, and
no silence about a loss.
"""

from typing import Self

from kept.client.sending import Sending
from kept.logging.v1 import interactions_pb2


class BackgroundRecorder(Sending):
    """Records for one gateway, in the background. Arguments and counters are described at Sending. Close it, or use it in a `with`."""

    def record(self, interaction: interactions_pb2.Interaction) -> bytes | None:
        """Takes a copy, to be sent soon. Returns its record id, a new one where it has none; None when it was dropped: no room, or
        closed. Never raises for what the service does."""
        entry = self._entry(interaction)
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._is_decided(entry), self._wait_when_full)
        finally:  # who waited for room may have been interrupted
            record_id = self._settle(entry)
        return record_id

    def flush(self, timeout: float | None = None) -> bool:
        """Sends what is held without waiting for company. True when every record that was taken before this call has its answer,
        delivered or refused; False when `timeout` seconds were not enough, or the recorder was closed. None waits for ever."""
        return self._flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Flushes for `timeout` seconds (None: exit_timeout) and ends. What is left then is dropped, and said. Returns whether nothing
        was left. Closing again does nothing."""
        return self._close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
