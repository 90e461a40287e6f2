"""A gateway asks whose a key is no more often than it has to, and goes by no answer longer than it may."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from deploy.local.authority import Authority
from kept.client import ApiKeys
from kept.client.api_keys import UNKNOWN_FOR, KeyHolder
from kept.client.errors import KeptError
from kept.logging.v1 import interactions_pb2
from kept.settings.v1 import api_keys_pb2, api_keys_pb2_grpc
from shared.errors import not_found, to_status
from tests.unit.clients.conftest import ORG

TRIAL = interactions_pb2.API_KEY_KIND_TRIAL


class Settings(api_keys_pb2_grpc.ApiKeyServiceServicer):
    """asked: fingerprints, in order. answers: by fingerprint; others are not found. down: nobody is answered."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """As new, for each test."""
        self.asked: list[bytes] = []
        self.answers: dict[bytes, api_keys_pb2.ResolveApiKeyResponse] = {}
        self.down = False

    def ResolveApiKey(self, request: api_keys_pb2.ResolveApiKeyRequest, context: Any) -> Any:
        if self.down:
            context.abort(grpc.StatusCode.UNAVAILABLE, "as the test says")
        self.asked.append(request.fingerprint)
        found = self.answers.get(request.fingerprint)
        if found is None:
            context.abort_with_status(to_status(not_found("api_key"), "call_1"))
        return found

    def register(self, key: str, *, revoked: bool = False, seconds: int = 60) -> None:
        answer = api_keys_pb2.ResolveApiKeyResponse(
            organization_id=ORG,
            kind=TRIAL,
            terms=api_keys_pb2.TERMS_KIND_GENERAL,
            revoked=revoked,
            api_key_id="apikey_1",
        )
        answer.keep_for.seconds = seconds
        self.answers[hashlib.sha256(key.encode()).digest()] = answer


class Gateway:
    """A gateway with a clock of its own."""

    def __init__(self, settings: Settings, address: str, files: tuple[Path, Path, Path]) -> None:
        self.settings = settings
        self.at = 1000.0
        self.keys = ApiKeys(address, *files, most=3, now=lambda: self.at)


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Settings, str, tuple[Path, Path, Path]]]:
    made = Authority(tmp_path_factory.mktemp("ca") / "ca", trust_domain="kept.test", environment="local")
    identity, gateway = made.issue("settings", serves=True), made.issue("gateway/chat", serves=False)
    settings = Settings()  # type: ignore[abstract]  # the stubs ask for every method
    server = grpc.server(ThreadPoolExecutor(2))
    api_keys_pb2_grpc.add_ApiKeyServiceServicer_to_server(settings, server)
    credentials = grpc.ssl_server_credentials(
        [(identity.key.read_bytes(), identity.certificate.read_bytes())],
        identity.authority.read_bytes(),
        True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield settings, f"127.0.0.1:{port}", (gateway.certificate, gateway.key, gateway.authority)
    server.stop(None).wait()


@pytest.fixture
def gateway(served: tuple[Settings, str, tuple[Path, Path, Path]]) -> Iterator[Gateway]:
    settings, address, files = served
    settings.begin()
    made = Gateway(settings, address, files)
    with made.keys:
        yield made


def test_an_answer_is_kept_as_long_as_it_may_be_and_no_longer(gateway: Gateway) -> None:
    gateway.settings.register("sk-1")
    holder = KeyHolder(ORG, TRIAL, general_terms=True, api_key_id="apikey_1")
    assert gateway.keys.holder("sk-1") == holder
    gateway.settings.register("sk-1", revoked=True)
    gateway.at += 59.9
    assert gateway.keys.holder("sk-1") == holder
    gateway.at += 0.1
    assert gateway.keys.holder("sk-1") is None
    assert gateway.settings.asked == [hashlib.sha256(b"sk-1").digest()] * 2


def test_what_is_no_text_is_nobodys(gateway: Gateway) -> None:
    """As JSON may spell it: half of a surrogate pair."""
    assert gateway.keys.holder("sk-\ud800") is None
    assert gateway.settings.asked == []


def test_a_key_with_a_pass_phrase_is_refused_and_not_asked_for(
    served: tuple[Settings, str, tuple[Path, Path, Path]], tmp_path: Path
) -> None:
    _, address, (certificate, key, authority) = served
    plain = load_pem_private_key(key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(
        plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"phrase"))
    )
    with (
        ApiKeys(address, certificate, encrypted, authority) as keys,
        pytest.raises(KeptError, match=f"{encrypted.name} is encrypted with a pass phrase") as caught,
    ):
        keys.holder("sk-1")
    assert caught.value.reason == "UNREADABLE"


def test_what_is_nobodys_is_asked_for_again_soon(gateway: Gateway) -> None:
    assert gateway.keys.holder("sk-1") is None
    gateway.settings.register("sk-1")
    gateway.at += UNKNOWN_FOR - 0.1
    assert gateway.keys.holder("sk-1") is None
    gateway.at += 0.1
    assert gateway.keys.holder("sk-1") is not None
    assert len(gateway.settings.asked) == 2


def test_without_settings_an_answer_counts_to_its_end_and_then_none_does(gateway: Gateway) -> None:
    gateway.settings.register("sk-1")
    gateway.keys.holder("sk-1")
    gateway.settings.down = True
    gateway.at += 59
    assert gateway.keys.holder("sk-1") is not None
    gateway.at += 1
    with pytest.raises(KeptError) as down:
        gateway.keys.holder("sk-1")
    assert down.value.unreachable
    with pytest.raises(KeptError):
        gateway.keys.holder("sk-2")


def test_the_time_of_the_call_is_the_gateways_loss(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.settings.register("sk-1")
    ask = gateway.keys._ask

    def slow(fingerprint: bytes) -> Any:
        answer = ask(fingerprint)
        gateway.at += 10
        return answer

    monkeypatch.setattr(gateway.keys, "_ask", slow)
    assert gateway.keys.holder("sk-1") is not None
    gateway.at += 50
    assert gateway.keys.holder("sk-1") is not None
    assert len(gateway.settings.asked) == 2, "kept from when it was asked, not from when it was answered"


def test_so_many_are_kept_and_the_oldest_make_room(gateway: Gateway) -> None:
    for key in ("a", "b", "c", "d"):
        gateway.settings.register(key)
        gateway.keys.holder(key)
    gateway.keys.holder("d")
    assert len(gateway.settings.asked) == 4
    gateway.keys.holder("a")
    assert len(gateway.settings.asked) == 5
