"""The issuer as the process that the stack starts: its tokens are good where services verify them, and only until then."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from deploy.local import configuration, health, processes
from deploy.local.authority import Authority
from deploy.local.clock_file import ClockFile
from deploy.local.issuer import people
from deploy.local.layout import Layout, Ports
from services.settings.config import SettingsConfig
from shared.clock import TravellingClock
from shared.config import load
from shared.errors import KeptError
from shared.identity import CallerKind, TokenVerifier
from shared.redaction import Secret


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layout]:
    made = Layout.create(tmp_path_factory.mktemp("issuer") / "stack", Ports.free())
    ClockFile(made.clock).create()
    people.create(made.people, made.passwords)
    authority = Authority(made.authority, trust_domain="kept.local", environment="local")
    configuration.write_issuer(made, authority.issue("issuer", serves=False))
    configuration.write_service(made, "settings", authority.issue("settings", serves=True), "unused")
    issuer = _start(made.issuer_configuration)
    try:
        assert processes.wait_until(
            lambda: health.answers(made.issuer_address, "/workforce/jwks.json"), patience=30
        )
        yield made
    finally:
        issuer.terminate()
        assert issuer.wait(timeout=10) == 0


def _start(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.local.issuer", "--config", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _token(layout: Layout, audience: str) -> Secret:
    form = {"grant_type": "password", "username": "emma", "audience": audience}
    form["password"] = people.password(layout.passwords, "emma")
    with urllib.request.urlopen(
        layout.issuer_url("workforce") + "/token", urlencode(form).encode(), timeout=10
    ) as answer:
        return Secret(json.load(answer)["access_token"])


def test_a_token_is_good_at_the_service_it_is_for_until_it_expires(layout: Layout) -> None:
    config = load(SettingsConfig, "settings", layout.configuration("settings"))
    verifier = TokenVerifier(config.issuers, TravellingClock(layout.clock))
    token = _token(layout, config.audience)
    caller = verifier.verify(token, config.audience)
    assert (caller.kind, caller.subject) == (CallerKind.STAFF, "emma")
    with pytest.raises(KeptError, match="another service"):
        verifier.verify(token, "kept:logging")
    ClockFile(layout.clock).travel(timedelta(minutes=16))
    with pytest.raises(KeptError, match="expired"):
        verifier.verify(token, config.audience)
    assert verifier.verify(_token(layout, config.audience), config.audience).subject == "emma"


def test_customers_cannot_sign_in_while_settings_is_down(layout: Layout) -> None:
    form = {"grant_type": "password", "username": "a@b.example", "password": "x", "audience": "kept:settings"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(layout.issuer_url("customer") + "/token", urlencode(form).encode(), timeout=20)
    assert refused.value.code == 503


def test_it_refuses_to_start_outside_a_local_stack(layout: Layout, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(layout.issuer_configuration.read_text().replace('"local"', '"production"'))
    issuer = _start(config)
    _, complaint = issuer.communicate(timeout=30)
    assert issuer.returncode == 1
    assert b"works only where environment" in complaint


def test_a_second_issuer_on_its_port_names_the_first(layout: Layout) -> None:
    issuer = _start(layout.issuer_configuration)
    _, complaint = issuer.communicate(timeout=30)
    assert issuer.returncode == 1
    assert b"which the issuer needs, is in use by pid" in complaint
