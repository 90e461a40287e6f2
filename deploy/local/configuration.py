"""Writes the configuration of every process of a stack, from its layout."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from deploy.local import private_files
from deploy.local.authority import Identity
from deploy.local.layout import ENVIRONMENT, SERVICES, TRUST_DOMAIN, Layout
from deploy.local.ports import LOOPBACK

Value: TypeAlias = str | bool | int | float | list[str]
Section: TypeAlias = Mapping[str, Value]


def write_service(layout: Layout, service: str, identity: Identity, database_url: str) -> None:
    """One service's TOML, which holds the password of its database: mode 0600."""
    own = layout.addresses(service)
    home = private_files.directory(layout.configuration(service).parent)
    settings: dict[str, Value] = {
        "environment": ENVIRONMENT,
        "trust_domain": TRUST_DOMAIN,
        "services_address": own.services,
        "people_address": own.people,
        "health_address": own.health,
        "metrics_address": own.metrics,
        "database_url": database_url,
        "migrate_at_start": True,
        "audience": audience(service),
        "travelling_clock": str(layout.clock),
    }
    if service == "access_control":
        settings["key_store"] = str(private_files.directory(home / "key_store"))
    if service == "retention":
        settings["signing_key"] = str(home / "signing_key.pem")
    if service == "settings":
        settings["account_deletion_grace_days"] = 0  # the story does not wait two weeks
        settings["token_key_files"] = [str(_token_key(home / "token.key"))]
    tables: dict[str, Section] = {
        "tls": {
            "certificate": str(identity.certificate),
            "key": str(identity.key),
            "authority": str(identity.authority),
        },
        "peers": {peer: layout.addresses(peer).services for peer in SERVICES},
    }
    issuers: list[Section] = [
        {
            "kind": kind,
            "issuer": layout.issuer_url(kind),
            "jwks_url": f"{layout.issuer_url(kind)}/jwks.json",
            "algorithms": ["ES256"],
        }
        for kind in ("workforce", "customer")
    ]
    arrays = {"issuers": issuers}
    if layout.webhook_secret.exists():
        url = f"http://{LOOPBACK}:{layout.webhook_port}/"
        receiver: Section = {"name": "here", "url": url, "secret_files": [str(layout.webhook_secret)]}
        if service == "access_control":
            arrays["notifications"] = [receiver]
        if service == "settings":
            tables["mail"] = {**receiver, "name": "mail"}
    private_files.write(layout.configuration(service), toml(settings, tables, arrays))


def _token_key(path: Path) -> Path:
    """The key that settings signs tokens with, made once."""
    if not path.exists():
        private_files.write(path, base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
    return path


def write_issuer(layout: Layout, identity: Identity) -> None:
    """The development issuer's TOML."""
    settings: dict[str, Value] = {
        "environment": ENVIRONMENT,
        "address": layout.issuer_address,
        "people": str(layout.people),
        "keys": str(layout.issuer),
        "travelling_clock": str(layout.clock),
        "settings_address": layout.addresses("settings").services,
        "settings_name": f"settings.{TRUST_DOMAIN}",
        "certificate": str(identity.certificate),
        "key": str(identity.key),
        "authority": str(identity.authority),
        "audiences": [audience(service) for service in SERVICES],
    }
    private_files.write(layout.issuer_configuration, toml(settings, {}, {}))


def write_profile(layout: Layout) -> None:
    """What people's clients have to know: addresses, the authority, the issuers. It holds no secret."""
    tables: dict[str, Section] = {
        "addresses": {service: layout.addresses(service).people for service in SERVICES},
        "tls": {"authority": str((layout.authority / "ca.crt").relative_to(layout.directory))},
        "issuers": {kind: layout.issuer_url(kind) for kind in ("workforce", "customer")},
    }
    private_files.write(layout.profile, toml({"version": 1, "name": "local"}, tables, {}))


def audience(service: str) -> str:
    """What a token must say to be good at this service."""
    return f"kept:{service}"


def toml(settings: Section, tables: Mapping[str, Section], arrays: Mapping[str, list[Section]]) -> str:
    """TOML 1.0 of plain settings, then tables, then arrays of tables."""
    lines = _lines(settings)
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_lines(table)]
    for name, entries in arrays.items():
        for entry in entries:
            lines += ["", f"[[{name}]]", *_lines(entry)]
    return "\n".join(lines) + "\n"


def _lines(section: Section) -> list[str]:
    # A JSON text, number, boolean or list of texts is one in TOML too, once DEL is escaped.
    return [
        f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
        for key, value in section.items()
    ]
