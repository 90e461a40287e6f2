"""One overlay, brought up as a cluster would: what operators make, migration Jobs, Deployments; looked at from outside; ended."""

from __future__ import annotations

import hashlib
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from deploy.check.kustomize import Resource
from deploy.check.kustomize.resource import Object
from deploy.check.kustomize.transformers import pod_of
from deploy.check.overlay import Overlay, dashed
from deploy.image.engine import Engine
from deploy.local.authority import Authority
from deploy.proof import calls, hsm, record
from deploy.proof.databases import Databases
from deploy.proof.issuer import Issuers
from deploy.proof.network import GATEWAY, Names, Network, resolver
from deploy.proof.pods import Pod, PodFailed
from deploy.proof.supplies import Supplies, issued
from services.access_control.config import AccessControlConfig, Pkcs11Token

T = TypeVar("T")

_AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
# At once: as many as two processors can start without probes running out.
_AT_ONCE: Final = 3
_PATIENCE: Final = 60.0
_DOORS: Final = {"services": "grpc-services", "people": "grpc-people"}


class Cluster:
    """say: told what was seen. not_proven, problems: filled with what could not be, and with what did not hold."""

    def __init__(
        self, overlay: Overlay, engine: Engine, image: str, home: Path, say: Callable[[str], None]
    ) -> None:
        self._overlay, self._engine, self._image, self._home, self._say = overlay, engine, image, home, say
        self.not_proven: list[str] = []
        self.problems: list[str] = []
        self.pods: dict[str, list[Pod]] = {}
        self._all: list[Pod] = []
        self._network = Network()
        self._databases = Databases(home / "databases", self._network, overlay.of_kind("Cluster"))
        self._supplies = Supplies.of(overlay, home)
        self._issuers = Issuers(home / "issuers", overlay.configurations["settings"].issuers)
        self._mounts: dict[str, str] = {}
        self._hsm: hsm.SoftHsm | None = None

    def start(self) -> None:
        """Everything that the overlay deploys. Raises PodFailed, LocalStackError."""
        self._databases.start()
        self._supplies.secrets.update(self._databases.secrets)
        self._issuers.start()
        Names(self._look_up)
        self._stand_in()
        jobs = self._overlay.of_kind("Job")
        began = time.monotonic()
        _each(self._migrate, jobs)
        self._say(f"{len(jobs)} migration Jobs ended well, in {time.monotonic() - began:.0f} s")
        deployments = self._overlay.of_kind("Deployment")
        for one in deployments:
            numbers = range(1, self._replicas(one) + 1)
            self.pods[one.name.replace("-", "_")] = [self._pod(one, number) for number in numbers]
        began = time.monotonic()
        _each(self._begin, self._running())
        # All at once: the others are ready when access control answers them, and it is found by its name when it is ready itself.
        with ThreadPoolExecutor(len(self._running())) as pool:
            list(pool.map(Pod.await_ready, self._running()))
        self._say(
            f"{len(self._running())} pods of {len(deployments)} Deployments are ready, in {time.monotonic() - began:.0f} s"
        )

    def look(self) -> None:
        """Calls, health and rotation, of every pod. Raises PodFailed, EngineError."""
        self._bootstrap()
        domain = self._overlay.trust_domain
        for service, pods in self.pods.items():
            peer, asked, wanted = calls.SERVICES[service]
            peer_identity = self._supplies.secrets[f"{dashed(peer)}-identity"]
            authority = {"ca.crt": peer_identity["ca.crt"]}
            method, reason = calls.PEOPLE[service]
            token = self._issuers.token("olga", self._overlay.configurations[service].audience)
            for pod in pods:
                doors = {name: f"{pod.address}:{_port(pod, door)}" for name, door in _DOORS.items()}
                got = calls.ask(doors["services"], service, domain, peer_identity, asked)
                self._expect(pod, f"{asked} by {peer}", got, wanted)
                got = calls.ask(doors["people"], service, domain, authority, method, token)
                self._expect(pod, f"{method} by an operator", got, reason)
                self._probes(pod)
        self._say(
            f"each pod's doors answer peers and people as {domain}; liveness, metrics and leases are well"
        )
        outcomes = record.record_twice(self._doors())
        if outcomes != ["OUTCOME_STORED", "OUTCOME_DUPLICATE"]:
            self.problems.append(f"a record that is sent twice is answered with {outcomes}")
        self._say(
            "two people give a power, a customer and a gateway are made, and its record is stored, once"
        )
        _each(self._rotate, list(self.pods))
        self._say("a renewed certificate is served by each pod without a restart")
        self._say(f"at most resident, of what is requested: {', '.join(map(self._measured, self.pods))}")

    def stop(self) -> None:
        """Every pod, as a drained node ends them. Raises PodFailed."""
        running = self._running()
        with ThreadPoolExecutor(len(running)) as pool:
            used = list(pool.map(Pod.stop, running))
        grace = min(pod.spec["terminationGracePeriodSeconds"] for pod in running)
        self._say(
            f"SIGTERM: every pod ended by itself with 0, after {max(used):.0f} s at most of its {grace} s"
        )

    def remove(self) -> None:
        """Ends whatever runs."""
        for pod in self._all:
            pod.remove()
        self._databases.stop()
        self._network.close()

    def _running(self) -> list[Pod]:
        return [pod for pods in self.pods.values() for pod in pods]

    def _look_up(self, name: str) -> list[str] | None:
        if name in self._issuers.hosts:
            return [GATEWAY]
        if name in self._databases.addresses:
            return [self._databases.addresses[name]]
        for service in self._overlay.of_kind("Service"):
            metadata = service.value["metadata"]
            if name == f"{metadata['name']}.{metadata['namespace']}.svc.cluster.local":
                selector = service.value["spec"]["selector"].items()
                ready = [
                    pod.address for pod in self._running() if pod.is_ready and selector <= pod.labels.items()
                ]
                return ready or None
        return None

    def _stand_in(self) -> None:
        """What pods see in the place of a public authority, of cluster DNS, and of an HSM."""
        (namespace,) = {one.value["metadata"]["namespace"] for one in self._overlay.of_kind("Deployment")}
        names = self._home / "resolv.conf"
        names.write_text(resolver(namespace))
        self._mounts = {
            str(names): "/etc/resolv.conf:ro",
            str(self._issuers.authority): f"{_AUTHORITIES}:ro",
        }
        config = self._overlay.configurations["access_control"]
        if isinstance(config, AccessControlConfig) and isinstance(config.key_store, Pkcs11Token):
            found = hsm.library()
            if found is None:
                raise PodFailed(
                    "access_control: the HSM is not proven without SoftHSM (apt-get install softhsm2)"
                )
            pod = pod_of(self._deployment("access-control").value) or {}
            self._hsm = hsm.SoftHsm(
                self._home / "hsm", found, config.key_store.token, pod["securityContext"]["fsGroup"]
            )
            self._supplies.secrets["access-control-hsm"] = self._hsm.secret
            for volume in pod["volumes"]:
                if "image" in volume:
                    self._supplies.images[volume["image"]["reference"]] = self._hsm.image
            self.not_proven.append(
                "an HSM on the network: SoftHSM stands for it, with its files mounted where it looks"
            )

    def _replicas(self, deployment: Resource) -> int:
        """How many there are at first: an autoscaler's least, where one decides."""
        name = deployment.value["metadata"]["name"]
        for scaler in self._overlay.of_kind("HorizontalPodAutoscaler"):
            if scaler.value["spec"]["scaleTargetRef"]["name"] == name:
                return int(scaler.value["spec"]["minReplicas"])
        return int(deployment.value["spec"].get("replicas", 1))

    def _deployment(self, name: str) -> Resource:
        (found,) = (one for one in self._overlay.of_kind("Deployment") if one.name == name)
        return found

    def _pod(self, owner: Resource, number: int) -> Pod:
        spec: Object = pod_of(owner.value) or {}
        space, address = self._network.pod()
        name = f"{owner.value['metadata']['name']}-{number}"
        has_hsm = any(volume["name"] == "hsm" for volume in spec.get("volumes", ()))
        mounts = self._mounts | (self._hsm.mounts if self._hsm is not None and has_hsm else {})
        pod = Pod(
            engine=self._engine, image=self._image, name=name, spec=spec, space=space, address=address,
            labels=owner.value["spec"]["template"]["metadata"]["labels"], home=self._home / "pods" / name,
            claims=self._home / "claims", supplies=self._supplies, mounts=mounts,
        )  # fmt: skip
        pod.claims.mkdir(exist_ok=True)
        self._all.append(pod)
        return pod

    def _migrate(self, job: Resource) -> None:
        pod = self._pod(job, 1)
        pod.prepare()
        pod.run_to_end(pod.spec["containers"])

    def _begin(self, pod: Pod) -> None:
        pod.prepare()
        pod.start()

    def _bootstrap(self) -> None:
        """The command of docs/operations/install.md."""
        people = (f"--person={name} <{name}@kept.example>" for name in ("olga", "omar"))
        self.pods["access_control"][0].execute(
            "/usr/bin/python3", "-m", "services.access_control", "bootstrap",
            "--config", "/etc/kept/access_control.toml", *people, "--subject=olga", "--subject=omar",
            "--agreement-sha256", hashlib.sha256(b"the agreement that both signed").hexdigest(),
        )  # fmt: skip

    def _doors(self) -> record.Doors:
        def address(service: str, door: str) -> str:
            pod = self.pods[service][0]
            return f"{pod.address}:{_port(pod, _DOORS[door])}"

        def token(who: str, service: str) -> str:
            return self._issuers.token(who, self._overlay.configurations[service].audience)

        return record.Doors(address, token, self._overlay.trust_domain, self._authority())

    def _authority(self) -> Authority:
        return Authority(
            self._home / "identities", trust_domain=self._overlay.trust_domain, environment="local"
        )

    def _probes(self, pod: Pod) -> None:
        (container,) = pod.spec["containers"]
        if not pod.probe(container["livenessProbe"]):
            self.problems.append(f"{pod.name}: its livenessProbe is not content")
        deadline = time.monotonic() + _PATIENCE
        while unwell := _unwell(pod):
            if time.monotonic() > deadline:
                self.problems.append(f"{pod.name}: by its metrics these are not well: {unwell}")
                return
            time.sleep(0.5)

    def _measured(self, service: str) -> str:
        """Requests are what a service has at least: it has to fit, and the scheduler to know."""
        used, requested = max(pod.memory() for pod in self.pods[service])
        if used > requested:
            self.problems.append(
                f"{service}: {used >> 20} MiB were resident, and {requested >> 20} MiB are requested"
            )
        return f"{service} {used >> 20} of {requested >> 20} MiB"

    def _expect(self, pod: Pod, what: str, got: str, wanted: str) -> None:
        if got != wanted:
            self.problems.append(f"{pod.name}: {what} is answered with {got} in the place of {wanted}")

    def _rotate(self, service: str) -> None:
        """cert-manager renews, the kubelet replaces the files, the pod serves the new one."""
        name = f"{dashed(service)}-identity"
        (certificate,) = (
            one for one in self._overlay.of_kind("Certificate") if one.value["spec"]["secretName"] == name
        )
        files = issued(certificate, self._authority())
        for pod in self.pods[service]:
            pod.replace_secret(name, files)
        deadline = time.monotonic() + _PATIENCE
        for pod in self.pods[service]:
            door = (pod.address, _port(pod, _DOORS["people"]))
            while ssl.get_server_certificate(door).split() != files["tls.crt"].decode().split():
                if time.monotonic() > deadline:
                    self.problems.append(f"{pod.name}: {_PATIENCE:.0f} s later it serves the old certificate")
                    break
                time.sleep(0.5)


def _each(act: Callable[[T], None], whom: Iterable[T]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(act, whom))


def _port(pod: Pod, name: str) -> int:
    (container,) = pod.spec["containers"]
    return next(int(one["containerPort"]) for one in container["ports"] if one["name"] == name)


def _unwell(pod: Pod) -> list[str]:
    address = f"http://{pod.address}:{_port(pod, 'metrics')}/metrics"
    with urllib.request.urlopen(address, timeout=5) as answer:
        text = answer.read().decode()
    parts = [line for line in text.splitlines() if line.startswith("kept_health_serving{")]
    return [line for line in parts if not line.endswith(" 1.0")] if parts else ["no kept_health_serving"]
