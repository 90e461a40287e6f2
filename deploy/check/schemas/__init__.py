"""Every object against the schema of its kind: Kubernetes' own in its newest minors, and ours for what operators define."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from deploy.check import findings
from deploy.check.findings import Finding
from deploy.check.kustomize import Resource

_FOLDER: Final = Path(__file__).parent
# What the operators' objects may say: the fields that are used here, from the operators' references. Written for this check.
_CUSTOM: Final = "custom.json"


def minors() -> list[str]:
    """The minors of Kubernetes whose schemas are here, such as "1.37", oldest first."""
    return sorted(path.stem.removeprefix("kubernetes-") for path in _FOLDER.glob("kubernetes-*.json"))


@cache
def _schemas(file: str) -> dict[str, Any]:
    return dict(json.loads((_FOLDER / file).read_text()))


@cache
def _validator(file: str, kind: str) -> Draft202012Validator | None:
    schemas = _schemas(file)
    name = schemas["kinds"].get(kind)
    if name is None:
        return None
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schemas["$defs"]})


def check(resources: list[Resource]) -> Iterator[Finding]:
    """What no server of these minors would take."""
    for resource in resources:
        kind = f"{resource.value.get('apiVersion')}/{resource.kind}"
        yield from _nulls(resource, resource.value, "")
        custom = _validator(_CUSTOM, kind)
        files = [_CUSTOM] if custom is not None else [f"kubernetes-{minor}.json" for minor in minors()]
        for file in files:
            validator = _validator(file, kind)
            if validator is None:
                yield findings.of(resource, "kind", f"there is no schema of {kind} in {file}")
                continue
            error = best_match(validator.iter_errors(resource.value))
            if error is not None:
                place = ".".join(str(part) for part in error.absolute_path)
                yield findings.of(resource, place, f"{error.message[:300]} [{file.removesuffix('.json')}]")
                break


def _nulls(resource: Resource, value: Any, place: str) -> Iterator[Finding]:
    """Fields that say nothing: the schemas take them, and they are mistakes."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _nulls(resource, part, f"{place}.{key}".strip("."))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _nulls(resource, part, f"{place}.{number}")
    elif value is None:
        yield findings.of(resource, place, "says nothing")
