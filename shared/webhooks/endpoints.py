"""Where webhooks go: what an operator configures of an endpoint, and its signing secrets."""

import base64
import binascii
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import structlog
from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.config import ConfigError
from shared.redaction import SecretBytes

_PREFIX: Final = "whsec_"
# Standard Webhooks, "Signature scheme": at least 192 bits, at most 512.
_SECRET_BYTES: Final = range(24, 65)
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_log = structlog.get_logger(__name__)


class Endpoint(BaseModel):
    """One receiver."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[a-z][a-z0-9-]{0,39}$",
        description="names it in logs and metrics; what it has not got yet waits under this name",
    )
    url: str = Field(
        max_length=2000, description="https; http only on loopback in the local environment. No secret in it"
    )
    secret_files: tuple[Path, ...] = Field(
        min_length=1,
        max_length=3,
        description="files with a signing secret each, whsec_ and 24 to 64 bytes in base64; two while it is rotated",
    )
    events: tuple[str, ...] = Field(default=(), description="the events it gets; all, if none is named")
    authority: Path | None = Field(
        default=None, description="PEM of the authorities that it is trusted by, in the place of the system's"
    )
    timeout_seconds: float = Field(default=10.0, ge=1, le=30, description="how long one try may take")

    @field_validator("url")
    @classmethod
    def _is_sound(cls, url: str) -> str:
        if re.fullmatch(r"[!-~]+", url) is None:
            raise ValueError("must be printable ASCII without spaces")
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise ValueError("must be of the form https://host/path")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise ValueError("must hold neither a user, nor a password, nor a fragment")
        _ = parts.port  # raises ValueError for what is none
        return url

    @property
    def is_plain(self) -> bool:
        """Whether messages would go over the wire in clear."""
        return urlsplit(self.url).scheme == "http"

    @property
    def is_loopback(self) -> bool:
        """Whether the receiver is on this machine."""
        return urlsplit(self.url).hostname in _LOOPBACK


def require_usable(
    endpoints: Sequence[Endpoint], environment: Literal["local", "production"], events: Collection[str]
) -> None:
    """What an endpoint alone cannot tell. events: those there are. Raises ValueError, for a validator of a service's configuration."""
    names = [endpoint.name for endpoint in endpoints]
    for endpoint in endpoints:
        if names.count(endpoint.name) > 1:
            raise ValueError(f"notifications: {endpoint.name}: two endpoints have this name")
        if endpoint.is_plain and not (environment == "local" and endpoint.is_loopback):
            raise ValueError(
                f'notifications: {endpoint.name}: url must be https; http is for loopback in environment = "local" only'
            )
        unknown = sorted(set(endpoint.events) - set(events))
        if unknown:
            raise ValueError(
                f"notifications: {endpoint.name}: there is no event {', '.join(unknown)}; there are {', '.join(sorted(events))}"
            )


class Secrets:
    """An endpoint's signing secrets, read again for every try, so that a mounted secret can be replaced under a running service."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Raises ConfigError."""
        self._endpoint = endpoint
        self._last = self._read()

    def current(self) -> Sequence[SecretBytes]:
        """As the files are now; as they were last where they cannot be used at the moment."""
        try:
            self._last = self._read()
        except ConfigError:
            _log.error("webhook.secret_unusable", endpoint=self._endpoint.name)
        return self._last

    def _read(self) -> Sequence[SecretBytes]:
        return [_secret(self._endpoint.name, path) for path in self._endpoint.secret_files]


def _secret(name: str, path: Path) -> SecretBytes:
    what = f"notifications: {name}: secret_files: {path}"
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what}: cannot be read ({type(error).__name__})") from error
    if not text.startswith(_PREFIX):
        raise ConfigError(f"{what}: does not begin with {_PREFIX}")
    try:
        value = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ConfigError(f"{what}: is not base64 after {_PREFIX}") from error
    if len(value) not in _SECRET_BYTES:
        raise ConfigError(
            f"{what}: holds {len(value)} bytes; it takes {_SECRET_BYTES.start} to {_SECRET_BYTES.stop - 1}"
        )
    return SecretBytes(value)
