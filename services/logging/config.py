"""What the logging service can be told beside what every service can."""

from pydantic import Field

from shared.config import ServiceConfig


class LoggingConfig(ServiceConfig):
    """The logging service's configuration."""

    partition_days_ahead: int = Field(
        default=3, ge=1, le=30, description="days beyond today whose partitions are made ahead"
    )
    screening_memory_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1024 * 1024, description="bytes that may wait in memory for screening"
    )
    screening_patience_seconds: float = Field(
        default=60.0,
        ge=45.0,
        le=3600.0,
        description="content waits in memory this long; what is unscreened after twice as long is opened again",
    )
