"""What the retention service can be told."""

from pathlib import Path

from pydantic import Field, model_validator

from services.retention.notifications import EVENTS
from shared.config import ServiceConfig
from shared.webhooks import Endpoint, require_usable


class RetentionConfig(ServiceConfig):
    """The settings of every service, and the default rule and the signing key of certificates."""

    default_term_days: int = Field(
        default=30,
        ge=3,
        le=36_500,
        strict=True,
        description="whole days that records live at most: 3 to 36500",
    )
    run_window_hours: float = Field(
        default=2.0,
        ge=0.0,
        le=24.0,
        description="hours before the end of the term that a run has to end in: 0 to 24",
    )
    signing_key: Path = Field(
        description="the Ed25519 private key of certificates, PEM; made with mode 0600 at the first start"
    )
    notifications: tuple[Endpoint, ...] = Field(
        default=(),
        description="endpoints that are told of terms and legal holds; docs/retention-notifications.md",
    )

    @model_validator(mode="after")
    def _notifies_usable_endpoints(self) -> "RetentionConfig":
        require_usable(self.notifications, self.environment, EVENTS)
        return self
