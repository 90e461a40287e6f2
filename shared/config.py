"""What a service can be told: a TOML file and `KEPT_<SERVICE>_…` variables, in one typed class; what is unknown is refused."""

import os
import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

C = TypeVar("C", bound="ServiceConfig")


class ConfigError(Exception):
    """The configuration cannot be used. The text names each setting, what is wrong and what is allowed."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Strict):
    """Where certificate, key and the authority's certificate lie (PEM). Read again when they change."""

    certificate: Path
    key: Path
    authority: Path


class Issuer(_Strict):
    """An OIDC issuer whose tokens are taken."""

    kind: Literal["workforce", "customer"] = Field(description="whose people it signs for")
    issuer: str = Field(description="the exact `iss` of its tokens")
    jwks_url: str = Field(description="where its public keys are; https, or http on loopback")
    algorithms: tuple[Literal["ES256", "ES384", "EdDSA", "PS256", "RS256"], ...] = Field(
        default=("ES256",), min_length=1, description="signature algorithms that are taken"
    )


class Traces(_Strict):
    """Where traces go, and how many. They hold no content; docs/operations/tracing.md."""

    endpoint: str = Field(
        pattern=r"^(https://[a-z0-9.-]+|http://(127\.0\.0\.1|localhost)):\d+$",
        description="an OpenTelemetry collector's OTLP port for gRPC, https://host:port; http on loopback only",
    )
    authority: Path | None = Field(
        default=None, description="who signed its certificate (PEM); the system's authorities without it"
    )
    ratio: float = Field(default=0.01, gt=0, le=1, description="share of calls that begin a trace")


class ServiceConfig(_Strict):
    """What every service can be told. A service's own class adds to it."""

    environment: Literal["local", "production"] = Field(
        description="`local` allows what must never run elsewhere"
    )
    trust_domain: str = Field(pattern=r"^[a-z0-9.-]{1,200}$", description="the SPIFFE trust domain")
    services_address: str = Field(pattern=r"^.+:\d+$", description="host:port for services, by mTLS")
    people_address: str = Field(pattern=r"^.+:\d+$", description="host:port for people, by TLS and token")
    health_address: str = Field(
        pattern=r"^.+:\d+$", description="host:port of plaintext health, and nothing else"
    )
    metrics_address: str = Field(pattern=r"^.+:\d+$", description="host:port of Prometheus metrics")
    database_url: SecretStr = Field(description="postgresql+psycopg://role:password@host:port/database")
    database_password_file: Path | None = Field(
        default=None,
        description="file with the database role's password, read for each new connection; not with one in database_url",
    )
    database_pool: int = Field(default=12, ge=2, le=200, description="connections at most")
    migrate_at_start: bool = Field(default=False, description="migrate the schema before serving")
    tls: Tls
    peers: dict[str, str] = Field(
        default_factory=dict, description="host:port of the other services' mTLS ports, by name"
    )
    issuers: tuple[Issuer, ...] = Field(default=(), description="whose tokens are taken")
    audience: str = Field(pattern=r"^[!-~]{1,200}$", description="what `aud` of people's tokens must be")
    travelling_clock: Path | None = Field(
        default=None, description="an offset file for the clock; local only"
    )
    worker_threads: int = Field(default=8, ge=2, le=200, description="calls served at once")
    stream_threads: int = Field(default=16, ge=2, le=1000, description="long streams served at once")
    drain_seconds: float = Field(
        default=0.0, ge=0, le=60, description="NOT_SERVING this long before calls are refused"
    )
    grace_seconds: float = Field(
        default=25.0, ge=0, le=300, description="calls in progress may take this long to end"
    )
    traces: Traces | None = Field(default=None, description="where traces go; without it there are none")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _one_password(self) -> "ServiceConfig":
        if self.database_password_file is not None and (
            urlsplit(self.database_url.get_secret_value()).password is not None
        ):
            raise ValueError(
                "database_password_file is set, and database_url holds a password too: one of them counts"
            )
        return self

    @model_validator(mode="after")
    def _local_only(self) -> "ServiceConfig":
        if self.environment != "local" and self.travelling_clock is not None:
            raise ValueError('travelling_clock is refused outside environment = "local"')
        return self


def load(config_class: type[C], service: str, path: Path) -> C:
    """Reads the file, lays `KEPT_<SERVICE>_<SETTING>` variables over it (nested: `__`), validates. Raises ConfigError."""
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({type(error).__name__})") from error
    prefix = f"KEPT_{service.upper()}_"
    for variable, text in sorted(os.environ.items()):
        if variable.startswith(prefix):
            _lay_over(values, variable.removeprefix(prefix).lower().split("__"), text, variable)
    try:
        return config_class.model_validate(values)
    except ValidationError as error:
        lines = [f"{path}: the {service} service cannot be configured so:"]
        for problem in error.errors(include_input=False, include_url=False):
            name = ".".join(str(part) for part in problem["loc"]) or "(all)"
            field = config_class.model_fields.get(str(problem["loc"][0])) if problem["loc"] else None
            meaning = f" - {field.description}" if field is not None and field.description else ""
            lines.append(f"  {name}: {problem['msg']}{meaning}")
        raise ConfigError("\n".join(lines)) from error


def _lay_over(values: dict[str, Any], path: list[str], text: str, variable: str) -> None:
    for part in path[:-1]:
        nested = values.setdefault(part, {})
        if not isinstance(nested, dict):
            raise ConfigError(f"{variable}: {part} has no parts")
        values = nested
    try:
        values[path[-1]] = tomllib.loads(f"v = {text}")["v"]  # numbers, booleans, lists
    except tomllib.TOMLDecodeError:
        values[path[-1]] = text


def render(config: ServiceConfig) -> str:
    """The configuration as it counts, secrets hidden, as JSON."""
    return config.model_dump_json(indent=2)
