"""What the stack writes is what services read: same keys, same values, private."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from deploy.local import configuration, private_files
from deploy.local.authority import Authority
from deploy.local.errors import LocalStackError, NotLocal
from deploy.local.issuer.config import IssuerConfig
from deploy.local.layout import SERVICES, Layout, Ports
from deploy.local.stack import Stack
from services.retention.config import RetentionConfig
from services.settings.config import SettingsConfig
from shared.config import load


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "stack", Ports.block(7400))


@pytest.fixture
def authority(layout: Layout) -> Authority:
    return Authority(layout.authority, trust_domain="kept.local", environment="local")


def test_a_service_reads_what_the_stack_writes(layout: Layout, authority: Authority) -> None:
    url = "postgresql+psycopg://retention:s%22e'cret@127.0.0.1:7451/retention"
    configuration.write_service(layout, "retention", authority.issue("retention", serves=True), url)
    path = layout.configuration("retention")
    config = load(RetentionConfig, "retention", path)
    assert config.signing_key == path.parent / "signing_key.pem"
    assert config.environment == "local"
    assert config.database_url.get_secret_value() == url
    assert config.services_address == "127.0.0.1:7430"
    assert config.peers == {service: layout.addresses(service).services for service in SERVICES}
    assert config.audience == "kept:retention"
    assert config.migrate_at_start
    assert [(each.kind, each.issuer) for each in config.issuers] == [
        ("workforce", "http://127.0.0.1:7450/workforce"),
        ("customer", "http://127.0.0.1:7450/customer"),
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_settings_reads_what_the_stack_writes(layout: Layout, authority: Authority) -> None:
    configuration.write_service(layout, "settings", authority.issue("settings", serves=True), "x")
    config = load(SettingsConfig, "settings", layout.configuration("settings"))
    assert config.people_address == "127.0.0.1:7401"
    assert config.mail is None
    [key] = config.token_key_files
    assert key.stat().st_mode & 0o777 == 0o600
    signed_with = key.read_text()
    private_files.write(layout.webhook_secret, "whsec_x\n")
    configuration.write_service(layout, "settings", authority.issue("settings", serves=True), "x")
    again = load(SettingsConfig, "settings", layout.configuration("settings"))
    assert key.read_text() == signed_with, "tokens outlive a restart"
    assert again.mail is not None
    assert again.mail.url == f"http://127.0.0.1:{layout.webhook_port}/"


def test_clients_are_told_where_people_reach_the_services(layout: Layout) -> None:
    configuration.write_profile(layout)
    profile = tomllib.loads(layout.profile.read_text())
    assert profile["addresses"] == {service: layout.addresses(service).people for service in SERVICES}
    assert profile["tls"]["authority"] == "authority/ca.crt"
    assert profile["issuers"]["customer"] == "http://127.0.0.1:7450/customer"


def test_access_control_is_told_where_its_keys_lie(layout: Layout, authority: Authority) -> None:
    configuration.write_service(layout, "access_control", authority.issue("access_control", serves=True), "x")
    store = Path(tomllib.loads(layout.configuration("access_control").read_text())["key_store"])
    assert store.is_dir()
    assert store.stat().st_mode & 0o077 == 0


def test_the_issuer_reads_what_the_stack_writes(layout: Layout, authority: Authority) -> None:
    configuration.write_issuer(layout, authority.issue("issuer", serves=False))
    config = IssuerConfig.read(layout.issuer_configuration)
    assert config.address == "127.0.0.1:7450"
    assert config.audiences == tuple(f"kept:{service}" for service in SERVICES)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("environment = \"local\"", "environment = \"production\""), "only where environment"),
        (("127.0.0.1:7450", "0.0.0.0:7450"), "listens on 127.0.0.1 only"),
        (("settings_name", "setting_name"), "setting_name, settings_name"),
        (("environment =", "environment"), "not TOML"),
    ],
)  # fmt: skip
def test_the_issuer_refuses_what_it_should_not_be_told(
    layout: Layout, authority: Authority, change: tuple[str, str], complaint: str
) -> None:
    configuration.write_issuer(layout, authority.issue("issuer", serves=False))
    path = layout.issuer_configuration
    path.write_text(path.read_text().replace(*change))
    with pytest.raises((NotLocal, LocalStackError), match=complaint):
        IssuerConfig.read(path)


def test_texts_survive_toml() -> None:
    hostile = 'a"b\\c\n\t\x7f é – \u2028'
    assert tomllib.loads(configuration.toml({"x": hostile}, {"t": {"y": [hostile]}}, {})) == {
        "x": hostile,
        "t": {"y": [hostile]},
    }


def test_the_directory_of_something_else_is_not_taken_for_a_stack(tmp_path: Path) -> None:
    tmp_path.joinpath("thesis.txt").write_text("mine")
    with pytest.raises(LocalStackError, match="something else"):
        Layout.find(tmp_path)
    assert Layout.find(tmp_path / "new") is None


def test_a_secret_is_made_once_and_private(layout: Layout) -> None:
    assert layout.secret("settings") == layout.secret("settings") != layout.secret("logging")
    assert layout.directory.joinpath("secrets.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("file", "content"),
    [
        *((file, content) for file in ("stack.json", "secrets.json") for content in ("", "[]", "{")),
        ("stack.json", '{"ports": []}'),
        ("stack.json", '{"ports": {}}'),
    ],
)
def test_of_a_stack_with_a_file_that_cannot_be_read_it_is_said_what_to_do(
    layout: Layout, file: str, content: str
) -> None:
    layout.directory.joinpath(file).write_text(content)
    with pytest.raises(LocalStackError, match=f"{file} cannot be read: remove .* if nothing of it runs"):
        Stack.find(layout.directory)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"parts": [1], "copies": []}', '{"parts": {}}'])
def test_of_a_record_that_is_none_nothing_is_known_to_run(layout: Layout, content: str) -> None:
    layout.running.write_text(content)
    stack = Stack(layout)
    assert not any(part.pid for part in stack.status())
    assert stack.stop() == []
    assert not layout.running.exists()
