"""Network policies against the contracts: every arrow has its two policies, one at each end, and nothing else is open but what the operator
opens by policies that say so."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from deploy.check import findings
from deploy.check.contracts import arrows
from deploy.check.findings import Finding, at
from deploy.check.kustomize import Resource
from deploy.check.kustomize.resource import Object
from deploy.check.overlay import SERVICES, Overlay, dashed
from services.access_control.config import AccessControlConfig, Pkcs11Token
from services.safety_review.config import SafetyReviewConfig
from shared.config import ServiceConfig

_NAME: Final = "app.kubernetes.io/name"
_COMPONENT: Final = "app.kubernetes.io/component"
_CLUSTER: Final = "cnpg.io/cluster"
_SERVICE: Final = {dashed(service): service for service in SERVICES}
_ANYWHERE: Final = "anywhere"
_OUTSIDE: Final = "anywhere but private networks"
# RFC 1918, RFC 6598 (which clusters have their pods in, and clouds their metadata), RFC 3927.
_PRIVATE: Final = frozenset(
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"]
)
_NAMES: Final = "the cluster's names"
_EVERYBODY: Final = "everybody"
_HSM: Final = "an HSM"
_EVERY_SERVICE: Final = "every service"
_MONITORING: Final = "namespace kept.dev/monitoring"
_COLLECTOR: Final = "namespace kept.dev/collector"
_SCORERS: Final = "namespace kept.dev/scorer"
# What the operator runs, in a namespace with that label or elsewhere: the way there is ours, or a policy of theirs, or what is open anyway.
_THEIRS: Final = frozenset({_COLLECTOR, _SCORERS})
_HTTPS: Final = 443
# The label of policies that the operator adds: for a private issuer, say.
OWN: Final = "kept.dev/own"
_ALL_PORTS: Final = 0
_NAME_SERVICE: Final = 53
_DATABASE: Final = 5432
_INSTANCES: Final = 8000  # CloudNativePG's instance manager
_EXPORTER: Final = 9187  # CloudNativePG's metrics


@dataclass(frozen=True, order=True)
class Flow:
    """What may go where: `caller` opens connections to `port` of `callee`. end: whose policy says so, Ingress at the callee's."""

    end: str
    caller: str
    callee: str
    port: int

    def __str__(self) -> str:
        return f"{self.caller} → {self.callee} port {self.port} ({self.end})"


def check(overlay: Overlay) -> Iterator[Finding]:
    """Arrows without a policy, and policies without an arrow."""
    policies = [one for one in overlay.of_kind("NetworkPolicy") if not _is_own(one)]
    if not any(_denies(policy.value["spec"]) for policy in policies):
        yield Finding("deploy/components/network-policies", "", f"{overlay.name}: nothing denies by default")
    wanted = set(_expected(overlay))
    found: dict[Flow, tuple[Resource, str]] = {}
    for policy in policies:
        for flow, place in _flows(policy.value["spec"]):
            found[flow] = (policy, place)
    for flow in sorted(set(found) - wanted):
        yield findings.of(
            found[flow][0],
            found[flow][1],
            f'opens what no contract declares: {flow}; a policy of your own has the label {OWN}: "true"',
        )
    own = {flow for flow, _ in opened_by_operator(overlay)}
    for flow in sorted(wanted - set(found)):
        if flow.callee in _THEIRS and _reaches_elsewhere(flow, own):
            continue
        owner = flow.callee if flow.end == "Ingress" else flow.caller
        yield Finding(
            f"deploy/components/network-policies (for {owner})", "", f"there is no policy for {flow}"
        )
    yield from _peers(overlay)


def opened_by_operator(overlay: Overlay) -> list[tuple[Flow, Resource]]:
    """What is open beyond the contracts, by policies that the operator has labelled as theirs."""
    own = [one for one in overlay.of_kind("NetworkPolicy") if _is_own(one)]
    return [(flow, policy) for policy in own for flow, _ in _flows(policy.value["spec"])]


def _is_own(policy: Resource) -> bool:
    return policy.labels.get(OWN) == "true"


def _reaches_elsewhere(flow: Flow, own: set[Flow]) -> bool:
    """Whether there is a way to that port that needs no label of a namespace."""
    return flow.port == _HTTPS or any(
        one.end == "Egress"
        and one.caller in (flow.caller, _EVERY_SERVICE, _EVERYBODY)
        and one.port in (flow.port, _ALL_PORTS)
        for one in own
    )


def _denies(spec: Object) -> bool:
    return (
        spec.get("podSelector") == {}
        and set(spec.get("policyTypes", ())) == {"Ingress", "Egress"}
        and not spec.get("ingress")
        and not spec.get("egress")
    )


def _expected(overlay: Overlay) -> Iterator[Flow]:
    yield Flow("Egress", _EVERYBODY, _NAMES, _NAME_SERVICE)
    yield from _declared(overlay)
    for service, config in overlay.configurations.items():
        yield Flow("Ingress", _MONITORING, service, _port(config.metrics_address))
        yield Flow("Egress", service, _OUTSIDE, _HTTPS)
        yield from _of_database(service)
    yield from _of_hsm(overlay)
    for traces in {config.traces for config in overlay.configurations.values() if config.traces}:
        yield Flow("Egress", _EVERY_SERVICE, _COLLECTOR, urlsplit(traces.endpoint).port or 0)
    for service, config in overlay.configurations.items():
        for scorer in _scorers(config):
            for address in config.peers[scorer].split(","):
                yield Flow("Egress", service, _SCORERS, _port(address))


def _declared(overlay: Overlay) -> Iterator[Flow]:
    """What the contracts declare, at both ends."""
    for caller, callee, by_people in arrows():
        config = overlay.configurations.get(callee)
        if config is not None:
            port = _port(config.people_address if by_people else config.services_address)
            yield Flow("Ingress", caller, callee, port)
            if caller in SERVICES:
                yield Flow("Egress", caller, callee, port)


def _of_database(service: str) -> Iterator[Flow]:
    """A database is for its service and the migrations of it, for its other instances, for the operator that keeps it, and its metrics for
    Prometheus. Instances talk to the cluster's API and to wherever backups go."""
    database = f"{service}'s database"
    for caller in (service, f"{service}'s migration"):
        yield Flow("Egress", caller, database, _DATABASE)
        yield Flow("Ingress", caller, database, _DATABASE)
    for port in (_DATABASE, _INSTANCES):
        yield Flow("Ingress", database, database, port)
        yield Flow("Egress", database, database, port)
        yield Flow("Ingress", "namespace kept.dev/database-operator", database, port)
    yield Flow("Ingress", _MONITORING, database, _EXPORTER)
    for port in (443, 6443):
        yield Flow("Egress", database, _ANYWHERE, port)


def _of_hsm(overlay: Overlay) -> Iterator[Flow]:
    """To the ports and places that the overlay says the HSM has: not anywhere."""
    access_control = overlay.configurations.get("access_control")
    policy = overlay.find("NetworkPolicy", "access-control-hsm")
    if isinstance(access_control, AccessControlConfig) and isinstance(access_control.key_store, Pkcs11Token):
        rules: Sequence[Object] = (policy and at(policy.value, "spec.egress")) or [{}]
        for rule in rules:
            places = [at(peer, "ipBlock.cidr") or _HSM for peer in rule.get("to", ())]
            for place in places or [_HSM]:
                for port in rule.get("ports") or [{}]:
                    yield Flow("Egress", "access_control", place, port.get("port") or 0)


def _scorers(config: ServiceConfig) -> set[str]:
    """External detectors, which are peers under names of the operator's."""
    return {one.name for one in config.scorers} if isinstance(config, SafetyReviewConfig) else set()


def _flows(spec: Object) -> Iterator[tuple[Flow, str]]:
    owner = _pods(spec["podSelector"])
    # Rules for an end that the policy is not about mean nothing (networking.k8s.io/v1, NetworkPolicySpec).
    about = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    for end, key, others in (("Ingress", "ingress", "from"), ("Egress", "egress", "to")):
        if end not in about:
            continue
        for number, rule in enumerate(spec.get(key) or ()):
            place = f"spec.{key}.{number}"
            peers = [_peer(peer) for peer in rule.get(others) or ()] or [_ANYWHERE]
            ports = [_opened(port) for port in rule.get("ports") or ()] or [_ALL_PORTS]
            for peer in peers:
                for port in ports:
                    flow = Flow(end, peer, owner, port) if end == "Ingress" else Flow(end, owner, peer, port)
                    yield flow, place


def _opened(port: Object) -> int:
    """The one port of TCP that is opened, or for names of UDP too; for whatever is more than that, all."""
    number = port.get("port")
    protocols = ("TCP", "UDP") if number == _NAME_SERVICE else ("TCP",)
    if not isinstance(number, int) or "endPort" in port or port.get("protocol", "TCP") not in protocols:
        return _ALL_PORTS
    return number


def _pods(selector: Object) -> str:
    labels = selector.get("matchLabels") or {}
    if selector == {}:
        return _EVERYBODY
    if selector == {"matchLabels": {_COMPONENT: "service"}}:
        return _EVERY_SERVICE
    service = _SERVICE.get(labels.get(_NAME, ""))
    if set(labels) == {_NAME, _COMPONENT} and service and set(selector) == {"matchLabels"}:
        if labels[_COMPONENT] == "service":
            return service
        if labels[_COMPONENT] == "migration":
            return f"{service}'s migration"
    database = _SERVICE.get(labels.get(_CLUSTER, "").removesuffix("-db"))
    if set(labels) == {_CLUSTER} and database:
        return f"{database}'s database"
    return f"pods with {selector}"


def _peer(peer: Object) -> str:
    block = peer.get("ipBlock")
    if block is not None:
        return _block(block)
    if "namespaceSelector" not in peer:
        return _pods(peer["podSelector"])
    labels = peer["namespaceSelector"].get("matchLabels") or {}
    if labels.get("kubernetes.io/metadata.name") == "kube-system" and at(peer, "podSelector.matchLabels") == {
        "k8s-app": "kube-dns"
    }:
        return _NAMES
    if len(labels) == 1 and list(labels.values()) == ["true"] and "podSelector" not in peer:
        return f"namespace {next(iter(labels))}"
    return f"what is {peer}"


def _block(block: Object) -> str:
    if block["cidr"] not in ("0.0.0.0/0", "::/0"):
        return str(block["cidr"])
    return _OUTSIDE if set(block.get("except") or ()) >= _PRIVATE else _ANYWHERE


def _peers(overlay: Overlay) -> Iterator[Finding]:
    """What a service is told of others: exactly those that it may call, where they are, and external detectors."""
    for service, config in overlay.configurations.items():
        may = {callee for caller, callee, _ in arrows() if caller == service} | _scorers(config)
        deployment = overlay.deployment(service)
        assert deployment is not None
        for peer in sorted(may ^ set(config.peers)):
            text = "is missing" if peer in may else "is none that it may call"
            yield findings.of(deployment, f"configuration peers.{peer}", text)
        for peer, address in config.peers.items():
            if peer in overlay.configurations:
                port = _port(overlay.configurations[peer].services_address)
                wanted = f"{dashed(peer)}.kept.svc.cluster.local:{port}"
                if address != wanted:
                    yield findings.of(
                        deployment, f"configuration peers.{peer}", f"is {address}; it is at {wanted}"
                    )


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
