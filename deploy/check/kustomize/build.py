"""Builds a kustomization: resources, components, generators, transformers, in the order in which kustomize does."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.check.kustomize import patches, transformers
from deploy.check.kustomize.resource import Object, Resource, Unsupported

_FILE: Final = "kustomization.yaml"
_KNOWN: Final = frozenset(
    [
        "apiVersion",
        "kind",
        "resources",
        "components",
        "configMapGenerator",
        "patches",
        "namespace",
        "nameSuffix",
        "labels",
        "images",
        "replacements",
    ]
)
# libyaml where the wheel has it: ten times as fast.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Read = Callable[[Path], str]


def build(directory: Path, read: Read = Path.read_text) -> list[Resource]:
    """What `kustomize build DIRECTORY` writes. read: gives a file's text; a test gives a broken one here. Raises Unsupported."""
    resources = _accumulate(directory.resolve(), [], read)
    transformers.hash_names(resources)
    return resources


def _accumulate(directory: Path, resources: list[Resource], read: Read) -> list[Resource]:
    """resources: what a component is laid over; it changes all of it."""
    kustomization = _load(directory / _FILE, read)
    try:
        for name in kustomization.get("resources", ()):
            path = (directory / name).resolve()
            resources += _accumulate(path, [], read) if path.is_dir() else _objects(path, read)
        for name in kustomization.get("components", ()):
            _accumulate((directory / name).resolve(), resources, read)
        for generator in kustomization.get("configMapGenerator", ()):
            resources.append(_generated(directory, generator, read))
        _refuse_doubles(resources)
        _transform(directory, kustomization, resources, read)
    except Unsupported as error:
        text = str(error)
        raise error if _FILE in text else Unsupported(f"{directory / _FILE}: {text}") from None
    return resources


def _documents(text: str) -> Iterator[Any]:
    """The documents of a YAML file."""
    return iter(yaml.load_all(text, _LOADER))


def _load(path: Path, read: Read) -> Object:
    try:
        kustomization = next(_documents(read(path)))
    except (OSError, yaml.YAMLError) as error:
        raise Unsupported(f"{path}: cannot be read ({type(error).__name__})") from error
    unknown = set(kustomization) - _KNOWN
    if unknown:
        raise Unsupported(f"{path}: {', '.join(sorted(unknown))} is not supported")
    return dict(kustomization)


def _objects(path: Path, read: Read) -> list[Resource]:
    try:
        return [Resource.of(value, path) for value in _documents(read(path)) if value is not None]
    except (OSError, yaml.YAMLError) as error:
        raise Unsupported(f"{path}: cannot be read ({type(error).__name__})") from error


def _generated(directory: Path, generator: Object, read: Read) -> Resource:
    unknown = set(generator) - {"name", "files", "envs", "options"}
    if unknown:
        raise Unsupported(f"configMapGenerator: {', '.join(sorted(unknown))} is not supported")
    data = {Path(name).name: read(directory / name) for name in generator.get("files", ())}
    for name in generator.get("envs", ()):
        data |= dict(_variables(read(directory / name)))
    options = generator.get("options") or {}
    metadata: Object = {"name": generator["name"]}
    if "labels" in options:
        metadata["labels"] = dict(options["labels"])
    value: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    if data:
        value["data"] = data
    origin = directory / next(iter([*generator.get("files", ()), *generator.get("envs", ())]), _FILE)
    return Resource(value, origin, generator["name"], not options.get("disableNameSuffixHash", False))


def _variables(text: str) -> list[tuple[str, str]]:
    lines = [line.lstrip() for line in text.splitlines()]
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return [(name, value) for name, _, value in pairs]


def _refuse_doubles(resources: Sequence[Resource]) -> None:
    seen: set[tuple[str, str]] = set()
    for resource in resources:
        key = (resource.kind, resource.value["metadata"]["name"])
        if key in seen:
            raise Unsupported(f"{resource} is there twice")
        seen.add(key)


def _transform(directory: Path, kustomization: Object, resources: list[Resource], read: Read) -> None:
    for patch in kustomization.get("patches", ()):
        _patch(directory, patch, resources, read)
    if "namespace" in kustomization:
        transformers.set_namespace(resources, kustomization["namespace"])
    if "nameSuffix" in kustomization:
        transformers.add_suffix(resources, kustomization["nameSuffix"])
    for label in kustomization.get("labels", ()):
        transformers.add_labels(resources, label["pairs"], to_templates=label.get("includeTemplates", False))
    for image in kustomization.get("images", ()):
        transformers.set_image(resources, image)
    for replacement in kustomization.get("replacements", ()):
        transformers.replace(resources, replacement)


def _patch(directory: Path, patch: Object, resources: list[Resource], read: Read) -> None:
    content: Any = next(_documents(read(directory / patch["path"]) if "path" in patch else patch["patch"]))
    name = patch.get("path", "a patch")
    target = patch.get("target") or {"kind": content["kind"], "name": content["metadata"]["name"]}
    chosen = [resource for resource in resources if transformers.selects(target, resource)]
    if not chosen:
        raise Unsupported(f"{name}: nothing is {target}")
    for resource in chosen:
        resource.patched_by.append(directory / patch.get("path", _FILE))
        if isinstance(content, list):
            patches.apply_operations(resource.value, content)
        else:
            patches.merge(resource.value, content)
