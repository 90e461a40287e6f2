"""What a server says of the overlays, where kubectl reaches one: `kubectl apply --dry-run=server`, in a namespace that is for this alone
and enforces the `restricted` pod security standard. Nothing is made in it.

Pod security is enforced on pods, not on what makes them (pod-security-admission, "Workload resources and pod templates"): so the pods that
each Deployment and Job would make are asked about too.
"""

import copy
import json
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess
from typing import Any, Final

import yaml

from deploy.check.findings import Finding
from deploy.check.kustomize.resource import Object
from deploy.check.overlay import Overlay

NAMESPACE: Final = "kept-check"
_ENFORCE: Final = "pod-security.kubernetes.io/enforce"
_PATIENCE: Final = "--request-timeout=5s"
_UNCHECKED: Final = "that a server takes it (--dry-run=server): "
Run = Callable[..., "CompletedProcess[str]"]


def check(
    kubectl: str | None, run: Run, overlays: list[Overlay], not_checked: list[str]
) -> Iterator[Finding]:
    """What a server refuses or warns of. run: starts a program, with a text for its standard input. Appends to `not_checked`."""
    if why := _missing(kubectl, run):
        not_checked.append(_UNCHECKED + why)
        return
    for overlay in overlays:
        text = yaml.safe_dump_all(asked(overlay))
        done = run([kubectl, "apply", "--dry-run=server", "--warnings-as-errors", "-f", "-"], text)
        if done.returncode != 0:
            for line in done.stderr.strip().splitlines():
                yield Finding(f"deploy/overlays/{overlay.name}", "kubectl --dry-run=server", line[:300])


def asked(overlay: Overlay) -> list[Object]:
    """The overlay's objects in that namespace, and the pods that they would make."""
    objects = []
    for resource in overlay.resources:
        value = copy.deepcopy(resource.value)
        if resource.kind == "Namespace":
            value["metadata"]["name"] = NAMESPACE
        elif "namespace" in value["metadata"]:
            value["metadata"]["namespace"] = NAMESPACE
        objects.append(value)
        if (template := (value.get("spec") or {}).get("template")) and resource in overlay.workloads:
            objects.append(_pod(f"{resource.kind.lower()}-{value['metadata']['name']}", template))
    return objects


def _pod(name: str, template: Any) -> Object:
    """Its account is the one that every namespace has: those of the overlay are not made."""
    spec = copy.deepcopy(template["spec"]) | {"serviceAccountName": "default"}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": template["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _missing(kubectl: str | None, run: Run) -> str:
    """What there is not; empty where all is."""
    if not kubectl:
        return "kubectl is not installed"
    if run([kubectl, "version", _PATIENCE]).returncode != 0:
        return "kubectl reaches none"
    found = run([kubectl, "get", "namespace", NAMESPACE, "--output=json", _PATIENCE])
    if found.returncode != 0:
        return f"it has no namespace {NAMESPACE} (docs/operations/install.md)"
    enforced = json.loads(found.stdout)["metadata"].get("labels", {}).get(_ENFORCE)
    if enforced != "restricted":
        return f"its namespace {NAMESPACE} does not enforce restricted (docs/operations/install.md)"
    return ""
