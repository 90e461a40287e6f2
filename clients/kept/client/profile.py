"""The profile: where an installation of Kept is, and what is trusted of it.

A TOML file, found by `--profile FILE`, else `$KEPT_PROFILE`, else `~/.config/kept/profile.toml`:

    version = 1
    name = "local"                        # free, for people

    [addresses]                           # the people ports (TLS), "host:port"; all five; of replicas without a common name, with commas
    settings       = "127.0.0.1:7401"
    logging        = "127.0.0.1:7411"
    access_control = "127.0.0.1:7421"
    retention      = "127.0.0.1:7431"
    safety_review  = "127.0.0.1:7441"

    [tls]
    authority = "authority/ca.crt"        # PEM; who signed the services' certificates

    [issuers]                             # OpenID issuers; plain http only on loopback
    workforce = "http://127.0.0.1:7450/workforce"
    customer  = "http://127.0.0.1:7450/customer"

Relative paths are relative to the profile's folder; unknown keys are refused. Beside the file lie what the client makes, for its
owner alone: `sessions/NAME.json` (one signed-in identity each), `sessions/current` (which one is the default), and
`signing-keys.json` (the public keys of audit log and certificates, as pinned by `kept login` or `kept trust`).
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from kept.client.errors import KeptError

SERVICES: Final = ("settings", "logging", "access_control", "retention", "safety_review")
_SECTIONS: Final = {
    "addresses": frozenset(SERVICES),
    "tls": frozenset({"authority"}),
    "issuers": frozenset({"workforce", "customer"}),
}


@dataclass(frozen=True)
class Profile:
    """One installation. addresses: service -> "host:port" of its people port. issuers: "workforce"/"customer" -> URL."""

    file: Path
    name: str
    addresses: Mapping[str, str]
    authority: Path
    issuers: Mapping[str, str]

    @property
    def sessions(self) -> Path:
        """Where signed-in identities are kept."""
        return self.file.parent / "sessions"

    @property
    def signing_keys(self) -> Path:
        """The pinned keys."""
        return self.file.parent / "signing-keys.json"


def locate(given: Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Which file is meant."""
    if given is not None:
        return given
    named = environment.get("KEPT_PROFILE")
    return Path(named) if named else Path("~/.config/kept/profile.toml").expanduser()


def load(file: Path) -> Profile:
    """Reads a profile. Raises KeptError (PROFILE) that names the file and what is wrong with it."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _wrong(file, "there is no such file") from None
    except OSError as error:
        raise _wrong(file, error.strerror or "it cannot be read") from None
    except (ValueError, RecursionError) as error:
        raise _wrong(file, f"it is no TOML: {error}") from None
    if content.get("version") != 1:
        raise _wrong(file, "version = 1 is missing")
    if unknown := content.keys() - _SECTIONS.keys() - {"version", "name"}:
        raise _wrong(file, f"unknown key {min(unknown)!r}")
    sections = {name: _section(file, content, name) for name in _SECTIONS}
    for service, address in sections["addresses"].items():
        for one in address.split(","):
            host, _, port = one.rpartition(":")
            if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                raise _wrong(file, f'addresses.{service} is no "host:port"')
    for kind, url in sections["issuers"].items():
        _check_issuer(file, kind, url)
    name = content.get("name", file.parent.name)
    return Profile(
        file=file,
        name=name if isinstance(name, str) else file.parent.name,
        addresses=sections["addresses"],
        authority=file.parent / sections["tls"]["authority"],
        issuers=sections["issuers"],
    )


def _section(file: Path, content: Mapping[str, Any], name: str) -> dict[str, str]:
    section = content.get(name)
    if not isinstance(section, dict):
        raise _wrong(file, f"[{name}] is missing")
    if unknown := section.keys() - _SECTIONS[name]:
        raise _wrong(file, f"unknown key {name}.{min(unknown)}")
    for key in sorted(_SECTIONS[name]):
        if not isinstance(section.get(key), str) or not section[key]:
            raise _wrong(file, f"{name}.{key} is missing")
    return section


def _check_issuer(file: Path, kind: str, url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _wrong(file, f"issuers.{kind} is no URL: {error}") from None
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1"):
        return  # a password must not cross a network in clear; loopback is none
    raise _wrong(file, f"issuers.{kind} must be an https URL (plain http on loopback only)")


def _wrong(file: Path, what: str) -> KeptError:
    return KeptError("PROFILE", f"The profile {file} cannot be used: {what}.")
