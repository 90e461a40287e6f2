"""What a service can be told: a TOML file and `KEPT_<SERVICE>_…` variables, in one typed class; what is unknown is refused."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from shared.config_reference import explain

C = TypeVar("C", bound="ServiceConfig")

# Every setting there is, as `make deploy-check` holds.
REFERENCE: Final = "docs/operations/configuration.md"
_DOOR: Final = r"^.+:\d+$"
_PEERS: Final = r"^[^,]+:\d+(,[^,]+:\d+)*$"


class ConfigError(Exception):
    """The configuration cannot be used. The text names each setting, what is wrong and what is allowed; documented: the page that says
    more."""

    def __init__(self, text: str, documented: str = REFERENCE) -> None:
        super().__init__(text)
        self.documented = documented

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}{chr(10) if chr(10) in text else '; '}documented in {self.documented}"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Strict):
    """Where certificate, key and the authority's certificate lie (PEM). Read again when they change."""

    certificate: Path = Field(description="the service's certificate, with its SPIFFE id")
    key: Path = Field(description="its private key")
    authority: Path = Field(description="who signs the certificates of services")


class Issuer(_Strict):
    """An OIDC issuer whose tokens are taken."""

    kind: Literal["workforce", "customer"] = Field(description="whose people it signs for")
    issuer: str = Field(description="the exact `iss` of its tokens")
    jwks_url: str = Field(
        pattern=r"^(https://[!-~]+|http://(127\.0\.0\.1|localhost):[!-~]+)$",
        description="where its public keys are; https, or http on loopback",
    )
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


WorkerThreads = Annotated[
    int,
    Field(ge=2, le=200, description="calls served at once; half as many more of what is open to everybody"),
]


class ServiceConfig(_Strict):
    """What every service can be told. A service's own class adds to it."""

    environment: Literal["local", "production"] = Field(
        description="`local` allows what must never run elsewhere"
    )
    trust_domain: str = Field(pattern=r"^[a-z0-9.-]{1,200}$", description="the SPIFFE trust domain")
    services_address: str = Field(pattern=_DOOR, description="host:port for services, by mTLS")
    people_address: str = Field(pattern=_DOOR, description="host:port for people, by TLS and token")
    health_address: str = Field(pattern=_DOOR, description="host:port of plaintext health, and nothing else")
    metrics_address: str = Field(pattern=_DOOR, description="host:port of Prometheus metrics")
    database_url: SecretStr = Field(description="postgresql+psycopg://role:password@host:port/database")
    database_password_file: Path | None = Field(
        default=None,
        description="file with the database role's password, read for each new connection; not with one in database_url",
    )
    database_pool: int = Field(
        default=12, ge=2, le=200, description="connections at most, beside one of readiness's own"
    )
    migrate_at_start: bool = Field(default=False, description="migrate the schema before serving")
    tls: Tls = Field(description="the identity that peers see; read again when its files change")
    peers: dict[str, Annotated[str, Field(pattern=_PEERS)]] = Field(
        default_factory=dict,
        description="host:port of the other services' mTLS ports, by name; numeric ones of several replicas with commas between",
    )
    issuers: tuple[Issuer, ...] = Field(default=(), description="whose tokens are taken")
    audience: str = Field(pattern=r"^[!-~]{1,200}$", description="what `aud` of people's tokens must be")
    travelling_clock: Path | None = Field(
        default=None, description="an offset file for the clock; local only"
    )
    worker_threads: WorkerThreads = 8
    stream_threads: int = Field(
        default=16,
        ge=2,
        le=1000,
        description="long streams served at once, by each of the two ports; at that of people a quarter by one customer, or person",
    )
    drain_seconds: float = Field(
        default=0.0, ge=0, le=60, description="NOT_SERVING this long before calls are refused"
    )
    grace_seconds: float = Field(
        default=25.0, ge=0, le=300, description="calls in progress may take this long to end"
    )
    traces: Traces | None = Field(default=None, description="where traces go; without it there are none")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="what is logged, and what is worse"
    )

    @model_validator(mode="after")
    def _one_password(self) -> "ServiceConfig":
        try:
            password = urlsplit(self.database_url.get_secret_value()).password
        except ValueError:  # its text has the password
            raise ValueError("database_url cannot be read as a URL") from None
        if self.database_password_file is not None and password is not None:
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
    return checked(config_class, service, values, path)


def checked(config_class: type[C], service: str, values: Mapping[str, Any], path: Path) -> C:
    """The configuration that these values make, read from `path`. Raises ConfigError."""
    try:
        return config_class.model_validate(values)
    except ValidationError as error:
        lines = [f"{path}: the {service} service cannot be configured so:"]
        lines += [f"  {line}" for line in explain(config_class, error)]
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
