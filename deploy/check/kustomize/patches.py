"""Patches: JSON Patch (RFC 6902) and the strategic merge of Kubernetes."""

from copy import deepcopy
from typing import Any, Final

from deploy.check.kustomize.resource import Object, Unsupported

# By which field the items of a list are told apart; a list that is not here is replaced as a whole, and so are those of custom resources.
# From the `x-kubernetes-patch-merge-key` of Kubernetes' API, as far as patches here go.
_MERGED_BY: Final = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "topologySpreadConstraints": "topologyKey",
}
_BUILT_IN: Final = ("apps/", "batch/", "v1", "autoscaling/", "policy/", "networking.k8s.io/")


def merge(target: Object, patch: Object) -> None:
    """Lays a strategic merge patch over an object. Its name and kind stay."""
    is_built_in = str(target.get("apiVersion", "")).startswith(_BUILT_IN)
    body = {key: value for key, value in patch.items() if key not in ("apiVersion", "kind", "metadata")}
    metadata = {key: value for key, value in (patch.get("metadata") or {}).items() if key != "name"}
    _merge(target, body | ({"metadata": metadata} if metadata else {}), is_built_in)


def _merge(target: Object, patch: Object, is_built_in: bool) -> None:
    patch = dict(patch)
    directive = patch.pop("$patch", None)
    if directive == "replace":
        target.clear()
    elif directive is not None:
        raise Unsupported(f"$patch: {directive}")
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value, is_built_in)
        elif isinstance(value, list) and key in target and key in _MERGED_BY and is_built_in:
            _merge_list(target[key], value, _MERGED_BY[key])
        else:
            target[key] = deepcopy(value)


def _merge_list(target: list[Object], patch: list[Object], key: str) -> None:
    for item in patch:
        for known in target:
            if known[key] == item[key]:
                _merge(known, item, True)
                break
        else:
            target.append(deepcopy(item))


def apply_operations(target: Object, operations: list[Object]) -> None:
    """Applies a JSON Patch. Raises Unsupported for an operation that does not fit."""
    for operation in operations:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        try:
            parent: Any = target
            for part in way:
                parent = parent[int(part)] if isinstance(parent, list) else parent[part]
            _apply(parent, last, operation)
        except (KeyError, IndexError, ValueError, TypeError):
            raise Unsupported(f"{operation['op']} {operation['path']}: there is nothing there") from None


def _apply(parent: Any, last: str, operation: Object) -> None:
    kind, value = operation["op"], deepcopy(operation.get("value"))
    if isinstance(parent, list):
        if kind == "add":
            parent.insert(len(parent) if last == "-" else int(last), value)
        elif kind == "replace":
            parent[int(last)] = value
        elif kind == "remove":
            del parent[int(last)]
        else:
            raise Unsupported(f"op: {kind}")
    elif kind == "remove":
        del parent[last]
    elif kind == "add" or (kind == "replace" and last in parent):
        parent[last] = value
    else:
        raise KeyError(last)
