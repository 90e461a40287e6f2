"""What other programs say counts where they are; where they are not, it is said what was not checked."""

import json
from pathlib import Path

import pytest
import yaml

from deploy.check import programs, server
from deploy.check.overlay import Overlay


@pytest.fixture
def overlay() -> Overlay:
    return Overlay.rendered("local")


def install(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, but for the shell's own."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin-that-is-not-there")
    return tmp_path


def test_without_them_it_is_said_what_was_not_checked(overlay: Overlay, folder: Path) -> None:
    not_checked: list[str] = []
    assert list(programs.check([overlay], not_checked)) == []
    assert "neither kubectl nor kustomize is installed" in not_checked[0]
    assert "--dry-run=server" in not_checked[1]
    assert "podman is not installed" in not_checked[2]


def rendered(overlay: Overlay, folder: Path, *, without: str = "") -> str:
    values = [one.value for one in overlay.resources if not without or str(one) != without]
    path = folder / "rendered.yaml"
    path.write_text(yaml.safe_dump_all(values))
    return f'while IFS= read -r line; do echo "$line"; done < {path}'


def test_a_kustomize_that_renders_the_same_has_nothing_to_say(overlay: Overlay, folder: Path) -> None:
    install(folder, "kustomize", rendered(overlay, folder))
    assert list(programs.check([overlay], [])) == []


def test_what_kustomize_renders_otherwise_is_named(overlay: Overlay, folder: Path) -> None:
    install(folder, "kustomize", rendered(overlay, folder, without="Service logging"))
    (finding,) = programs.check([overlay], [])
    assert (finding.file, finding.field) == ("deploy/overlays/local", "Service logging")


def namespace(enforced: str) -> str:
    """What kubectl says of a namespace."""
    return json.dumps({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": enforced}}})


def test_what_a_server_refuses_is_named(overlay: Overlay, folder: Path) -> None:
    script = f"""case "$1" in
version) exit 0 ;;
get) echo '{namespace("restricted")}' ;;
apply) echo "$2 $4 $5" >&2; echo 'Error: deployments "logging" is forbidden' >&2; exit 1 ;;
esac
"""
    install(folder, "kubectl", script)
    install(folder, "kustomize", rendered(overlay, folder))
    not_checked: list[str] = []
    found = list(programs.check([overlay], not_checked))
    assert [finding.field for finding in found] == ["kubectl --dry-run=server"] * 2
    assert found[0].text == "--dry-run=server -f -"
    assert "forbidden" in found[1].text
    assert not any("dry-run" in what for what in not_checked)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("exit 1", "it has no namespace kept-check"),
        (f"echo '{namespace('baseline')}'", "its namespace kept-check does not enforce restricted"),
        ("echo '{\"metadata\": {}}'", "its namespace kept-check does not enforce restricted"),
    ],
)
def test_a_server_whose_namespace_enforces_nothing_has_checked_nothing(
    overlay: Overlay, folder: Path, answer: str, why: str
) -> None:
    install(folder, "kubectl", f'case "$1" in\nget) {answer} ;;\napply) exit 1 ;;\nesac')
    install(folder, "kustomize", rendered(overlay, folder))
    not_checked: list[str] = []
    assert list(programs.check([overlay], not_checked)) == []
    assert any(why in what for what in not_checked)


def test_a_server_is_asked_about_the_pods_too_and_about_nothing_elsewhere(overlay: Overlay) -> None:
    asked = server.asked(overlay)
    pods = [one for one in asked if one["kind"] == "Pod"]
    assert len(pods) == len(overlay.workloads) == 10
    assert {one["spec"]["serviceAccountName"] for one in pods} == {"default"}
    assert all(one["spec"]["containers"][0]["command"] for one in pods)
    places = {one["metadata"].get("namespace", one["metadata"]["name"]) for one in asked}
    assert places == {"kept-check"}
    assert {one.value["metadata"].get("namespace", "kept") for one in overlay.resources} == {"kept"}


@pytest.mark.parametrize(("user", "count"), [("65532:65532", 0), ("0", 1), ("", 1)])
def test_an_image_that_runs_as_another_is_named(
    overlay: Overlay, folder: Path, user: str, count: int
) -> None:
    install(folder, "podman", f"echo '{user}'")
    found = list(programs.check([], []))
    assert len(found) == count
    assert all(finding.field == "USER" for finding in found)
