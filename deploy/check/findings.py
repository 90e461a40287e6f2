"""What is wrong, and where."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.check.kustomize import Resource

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, order=True)
class Finding:
    """file: relative to the project. field: its path in the object, or "". text: what is wrong and what it should be."""

    file: str
    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.field + ': ' if self.field else ''}{self.text}"


def relative(path: Path) -> str:
    """A path as people of this project say it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def of(resource: Resource, field: str, text: str) -> Finding:
    """Something wrong with an object, whose file is named, and the patches on it."""
    patches = sorted({relative(path) for path in resource.patched_by})
    file = relative(resource.origin) + (f" (patched by {', '.join(patches)})" if patches else "")
    return Finding(file, f"{resource} {field}".strip(), text)


def at(value: Any, path: str) -> Any:
    """The value at a dotted path, or None."""
    for part in path.split("."):
        if isinstance(value, list):
            value = value[int(part)] if int(part) < len(value) else None
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value
