"""What access control alone can be told."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from services.access_control.notifications import EVENTS
from services.access_control.people.standing import ReviewTerms
from shared.config import ServiceConfig, WorkerThreads
from shared.webhooks import Endpoint, require_usable


class Pkcs11Token(BaseModel):
    """A key store in a PKCS#11 token."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    module: Path = Field(description="the token's PKCS#11 library, such as /usr/lib/softhsm/libsofthsm2.so")
    token: str = Field(min_length=1, max_length=32, description="the token's label")
    pin_file: Path = Field(description="file that holds the user PIN, not readable by everybody")


def _kind(value: object) -> str:
    return "pkcs11" if isinstance(value, dict | Pkcs11Token) else "directory"


KeyStoreChoice: TypeAlias = Annotated[
    Annotated[Path, Tag("directory")] | Annotated[Pkcs11Token, Tag("pkcs11")], Discriminator(_kind)
]


class AccessControlConfig(ServiceConfig):
    """Settings of access control."""

    key_store: KeyStoreChoice = Field(
        description="a directory, never in a backup that outlives what it should forget; or a table of module, token, pin_file (PKCS#11)"
    )
    survivors_must_be_on: Literal["nowhere", "standby", "archive"] = Field(
        default="nowhere", description="where a new root's commit must be before the old root is destroyed"
    )
    policies: Path | None = Field(
        default=None,
        description="directory of Cedar policies, sealed by `kept policy test --seal`; the package's own without it",
    )
    # Threads that wait for the same interpreter and the same commit cost each other more than they do: with 32 of them a busy Check took
    # half as long again (`make bench`, check_throughput_ratio).
    worker_threads: WorkerThreads = 6
    database_pool: int = Field(
        default=39, ge=2, le=200, description="connections at most, beside one of readiness's own"
    )
    support_contact: str = Field(
        default="support", max_length=200, description="named to members of an organization that has no admin"
    )
    notifications: tuple[Endpoint, ...] = Field(
        default=(), description="endpoints that are told of what happens to grants; docs/notifications.md"
    )

    review_after_days: int = Field(
        default=90,
        ge=1,
        le=365,
        description="a role, agreement or provider is to be confirmed after this long",
    )
    lapses_after_days: int = Field(
        default=30,
        ge=1,
        le=365,
        description="and lapses this long later; both count from each confirmation, so a change of either from the next",
    )

    @property
    def review_terms(self) -> ReviewTerms:
        """How long a confirmation is good."""
        return ReviewTerms(timedelta(days=self.review_after_days), timedelta(days=self.lapses_after_days))

    @model_validator(mode="after")
    def _usable_endpoints(self) -> "AccessControlConfig":
        require_usable(self.notifications, self.environment, EVENTS)
        return self
