"""What a configuration names has to be there and to be of use, or a service does not start: files, addresses, an identity of its own.

Looked at once, at the start: later a file may be missing for a moment, while it is replaced, and the last good one serves on.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from shared.channels import matching_pair
from shared.config import ConfigError, ServiceConfig

T = TypeVar("T")

_DOORS: Final = ("services_address", "people_address", "health_address", "metrics_address")
_HIGHEST_PORT: Final = 65_535
_SCHEME: Final = "postgresql+psycopg"


def require_database(config: ServiceConfig) -> None:
    """That a database is named, and its password can be read. Raises ConfigError, which never says what the URL is."""
    url = config.database_url.get_secret_value()
    try:
        parts = urlsplit(url)
        is_sound = parts.scheme == _SCHEME and bool(parts.path.strip("/")) and parts.port != 0
    except ValueError:  # a port that is none
        is_sound = False
    if not is_sound:
        raise ConfigError(
            f"database_url: is not of the form {_SCHEME}://role@host:port/database (what it is stays unsaid: it may hold a password)"
        )
    if config.database_password_file is not None:
        _read("database_password_file", config.database_password_file)


def require_usable(config: ServiceConfig, service: str) -> None:
    """That `service` can serve and be known by its peers with this. Raises ConfigError, which names the setting."""
    _require_doors(config)
    _require_identity(config, service)
    issuers = [issuer.issuer for issuer in config.issuers]
    for name in issuers:
        if issuers.count(name) > 1:
            raise ConfigError(
                f"issuers: {name} is there twice: a token of its would be of two kinds of people"
            )
    if config.traces is not None and config.traces.authority is not None:
        _read("traces.authority", config.traces.authority)


@contextmanager
def listening(setting: str, address: str) -> Iterator[None]:
    """While a door is opened: raises ConfigError where the machine does not let it."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"{setting}: {address} cannot be listened on: it has to be an address of this machine, with a port that nobody else has"
        ) from error


def _require_doors(config: ServiceConfig) -> None:
    seen: dict[str, str] = {}
    for setting in _DOORS:
        address = str(getattr(config, setting))
        if not 0 < int(address.rpartition(":")[2]) <= _HIGHEST_PORT:
            raise ConfigError(f"{setting}: {address} has no port; allowed: 1 to {_HIGHEST_PORT}")
        if address in seen:
            raise ConfigError(f"{setting}: {address} is {seen[address]} too: each has a port of its own")
        seen[address] = setting


def _require_identity(config: ServiceConfig, service: str) -> None:
    """A certificate that peers take for this service's, with its key, and an authority to know theirs by."""
    from cryptography import x509

    tls = config.tls
    for setting, file in (("certificate", tls.certificate), ("key", tls.key), ("authority", tls.authority)):
        _read(f"tls.{setting}", file)
    pair = _of("tls.certificate and tls.key", lambda: matching_pair(tls.certificate, tls.key))
    _of("tls.authority", lambda: x509.load_pem_x509_certificates(tls.authority.read_bytes()))
    wanted = f"spiffe://{config.trust_domain}/{service}"
    try:
        names = x509.load_pem_x509_certificate(pair[0]).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        found = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        found = []
    if found != [wanted]:
        raise ConfigError(
            f"tls.certificate: is of {' and '.join(found) or 'nobody'}; by trust_domain, the {service} service is {wanted}"
        )


def _read(setting: str, file: Path) -> None:
    try:
        with file.open("rb"):
            return
    except OSError as error:
        raise ConfigError(f"{setting}: {file} cannot be read ({error.strerror})") from error


def _of(setting: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}; PEM is wanted") from error
