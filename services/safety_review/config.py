"""What safety review alone can be told."""

from pathlib import Path

from pydantic import Field

from services.safety_review.rules import DEFAULT_RULES
from shared.config import ServiceConfig


class SafetyReviewConfig(ServiceConfig):
    """The safety review service."""

    rules_file: Path = Field(
        default=DEFAULT_RULES, description="what screening looks for, TOML; the shipped rules by default"
    )
    flag_hold_days: int = Field(
        default=180, ge=1, le=3650, description="days after which the hold of a flagged record ends by itself"
    )
    claim_hours: int = Field(default=8, ge=1, le=72, description="hours for which a reviewer takes a case")
    evaluation_organizations: int = Field(
        default=5,
        ge=2,
        le=100,
        description="organizations that must be behind each category of an evaluation set",
    )
    cases_a_day: int = Field(
        default=40, ge=1, le=500, description="cases that one reviewer takes within 24 hours at most"
    )
