"""The additional commitments of zero data retention: one versioned file, `additional_commitments.toml`."""

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shared.errors import KeptError, Reason, not_found

_FILE = Path(__file__).with_name("additional_commitments.toml")


@dataclass(frozen=True)
class Commitment:
    """One commitment: the name by which it is accepted, and the sentence."""

    name: str
    text: str


@dataclass(frozen=True)
class Commitments:
    """The commitments of one version. limits: what is not to be had while zero data retention is in force. earlier: versions before."""

    version: str
    commitments: tuple[Commitment, ...]
    limits: tuple[Commitment, ...] = ()
    earlier: tuple["Commitments", ...] = ()

    def of(self, version: str) -> "Commitments":
        """Those of a version, this one where it is not named. Raises NOT_FOUND."""
        for known in (self, *self.earlier):
            if version in ("", known.version):
                return known
        raise not_found("version")

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
    made = replace(
        _version(content),
        limits=_named(content.get("limits", ())),
        earlier=tuple(_version(each) for each in content.get("earlier", ())),
    )
    versions = [made.version, *(each.version for each in made.earlier)]
    if len(set(versions)) != len(versions):
        raise ValueError("two versions of the additional commitments have the same name")
    return made


def _version(content: Mapping[str, Any]) -> Commitments:
    made = Commitments(content["version"], _named(content["commitments"]))
    if not made.commitments or not re.fullmatch("[0-9A-Za-z_.-]{1,32}", made.version):
        raise ValueError("the additional commitments need a version that can be sent")
    return made


def _named(entries: Iterable[Mapping[str, Any]]) -> tuple[Commitment, ...]:
    made = tuple(Commitment(entry["name"], entry["text"]) for entry in entries)
    names = [each.name for each in made]
    if len(set(names)) != len(names) or not all(re.fullmatch("[a-z0-9-]{1,64}", name) for name in names):
        raise ValueError("the additional commitments need names that are different and can be sent")
    return made
