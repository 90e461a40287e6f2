"""PostgreSQL writes nobody's data into its log, in a cluster as on one machine."""

from collections.abc import Iterator

from deploy.check import findings
from deploy.check.findings import Finding, at
from deploy.check.overlay import Overlay
from deploy.local.postgres import QUIET_LOG


def check(overlay: Overlay) -> Iterator[Finding]:
    """Clusters that log more than the stack on one machine does."""
    for cluster in overlay.of_kind("Cluster"):
        place = "spec.postgresql.parameters"
        given = at(cluster.value, place) or {}
        for name, wanted in QUIET_LOG.items():
            if given.get(name) != wanted:
                yield findings.of(
                    cluster,
                    f"{place}.{name}",
                    f"is {given.get(name)!r}; it has to be {wanted!r}: errors quote rows, and logs are read by others",
                )
