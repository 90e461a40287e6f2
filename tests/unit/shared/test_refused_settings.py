"""A setting that is missing, unknown or wrong stops the start of every service: by its name, with what is allowed and where it is
documented, and never with what it was set to."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509

from deploy.check.overlay import SERVICES, Overlay, config_class
from deploy.local.authority import Authority
from deploy.local.configuration import Section, toml
from shared.channels import Channels
from shared.clock import SystemClock
from shared.config import REFERENCE, ConfigError, ServiceConfig, Tls, checked
from shared.config_reference import Setting, settings_of
from shared.database import Database
from shared.preconditions import listening, require_database, require_usable

CANARY: Final = "canary-7f3a"
DOMAIN: Final = "kept.test"


@cache
def _production() -> Mapping[str, ServiceConfig]:
    return Overlay.rendered("production").configurations


def values_of(service: str) -> dict[str, Any]:
    """What the overlay `production` tells a service, with a part in every list and table, so that each setting stands somewhere."""
    values = _production()[service].model_dump(mode="json", exclude_none=True)
    values["database_url"] = f"postgresql+psycopg://{service}@db:5432/{service}"
    values["traces"] = {"endpoint": "https://collector:4317", "ratio": 0.5}
    endpoint = {"name": "here", "url": "https://receiver.test/", "secret_files": ["/run/secret"]}
    if "notifications" in values:
        values["notifications"] = [endpoint]
    if "scorers" in values:
        values["scorers"] = [{"name": "toxic", "category": "hate", "severity": "high", "flag_at": 0.5}]
        values["peers"]["toxic"] = "toxic:8443"
    return values


def parent_of(values: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """Where a setting stands, and by which key; of a list, its first part."""
    *path, last = name.split(".")
    for part in path:
        found = values[part.removesuffix("[]")]
        values = found[0] if part.endswith("[]") else found
    return values, last


def refusal(service: str, values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as refused:
        checked(config_class(service), service, values, Path("file.toml"))
    return str(refused.value)


def every_setting() -> list[tuple[str, Setting]]:
    return [(service, one) for service in SERVICES for one in settings_of(config_class(service))]


@pytest.mark.parametrize("service", SERVICES)
def test_what_production_is_told_is_taken(service: str) -> None:
    assert (
        checked(config_class(service), service, values_of(service), Path("file.toml")).environment
        == "production"
    )


def test_a_setting_that_has_to_be_set_is_asked_for_by_name() -> None:
    required = [(service, one) for service, one in every_setting() if one.is_required]
    assert len(required) > 8 * len(SERVICES)
    for service, setting in required:
        values = values_of(service)
        parent, key = parent_of(values, setting.name)
        del parent[key]
        line = next(line for line in refusal(service, values).splitlines() if key in line)
        assert line.strip().startswith(f"{setting.name.replace('[]', '[0]')}: has to be set"), line
        assert setting.allowed in line
        assert refusal(service, values).endswith(f"documented in {REFERENCE}")


def test_a_setting_of_the_wrong_kind_is_named_with_what_is_allowed() -> None:
    for service, setting in every_setting():
        values = values_of(service)
        parent, key = parent_of(values, setting.name)
        parent[key] = CANARY if setting.allowed.startswith("a ") else {CANARY: CANARY}
        said = (
            refusal(service, values)
            if "a path" not in setting.allowed
            else _of_a_path(service, values, parent, key)
        )
        shown = setting.name.replace("[]", "[0]")
        assert any(
            line.strip().startswith(shown) and setting.allowed in line for line in said.splitlines()
        ), said
        assert f": {CANARY}" not in said
        assert f"'{CANARY}'" not in said


def _of_a_path(service: str, values: dict[str, Any], parent: dict[str, Any], key: str) -> str:
    """A path can be any text: a number is none, where a list of them or one is wanted."""
    parent[key] = 7
    return refusal(service, values)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("table", "name", "instead"),
    [("", "drain_second", "there is drain_seconds"), ("tls", "xyz", "there are authority, certificate, key")],
)
def test_a_setting_that_there_is_not_is_named_with_those_that_there_are(
    service: str, table: str, name: str, instead: str
) -> None:
    values = values_of(service)
    (values[table] if table else values)[name] = CANARY
    said = refusal(service, values)
    assert f"{f'{table}.' if table else ''}{name}: there is no such setting; {instead}" in said
    assert CANARY not in said


def test_a_number_out_of_range_and_a_word_that_is_none_are_told_what_is_allowed() -> None:
    said = refusal("retention", values_of("retention") | {"default_term_days": 1, "log_level": CANARY})
    assert "default_term_days: " in said
    assert "allowed: a whole number from 3 to 36500" in said
    assert "allowed: one of debug, info, warning, error" in said
    assert CANARY not in said


@pytest.mark.parametrize(
    "url",
    ["http://login.kept.example/jwks", "nonsense", "ftp://127.0.0.1:1/", "http://localhost.evil.test:1/"],
)
def test_keys_of_issuers_come_by_https(url: str) -> None:
    values = values_of("settings")
    values["issuers"][0]["jwks_url"] = url
    assert "issuers[0].jwks_url: " in refusal("settings", values)


@pytest.mark.parametrize("address", ["nowhere", "a:1,", "a:1,b", ""])
def test_a_peer_has_a_port(address: str) -> None:
    values = values_of("settings")
    values["peers"]["access_control"] = address
    assert "peers.access_control: " in refusal("settings", values)


@pytest.mark.parametrize("service", SERVICES)
def test_a_peer_that_a_service_calls_has_to_be_named(service: str, tmp_path: Path) -> None:
    nobody: dict[str, object] = {"peers": {}, "notifications": (), "mail": None, "traces": None}
    own = {"key_store": tmp_path, "signing_key": tmp_path / "key.pem", "token_key_files": ()}
    fields = config_class(service).model_fields
    config = _production()[service].model_copy(
        update={k: v for k, v in (nobody | own).items() if k in fields}
    )
    tls = Tls(certificate=tmp_path, key=tmp_path, authority=tmp_path)
    database = Database("postgresql+psycopg://nobody@127.0.0.1:1/none", pool=2)
    wire: Callable[..., object] = import_module(f"services.{service}.wiring").wire
    with pytest.raises(
        ConfigError,
        match=r"^peers\.[a-z_]+: has to be set: .*documented in docs/operations/configuration\.md$",
    ):
        wire(config, SystemClock(), database, Channels(tls, {}, DOMAIN).connect)
    database.close()


@pytest.fixture
def config(tmp_path: Path) -> ServiceConfig:
    """One that a service of the name settings starts with."""
    identity = _authority(tmp_path).issue("settings", serves=True)
    tls = Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)
    doors = {
        f"{door}_address": f"127.0.0.1:{number}"
        for number, door in enumerate(("services", "people", "health", "metrics"), 1)
    }
    values: dict[str, Any] = {
        "environment": "local",
        "trust_domain": DOMAIN,
        "audience": "a",
        "tls": tls,
        **doors,
    }
    return ServiceConfig.model_validate(
        values | {"database_url": "postgresql+psycopg://settings@db:5432/settings"}
    )


def _authority(directory: Path) -> Authority:
    return Authority(directory, trust_domain=DOMAIN, environment="local")


def test_what_is_well_starts(config: ServiceConfig) -> None:
    require_database(config)
    require_usable(config, "settings")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"services_address": "127.0.0.1:65536"}, "services_address: 127.0.0.1:65536 has no port; allowed: 1 to 65535"),
        ({"health_address": "127.0.0.1:0"}, "health_address: "),
        ({"people_address": "127.0.0.1:1"}, "people_address: 127.0.0.1:1 is services_address too"),
        ({"trust_domain": "other.test"}, "tls.certificate: is of spiffe://kept.test/settings; by trust_domain, .* spiffe://other.test/"),
    ],
)  # fmt: skip
def test_what_names_nothing_of_use_is_refused(
    config: ServiceConfig, changed: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        require_usable(config.model_copy(update=changed), "settings")


def test_an_identity_is_its_own_whole_and_there(config: ServiceConfig, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^tls\.certificate: .* the retention service is spiffe://kept\.test/retention"
    ):
        require_usable(config, "retention")
    other = _authority(tmp_path).issue("other", serves=True)
    nobodys = tmp_path / "nobody.pem"
    nobodys.write_bytes(
        _authority(tmp_path).sign("nobody", [x509.DNSName("nobody")], [], timedelta(days=1))[0]
    )
    for name, file, said in (
        ("key", other.key, r"tls\.certificate and tls\.key: .*do not belong together"),
        ("key", tmp_path / "none", r"tls\.key: .*/none cannot be read \(No such file"),
        ("authority", tmp_path, r"tls\.authority: .* cannot be read \(Is a directory"),
        ("authority", other.key, r"tls\.authority: .*PEM is wanted"),
    ):
        tls = config.tls.model_copy(update={name: file})
        with pytest.raises(ConfigError, match=f"^{said}"):
            require_usable(config.model_copy(update={"tls": tls}), "settings")


@pytest.mark.parametrize(
    "url",
    ["nonsense", f"postgresql://{CANARY}", f"mysql://{CANARY}@h/d", f"postgresql+psycopg://u:{CANARY}@h:x/d"],
)
def test_a_database_is_named_and_its_url_is_never_repeated(config: ServiceConfig, url: str) -> None:
    wrong = config.model_copy(update={"database_url": type(config.database_url)(url)})
    with pytest.raises(
        ConfigError, match=r"^database_url: is not of the form postgresql\+psycopg://"
    ) as refused:
        Database.configured(wrong)
    assert CANARY not in str(refused.value)


def test_a_password_file_that_is_not_there_is_named(config: ServiceConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^database_password_file: .*/none cannot be read"):
        Database.configured(config.model_copy(update={"database_password_file": tmp_path / "none"}))


def test_an_issuer_signs_for_one_kind_of_people(config: ServiceConfig) -> None:
    issuer = _production()["settings"].issuers[0]
    with pytest.raises(ConfigError, match=r"^issuers: .* is there twice"):
        require_usable(config.model_copy(update={"issuers": (issuer, issuer)}), "settings")


def test_a_door_that_cannot_be_opened_is_named() -> None:
    with (
        pytest.raises(ConfigError, match=r"^people_address: h:1 cannot be listened on"),
        listening("people_address", "h:1"),
    ):
        raise RuntimeError("Failed to bind to address h:1")


def test_the_process_ends_with_2_and_says_it_on_standard_error(tmp_path: Path) -> None:
    doors: Section = {
        f"{door}_address": f"127.0.0.1:{port}"
        for port, door in enumerate(("services", "people", "health", "metrics"), 1)
    }
    url = "postgresql+psycopg://settings@127.0.0.1:1/none"
    own: Section = {"environment": "local", "trust_domain": DOMAIN, "audience": "a", "database_url": url}
    file = tmp_path / "settings.toml"
    file.write_text(
        toml({**own, **doors}, {"tls": {"certificate": "c", "key": "/nowhere/key", "authority": "a"}}, {})
    )
    command = [sys.executable, "-m", "services.settings", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        == f"tls.certificate: c cannot be read (No such file or directory); documented in {REFERENCE}"
    )
