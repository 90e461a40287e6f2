"""Exit codes: what a script may rely on."""

from enum import IntEnum

from kept.client.errors import KeptError


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    REFUSED = 1
    """A service refused it, or failed; the reason is on stderr. Also: a request that was waited for was not granted."""
    USAGE = 2
    """The command line was not understood, or a file that it names, the profile too, cannot be used."""
    NOT_REACHABLE = 3
    """Nobody answered, or the service says that it cannot answer at the moment. The same command may work later."""
    NOT_VERIFIED = 4
    """A certificate, audit log or export did not verify, or policies do not hold their cases."""


def exit_of(error: KeptError) -> Exit:
    """The exit code that goes with a failure."""
    if error.reason in ("PROFILE", "UNREADABLE", "NO_KEYS"):
        return Exit.USAGE
    if error.reason in ("KEYS_CHANGED", "CONTRADICTORY"):
        return Exit.NOT_VERIFIED
    return Exit.NOT_REACHABLE if error.unreachable else Exit.REFUSED
