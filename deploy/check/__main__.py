"""`make deploy-check`: renders every overlay and says what is wrong with it, what was not checked, and what is left to set."""

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from deploy.check import (
    backups,
    databases,
    documented,
    hardening,
    measured,
    names,
    network,
    ports,
    programs,
    schemas,
)
from deploy.check.findings import Finding
from deploy.check.kustomize import Unsupported
from deploy.check.kustomize.build import Read
from deploy.check.overlay import OVERLAYS, Overlay

RULES: Final[tuple[Callable[[Overlay], Iterator[Finding]], ...]] = (
    hardening.check,
    network.check,
    ports.check,
    names.check,
    measured.check,
    backups.check,
    databases.check,
)
# What stands for an installation's own names until somebody sets them.
_PLACEHOLDER: Final = re.compile(
    r"[\w.@*-]*kept\.example|sha256:0{64}|192\.0\.2\.0/24|(?<='gatewayClassName': ')kept"
)


def check(name: str, read: Read = Path.read_text) -> tuple[Overlay | None, list[Finding]]:
    """An overlay, and everything that is wrong with it. read: gives a file's text."""
    try:
        overlay = Overlay.rendered(name, read)
    except Unsupported as error:
        return None, [Finding(f"deploy/overlays/{name}", "", str(error))]
    found = list(schemas.check(overlay.resources))
    if not found:  # rules read what a schema has let through
        found = [finding for rule in RULES for finding in rule(overlay)]
    return overlay, found + overlay.problems


def placeholders(overlay: Overlay) -> list[str]:
    """What is left to set in an overlay before it is of use."""
    return sorted(
        {match for resource in overlay.resources for match in _PLACEHOLDER.findall(str(resource.value))}
    )


def main() -> int:
    """The command. Its exit code is 0 where nothing is wrong."""
    where: dict[Finding, list[str]] = defaultdict(list)
    overlays: list[Overlay] = []
    not_checked: list[str] = []
    for name in OVERLAYS:
        overlay, found = check(name)
        if overlay is not None:
            overlays.append(overlay)
            print(
                f"deploy-check: {name}: {len(overlay.resources)} objects, Kubernetes {', '.join(schemas.minors())}"
            )
        for finding in found:
            where[finding].append(name)
    for finding in [*measured.check_names(), *documented.check(), *programs.check(overlays, not_checked)]:
        where[finding].append("")
    for what in not_checked:
        print(f"deploy-check: NOT CHECKED: {what}")
    print(
        "deploy-check: NOT CHECKED: objects of operators against the operators' own schemas, but for the fields used here"
    )
    for overlay in overlays:
        if left := placeholders(overlay):
            print(f"deploy-check: {overlay.name}: to be set before use: {', '.join(left)}")
        for flow, policy in network.opened_by_operator(overlay):
            print(f"deploy-check: {overlay.name}: open by a policy of your own: {flow}, by {policy}")
    for finding, found_in in sorted(where.items()):
        print(f"{finding}{f' [{chr(44).join(found_in)}]' if found_in != [''] else ''}", file=sys.stderr)
    print(f"deploy-check: {f'{len(where)} FINDINGS' if where else 'passed'}")
    return 1 if where else 0


if __name__ == "__main__":
    sys.exit(main())
