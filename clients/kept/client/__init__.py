"""The hand-written layer above the generated contracts: connections, sessions, typed errors, recording.

For gateways: Recorder (waits for its receipts), BackgroundRecorder (a thread), AsyncRecorder (an event loop), and Limits of the two;
docs/clients.md says how they are used. Importing this package costs nothing: the names below are looked up when they are asked for, and
its modules import grpc only where they call.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from kept.client.asynchronous import AsyncRecorder
    from kept.client.background import BackgroundRecorder
    from kept.client.delivery import Limits
    from kept.client.errors import KeptError
    from kept.client.recorder import Recorder

__all__ = ["AsyncRecorder", "BackgroundRecorder", "KeptError", "Limits", "Recorder"]

_HOMES: Final = {
    "AsyncRecorder": "asynchronous",
    "BackgroundRecorder": "background",
    "KeptError": "errors",
    "Limits": "delivery",
    "Recorder": "recorder",
}


def __getattr__(name: str) -> Any:
    """PEP 562."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
