"""What the development issuer is told: one TOML file, unknown keys refused."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from deploy.local.errors import LocalStackError, NotLocal


@dataclass(frozen=True)
class IssuerConfig:
    """Paths are absolute; addresses are "127.0.0.1:PORT"."""

    environment: str
    address: str
    """Where the issuer listens, by HTTP: on the loopback interface alone."""
    people: str
    """The file with the workforce."""
    keys: str
    """The directory of the signing keys."""
    travelling_clock: str
    settings_address: str
    """Settings' port for services."""
    settings_name: str
    """The name that settings' certificate must bear."""
    certificate: str
    key: str
    authority: str
    audiences: tuple[str, ...]
    """Every audience for which a token may be asked."""

    def __post_init__(self) -> None:
        if self.environment != "local":
            raise NotLocal("The development issuer", self.environment)
        if not self.address.startswith("127.0.0.1:"):
            raise LocalStackError("The development issuer listens on 127.0.0.1 only: set its address so.")

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def base(self) -> str:
        return f"http://{self.address}"

    @classmethod
    def read(cls, path: Path) -> IssuerConfig:
        """Raises LocalStackError if the file is not there, not TOML, or has a key too few or too many."""
        try:
            content = tomllib.loads(path.read_text())
        except FileNotFoundError:
            raise LocalStackError(f"There is no configuration of the issuer at {path}.") from None
        except tomllib.TOMLDecodeError as error:
            raise LocalStackError(f"The issuer's configuration {path} is not TOML: {error}.") from None
        known = {field.name for field in fields(cls)}
        wrong = sorted(known ^ content.keys())
        if wrong:
            raise LocalStackError(
                f"The issuer's configuration {path} lacks or should not have: {', '.join(wrong)}."
            )
        if not all(isinstance(content[name], str) for name in known - {"audiences"}):
            raise LocalStackError(
                f"The issuer's configuration {path} may hold texts only, but for audiences."
            )
        return cls(**{**content, "audiences": tuple(map(str, content["audiences"]))})
