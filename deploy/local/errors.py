"""What can go wrong with the local stack, each as one sentence that says what to do."""

from __future__ import annotations


class LocalStackError(Exception):
    """A failure that a person can act on. The text is one sentence, holds no secret and names the way out."""


class PortInUse(LocalStackError):
    """Another process listens where a part of the stack should."""

    def __init__(self, part: str, port: int, holder: str | None) -> None:
        by = f"by {holder}" if holder else "by a process that cannot be seen from here"
        super().__init__(
            f"Port {port}, which {part} needs, is in use {by}: "
            "end that process, or choose other ports with --base-port."
        )
        self.part = part
        self.port = port


class DiskFull(LocalStackError):
    """The file system that holds the stack has no room left."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"The disk that holds {where} is full: "
            "free at least 1 GB there, or choose another place with --directory."
        )


def speaks_of_a_full_disk(text: str) -> bool:
    """True if a program complained that there is no room. PostgreSQL words it in three ways."""
    return any(
        sign in text for sign in ("No space left on device", "Disk quota exceeded", "Check free disk space")
    )


class PartFailed(LocalStackError):
    """A process of the stack ended, or did not become healthy in time."""

    def __init__(self, part: str, why: str, log: str, tail: list[str]) -> None:
        lines = "".join(f"\n  | {line}" for line in tail)
        super().__init__(f"{part} {why}: see {log} for the reason{', which ends in' if tail else ''}{lines}")
        self.part = part


class NotLocal(LocalStackError):
    """A development tool was started for an environment that is not local."""

    def __init__(self, what: str, environment: str) -> None:
        super().__init__(
            f'{what} makes throwaway credentials and works only where environment = "local"; '
            f"here it is {environment!r}: use the company's own certificate authority and identity provider."
        )
