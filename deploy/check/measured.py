"""Every metric that an alert or a dashboard asks for is exported; every alert has a runbook; every alarm of a service has an alert,
and so has its absence."""

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

from prometheus_client import REGISTRY

from deploy.check import findings
from deploy.check.findings import ROOT, Finding
from deploy.check.kustomize import Resource
from deploy.check.overlay import SERVICES, Overlay, dashed
from deploy.dashboards.__main__ import written

_DOCUMENTATION: Final = ROOT / "docs" / "operations" / "metrics.md"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
# Prometheus makes it itself, of every target.
_PROMETHEUS: Final = frozenset({"up"})
# What Prometheus says of the target, by the operator's way of finding it. A metric's own label of that name becomes exported_….
_OF_TARGET: Final = ("job", "instance", "namespace", "service", "pod", "container", "endpoint")
_WORDS: Final = frozenset(
    ["and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"]
)
_TEXTS: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_LABELS: Final = re.compile(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring)\s*\([^)]*\)")
_NAMES: Final = re.compile(r"(?<![\w.])([a-zA-Z_:][\w:]*)(?!\w)(?!\s*\()")
# Any increase at all, of a counter.
_ANY_INCREASE: Final = re.compile(r"\b(?:rate|increase)\(\s*([\w:]+)[^()]*\)[\s)]*>\s*0\s*$")
_ALARM: Final = re.compile(r'kept_alert_active\{alert="([a-z_]+)"\}')
_GONE: Final = re.compile(r'absent\(up\{job="([a-z-]+)"\}\)')
_RAISED: Final = re.compile(r'ALERT\.labels\(\s*"([a-z_]+)"')
# What a metric's name may end with: its unit, or what is counted.
_UNITS: Final = (
    *("seconds", "bytes", "total"),
    *("records", "messages", "calls", "grants", "keys", "entries", "unanswered", "late"),
    *("active", "failing", "serving"),  # 1 or 0
)


@cache
def exported() -> frozenset[str]:
    """The names of all samples that the services export."""
    for service in SERVICES:
        importlib.import_module(f"services.{service}.wiring")
    names: set[str] = set()
    for family in REGISTRY.collect():
        endings = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
            "summary": ("_sum", "_count"),
        }.get(family.type, ("",))
        names |= {family.name + ending for ending in endings}
    return frozenset(names)


@cache
def hidden_labels() -> Mapping[str, frozenset[str]]:
    """By sample, its own labels that the target's hide."""
    exported()
    return {
        name: frozenset(getattr(collector, "_labelnames", ())) & frozenset(_OF_TARGET)
        for collector, names in REGISTRY._collector_to_names.items()
        for name in names
    }


@cache
def from_the_start() -> frozenset[str]:
    """The samples that are there before anything happens: of metrics without labels."""
    exported()
    return frozenset(
        sample.name for family in REGISTRY.collect() for sample in family.samples if not sample.labels
    )


@cache
def raised() -> frozenset[str]:
    """The alarms that services raise by themselves."""
    found: set[str] = set()
    for folder in ("services", "shared"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= set(_RAISED.findall(path.read_text()))
    return frozenset(found)


def metrics_of(expression: str) -> set[str]:
    """The metrics that a PromQL expression asks for."""
    bare = _LABELS.sub(" ", _TEXTS.sub('""', expression))
    return {name for name in _NAMES.findall(bare) if name not in _WORDS}


def check(overlay: Overlay) -> Iterator[Finding]:
    """What is asked for and not exported, or raised and not told."""
    rules = overlay.of_kind("PrometheusRule")
    if not rules:
        return
    alarms: set[str] = set()
    runbooks: set[str] = set()
    for rule in rules:
        for group in rule.value["spec"]["groups"]:
            for alert in group["rules"]:
                place = f"alert {alert['alert']}"
                for text in [*_asked(alert["expr"]), *_never_seen(alert["expr"])]:
                    yield findings.of(rule, place, text)
                asked = set(_ALARM.findall(alert["expr"]))
                alarms |= asked
                for name in sorted(asked - raised()):
                    yield findings.of(rule, place, f"no service raises {name}")
                runbook = alert.get("annotations", {}).get("runbook", "")
                runbooks.add(runbook)
                if not runbook or not (ROOT / runbook).is_file():
                    yield findings.of(rule, place, f"its runbook {runbook or '(none)'} does not exist")
                if alert.get("labels", {}).get("severity") not in ("page", "ticket"):
                    yield findings.of(rule, place, "severity is page or ticket")
    for name in sorted(raised() - alarms):
        yield findings.of(rules[0], "", f"services raise {name}, and no alert tells anybody")
    yield from _gone(rules)
    for path in sorted(RUNBOOKS.glob("*.md")):
        if findings.relative(path) not in runbooks and path.name != "README.md":
            yield Finding(findings.relative(path), "", "no alert leads here")
    yield from _dashboards(overlay)


def _asked(expression: str) -> Iterator[str]:
    """What an expression asks for, and does not get."""
    for name in sorted(metrics_of(expression) - exported() - _PROMETHEUS):
        yield f"no service exports {name}"
    said = " ".join(_LABELS.findall(_TEXTS.sub('""', expression)))
    for name in sorted(metrics_of(expression)):
        for label in sorted(hidden_labels().get(name, ())):
            if re.search(rf"\b{label}\b", said) and not re.search(rf"\bexported_{label}\b", said):
                yield f"{label} is the target's; that of {name} is exported_{label}"


def _never_seen(expression: str) -> Iterator[str]:
    """What an alert waits for in vain."""
    for name in sorted(set(_ANY_INCREASE.findall(expression)) & exported() - from_the_start()):
        yield f"waits for an increase of {name}, which is not there before its first, and so does not see it"


def _gone(rules: list[Resource]) -> Iterator[Finding]:
    """A service without a replica has no series, so that every other alert is silent about it."""
    missed = {name for rule in rules for name in _GONE.findall(str(rule.value["spec"]))}
    for name in sorted({dashed(service) for service in SERVICES} - missed):
        yield findings.of(rules[0], "", f"no alert tells that {name} is gone entirely")


def _dashboards(overlay: Overlay) -> Iterator[Finding]:
    for path, text in written().items():
        if not path.exists() or path.read_text() != text:
            yield Finding(findings.relative(path), "", "is not what `python -m deploy.dashboards` writes")
        shown = [one for one in overlay.of_kind("ConfigMap") if path.name in (one.value.get("data") or {})]
        for config_map in shown:
            for panel in json.loads(config_map.value["data"][path.name])["panels"]:
                for target in panel["targets"]:
                    for text in _asked(target["expr"]):
                        yield Finding(findings.relative(path), f"panel {panel['title']!r}", text)
        if not shown:
            yield Finding(findings.relative(path), "", f"{overlay.name} does not show it")


def documentation() -> str:
    """What operators are told of metrics."""
    return _DOCUMENTATION.read_text()


def check_names(told: str | None = None) -> Iterator[Finding]:
    """Metrics that do not say in what they are measured, and those that operators are not told of. told: in the place of what they are."""
    exported()
    told = documentation() if told is None else told
    for family in REGISTRY.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        if not name.startswith("kept_"):
            continue
        if not name.endswith(tuple(f"_{unit}" for unit in _UNITS)):
            yield Finding("services", name, "does not say its unit")
        if f"`{name}`" not in told:
            yield Finding(findings.relative(_DOCUMENTATION), name, "is exported and does not stand here")
