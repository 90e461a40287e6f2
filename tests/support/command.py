"""The `kept` command against a running stack, in this process: a start of its own would cost each command more than all that it does."""

import json
from collections.abc import Callable

import pytest

from deploy.local.story.plot import Plot
from kept.cli import main


class Kept:
    """The command."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, read: Callable[[], tuple[str, str]]) -> None:
        self._monkeypatch = monkeypatch
        self._read = read

    def done(self, *words: str, **secrets_: str) -> str:
        """What a command says that does it."""
        code, out, err = self._run(words, secrets_)
        assert code == 0, err
        return out

    def refused(self, *words: str, **secrets_: str) -> str:
        """Why a service refuses it."""
        code, out, err = self._run(words, secrets_)
        assert code == 1, out
        return str(json.loads(err.splitlines()[-1])["error"]["reason"])

    def tried(self, *words: str) -> tuple[int, str]:
        """The exit code of a command that may be refused yet, and what it says."""
        return self._run(words, {})[:2]

    def _run(self, words: tuple[str, ...], secrets_: dict[str, str]) -> tuple[int, str, str]:
        for name in ("PASSWORD", "NEW_PASSWORD", "INVITATION"):
            self._monkeypatch.delenv(f"KEPT_{name}", raising=False)
        for name, value in secrets_.items():
            self._monkeypatch.setenv(f"KEPT_{name.upper()}", value)
        code = main(list(words))
        return code, *self._read()


@pytest.fixture
def kept(plot: Plot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kept:
    monkeypatch.setenv("KEPT_PROFILE", str(plot.stage._profile.file))
    return Kept(monkeypatch, lambda: tuple(capsys.readouterr()))  # type: ignore[arg-type, return-value]
