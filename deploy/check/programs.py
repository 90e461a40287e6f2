"""What other programs say, where they are here; and what therefore was not checked, where they are not."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.check import server
from deploy.check.findings import ROOT, Finding
from deploy.check.overlay import Overlay

_PATIENCE: Final = 60.0
# What deploy/overlays/local names, and what every pod here runs as.
_IMAGE: Final = "localhost/kept:local"
USER: Final = 65532


def check(overlays: list[Overlay], not_checked: list[str]) -> Iterator[Finding]:
    """Compares our rendering with kubectl's or kustomize's, and asks a server, where there is one. Appends to `not_checked`."""
    kubectl, kustomize = shutil.which("kubectl"), shutil.which("kustomize")
    if kustomize:
        yield from _compare(overlays, [kustomize, "build"])
    elif kubectl:
        yield from _compare(overlays, [kubectl, "kustomize"])
    else:
        not_checked.append("that kustomize renders the same: neither kubectl nor kustomize is installed")
    yield from server.check(kubectl, _run, overlays, not_checked)
    yield from _image(not_checked)


def _image(not_checked: list[str]) -> Iterator[Finding]:
    """That the image, where it was built here, runs as the user that the manifests name."""
    podman = shutil.which("podman")
    if not podman:
        not_checked.append("that the image's user is the manifests': podman is not installed")
        return
    done = _run([podman, "image", "inspect", "--format", "{{.Config.User}}", _IMAGE])
    if done.returncode != 0:
        not_checked.append(f"that the image's user is the manifests': {_IMAGE} was not built here")
    elif done.stdout.strip().partition(":")[0] != str(USER):
        yield Finding("deploy/image", "USER", f"is {done.stdout.strip()}; the manifests run it as {USER}")


def _run(command: list[str], given: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=_PATIENCE, check=False
    )


def _compare(overlays: list[Overlay], command: list[str]) -> Iterator[Finding]:
    for overlay in overlays:
        folder = ROOT / "deploy" / "overlays" / overlay.name
        done = _run([*command, str(folder)])
        file = str(folder.relative_to(ROOT))
        if done.returncode != 0:
            yield Finding(
                file, "", f"{Path(command[0]).name} does not render it: {done.stderr.strip()[-300:]}"
            )
            continue
        theirs = _by_name(list(yaml.safe_load_all(done.stdout)))
        ours = _by_name([resource.value for resource in overlay.resources])
        for name in sorted(set(ours) | set(theirs)):
            if ours.get(name) != theirs.get(name):
                yield Finding(file, name, f"is not what {Path(command[0]).name} renders")


def _by_name(values: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"{value['kind']} {value['metadata']['name']}": _in_order(value) for value in values}


def _in_order(value: Any) -> Any:
    """Without the order of lists of objects, which merging does not keep."""
    if isinstance(value, dict):
        return {key: _in_order(part) for key, part in value.items()}
    if isinstance(value, list):
        parts = [_in_order(part) for part in value]
        is_of_objects = bool(parts) and isinstance(parts[0], dict)
        return sorted(parts, key=lambda part: json.dumps(part, sort_keys=True)) if is_of_objects else parts
    return value
