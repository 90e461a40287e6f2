"""For gateways that run on LiteLLM: every call of a model, recorded. docs/clients.md says how.

    import litellm
    from kept.litellm import KeptLogger
    litellm.callbacks = [KeptLogger.from_environment()]

In the proxy's config.yaml it is `callbacks: kept.litellm.handler`, which is made from the environment when it is first asked for.
LiteLLM is not installed with this package, unless its extra `litellm` is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kept.litellm.callback import KeptLogger

__all__ = ["KeptLogger"]

_made: list[Any] = []


def __getattr__(name: str) -> Any:
    """PEP 562: LiteLLM takes seconds to import, so it is imported when it is asked for."""
    if name not in ("KeptLogger", "handler"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kept.litellm import callback

    if name == "KeptLogger":
        return callback.KeptLogger
    if not _made:
        _made.append(callback.KeptLogger.from_environment())
    return _made[0]
