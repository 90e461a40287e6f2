"""A pod, run as its specification says, by podman: its containers' commands, variables, volumes, users and limits, and the probes that the
kubelet would ask."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2

from deploy.check.kustomize.resource import Object
from deploy.image.engine import Engine, EngineError
from deploy.proof import volumes
from deploy.proof.supplies import Supplies

_TAIL: Final = 8


_UNITS: Final = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


def in_bytes(quantity: str) -> int:
    """An amount of memory as manifests write it, such as "512Mi"."""
    unit = _UNITS.get(quantity[-2:])
    return int(quantity) if unit is None else int(quantity[:-2]) * unit


class PodFailed(Exception):
    """A pod would not come up, or not go: the text says which and why, with the end of its log."""


@dataclass
class Pod:
    """One pod. space: its network namespace. claims: where the volumes of claims lie, which outlive it. mounts: what it is given beside its
    specification, and what stands for: "what lies here" → "where it sees it". is_ready: whether its names are answered."""

    engine: Engine
    image: str
    name: str
    labels: Mapping[str, str]
    spec: Object
    space: str
    address: str
    home: Path
    claims: Path
    supplies: Supplies
    mounts: Mapping[str, str]
    is_ready: bool = False
    _volumes: dict[str, list[str]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Lays out the volumes. Raises PodFailed where the kubelet would wait for one for ever."""
        self.home.mkdir(parents=True)
        for volume in self.spec.get("volumes", ()):
            self._volumes[volume["name"]] = self._laid_out(volume)

    def run_to_end(self, containers: Sequence[Object]) -> None:
        """One container after the other. Raises PodFailed when one fails."""
        for container in containers:
            self._start(container)
            self._ended(container)

    def start(self) -> None:
        """Its init containers to their end, then its containers. Raises PodFailed."""
        self.run_to_end(self.spec.get("initContainers", ()))
        for container in self.spec["containers"]:
            self._start(container)

    def await_ready(self) -> float:
        """Asks startup and readiness probes until both are content; gives the seconds it took. Raises PodFailed."""
        began = time.monotonic()
        for container in self.spec["containers"]:
            for kind in ("startupProbe", "readinessProbe"):
                probe = container[kind]
                # A pod may be unready for as long as it likes; a startup that takes longer than this is ended.
                patience = probe["periodSeconds"] * container["startupProbe"]["failureThreshold"]
                deadline = time.monotonic() + patience
                while not self.probe(probe):
                    if not self.is_running(container):
                        raise self._failed(container, f"ended before its {kind} was content")
                    if time.monotonic() > deadline:
                        raise self._failed(container, f"{kind} was not content within {patience} s")
                    time.sleep(0.25)
        self.is_ready = True
        return time.monotonic() - began

    def probe(self, probe: Object) -> bool:
        """A gRPC probe, as the kubelet asks it."""
        with grpc.insecure_channel(f"{self.address}:{probe['grpc']['port']}") as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            request = health_pb2.HealthCheckRequest(service=probe["grpc"].get("service", ""))
            try:
                answer = check(request, timeout=probe.get("timeoutSeconds", 1))
            except grpc.RpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def execute(self, *command: str) -> str:
        """What a command in its first container says (kubectl exec). Raises EngineError."""
        return self.engine.run("exec", self._called(self.spec["containers"][0]), *command)

    def memory(self) -> tuple[int, int]:
        """The most that its service had resident so far (VmHWM of proc(5)), and what it requests, in bytes."""
        (container,) = self.spec["containers"]
        process = self.engine.run("inspect", "--format", "{{.State.Pid}}", self._called(container)).strip()
        status = Path("/proc", process, "status").read_text()
        (most,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(most) * 1024, in_bytes(container["resources"]["requests"]["memory"])

    def replace_secret(self, secret: str, files: Mapping[str, bytes]) -> None:
        """Other files in the place of a Secret's, as the kubelet does it."""
        for volume in self.spec["volumes"]:
            source = volume.get("secret", {})
            if source.get("secretName") == secret:
                volumes.write(self.home / volume["name"], files, source["defaultMode"], self._group)

    def stop(self) -> float:
        """As a pod is deleted: no names, the preStop hook, SIGTERM; gives the seconds of the grace that it used. Raises PodFailed."""
        self.is_ready = False
        began, grace = time.monotonic(), self.spec["terminationGracePeriodSeconds"]
        for container in self.spec["containers"]:
            time.sleep(container["lifecycle"]["preStop"]["sleep"]["seconds"])
            self.engine.run("kill", "--signal", "TERM", self._called(container))
            left = grace - (time.monotonic() - began)
            try:
                code = self.engine.run("wait", self._called(container), patience=left).strip()
            except EngineError:
                raise self._failed(container, f"had not ended {grace} s after it was asked to") from None
            if code != "0":
                raise self._failed(container, f"ended with {code} after SIGTERM")
        return time.monotonic() - began

    def remove(self) -> None:
        """Ends and forgets its containers."""
        for container in (*self.spec.get("initContainers", ()), *self.spec["containers"]):
            with contextlib.suppress(EngineError):  # never started
                self.engine.run("rm", "--force", "--time", "0", self._called(container))

    def is_running(self, container: Object) -> bool:
        """Whether a container lives."""
        said = self.engine.run("inspect", "--format", "{{.State.Running}}", self._called(container))
        return said.strip() == "true"

    @property
    def _group(self) -> int:
        return int(self.spec["securityContext"]["fsGroup"])

    def _laid_out(self, volume: Object) -> list[str]:
        """A volume as podman takes it: source and options, or a tmpfs's."""
        place = self.home / volume["name"]
        if "configMap" in volume:
            files = self.supplies.config_maps[volume["configMap"]["name"]]
            volumes.write(place, files, volume["configMap"].get("defaultMode", 0o644), self._group)
        elif "secret" in volume:
            volumes.write(place, self._secret(volume["secret"]), volume["secret"]["defaultMode"], self._group)
        elif "emptyDir" in volume:
            if volume["emptyDir"].get("medium") == "Memory":
                return [f"size={volume['emptyDir']['sizeLimit'].removesuffix('i').lower()},mode=2777"]
            volumes.claim(place, self._group)
        elif "persistentVolumeClaim" in volume:
            place = self.claims / volume["persistentVolumeClaim"]["claimName"]
            volumes.claim(place, self._group)
        elif "image" in volume:
            # By the API's word nothing in it can be executed, which is loading a library, too.
            return [str(self.supplies.images[volume["image"]["reference"]]), "ro,noexec"]
        else:
            raise PodFailed(f"{self.name}: the volume {volume['name']} is of a kind that is not known here")
        return [str(place), "rw"]

    def _secret(self, source: Object) -> Mapping[str, bytes]:
        files = self.supplies.secrets.get(source["secretName"])
        if files is None:
            if source.get("optional"):
                return {}
            raise PodFailed(f"{self.name} waits for the Secret {source['secretName']}, which nobody makes")
        try:
            return {
                one["path"]: files[one["key"]]
                for one in source.get("items", [{"path": name, "key": name} for name in files])
            }
        except KeyError as error:
            raise PodFailed(f"{self.name}: the Secret {source['secretName']} has no key {error}") from None

    def _start(self, container: Object) -> None:
        with contextlib.suppress(EngineError):
            self.engine.run("rm", "--force", self._called(container))
        try:
            self.engine.run("run", "--detach", *self._options(container))
        except EngineError as error:
            raise PodFailed(f"{self.name}: {container['name']} cannot be started: {error}") from None

    def _ended(self, container: Object) -> None:
        code = self.engine.run("wait", self._called(container)).strip()
        if code != "0":
            raise self._failed(container, f"ended with {code}")

    def _options(self, container: Object) -> Iterator[str]:
        context = self.spec["securityContext"] | container["securityContext"]
        yield from (
            "--name",
            self._called(container),
            "--network",
            f"ns:{self.space}",
            "--hostname",
            self.name,
        )
        yield from ("--user", f"{context['runAsUser']}:{context['runAsGroup']}")
        yield from ("--group-add", str(self._group))
        if context["readOnlyRootFilesystem"]:
            # podman would put memory over /tmp, /run and /var/tmp, which the kubelet does not.
            yield from ("--read-only", "--read-only-tmpfs=false")
        for capability in context["capabilities"]["drop"]:
            yield from ("--cap-drop", capability)
        if not context["allowPrivilegeEscalation"]:
            yield from ("--security-opt", "no-new-privileges")
        yield from ("--memory", container["resources"]["limits"]["memory"].removesuffix("i").lower())
        for name, value in self._variables(container):
            yield from ("--env", f"{name}={value}")
        for mount in container.get("volumeMounts", ()):
            source, *options = self._volumes[mount["name"]]
            if not options:
                yield from ("--tmpfs", f"{mount['mountPath']}:{source}")
            else:
                mode = "ro" if mount.get("readOnly") and options == ["rw"] else options[0]
                yield from ("--volume", f"{source}:{mount['mountPath']}:{mode}")
        for source, place in self.mounts.items():
            yield from ("--volume", f"{source}:{place}")
        command: list[str] = [*container["command"], *container.get("args", ())]
        yield from ("--entrypoint", command[0], self.image, *command[1:])

    def _variables(self, container: Object) -> Iterator[tuple[str, str]]:
        for source in container.get("envFrom", ()):
            reference = source["configMapRef"]
            values = self.supplies.config_maps.get(reference["name"])
            if values is None and not reference.get("optional"):
                raise PodFailed(f"{self.name} waits for the ConfigMap {reference['name']}")
            for name, value in (values or {}).items():
                yield source.get("prefix", "") + name, value.decode()
        for one in container.get("env", ()):
            yield one["name"], one["value"]

    def _called(self, container: Any) -> str:
        return f"{Path(self.space).name}-{self.name}-{container['name']}"

    def _failed(self, container: Object, what: str) -> PodFailed:
        said = self.engine.run("logs", self._called(container), patience=30, errors=True)
        return PodFailed(
            "\n    ".join([f"{self.name}: {container['name']} {what}", *said.splitlines()[-_TAIL:]])
        )
