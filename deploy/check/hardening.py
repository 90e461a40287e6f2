"""Rules of our own for every pod, beyond what a schema knows: Kubernetes' `restricted` standard, and what outlives a drain."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from deploy.check import findings
from deploy.check.findings import Finding, at
from deploy.check.kustomize import Resource
from deploy.check.kustomize.resource import Object
from deploy.check.kustomize.transformers import pod_of
from deploy.check.overlay import SERVICES, Overlay, dashed
from deploy.check.programs import USER

# What ends after the last call: jobs get five seconds (shared/server.py), and some are to spare.
_AFTER_GRACE: Final = 10
# Of the operator, of replication, of a person who looks.
_OWN_CONNECTIONS: Final = 15
_SHARED: Final = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace")
# Everything a security context may say, of a pod and of a container: what the pod says is not taken back below.
_POD_CONTEXT: Final = frozenset(
    ["runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy", "seccompProfile"]
)
_CONTAINER_CONTEXT: Final = frozenset(["allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"])
# The one volume that lasts, and the one that is not in memory: an HSM's client, which is copied to where it can be loaded.
_LASTS: Final = "key-store"
_ON_DISK: Final = "hsm-client"
# Where a volume may come from: nothing of the machine's, nothing that lasts but the key store's.
_VOLUMES: Final = frozenset({"configMap", "secret", "emptyDir", "image", "persistentVolumeClaim", "name"})
_OTHERS: Final = 0o007

Rule = tuple[str, Callable[[Any], bool], str]


def _is(wanted: object) -> Callable[[Any], bool]:
    return lambda value: value == wanted and isinstance(value, type(wanted))


_POD: Final[tuple[Rule, ...]] = (
    ("automountServiceAccountToken", _is(False), "false: no service talks to the cluster's API"),
    ("enableServiceLinks", _is(False), "false: variables of the cluster's look like settings"),
    ("securityContext.runAsNonRoot", _is(True), "true"),
    ("securityContext.runAsUser", _is(USER), f"{USER}, the image's user"),
    ("securityContext.runAsGroup", _is(USER), f"{USER}, the image's group"),
    ("securityContext.fsGroup", _is(USER), f"{USER}, the image's group"),
    ("securityContext.seccompProfile.type", _is("RuntimeDefault"), "RuntimeDefault"),
    ("securityContext", lambda value: set(value or ()) <= _POD_CONTEXT, f"of {sorted(_POD_CONTEXT)}"),
    ("serviceAccountName", lambda value: bool(value) and value != "default", "an account of its own"),
)
_CONTAINER: Final[tuple[Rule, ...]] = (
    ("securityContext.allowPrivilegeEscalation", _is(False), "false"),
    ("securityContext.readOnlyRootFilesystem", _is(True), "true"),
    ("securityContext.capabilities.drop", _is(["ALL"]), "[ALL]"),
    ("securityContext.capabilities.add", lambda value: not value, "left out"),
    (
        "securityContext",
        lambda value: set(value or ()) <= _CONTAINER_CONTEXT,
        f"of {sorted(_CONTAINER_CONTEXT)}; the rest is the pod's",
    ),
    ("resources.requests.cpu", bool, "set, from measured use"),
    ("resources.requests.memory", bool, "set, from measured use"),
    ("resources.limits.memory", bool, "set, so that one service cannot take a node's memory"),
)
_SERVICE: Final[tuple[Rule, ...]] = (
    ("startupProbe.grpc.service", _is("liveness"), "liveness, by gRPC"),
    (
        "livenessProbe.grpc.service",
        _is("liveness"),
        "liveness, by gRPC: a database that is away is no reason to kill",
    ),
    ("readinessProbe.grpc.port", bool, "the health port, by gRPC"),
    (
        "readinessProbe.grpc.service",
        lambda value: not value,
        "left out: the empty name says whether it can serve",
    ),
    (
        "lifecycle.preStop.sleep.seconds",
        lambda value: isinstance(value, int) and value >= 5,
        "5 or more: endpoints go first",
    ),
)
_DEPLOYMENT: Final[tuple[Rule, ...]] = (
    (
        "spec.template.spec.initContainers.0.command",
        lambda value: "--await-schema" in (value or ()),
        "waits for the schema",
    ),
)


def check(overlay: Overlay) -> Iterator[Finding]:
    """Everything that is softer than it has to be."""
    for resource in overlay.workloads:
        pod = pod_of(resource.value) or {}
        yield from _broken(resource, pod, "spec.template.spec", _POD)
        yield from _pod(resource, pod)
        for group in ("initContainers", "containers"):
            for container in pod.get(group, ()):
                place = f"spec.template.spec.{group}[{container.get('name')}]"
                yield from _broken(resource, container, place, _CONTAINER)
                yield from _container(overlay, resource, container, place)
    for service in SERVICES:
        deployment = overlay.deployment(service)
        if deployment is not None:
            yield from _deployment(overlay, service, deployment)
    yield from _objects(overlay)


def _broken(resource: Resource, value: Object, place: str, rules: tuple[Rule, ...]) -> Iterator[Finding]:
    for path, is_well, wanted in rules:
        found = at(value, path)
        if not is_well(found):
            yield findings.of(resource, f"{place}.{path}".strip("."), f"is {found!r}; it has to be {wanted}")


def _pod(resource: Resource, pod: Object) -> Iterator[Finding]:
    place = "spec.template.spec"
    for name in _SHARED:
        if pod.get(name):
            yield findings.of(
                resource, f"{place}.{name}", "nothing of the machine's is shared, nor among containers"
            )
    for volume in pod.get("volumes", ()):
        for kind in set(volume) - _VOLUMES:
            yield findings.of(
                resource, f"{place}.volumes[{volume['name']}]", f"{kind} is not among what may be mounted"
            )
        if "persistentVolumeClaim" in volume and volume["name"] != _LASTS:
            yield findings.of(
                resource, f"{place}.volumes[{volume['name']}]", f"lasts; only the volume {_LASTS} may"
            )
        if "emptyDir" in volume and volume["name"] != _ON_DISK and at(volume, "emptyDir.medium") != "Memory":
            yield findings.of(
                resource,
                f"{place}.volumes[{volume['name']}].emptyDir.medium",
                "has to be Memory: what is put aside reaches no disk",
            )
        mode = at(volume, "secret.defaultMode")
        if "secret" in volume and (mode is None or mode & _OTHERS):
            yield findings.of(
                resource,
                f"{place}.volumes[{volume['name']}].secret.defaultMode",
                "everybody may read it; 288 is 0440",
            )


def _container(overlay: Overlay, resource: Resource, container: Object, place: str) -> Iterator[Finding]:
    for number, source in enumerate(container.get("envFrom", ())):
        if "secretRef" in source:
            yield findings.of(resource, f"{place}.envFrom.{number}", "secrets come from files only")
    for port in container.get("ports", ()):
        if "hostPort" in port:
            yield findings.of(resource, f"{place}.ports[{port.get('name')}].hostPort", "has to be left out")
    for variable in container.get("env", ()):
        if at(variable, "valueFrom.secretKeyRef"):
            yield findings.of(resource, f"{place}.env[{variable['name']}]", "secrets come from files only")
    if overlay.name != "local" and "@sha256:" not in str(container.get("image")):
        yield findings.of(
            resource, f"{place}.image", f"{container.get('image')} is no digest: what runs is what was built"
        )


def _deployment(overlay: Overlay, service: str, deployment: Resource) -> Iterator[Finding]:
    yield from _broken(deployment, deployment.value, "", _DEPLOYMENT)
    pod = pod_of(deployment.value) or {}
    container: Object = next((one for one in pod.get("containers", ()) if one.get("name") == "service"), {})
    place = "spec.template.spec.containers[service]"
    yield from _broken(deployment, container, place, _SERVICE)
    yield from _drain(overlay, service, deployment, pod, container)
    yield from _connections(overlay, service, deployment)
    strategy = deployment.value["spec"].get("strategy", {})
    if strategy.get("type") == "RollingUpdate" and at(strategy, "rollingUpdate.maxUnavailable") != 0:
        yield findings.of(
            deployment,
            "spec.strategy.rollingUpdate.maxUnavailable",
            "has to be 0: none goes before another is ready",
        )
    constraints = pod.get("topologySpreadConstraints", ())
    for constraint in constraints:
        if constraint.get("nodeTaintsPolicy") != "Honor":
            yield findings.of(
                deployment,
                f"spec.template.spec.topologySpreadConstraints[{constraint.get('topologyKey')}].nodeTaintsPolicy",
                "has to be Honor: else a node that is drained counts as empty, and no pod goes elsewhere",
            )
    spread = {one.get("topologyKey") for one in constraints}
    for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone"):
        if key not in spread:
            yield findings.of(
                deployment,
                "spec.template.spec.topologySpreadConstraints",
                f"replicas are not spread over {key}",
            )
    if overlay.name == "production":
        yield from _production(overlay, service, deployment, strategy)
    labels = at(deployment.value, "spec.template.metadata.labels") or {}
    budgets = [
        one
        for one in overlay.of_kind("PodDisruptionBudget")
        if (at(one.value, "spec.selector.matchLabels") or {"": ""}).items() <= labels.items()
    ]
    if len(budgets) != 1 or at(budgets[0].value, "spec.maxUnavailable") != 1:
        yield findings.of(
            deployment, "PodDisruptionBudget", "one has to select its pods, with maxUnavailable: 1"
        )
    elif at(budgets[0].value, "spec.unhealthyPodEvictionPolicy") != "AlwaysAllow":
        yield findings.of(
            budgets[0],
            "spec.unhealthyPodEvictionPolicy",
            "has to be AlwaysAllow: else pods that are not ready hold up the drain of their node",
        )


def _production(overlay: Overlay, service: str, deployment: Resource, strategy: Object) -> Iterator[Finding]:
    scaler = overlay.find("HorizontalPodAutoscaler", dashed(service))
    replicas = (
        deployment.value["spec"].get("replicas") if scaler is None else scaler.value["spec"]["minReplicas"]
    )
    if not isinstance(replicas, int) or replicas < 2:
        yield findings.of(
            deployment, "spec.replicas", f"is {replicas}: one replica is none while its node is drained"
        )
    if strategy.get("type") != "RollingUpdate":
        yield findings.of(
            deployment, "spec.strategy.type", "has to be RollingUpdate: else an upgrade loses calls"
        )


def _connections(overlay: Overlay, service: str, deployment: Resource) -> Iterator[Finding]:
    """Every replica that may run at once, the one of a rollout included, has its pool and a connection for readiness, and some are for the
    database's own."""
    configured = overlay.configurations.get(service)
    cluster = overlay.find("Cluster", f"{dashed(service)}-db")
    if configured is None or cluster is None:
        return
    scaler = overlay.find("HorizontalPodAutoscaler", dashed(service))
    replicas = (
        deployment.value["spec"].get("replicas", 1) if scaler is None else scaler.value["spec"]["maxReplicas"]
    )
    needed = (replicas + 1) * (configured.database_pool + 1) + _OWN_CONNECTIONS
    given = int(at(cluster.value, "spec.postgresql.parameters.max_connections") or 100)
    if needed > given:
        yield findings.of(
            cluster,
            "spec.postgresql.parameters.max_connections",
            f"is {given}; {replicas} replicas of {service} and one more in a rollout hold up to {needed}",
        )


def _drain(
    overlay: Overlay, service: str, deployment: Resource, pod: Object, container: Object
) -> Iterator[Finding]:
    configured = overlay.configurations.get(service)
    sleep = at(container, "lifecycle.preStop.sleep.seconds") or 0
    if configured is None:
        return
    needed = sleep + configured.drain_seconds + configured.grace_seconds + _AFTER_GRACE
    given = pod.get("terminationGracePeriodSeconds", 30)
    if given < needed:
        yield findings.of(
            deployment,
            "spec.template.spec.terminationGracePeriodSeconds",
            f"is {given}; preStop, drain_seconds, grace_seconds and the end of jobs take {needed:g}",
        )


def _objects(overlay: Overlay) -> Iterator[Finding]:
    for resource in overlay.resources:
        if resource.kind == "CronJob":
            yield findings.of(
                resource, "kind", "retention and screening run inside their services: no CronJob holds a key"
            )
        if resource.kind == "Secret":
            yield findings.of(
                resource, "kind", "no secret stands in a manifest; they are made in the cluster"
            )
        if (
            resource.kind == "ServiceAccount"
            and resource.value.get("automountServiceAccountToken") is not False
        ):
            yield findings.of(resource, "automountServiceAccountToken", "has to be false")
        if resource.kind == "Service" and resource.value["spec"].get("clusterIP") != "None":
            yield findings.of(
                resource, "spec.clusterIP", "has to be None: callers balance between replicas themselves"
            )
        if resource.kind == "Service" and resource.value["spec"].get("publishNotReadyAddresses"):
            yield findings.of(
                resource,
                "spec.publishNotReadyAddresses",
                "has to be left out: what is not ready is not called",
            )
        if resource.kind == "Namespace":
            level = resource.labels.get("pod-security.kubernetes.io/enforce")
            if level != "restricted":
                yield findings.of(
                    resource,
                    "metadata.labels.pod-security.kubernetes.io/enforce",
                    f"is {level}; it has to be restricted",
                )
