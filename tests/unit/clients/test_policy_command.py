"""`kept policy test`: an operator's own set, offline, and sealed only if it holds."""

import json
import shutil
from pathlib import Path

import pytest

from kept.cli import main
from kept.policies import PolicyFolder

SHIPPED = Path(__file__).parents[3] / "services" / "access_control" / "authorization" / "policies"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An operator's copy of the policies, and no profile to talk to any service."""
    monkeypatch.setenv("KEPT_PROFILE", str(tmp_path / "none.toml"))
    return Path(shutil.copytree(SHIPPED, tmp_path / "own"))


def test_a_copy_of_the_package_s_own_holds_and_is_sealed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "test", str(folder), "--seal"]) == 0
    schema = (folder / "schema.cedarschema").read_text()
    assert PolicyFolder(folder).load_sealed(schema).sha256 in capsys.readouterr().out


def test_the_current_folder_is_the_one_that_is_meant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert main(["policy", "test", "--json"]) == 0


def test_a_case_that_fails_is_told_and_nothing_is_sealed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (folder / "records.cedar").read_text()
    (folder / "records.cedar").write_text(text.replace("principal == resource.requester &&", ""))
    assert main(["policy", "test", str(folder), "--seal", "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert "another engineer: ReadRecords on a grant for support: denied, nothing permits it" in [
        failure["case"] for failure in document["failures"]
    ]
    assert not (folder / "policies.sha256").exists()
    assert main(["policy", "test", str(folder)]) == 4
    assert "was allowed by records.read" in capsys.readouterr().out


def test_a_condition_that_no_case_needs_is_told_to_who_asks(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "own.cedar").write_text(
        '@id("own.night")\nforbid (principal is Person, action == Action::"ReadRecords", resource is Grant)\n'
        "when { context.now < 0 };\n"
    )
    assert main(["policy", "test", str(folder)]) == 0
    capsys.readouterr()
    assert main(["policy", "test", str(folder), "--thorough", "--seal"]) == 4
    assert "own.night: the whole policy" in capsys.readouterr().out
    assert not (folder / "policies.sha256").exists()


@pytest.mark.parametrize("gone", ["schema.cedarschema", "cases"])
def test_a_folder_that_is_no_set_is_a_usage_error(
    folder: Path, gone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / gone
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert main(["policy", "test", str(folder)]) == 2
    assert gone in capsys.readouterr().err
