"""What is named is there: images, configuration, secrets, identities, migrations of this version."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel

from deploy.check import findings
from deploy.check.findings import ROOT, Finding, at
from deploy.check.kustomize import Resource
from deploy.check.kustomize.resource import Object
from deploy.check.kustomize.transformers import containers, pod_of
from deploy.check.overlay import SERVICES, Overlay, dashed
from services.settings.config import SettingsConfig
from shared.channels import server_name
from shared.config import ServiceConfig

# Brings the HSM's library to where it can be loaded: the one container that runs no service.
_COPIES: Final = "hsm-client"
_COMPONENT: Final = "app.kubernetes.io/component"
_CLUSTER: Final = "kept.svc.cluster.local"
# What is there without a volume: the system's authorities, and this project's own files, by their place there and here.
_AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_IN_IMAGE: Final = (Path("/opt/kept"), ROOT)
INSTALL: Final = ROOT / "docs" / "operations" / "install.md"


def check(overlay: Overlay) -> Iterator[Finding]:
    """Names that lead nowhere."""
    yield from _workloads(overlay)
    yield from _used(overlay)
    yield from _secrets(overlay)
    yield from _files(overlay)
    yield from _identities(overlay)
    yield from _migrations(overlay)
    yield from _key_store(overlay)
    yield from _issuers(overlay)
    yield from _sources(overlay)


def _workloads(overlay: Overlay) -> Iterator[Finding]:
    """Every command runs the service that its pod is called after, and mounts name volumes."""
    for resource in overlay.workloads:
        pod = pod_of(resource.value) or {}
        name = (at(resource.value, "spec.template.metadata.labels") or {}).get("app.kubernetes.io/name", "")
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        for container in containers(resource.value):
            place = f"spec.template.spec.containers[{container['name']}]"
            module = f"services.{name.replace('-', '_')}"
            if module not in container.get("command", ()) and container["name"] != _COPIES:
                yield findings.of(resource, f"{place}.command", f"does not run {module}")
            for mount in container.get("volumeMounts", ()):
                if mount["name"] not in volumes:
                    yield findings.of(
                        resource, f"{place}.volumeMounts", f"there is no volume {mount['name']}"
                    )
        account = pod.get("serviceAccountName", "")
        if overlay.find("ServiceAccount", account) is None:
            yield findings.of(
                resource, "spec.template.spec.serviceAccountName", f"there is no ServiceAccount {account}"
            )


def _references(value: Any, key: str) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        for name, part in value.items():
            if name == key and isinstance(part, dict):
                yield part
            yield from _references(part, key)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part, key)


def _used(overlay: Overlay) -> Iterator[Finding]:
    """Configuration that somebody reads, and only that."""
    known = {one.value["metadata"]["name"] for one in overlay.of_kind("ConfigMap")}
    used: set[str] = set()
    for resource in overlay.workloads:
        for key in ("configMap", "configMapRef"):
            for reference in _references(resource.value, key):
                used.add(reference["name"])
                if reference["name"] not in known and not reference.get("optional"):
                    yield findings.of(resource, key, f"there is no ConfigMap {reference['name']}")
    for config_map in overlay.of_kind("ConfigMap"):
        if config_map.is_generated and config_map.value["metadata"]["name"] not in used:
            yield findings.of(config_map, "", "nobody reads it")


def _secrets(overlay: Overlay) -> Iterator[Finding]:
    """Secrets that something makes, or that the installation guide has people make."""
    made = {at(one.value, "spec.secretName") for one in overlay.of_kind("Certificate")}
    for cluster in overlay.of_kind("Cluster"):
        made |= {f"{cluster.name}-app", f"{cluster.name}-ca"}
    guide = INSTALL.read_text() if INSTALL.exists() else ""
    for resource in overlay.workloads:
        for secret in _references(resource.value, "secret"):
            name = secret["secretName"]
            if name not in made and f"`{name}`" not in guide:
                yield findings.of(
                    resource,
                    "spec.template.spec.volumes",
                    f"nothing makes the Secret {name}, nor does {findings.relative(INSTALL)} say how",
                )


def _files(overlay: Overlay) -> Iterator[Finding]:
    """Files and folders that a configuration names: each is what its pod mounts, or lies in it, or is in the image."""
    for service, config in overlay.configurations.items():
        deployment = overlay.deployment(service)
        assert deployment is not None
        brought = [*_mounted(pod_of(deployment.value) or {}), *_IN_IMAGE]
        for setting, file in [*_named(config, ""), *_of_database(config)]:
            if file != _AUTHORITIES and not any(place == file or place in file.parents for place in brought):
                yield findings.of(
                    deployment,
                    f"configuration {setting}",
                    f"nothing brings {file}: no volume is mounted there or above it",
                )


def _mounted(pod: Object) -> Iterator[Path]:
    """Where the service finds what volumes bring; an empty one brings what a container before it left there."""
    empty = {one["name"] for one in pod.get("volumes", ()) if "emptyDir" in one}
    filled = {mount["name"] for one in pod.get("initContainers", ()) for mount in one.get("volumeMounts", ())}
    for container in pod.get("containers", ()):
        for mount in container.get("volumeMounts", ()):
            if container["name"] == "service" and mount["name"] not in empty - filled:
                yield Path(mount["mountPath"])


def _named(value: object, setting: str) -> Iterator[tuple[str, Path]]:
    """Every file of a configuration, by its setting's name."""
    if isinstance(value, Path):
        yield setting, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _named(getattr(value, name), f"{setting}.{name}".lstrip("."))
    elif isinstance(value, tuple):
        for number, part in enumerate(value):
            yield from _named(part, f"{setting}.{number}")


def _of_database(config: ServiceConfig) -> Iterator[tuple[str, Path]]:
    """What libpq reads besides: sslrootcert, sslcert, sslkey."""
    for name, value in parse_qsl(urlsplit(config.database_url.get_secret_value()).query):
        if name.startswith("ssl") and value.startswith("/"):
            yield f"database_url {name}", Path(value)


def _identities(overlay: Overlay) -> Iterator[Finding]:
    certificates = {at(one.value, "spec.secretName"): one for one in overlay.of_kind("Certificate")}
    for service, config in overlay.configurations.items():
        certificate = certificates.get(f"{dashed(service)}-identity")
        if certificate is None:
            yield Finding("deploy/components/cert-manager", "", f"{overlay.name}: {service} has no identity")
            continue
        for field, wanted in (
            ("spec.uris", [f"spiffe://{config.trust_domain}/{service}"]),
            # Its callers' among the services, and the Service's: gateways and the issuer check the name that they called.
            ("spec.dnsNames", [server_name(service, config.trust_domain), f"{dashed(service)}.{_CLUSTER}"]),
        ):
            if at(certificate.value, field) != wanted:
                yield findings.of(
                    certificate, field, f"is {at(certificate.value, field)}; it has to be {wanted}"
                )
        usages = set(at(certificate.value, "spec.usages") or ())
        if not {"server auth", "client auth"} <= usages:
            yield findings.of(
                certificate, "spec.usages", "a service serves and calls: server auth and client auth"
            )
    for policy in overlay.of_kind("BackendTLSPolicy"):
        wanted_name = server_name(policy.name.replace("-", "_"), overlay.trust_domain)
        if at(policy.value, "spec.validation.hostname") != wanted_name:
            yield findings.of(policy, "spec.validation.hostname", f"has to be {wanted_name}")


def _migrations(overlay: Overlay) -> Iterator[Finding]:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"].replace(".", "-")
    jobs: dict[str, Resource] = {one.value["metadata"]["name"]: one for one in overlay.of_kind("Job")}
    for service in SERVICES:
        name = f"{dashed(service)}-migrate-{version}"
        job = jobs.pop(name, None)
        if job is None:
            yield Finding(
                "deploy/base/migrations/kustomization.yaml",
                "nameSuffix",
                f"{overlay.name}: there is no Job {name}",
            )
        elif not any("--migrate" in one.get("command", ()) for one in containers(job.value)):
            yield findings.of(job, "spec.template.spec.containers[migrate].command", "does not migrate")
    for job in jobs.values():
        yield findings.of(job, "metadata.name", "is no migration of this version")
    yield from _applied_again(overlay)


def _applied_again(overlay: Overlay) -> Iterator[Finding]:
    """A Job's template cannot change (batch/v1, JobSpec), and a changed configuration has another name in it: people are told to delete
    the Jobs first, and by which label."""
    guide = INSTALL.read_text() if INSTALL.exists() else ""
    for job in overlay.of_kind("Job"):
        label = f"{_COMPONENT}={job.labels.get(_COMPONENT)}"
        if f"    kubectl -n kept delete job -l {label}\n" not in guide:
            yield findings.of(
                job,
                f"metadata.labels.{_COMPONENT}",
                f"cannot be applied again once configuration has changed: {findings.relative(INSTALL)} deletes no Job with {label}",
            )


def _key_store(overlay: Overlay) -> Iterator[Finding]:
    deployment = overlay.deployment("access_control")
    config = overlay.configurations.get("access_control")
    if deployment is None or config is None:
        return
    stores = [
        name
        for name in ("key-store", "hsm-client")
        if any(volume["name"] == name for volume in (pod_of(deployment.value) or {}).get("volumes", ()))
    ]
    if len(stores) != 1:
        yield findings.of(
            deployment,
            "spec.template.spec.volumes",
            f"there has to be one key store, by a component; there are {len(stores)}",
        )


def _issuers(overlay: Overlay) -> Iterator[Finding]:
    """What access control wants beyond what its parser knows, and people to be signed in everywhere."""
    for service, config in overlay.configurations.items():
        deployment = overlay.deployment(service)
        missing = {"workforce", "customer"} - {issuer.kind for issuer in config.issuers}
        if deployment is not None and missing:
            yield findings.of(
                deployment, "configuration issuers", f"nobody signs in {' and '.join(sorted(missing))}"
            )


def _sources(overlay: Overlay) -> Iterator[Finding]:
    """Settings counts what strangers ask for by where they are, unless a Gateway hides it."""
    deployment, config = overlay.deployment("settings"), overlay.configurations.get("settings")
    if deployment is None or not isinstance(config, SettingsConfig):
        return
    for gateway in overlay.of_kind("Gateway"):
        if not config.hidden_sources:
            yield findings.of(
                deployment,
                "configuration hidden_sources",
                f"has to be true: {gateway} hides who calls, and one caller would hold up all",
            )
