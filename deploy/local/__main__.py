"""The local stack on the command line: `python -m deploy.local COMMAND`; make run, stop and demo call it."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from deploy.local import throwaway
from deploy.local.boot_message import boot_message, default_directory
from deploy.local.clock_file import duration
from deploy.local.errors import LocalStackError
from deploy.local.issuer.people import WORKFORCE
from deploy.local.layout import Ports
from deploy.local.progress import Progress
from deploy.local.stack import Stack

if TYPE_CHECKING:
    from typing import Protocol

    class Tell(Protocol):
        def __call__(self, stack: Stack, interactions: Path, /) -> bool: ...


_DEMO = "kept-demo-"
SAMPLE = Path(__file__).resolve().parent / "samples" / "interactions.jsonl"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 if all went well, 1 with one sentence on standard error, 130 after Ctrl-C."""
    given = _parser().parse_args(arguments)
    console, complaints = Console(), Console(stderr=True)
    try:
        return int(given.act(given, console))
    except LocalStackError as error:
        _say(complaints, str(error), style="red")
        return 1
    except KeyboardInterrupt:
        _say(complaints, "Interrupted.", style="red")
        return 130


def run(given: argparse.Namespace, console: Console) -> int:
    """Start, tell the story unless it has been told on this stack, leave the stack up."""
    stack, began = _up(given, console)
    told = stack.layout.story.exists()
    fine = told or _tell(stack, given.input or SAMPLE)
    if fine and not told:
        stack.layout.story.write_text("{}\n")
    console.print(boot_message(stack, found=not began), crop=False)
    if told:
        _say(console, "The story has been told on this stack; `make demo` tells it on a fresh one.")
    return 0 if fine else 1


def up(given: argparse.Namespace, console: Console) -> int:
    """Start, without the story."""
    stack, began = _up(given, console)
    console.print(boot_message(stack, found=not began), crop=False)
    return 0


def demo(given: argparse.Namespace, console: Console) -> int:
    """Tell the story on a stack that exists for it alone."""
    interactions = given.input or SAMPLE
    if not interactions.is_file():
        raise LocalStackError(
            f"There is no file {interactions}: name one of JSON Lines (prompt, generation)."
        )
    for left in throwaway.abandoned(_DEMO):
        _end(Stack.find(left / "stack"), left)
    home = throwaway.make(_DEMO)
    stack = None
    try:
        with Progress(console) as progress:
            stack = Stack.open(home / "stack", Ports.free())
            stack.start(progress)
        return 0 if _tell(stack, interactions) else 1
    finally:
        _without_interruption(lambda: _end(stack, home))


def stop(given: argparse.Namespace, console: Console) -> int:
    """End it; its data stay."""
    stack = Stack.find(given.directory)
    if stack is None:
        _say(console, f"There is no stack in {given.directory}.")
        return 0
    with Progress(console) as progress:
        progress("ending the stack")
        killed = stack.stop()
    if killed:
        _say(console, f"Ended. These did not end in time and were killed: {', '.join(killed)}.")
    else:
        _say(console, "Ended; its data are kept for the next `make run`.")
    return 0


def reset(given: argparse.Namespace, console: Console) -> int:
    """End it and remove everything of it."""
    stack = Stack.find(given.directory)
    if stack is not None:
        with Progress(console) as progress:
            progress("ending and removing the stack")
            stack.remove()
    _say(console, f"Nothing of a stack is left in {given.directory}.")
    return 0


def status(given: argparse.Namespace, console: Console) -> int:
    """0 if all of it is healthy, 1 if something is not."""
    stack = Stack.find(given.directory)
    parts = [] if stack is None else stack.status()
    for part in parts:
        state = "does not run" if part.pid is None else "healthy" if part.healthy else "NOT healthy"
        _say(console, f"{part.name:<16}{state:<14}{'' if part.pid is None else f'pid {part.pid}'}")
    if not parts:
        _say(console, f"There is no stack in {given.directory}; `make run` makes one.")
    return 0 if parts and all(part.healthy for part in parts) else 1


def travel(given: argparse.Namespace, console: Console) -> int:
    """Move the stack's clock ahead."""
    _running(given).travel(duration(given.by))
    _say(console, f"The stack's clock is {given.by} further. Tokens have aged: sign in again.")
    return 0


def record(given: argparse.Namespace, console: Console) -> int:
    """0 if every usable line was answered for and none refused, as the stack's gateway sends it."""
    sending = importlib.import_module("deploy.local.story.sending")
    sent: int = sending.send(_running(given), given.organization, given.input or SAMPLE, given.limit, console)
    return sent


def webhooks(given: argparse.Namespace, console: Console) -> int:
    """Show the stack's notifications as they come, until Ctrl-C."""
    receiving = importlib.import_module("deploy.local.webhooks")
    layout = _running(given).layout
    if receiving.prepare(layout):
        _say(console, "The stack tells this receiver once it has been started anew: make stop && make run")
    receiver = receiving.Receiver(layout, lambda message: console.print_json(data=message, indent=None))
    _say(console, f"Listening on 127.0.0.1:{layout.webhook_port}; Ctrl-C ends it.")
    receiver.serve_forever()
    return 0


def password(given: argparse.Namespace, console: Console) -> int:
    """The throwaway password of one of this stack's workforce, for a pipe or a variable."""
    try:
        print(_running(given).password(given.name))
    except KeyError:
        raise LocalStackError(
            f"Nobody here is called {given.name}: there are {', '.join(person.username for person in WORKFORCE)}."
        ) from None
    return 0


def _running(given: argparse.Namespace) -> Stack:
    stack = Stack.find(given.directory)
    if stack is None:
        raise LocalStackError(f"There is no stack in {given.directory}: `make run` makes one.")
    return stack


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def _up(given: argparse.Namespace, console: Console) -> tuple[Stack, bool]:
    with Progress(console) as progress:
        stack = Stack.open(given.directory, None if given.base_port is None else Ports.block(given.base_port))
        return stack, stack.start(progress)


def _tell(stack: Stack, interactions: Path) -> bool:
    # Only here: the story brings the clients with it, which no other command needs.
    story = importlib.import_module("deploy.local.story")
    tell: Tell = story.tell
    return tell(stack, interactions)


def _end(stack: Stack | None, home: Path) -> None:
    if stack is not None:
        stack.stop()
    shutil.rmtree(home, ignore_errors=True)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _without_interruption(act: Callable[[], None]) -> None:
    """Finish cleaning up, whatever signals come meanwhile."""
    signals = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        act()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description="The local stack of Kept.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for act, text in (
        (run, "start the stack, tell the story once, leave the stack up"),
        (up, "start the stack without the story"),
        (stop, "end the stack, keep its data"),
        (reset, "end the stack and remove it"),
        (status, "what runs, and whether it is healthy"),
        (demo, "tell the story on a stack of its own that ends with it"),
        (travel, "move the stack's clock ahead, such as 31d"),
        (record, "record interactions for an organization, as the stack's model gateway does"),
        (webhooks, "show notifications as they come; docs/notifications.md"),
        (password, "print the throwaway password of one of this stack's workforce"),
    ):
        command = commands.add_parser(act.__name__, help=text, description=text)
        command.set_defaults(act=act)
        if act is record:
            command.add_argument(
                "organization", metavar="org_…", help="`kept settings organizations list` shows them"
            )
            command.add_argument("--limit", type=int, metavar="N", help="the first N lines only")
        if act is password:
            command.add_argument("name", help="such as emma")
        if act in (run, demo, record):
            command.add_argument("input", type=Path, nargs="?", help="JSON Lines with prompt and generation")
        if act is travel:
            command.add_argument("by", help="such as 45s, 30m, 12h, 31d, 1d12h")
        if act is not demo:
            command.add_argument(
                "--directory", type=Path, default=default_directory(), help="where it lies (build/stack)"
            )
        if act in (run, up):
            command.add_argument("--base-port", type=int, help="first of some 60 ports on 127.0.0.1 (7400)")
    return parser


if __name__ == "__main__":
    os.umask(0o077)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)  # so that what was started is ended on the way out
    sys.exit(main())
