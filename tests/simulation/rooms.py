"""The rooms of the simulated world: what each service is made of and told, and which processes run it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import MetaData

import services.access_control.store
import services.access_control.wiring
import services.logging.store
import services.logging.wiring
import services.retention.store
import services.retention.wiring
import services.safety_review.store
import services.safety_review.wiring
import services.settings.store
import services.settings.wiring
from services.access_control.config import AccessControlConfig
from services.logging.config import LoggingConfig
from services.retention.config import RetentionConfig
from services.safety_review.config import SafetyReviewConfig
from services.settings.config import SettingsConfig
from shared.service import Service

ISSUERS = {"workforce": "https://workforce.test", "customer": "https://customer.test"}


@dataclass(frozen=True)
class Room:
    """A service: how it is configured and wired, and its tables."""

    config_class: Any
    wire: Callable[..., Service]
    metadata: MetaData
    migrations: Path


def _room(package: ModuleType, config_class: Any) -> Room:
    return Room(
        config_class,
        package.wiring.wire,
        package.store.metadata,
        Path(package.wiring.__file__).with_name("migrations"),
    )


ROOMS: dict[str, Room] = {
    "settings": _room(services.settings, SettingsConfig),
    "logging": _room(services.logging, LoggingConfig),
    "access_control": _room(services.access_control, AccessControlConfig),
    "retention": _room(services.retention, RetentionConfig),
    "safety_review": _room(services.safety_review, SafetyReviewConfig),
}
# Two processes of each share a database: what one acknowledged the other must know, and what one does the other must not do again.
PROCESSES = {f"{name}{replica}": name for name in ROOMS for replica in ("", "_2")}


def configuration(room: str, database_url: str, home: Path) -> dict[str, Any]:
    """What a process of a room is told. home: where the world keeps keys."""
    nowhere = "127.0.0.1:1"
    values: dict[str, Any] = {
        "environment": "local",
        "trust_domain": "sim.local",
        "services_address": nowhere,
        "people_address": nowhere,
        "health_address": nowhere,
        "metrics_address": nowhere,
        "database_url": database_url,
        "tls": {"certificate": "/nowhere", "key": "/nowhere", "authority": "/nowhere"},
        "issuers": [
            {"kind": kind, "issuer": issuer, "jwks_url": f"{issuer}/jwks.json"}
            for kind, issuer in ISSUERS.items()
        ],
        "audience": f"kept:{room}",
    }
    if room == "access_control":
        values["key_store"] = str(home / "key_store")
        (home / "key_store").mkdir(mode=0o700, parents=True, exist_ok=True)
    if room == "retention":
        values["signing_key"] = str(home / "retention.key")
    if room == "settings":
        values["account_deletion_grace_days"] = 0
        values["password_hashing"] = {"passes": 1, "memory_kib": 8, "lanes": 1}
    return values
