"""Makes `kubernetes-1.NN.json` from the wheel of kubernetes-validate, which carries every minor's own OpenAPI definitions:

    pip download --no-deps --dest build/schemas kubernetes-validate
    python -m deploy.check.schemas.extract build/schemas/kubernetes_validate-*.whl

Kept are the newest three minors, the kinds that the manifests use and what these refer to, without descriptions: the wheel is 22 MB, and a
check that has to run on every machine cannot fetch it. Run it again when a minor comes out or a manifest uses another kind.
"""

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
MINORS: Final = 3
# (apiVersion, kind) of what the manifests use; everything else that is rendered is an operator's, see custom.json.
KINDS: Final = (
    ("v1", "ConfigMap"),
    ("v1", "Namespace"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "Deployment"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("batch/v1", "Job"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
)
_DEFINITIONS: Final = re.compile(r".*/v1\.(\d+)\.0-local-strict/_definitions\.json")
_WORDS: Final = ("description", "default")


def main(wheel: Path) -> None:
    """Writes a file for each of the newest minors in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        found = {
            int(match[1]): name for name in archive.namelist() if (match := _DEFINITIONS.fullmatch(name))
        }
        for minor in sorted(found)[-MINORS:]:
            definitions = json.loads(archive.read(found[minor]))["$defs"]
            kinds = {f"{version}/{kind}": _find(definitions, version, kind) for version, kind in KINDS}
            text = json.dumps(
                {"kinds": kinds, "$defs": _reached(definitions, kinds.values())},
                separators=(",", ":"),
                sort_keys=True,
            )
            (HERE / f"kubernetes-1.{minor}.json").write_text(text + "\n")


def _find(definitions: dict[str, Any], version: str, kind: str) -> str:
    group, _, number = version.rpartition("/")
    wanted = {"group": group, "kind": kind, "version": number}
    names = [
        name for name, one in definitions.items() if wanted in one.get("x-kubernetes-group-version-kind", ())
    ]
    if len(names) != 1:
        raise SystemExit(f"{version} {kind}: defined {len(names)} times")
    return names[0]


def _reached(definitions: dict[str, Any], names: Any) -> dict[str, Any]:
    reached: dict[str, Any] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached[name] = _bare(definitions[name])
            waiting.extend(_references(definitions[name]))
    return reached


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _bare(schema: Any) -> Any:
    """Without words. A property that is called like one of them is an object, and stays."""
    if isinstance(schema, list):
        return [_bare(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"#/$defs/{value.rpartition('/')[2]}" if key == "$ref" else _bare(value)
        for key, value in schema.items()
        if not key.startswith("x-kubernetes") and not (key in _WORDS and not isinstance(value, dict))
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
