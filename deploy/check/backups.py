"""Backups that a restore is possible from, and that keep nothing alive: docs/backups.md."""

from collections.abc import Iterator
from typing import Final

from deploy.check import findings
from deploy.check.findings import Finding, at
from deploy.check.kustomize import Resource
from deploy.check.overlay import Overlay

# An older state of it opens nothing: a backup of it that began under a root that is gone is of use with all WAL since, and not without.
_WHOLE: Final = "access-control-db"
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
    for name, schedule in schedules.items():
        yield findings.of(schedule, "spec.cluster.name", f"there is no Cluster {name}")


def _archived(overlay: Overlay, cluster: Resource) -> Iterator[Finding]:
    archivers = [one for one in at(cluster.value, "spec.plugins") or () if one.get("isWALArchiver")]
    if len(archivers) != 1:
        yield findings.of(
            cluster, "spec.plugins", f"one plugin has to archive the WAL; there are {len(archivers)}"
        )
        return
    name = archivers[0].get("parameters", {}).get("barmanObjectName", "")
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
