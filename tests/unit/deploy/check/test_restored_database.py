"""A cluster restored as docs/operations/backup-and-restore.md says passes `make deploy-check`, and archives where it did before."""

import re
from textwrap import dedent

import pytest
import yaml

from deploy.check import backups, schemas
from deploy.check.findings import ROOT, Finding
from deploy.check.overlay import SERVICES, Overlay, dashed

PAGE = ROOT / "docs/operations/backup-and-restore.md"
STORES = {service: "logging-backups" if service == "logging" else "backups" for service in SERVICES}


def found(overlay: Overlay, service: str, store: str) -> list[Finding]:
    """What is wrong once the page's example stands in the service's cluster."""
    (example,) = re.findall(r"(?m)(^ +bootstrap: \{recovery.*\n(?: +.*\n)+)", PAGE.read_text())
    for name, value in (("SERVICE", dashed(service)), ("DATABASE", service), ("STORE", store)):
        example = example.replace(name, value)
    cluster = overlay.find("Cluster", f"{dashed(service)}-db")
    assert cluster is not None
    cluster.value["spec"] |= yaml.safe_load(dedent(example))
    return [*schemas.check(overlay.resources), *backups.check(overlay)]


@pytest.mark.parametrize("service", SERVICES)
def test_a_database_that_was_restored_by_the_page_is_well(service: str) -> None:
    assert not found(Overlay.rendered("production"), service, STORES[service])


@pytest.mark.parametrize("service", ["logging", "settings"])
def test_log_data_in_the_archive_of_all_others_is_found(service: str) -> None:
    wrong = {"logging": "backups", "settings": "logging-backups"}[service]
    (finding,) = found(Overlay.rendered("production"), service, wrong)
    assert "logging-db" in finding.field
    assert "shares" in finding.text
