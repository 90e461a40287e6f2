"""What kustomizations do to all their resources: namespace, suffix, labels, images, replacements, names with a hash."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from deploy.check.kustomize.resource import Object, Resource, Unsupported

_OF_THE_CLUSTER: Final = frozenset({"Namespace", "ClusterRole", "ClusterRoleBinding", "ClusterIssuer"})
_CONFIG_MAPS: Final = ("configMap", "configMapRef", "configMapKeyRef")
# So that a hash is no word (kustomize's api/hasher).
_NO_WORDS: Final = str.maketrans("013ae", "ghkmt")


def set_namespace(resources: Sequence[Resource], namespace: str) -> None:
    """Puts everything into the namespace; a Namespace is called so."""
    for resource in resources:
        if resource.kind == "Namespace":
            resource.value["metadata"]["name"] = namespace
        elif resource.kind not in _OF_THE_CLUSTER:
            resource.value["metadata"]["namespace"] = namespace


def add_suffix(resources: Sequence[Resource], suffix: str) -> None:
    """Ends every name with the suffix. Nothing here refers to what is renamed so."""
    for resource in resources:
        resource.value["metadata"]["name"] += suffix


def add_labels(resources: Sequence[Resource], pairs: Object, *, to_templates: bool) -> None:
    """Labels everything, and the pods of what has a template."""
    for resource in resources:
        resource.value["metadata"].setdefault("labels", {}).update(pairs)
        template = resource.value.get("spec", {}).get("template") if to_templates else None
        if isinstance(template, dict):
            template.setdefault("metadata", {}).setdefault("labels", {}).update(pairs)


def set_image(resources: Sequence[Resource], image: Object) -> None:
    """Says what an image's name stands for."""
    new = str(image.get("newName", image["name"]))
    if "digest" in image:
        new += f"@{image['digest']}"
    elif "newTag" in image:
        new += f":{image['newTag']}"
    for resource in resources:
        for container in containers(resource.value):
            if container.get("image", "").partition("@")[0].partition(":")[0] == image["name"]:
                container["image"] = new


def containers(value: Object) -> Iterator[Object]:
    """All containers of an object that has pods."""
    pod = pod_of(value)
    if pod is not None:
        yield from pod.get("initContainers") or ()
        yield from pod.get("containers") or ()


def pod_of(value: Object) -> Object | None:
    """The specification of the pods that an object makes, or None."""
    template = (value.get("spec") or {}).get("template")
    return template.get("spec") if isinstance(template, dict) else None


def replace(resources: Sequence[Resource], replacement: Object) -> None:
    """Writes a field of one resource into fields of others, or into a part of them."""
    wanted = replacement["source"]
    sources = [one for one in resources if (one.kind, one.name) == (wanted["kind"], wanted["name"])]
    if len(sources) != 1:
        raise Unsupported(f"replacements: {wanted['kind']} {wanted['name']} is there {len(sources)} times")
    value: Any = sources[0].value
    for part in wanted["fieldPath"].split("."):
        value = value[part]
    for target in replacement["targets"]:
        chosen = [one for one in resources if selects(target["select"], one)]
        if not chosen:
            raise Unsupported(f"replacements: nothing is {target['select']}")
        for resource in chosen:
            for path in target["fieldPaths"]:
                _put(resource, path, value, target.get("options") or {})


def _put(resource: Resource, path: str, value: str, options: Object) -> None:
    *way, last = path.split(".")
    parent: Any = resource.value
    try:
        for part in way:
            parent = parent[int(part)] if isinstance(parent, list) else parent[part]
        place: Any = int(last) if isinstance(parent, list) else last
        known = parent[place]
    except (KeyError, IndexError, ValueError):
        raise Unsupported(f"replacements: {resource} has no {path}") from None
    if "delimiter" in options:
        parts = known.split(options["delimiter"])
        parts[options.get("index", 0)] = value
        value = options["delimiter"].join(parts)
    parent[place] = value


def selects(target: Object, resource: Resource) -> bool:
    """Whether a selector of a patch or replacement means the resource."""
    unknown = set(target) - {"kind", "name", "labelSelector"}
    if unknown:
        raise Unsupported(f"a selector by {', '.join(sorted(unknown))}")
    labels = (
        dict(part.split("=") for part in target["labelSelector"].split(","))
        if "labelSelector" in target
        else {}
    )
    return (
        target.get("kind", resource.kind) == resource.kind
        and target.get("name", resource.name) == resource.name
        and labels.items() <= resource.labels.items()
    )


def hash_names(resources: Sequence[Resource]) -> None:
    """Gives what was generated the hash of its content as a suffix, and tells whoever refers to it."""
    renamed = {}
    for resource in resources:
        if resource.is_generated:
            metadata = resource.value["metadata"]
            renamed[metadata["name"]] = metadata["name"] = f"{metadata['name']}-{_hash(resource.value)}"
    for resource in resources:
        _rename(resource.value, renamed)


def _hash(config_map: Object) -> str:
    hashed = {"data": config_map.get("data") or "", "kind": "ConfigMap", "name": ""}
    text = json.dumps(hashed, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    for character in "<>&":  # as Go's encoding/json escapes them
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(text.encode()).hexdigest()[:10].translate(_NO_WORDS)


def _rename(value: Any, renamed: dict[str, str]) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            if key in _CONFIG_MAPS and isinstance(part, dict) and part.get("name") in renamed:
                part["name"] = renamed[part["name"]]
            else:
                _rename(part, renamed)
    elif isinstance(value, list):
        for part in value:
            _rename(part, renamed)
