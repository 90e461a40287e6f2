"""Where everything of a stack lies and listens: the only module that knows its paths and its ports."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local import ports, private_files
from deploy.local.errors import LocalStackError

SERVICES = ("settings", "logging", "access_control", "retention", "safety_review")
ENVIRONMENT = "local"
TRUST_DOMAIN = "kept.local"
DEFAULT_BASE_PORT = 7400

# The receiver of webhooks, this far from the first port; no other part of the stack reaches so far.
_WEBHOOKS = 59
# What each service listens for, in the order of its ports.
_DOORS = ("services", "people", "health", "metrics")


@dataclass(frozen=True)
class Ports:
    """Every TCP port of a stack, on 127.0.0.1: "settings.people", "issuer", "postgres", "postgres_copy"…"""

    numbers: dict[str, int]

    @classmethod
    def block(cls, base: int) -> Ports:
        """Ports from `base` on, ten a service: with 7400, settings has 7400 to 7403, logging 7410 to 7413…"""
        if not 1024 <= base <= 65_000:
            raise LocalStackError(f"{base} is no port to start from: choose one between 1024 and 65000.")
        numbers = {
            f"{service}.{door}": base + 10 * row + column
            for row, service in enumerate(SERVICES)
            for column, door in enumerate(_DOORS)
        }
        after = base + 10 * len(SERVICES)
        return cls(numbers | {"issuer": after, "postgres": after + 1, "postgres_copy": after + 2})

    @classmethod
    def free(cls) -> Ports:
        """Ports that nobody uses now, for stacks beside others."""
        names = cls.block(DEFAULT_BASE_PORT).numbers.keys()
        return cls(dict(zip(names, ports.free_ports(len(names)), strict=True)))

    def __getitem__(self, name: str) -> int:
        return self.numbers[name]

    def first(self) -> int:
        return min(self.numbers.values())


@dataclass(frozen=True)
class Addresses:
    """Where one service listens; each is "127.0.0.1:PORT"."""

    services: str
    """mTLS, for services."""
    people: str
    """TLS, for people with tokens and for the public."""
    health: str
    """Plaintext: grpc.health.v1 and nothing else."""
    metrics: str
    """Prometheus, by HTTP."""


class Layout:
    """The paths and addresses of the stack in `directory`, as its `stack.json` says."""

    def __init__(self, directory: Path, ports_: Ports) -> None:
        self.directory = directory
        self.ports = ports_

    @classmethod
    def find(cls, directory: Path) -> Layout | None:
        """The stack that lies in `directory`, or None. Raises LocalStackError if something else does."""
        record = directory / "stack.json"
        if not record.exists():
            if any(_files(directory)):  # empty folders are what a disk leaves that was full
                raise LocalStackError(
                    f"{directory} holds something else than a stack: choose another --directory, or remove it if nothing of it runs."
                )
            return None
        numbers = _content(record).get("ports")
        if (
            not isinstance(numbers, dict)
            or not numbers.keys() >= Ports.block(DEFAULT_BASE_PORT).numbers.keys()
        ):
            raise _unreadable(record)
        return cls(directory, Ports(numbers))

    @classmethod
    def create(cls, directory: Path, ports_: Ports) -> Layout:
        """Make the directory and write down what it is."""
        private_files.directory(directory)
        layout = cls(directory, ports_)
        for part in (layout.logs, layout.services, layout.issuer, layout.copies):
            private_files.directory(part)
        private_files.write(
            directory / "stack.json",
            json.dumps(
                {"environment": ENVIRONMENT, "trust_domain": TRUST_DOMAIN, "ports": ports_.numbers}, indent=2
            )
            + "\n",
        )
        return layout

    # paths

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def services(self) -> Path:
        return self.directory / "services"

    @property
    def authority(self) -> Path:
        return self.directory / "authority"

    @property
    def issuer(self) -> Path:
        return self.directory / "issuer"

    @property
    def people(self) -> Path:
        """Hashes of the workforce's passwords, for the issuer."""
        return self.issuer / "people.json"

    @property
    def passwords(self) -> Path:
        """The workforce's passwords, for whoever signs in at this machine."""
        return self.directory / "passwords.json"

    @property
    def profile(self) -> Path:
        """What the `kept` command has to know of this stack."""
        return self.directory / "profile.toml"

    @property
    def clock(self) -> Path:
        return self.directory / "clock.json"

    @property
    def database(self) -> Path:
        return self.directory / "postgres"

    @property
    def copies(self) -> Path:
        """Base backups, each in a directory of its own."""
        return self.directory / "copies"

    @property
    def running(self) -> Path:
        return self.directory / "running.json"

    @property
    def webhook_secret(self) -> Path:
        """The signing secret of notifications; while it is there, the stack sends them to `webhook_port`."""
        return self.directory / "webhook.secret"

    @property
    def story(self) -> Path:
        """There once the story has been told on this stack, with every expectation met."""
        return self.directory / "story.json"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def configuration(self, service: str) -> Path:
        return self.services / service / "config.toml"

    @property
    def issuer_configuration(self) -> Path:
        return self.issuer / "config.toml"

    # addresses

    def addresses(self, service: str) -> Addresses:
        return Addresses(*(f"{ports.LOOPBACK}:{self.ports[f'{service}.{door}']}" for door in _DOORS))

    @property
    def issuer_address(self) -> str:
        return f"{ports.LOOPBACK}:{self.ports['issuer']}"

    def issuer_url(self, kind: str) -> str:
        """`kind` is "workforce" or "customer"."""
        return f"http://{self.issuer_address}/{kind}"

    @property
    def webhook_port(self) -> int:
        """Where `python -m deploy.local webhooks` listens. The stack itself does not."""
        return self.ports.first() + _WEBHOOKS

    # secrets

    def secret(self, name: str) -> str:
        """A password of this stack ("postgres", "settings"…), made when it is first asked for."""
        path = self.directory / "secrets.json"
        known: dict[str, str] = _content(path) if path.exists() else {}
        if name not in known:
            known[name] = secrets.token_urlsafe(24)
            private_files.write(path, json.dumps(known, indent=2) + "\n")
        return known[name]

    def files(self) -> Iterator[Path]:
        """Every file of the stack: databases with their WAL, copies, logs, keys, configuration."""
        return _files(self.directory)


def _content(path: Path) -> dict[str, Any]:
    """What a file of a stack's directory says by name. Raises LocalStackError for one that was torn or is something else."""
    try:
        content = json.loads(path.read_text())
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise _unreadable(path)
    return content


def _unreadable(path: Path) -> LocalStackError:
    return LocalStackError(
        f"{path} cannot be read: remove {path.parent} if nothing of it runs, and start anew."
    )


def _files(directory: Path) -> Iterator[Path]:
    entries: Iterable[Path] = ()
    try:
        entries = sorted(directory.iterdir())
    except FileNotFoundError:
        return  # removed since it was listed: databases do that
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            yield from _files(entry)
        elif entry.is_file():
            yield entry
