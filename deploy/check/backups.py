"""Backups that a restore is possible from, and that keep nothing alive: docs/backups.md."""

from collections.abc import Iterator
from typing import Final

from deploy.check import findings
from deploy.check.findings import Finding, at
from deploy.check.kustomize import Resource
from deploy.check.overlay import Overlay

# An older state of it opens nothing: a backup of it that began under a root that is gone is of use with all WAL since, and not without.
_WHOLE: Final = "access-control-db"
# Its WAL is log data in clear, and is kept no longer than customers are told: in a store that no other database archives to.
_CLEAR: Final = "logging-db"
_COMPONENT: Final = "deploy/components/backups"


def check(overlay: Overlay) -> Iterator[Finding]:
    """Databases without a backup, and backups that are not worth their name. What is tried on one machine (`local`) needs none."""
    clusters = {one.value["metadata"]["name"]: one for one in overlay.of_kind("Cluster")}
    schedules = {at(one.value, "spec.cluster.name"): one for one in overlay.of_kind("ScheduledBackup")}
    if overlay.name == "local" and not schedules:
        return
    for name, cluster in clusters.items():
        yield from _archived(overlay, cluster)
        schedule = schedules.pop(name, None)
        if schedule is None:
            yield Finding(_COMPONENT, "", f"{overlay.name}: no ScheduledBackup is of {name}")
        else:
            yield from _scheduled(schedule, name)
    if _CLEAR in clusters:
        yield from _apart(clusters)
    for name, schedule in schedules.items():
        yield findings.of(schedule, "spec.cluster.name", f"there is no Cluster {name}")


def _stores(cluster: Resource) -> list[str]:
    """Where its WAL goes, by each plugin that archives it."""
    plugins = at(cluster.value, "spec.plugins") or ()
    return [at(one, "parameters.barmanObjectName") or "" for one in plugins if one.get("isWALArchiver")]


def _apart(clusters: dict[str, Resource]) -> Iterator[Finding]:
    own = _stores(clusters[_CLEAR])
    others = sorted(name for name, one in clusters.items() if name != _CLEAR and set(own) & set(_stores(one)))
    if others:
        yield findings.of(
            clusters[_CLEAR],
            "spec.plugins.0.parameters",
            f"shares {own[0]} with {', '.join(others)}: log data in clear is kept for as long as they are",
        )


def _archived(overlay: Overlay, cluster: Resource) -> Iterator[Finding]:
    stores = _stores(cluster)
    if len(stores) != 1:
        yield findings.of(
            cluster, "spec.plugins", f"one plugin has to archive the WAL; there are {len(stores)}"
        )
        return
    (name,) = stores
    store = overlay.find("ObjectStore", name)
    if store is None:
        yield findings.of(cluster, "spec.plugins.0.parameters", f"there is no ObjectStore {name!r}")
    elif not at(store.value, "spec.retentionPolicy"):
        yield findings.of(
            store, "spec.retentionPolicy", "has to be set: for ever is longer than customers are told"
        )


def _scheduled(schedule: Resource, cluster: str) -> Iterator[Finding]:
    if at(schedule.value, "spec.method") != "plugin":
        yield findings.of(schedule, "spec.method", "has to be plugin: with the WAL, in the object store")
    if cluster == _WHOLE and at(schedule.value, "spec.target") != "primary":
        yield findings.of(
            schedule,
            "spec.target",
            "has to be primary: a standby's begins at an older checkpoint, maybe under a root that is gone",
        )
