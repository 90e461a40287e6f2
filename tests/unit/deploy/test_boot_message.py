"""What people see once the stack is up, or when a command cannot do what it should."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local import __main__ as command
from deploy.local.boot_message import HIDDEN, BootMessage, boot_message
from deploy.local.issuer import people
from deploy.local.layout import SERVICES, Layout, Ports
from deploy.local.progress import Progress
from deploy.local.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    made = Stack(Layout.create(tmp_path / "my stack", Ports.free()))
    made.clock.create()
    people.create(made.layout.people, made.layout.passwords)
    for service in SERVICES:
        made.layout.secret(service)
    return made


def _shown(message: BootMessage) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(message)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_it_says_what_a_newcomer_needs(stack: Stack) -> None:
    text = _shown(boot_message(stack, found=False))
    assert "local stack: travelling clock ON, throwaway keys" in text
    assert "0 of 5 services healthy" in text
    assert text.count("NOT HEALTHY") == 5
    for service in SERVICES:
        assert stack.addresses(service).people.removeprefix("127.0.0.1:") in text
    assert stack.layout.issuer_url("workforce") in text
    assert "kept login" in text
    assert "stop --directory '" in text, "a path with a blank can be pasted"
    assert "reset" in text


def test_passwords_are_hidden(stack: Stack) -> None:
    message = boot_message(stack, found=True)
    secrets = [stack.layout.secret(name) for name in ("postgres", *SERVICES)]
    secrets += [stack.password(person.username) for person in people.WORKFORCE]
    for text in (_shown(message), repr(message), repr(stack), repr(stack.layout)):
        assert not any(secret in text for secret in secrets)
    assert HIDDEN in _shown(message)


def test_a_step_is_shown_only_if_it_takes_longer_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=100)
    assert isinstance(console.file, io.StringIO)
    progress = Progress(console)
    started = time.monotonic()
    progress("a short step")
    monkeypatch.setattr("deploy.local.progress.time.monotonic", lambda: started + 0.9)
    progress.tick()
    assert console.file.getvalue() == ""
    progress("a long step")
    monkeypatch.setattr("deploy.local.progress.time.monotonic", lambda: started + 5)
    progress.tick()
    progress.tick()
    assert console.file.getvalue() == "  a long step …\n"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["travel", "31d"], 1, "There is no stack in"),
        (["status"], 1, "There is no stack in"),
        (["stop"], 0, "There is no stack in"),
        (["up", "--base-port", "80"], 1, "80 is no port to start from"),
    ],
)
def test_commands_without_a_stack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, text: str
) -> None:
    directory = tmp_path / "none"
    assert command.main([*arguments, "--directory", str(directory)]) == code
    assert text in "".join(capsys.readouterr())
    assert not directory.exists()


def test_a_demo_without_its_input_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["demo", str(tmp_path / "missing.jsonl")]) == 1
    assert "There is no file" in capsys.readouterr().err
