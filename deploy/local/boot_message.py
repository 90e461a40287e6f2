"""What a person is told once the stack is up: a value that is made first and shown then."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deploy.local.issuer.people import WORKFORCE
from deploy.local.layout import SERVICES, TRUST_DOMAIN
from deploy.local.stack import PartStatus, Stack

HIDDEN = "[hidden]"


@dataclass(frozen=True)
class Command:
    """Something to paste, and what it is for."""

    line: str
    purpose: str


@dataclass(frozen=True)
class ServiceLine:
    """One service: where people and services reach it, who it is, and how long it took to be healthy."""

    name: str
    people: str
    services: str
    health: str
    metrics: str
    identity: str
    healthy: bool
    seconds: float | None


@dataclass(frozen=True)
class BootMessage:
    """Everything that is shown. Secrets are not in it: their places are."""

    found: bool
    """True if the stack ran already."""
    services: Sequence[ServiceLine]
    sections: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    commands: Sequence[Command]
    endings: Sequence[Command]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        healthy = sum(service.healthy for service in self.services)
        state = "was up already" if self.found else "is up"
        yield Text()
        yield Text.assemble(
            (f"Kept {state}", "bold"), f" · {healthy} of {len(self.services)} services healthy · ",
            ("local stack: travelling clock ON, throwaway keys", "bold yellow"),
        )  # fmt: skip
        yield Text()
        yield Padding(self._table(), (0, 0, 0, 2))
        for title, settings in self.sections:
            yield Text(f"\n{title}", style="bold")
            grid = Table.grid(padding=(0, 2))
            for name, value in settings:
                grid.add_row(f"  {name}", Text(value, overflow="fold"))
            yield grid
        for title, commands in (("Try next", self.commands), ("When you are done", self.endings)):
            yield Text(f"\n{title}", style="bold")
            yield from (_shown(command) for command in commands)
        yield Text()

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("ports on 127.0.0.1", "healthy after", "people", "services", "health", "metrics"):
            table.add_column(column, no_wrap=True)
        for service in self.services:
            took = "found healthy" if service.seconds is None else f"{service.seconds:.1f} s"
            table.add_row(
                service.name, took if service.healthy else Text("NOT HEALTHY", style="bold red"),
                *(place.rpartition(":")[2] for place in (service.people, service.services, service.health, service.metrics)),
            )  # fmt: skip
        return table


def boot_message(stack: Stack, *, found: bool) -> BootMessage:
    """What is true of this stack now."""
    statuses = {status.name: status for status in stack.status()}
    layout = stack.layout
    place = _shortest(layout.directory)
    offset = stack.clock.offset()
    duties: dict[str, list[str]] = {}
    for person in WORKFORCE:
        duties.setdefault(" and ".join(person.duties).replace("_", " "), []).append(person.username)
    readme = _shortest(Path(__file__).resolve().parents[2] / "README.md")
    own = ".venv/bin/python -m deploy.local"
    where = "" if layout.directory == default_directory() else f" --directory {shlex.quote(str(place))}"
    return BootMessage(
        found=found,
        services=[_line(stack, statuses[service]) for service in SERVICES],
        sections=[
            (
                "Storage",
                [
                    (
                        "PostgreSQL 18",
                        f"127.0.0.1:{layout.ports['postgres']}, a database and a role for each service",
                    ),
                    ("data", f"{place}/postgres"),
                    ("passwords", f"{HIDDEN}, in {place}/secrets.json"),
                    ("key store", f"{place}/services/access_control/key_store"),
                ],
            ),
            (
                "Identity",
                [
                    ("services", f"spiffe://{TRUST_DOMAIN}/<service>, signed by {place}/authority/ca.crt"),
                    ("sign-in", f"{layout.issuer_url('workforce')} and {layout.issuer_url('customer')}"),
                    (
                        "people",
                        ", ".join(f"{' and '.join(names)} ({duty})" for duty, names in duties.items()),
                    ),
                    ("passwords", f"{HIDDEN}, in {place}/passwords.json"),
                ],
            ),
            ("Clock", [("the stack's", _ahead(offset)), ("logs", f"{place}/logs")]),
        ],
        commands=[
            Command(f"export KEPT_PROFILE={shlex.quote(str(place / 'profile.toml'))}", "where the stack is"),
            Command(".venv/bin/kept doctor", "clock, certificates, databases, leases"),
            Command(
                f"KEPT_PASSWORD=$({own} password emma{where}) .venv/bin/kept login --as emma",
                "sign in as an engineer; without the variable you are asked for her password",
            ),
            Command(".venv/bin/kept status", "who am I, which roles and grants, until when"),
            Command(f"{own} record --help", "record something for a customer, as the model gateway does"),
            Command(f"{own} travel 31d{where}", "let a month pass"),
            Command(
                f"less {readme}",
                "goes on: a customer of your own, from its first record to the proof that it went",
            ),
        ],
        endings=[
            Command(f"{own} stop{where}" if where else "make stop", "end it, keep the data"),
            Command(f"{own} reset{where}", "end it and remove everything of it"),
        ],
    )


def default_directory() -> Path:
    """Where `make run` keeps its stack."""
    return Path(__file__).resolve().parents[2] / "build" / "stack"


def _line(stack: Stack, status: PartStatus) -> ServiceLine:
    addresses = stack.addresses(status.name)
    return ServiceLine(
        name=status.name,
        people=addresses.people,
        services=addresses.services,
        health=addresses.health,
        metrics=addresses.metrics,
        identity=f"spiffe://{TRUST_DOMAIN}/{status.name}",
        healthy=status.healthy,
        seconds=status.seconds,
    )


def _ahead(offset: timedelta) -> str:
    if not offset:
        return "shows real time; `travel 31d` moves it"
    days, rest = divmod(int(offset.total_seconds()), 86_400)
    return f"is {days} days and {rest // 3600:02}:{rest // 60 % 60:02} h ahead of real time"


def _shown(command: Command) -> Text:
    return Text.assemble(
        (f"  # {command.purpose}\n", "dim"), ("  " + command.line, "cyan"), overflow="ignore", no_wrap=True
    )


def _shortest(directory: Path) -> Path:
    """Relative to where the person is, if it lies below."""
    here = Path.cwd()
    return directory.relative_to(here) if directory.is_relative_to(here) else directory
