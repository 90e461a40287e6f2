"""The hand-written layer above the generated contracts: connections, sessions, typed errors, recording.

For gateways: Recorder (waits for its receipts), BackgroundRecorder (a thread sends), AsyncRecorder (the same for event
loops), and Limits of the two;
ApiKeys (whose a key is). docs/clients.md says how they are used. Importing this package costs nothing: the names below are looked up when
they are asked for, and its modules import grpc only where they call.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from kept.client.api_keys import ApiKeys
    from kept.client.asynchronous import AsyncRecorder
    from kept.client.background import BackgroundRecorder
    from kept.client.delivery import Limits
    from kept.client.errors import KeptError
    from kept.client.recorder import Recorder

__all__ = ["ApiKeys", "AsyncRecorder", "BackgroundRecorder", "KeptError", "Limits", "Recorder"]

_HOMES: Final = {
    "ApiKeys": "api_keys",
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
