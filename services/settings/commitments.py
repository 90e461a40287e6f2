"""The additional commitments of zero data retention: one versioned file, `additional_commitments.toml`."""

import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from shared.errors import KeptError, Reason

_FILE = Path(__file__).with_name("additional_commitments.toml")


@dataclass(frozen=True)
class Commitment:
    """One commitment: the name by which it is accepted, and the sentence."""

    name: str
    text: str


@dataclass(frozen=True)
class Commitments:
    """The commitments of one version."""

    version: str
    commitments: tuple[Commitment, ...]

    def require_accepted(self, version: str, names: Collection[str]) -> None:
        """Raises COMMITMENTS_NOT_ACCEPTED unless this version was accepted, every commitment by name and no other."""
        if version != self.version or set(names) != {commitment.name for commitment in self.commitments}:
            raise KeptError(
                Reason.REASON_COMMITMENTS_NOT_ACCEPTED,
                "All additional commitments of the current version have to be accepted by name.",
                metadata={"version": self.version},
            )


def load(path: Path = _FILE) -> Commitments:
    """The version in force. Raises ValueError for a file that could not be accepted by its own names."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    made = Commitments(
        version=content["version"],
        commitments=tuple(Commitment(entry["name"], entry["text"]) for entry in content["commitments"]),
    )
    names = [commitment.name for commitment in made.commitments]
    if (
        not names
        or len(set(names)) != len(names)
        or not all(re.fullmatch("[a-z0-9-]{1,64}", name) for name in names)
        or not re.fullmatch("[0-9A-Za-z_.-]{1,32}", made.version)
    ):
        raise ValueError(
            "the additional commitments need a version, and names that are different and can be sent"
        )
    return made
