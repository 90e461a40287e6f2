"""A profile with a signed-in identity, and services that write down what they are asked."""

import base64
import copy
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from kept.cli import invocation
from kept.client import private_files
from kept.client.errors import KeptError
from kept.client.profile import Profile

PROFILE = """
version = 1
name = "test"

[addresses]
settings = "127.0.0.1:1"
logging = "127.0.0.1:2"
access_control = "127.0.0.1:3"
retention = "127.0.0.1:4"
safety_review = "127.0.0.1:5"

[tls]
authority = "ca.crt"

[issuers]
workforce = "http://127.0.0.1:6/workforce"
customer = "http://127.0.0.1:6/customer"
"""
ORG = "org_" + "a" * 26
Answer = Message | KeptError | Sequence[Message]


def token(**claims: object) -> str:
    """A token as far as a client looks into it."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"header.{body}.signature"


@dataclass
class Services:
    """Stands for all services. asked: (method, request) of each call in order. answers: by method; empty ones otherwise."""

    asked: list[tuple[str, Any]] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    identities: list[str | None] = field(default_factory=list)

    def channel(self, service: str) -> grpc.Channel:
        return _Channel(self)

    def close(self) -> None:
        pass

    def answer(self, path: str, request: Message, deserialize: Callable[[bytes], Message]) -> Any:
        method = path.rpartition("/")[2]
        kept: Any = type(request)()
        kept.CopyFrom(request)
        self.asked.append((method, kept))
        found = self.answers.get(method, deserialize(b""))
        if isinstance(found, KeptError):
            raise found
        return copy.deepcopy(found)


class _Channel(grpc.Channel):
    """The parts of a channel that generated stubs use."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def unary_unary(self, method: str, *_: Any, response_deserializer: Any = None, **__: Any) -> Any:
        return lambda request, **_: self._services.answer(method, request, response_deserializer)

    def unary_stream(self, method: str, *_: Any, response_deserializer: Any = None, **__: Any) -> Any:
        def call(request: Message, **_: Any) -> Any:
            found = self._services.answer(method, request, response_deserializer)
            return iter(found if isinstance(found, list) else [])

        return call

    def stream_unary(self, method: str, *_: Any, response_deserializer: Any = None, **__: Any) -> Any:
        def call(requests: Iterable[Message], **_: Any) -> Any:
            return [self._services.answer(method, each, response_deserializer) for each in requests][-1]

        return call

    def _not_used(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    stream_stream = subscribe = unsubscribe = _not_used
    close = __enter__ = __exit__ = _not_used


@pytest.fixture
def profile_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile, named by $KEPT_PROFILE; nobody is signed in."""
    file = tmp_path / "profile.toml"
    file.write_text(PROFILE)
    monkeypatch.setenv("KEPT_PROFILE", str(file))
    monkeypatch.delenv("KEPT_PASSWORD", raising=False)
    return file


@pytest.fixture
def services(profile_file: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Recorded services, with "anna" (workforce) and "ada" (customer of ORG, the default) signed in."""
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for name, kind, claims in (
        ("anna", "workforce", {"sub": "anna"}),
        ("ada", "customer", {"sub": "member_1", "org": ORG}),
    ):
        content = {
            "kind": kind,
            "username": name,
            "refresh_token": "r",
            "tokens": {"kept:access_control": {"token": token(**claims), "until": until}},
        }
        private_files.write(profile_file.parent / "sessions" / f"{name}.json", json.dumps(content))
    private_files.write(profile_file.parent / "sessions" / "current", "ada\n")
    made = Services()

    def open_connection(_: Profile, session: Any) -> Services:
        made.identities.append(None if session is None else session.name)
        return made

    monkeypatch.setattr(invocation, "open_connection", open_connection)
    return made
