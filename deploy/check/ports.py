"""Every port matches: configuration, containers, probes, Services, routes, monitors, autoscalers."""

from collections.abc import Iterator
from typing import Final

from deploy.check import findings
from deploy.check.findings import Finding, at
from deploy.check.kustomize import Resource
from deploy.check.kustomize.resource import Object
from deploy.check.kustomize.transformers import pod_of
from deploy.check.overlay import SERVICES, Overlay, dashed

_DOORS: Final = {
    "grpc-services": "services_address",
    "grpc-people": "people_address",
    "grpc-health": "health_address",
    "metrics": "metrics_address",
}
_PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")


def check(overlay: Overlay) -> Iterator[Finding]:
    """Ports that lead nowhere, or elsewhere."""
    for service, config in overlay.configurations.items():
        deployment = overlay.deployment(service)
        assert deployment is not None
        listened = {
            name: int(getattr(config, setting).rpartition(":")[2]) for name, setting in _DOORS.items()
        }
        yield from _container(deployment, listened)
        yield from _service(overlay, service, listened)
    yield from _routes(overlay)
    for monitor in overlay.of_kind("ServiceMonitor"):
        wanted = at(monitor.value, "spec.selector.matchLabels") or {}
        for number, endpoint in enumerate(monitor.value["spec"]["endpoints"]):
            for one in overlay.of_kind("Service"):
                names = {port["name"] for port in one.value["spec"]["ports"]}
                if wanted.items() <= one.labels.items() and endpoint["port"] not in names:
                    yield findings.of(
                        monitor, f"spec.endpoints.{number}.port", f"{one} has no port {endpoint['port']}"
                    )
        chosen = [one for one in overlay.of_kind("Service") if wanted.items() <= one.labels.items()]
        if len(chosen) < len(SERVICES):
            yield findings.of(monitor, "spec.selector", f"selects {len(chosen)} of {len(SERVICES)} services")
    for scaler in overlay.of_kind("HorizontalPodAutoscaler"):
        target = scaler.value["spec"]["scaleTargetRef"]
        found = overlay.find(target["kind"], target["name"])
        if found is None:
            yield findings.of(scaler, "spec.scaleTargetRef", "there is no such Deployment")
        elif "replicas" in found.value["spec"]:
            yield findings.of(found, "spec.replicas", f"has to be left out: {scaler} decides")


def _container(deployment: Resource, listened: dict[str, int]) -> Iterator[Finding]:
    pod = pod_of(deployment.value) or {}
    container: Object = next((one for one in pod.get("containers", ()) if one.get("name") == "service"), {})
    place = "spec.template.spec.containers[service]"
    declared = {port.get("name"): port["containerPort"] for port in container.get("ports", ())}
    for name, port in listened.items():
        if declared.get(name) != port:
            yield findings.of(
                deployment,
                f"{place}.ports[{name}]",
                f"is {declared.get(name)}; the service listens on {port}",
            )
    for probe in _PROBES:
        port = at(container, f"{probe}.grpc.port")
        if port != listened["grpc-health"]:
            yield findings.of(
                deployment,
                f"{place}.{probe}.grpc.port",
                f"is {port}; plaintext health is on {listened['grpc-health']}",
            )


def _service(overlay: Overlay, service: str, listened: dict[str, int]) -> Iterator[Finding]:
    found = overlay.find("Service", dashed(service))
    if found is None:
        yield Finding("deploy/base", "", f"{overlay.name}: there is no Service {dashed(service)}")
        return
    labels = at((overlay.deployment(service) or found).value, "spec.template.metadata.labels") or {}
    selector = found.value["spec"].get("selector") or {"": ""}
    if not selector.items() <= labels.items():
        yield findings.of(found, "spec.selector", "selects no pod of the Deployment")
    for job in overlay.of_kind("Job"):
        if selector.items() <= (at(job.value, "spec.template.metadata.labels") or {}).items():
            yield findings.of(found, "spec.selector", f"selects the pods of {job} too")
    ports = {port["name"]: port for port in found.value["spec"]["ports"]}
    for name in ("grpc-services", "grpc-people", "metrics"):
        port = ports.get(name, {})
        # A headless Service's port is where the pod listens; nothing translates it.
        if port.get("port") != listened[name] or port.get("targetPort") not in (name, listened[name]):
            yield findings.of(
                found,
                f"spec.ports[{name}]",
                f"is {port.get('port')}; the service listens on {listened[name]}",
            )
    if "grpc-health" in ports:
        yield findings.of(found, "spec.ports[grpc-health]", "plaintext health is for the kubelet alone")


def _routes(overlay: Overlay) -> Iterator[Finding]:
    for route in overlay.of_kind("GRPCRoute"):
        for number, rule in enumerate(route.value["spec"].get("rules", ())):
            for backend in rule.get("backendRefs", ()):
                service = overlay.find("Service", backend["name"])
                ports = (
                    {}
                    if service is None
                    else {one["port"]: one["name"] for one in service.value["spec"]["ports"]}
                )
                if ports.get(backend["port"]) != "grpc-people":
                    yield findings.of(
                        route,
                        f"spec.rules.{number}.backendRefs",
                        f"{backend['name']}:{backend['port']} is not a port for people",
                    )
