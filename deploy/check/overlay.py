"""A rendered overlay, and what its services are configured with there."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Final

from deploy.check import findings
from deploy.check.findings import ROOT, Finding
from deploy.check.kustomize import Resource, build
from deploy.check.kustomize.build import Read
from deploy.check.kustomize.resource import Object
from deploy.check.kustomize.transformers import pod_of
from shared.config import ConfigError, ServiceConfig, load

SERVICES: Final = ("settings", "logging", "access_control", "retention", "safety_review")
OVERLAYS: Final = ("local", "staging", "production")


def dashed(service: str) -> str:
    """A service's name as Kubernetes takes names."""
    return service.replace("_", "-")


@dataclass
class Overlay:
    """name: its folder's. resources: what it renders to."""

    name: str
    resources: list[Resource]
    problems: list[Finding] = field(default_factory=list)

    @classmethod
    def rendered(cls, name: str, read: Read = Path.read_text) -> "Overlay":
        """Raises Unsupported."""
        return cls(name, build(ROOT / "deploy" / "overlays" / name, read))

    def of_kind(self, kind: str) -> list[Resource]:
        """All objects of a kind."""
        return [resource for resource in self.resources if resource.kind == kind]

    def find(self, kind: str, name: str) -> Resource | None:
        """The object of that kind that bears the name in the cluster."""
        found = [one for one in self.of_kind(kind) if one.value["metadata"]["name"] == name]
        return found[0] if found else None

    def deployment(self, service: str) -> Resource | None:
        """The Deployment of a service."""
        return self.find("Deployment", dashed(service))

    @property
    def workloads(self) -> list[Resource]:
        """All that makes pods of ours."""
        return [resource for resource in self.resources if pod_of(resource.value) is not None]

    @cached_property
    def configurations(self) -> dict[str, ServiceConfig]:
        """What each service would be told, by its own parser; services whose parser refuses are among `problems`."""
        found = {}
        for service in SERVICES:
            deployment = self.deployment(service)
            if deployment is None:
                self.problems.append(Finding("deploy/base", "", f"there is no Deployment of {service}"))
                continue
            try:
                found[service] = self._configuration(service, deployment)
            except (ConfigError, LookupError) as error:
                self.problems.append(findings.of(deployment, "configuration", str(error)))
        return found

    def _configuration(self, service: str, deployment: Resource) -> ServiceConfig:
        pod = pod_of(deployment.value) or {}
        container = next(one for one in pod["containers"] if one["name"] == "service")
        volumes = {one["name"]: one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one}
        file = Path(container["command"][container["command"].index("--config") + 1])
        mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
        text = self._data(volumes[mounts[str(file.parent)]])[file.name]
        with tempfile.TemporaryDirectory() as directory, _environment(self._variables(container)):
            path = Path(directory) / file.name
            path.write_text(text)
            return load(config_class(service), service, path)

    def _variables(self, container: Object) -> dict[str, str]:
        variables = {}
        for source in container.get("envFrom", ()):
            reference = source["configMapRef"]
            if self.find("ConfigMap", reference["name"]) is None and reference.get("optional"):
                continue
            for name, value in self._data(reference["name"]).items():
                variables[source.get("prefix", "") + name] = value
        return variables | {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}

    def _data(self, name: str) -> dict[str, str]:
        config_map = self.find("ConfigMap", name)
        if config_map is None:
            raise LookupError(f"ConfigMap {name} is not there")
        return dict(config_map.value.get("data") or {})

    @property
    def trust_domain(self) -> str:
        """What the overlay says it is."""
        found = [one for one in self.of_kind("ConfigMap") if one.name == "installation"]
        return str(found[0].value.get("data", {}).get("TRUST_DOMAIN", "")) if found else ""


def config_class(service: str) -> type[ServiceConfig]:
    """The class that a service reads its configuration with."""
    module = import_module(f"services.{service}.config")
    (found,) = (
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, ServiceConfig) and one.__module__ == module.__name__
    )
    return found


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables, and no other of ours, while the block runs."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("KEPT_")]:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
