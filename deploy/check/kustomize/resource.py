"""What is rendered, and where it came from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

# An object as YAML has it.
Object: TypeAlias = dict[str, Any]


class Unsupported(Exception):
    """A kustomization that this cannot render: the text names its file and what it is."""


@dataclass
class Resource:
    """An object. origin: the file that defines it. name: what it was called there, by which kustomizations go on naming it. is_generated:
    it gets a suffix from its content, so that a change of it is a new object. patched_by: the files that were laid over it."""

    value: Object
    origin: Path
    name: str
    is_generated: bool = False
    patched_by: list[Path] = field(default_factory=list)

    @classmethod
    def of(cls, value: Object, origin: Path) -> "Resource":
        """An object that stands in a file. Raises Unsupported for one without kind or name."""
        try:
            return cls(value, origin, value["metadata"]["name"])
        except (KeyError, TypeError):
            raise Unsupported(f"{origin}: an object without metadata.name") from None

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.value.get("kind", ""))

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.value.get("metadata", {}).get("labels") or {}

    def __str__(self) -> str:
        return f"{self.kind} {self.value['metadata']['name']}"
