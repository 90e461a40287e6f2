"""What safety review alone can be told."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.safety_review.detection.rule_fields import Category, Severity
from services.safety_review.detection.rules import DEFAULT_RULES
from shared.config import ServiceConfig


class ScorerSettings(BaseModel):
    """An external detector. Its address stands in `peers` under its name, which is also what its certificate says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="how flags and people call it")
    category: Category = Field(description="the part of the usage policy it guards")
    severity: Severity = Field(description="how bad what it flags is")
    flag_at: float = Field(gt=0, le=1, description="from this score on a record is flagged")
    deadline_seconds: float = Field(default=2.0, gt=0, le=10, description="an answer later than this is none")


class SafetyReviewConfig(ServiceConfig):
    """The safety review service."""

    rules_file: Path = Field(
        default=DEFAULT_RULES, description="what screening looks for, TOML; the shipped rules by default"
    )
    flag_hold_days: int = Field(
        default=180,
        ge=1,
        le=3650,
        description="days after which the hold of a flagged record ends by itself, once its case is decided",
    )
    claim_hours: int = Field(default=8, ge=1, le=72, description="hours for which a reviewer takes a case")
    scorers: tuple[ScorerSettings, ...] = Field(
        default=(), max_length=8, description="external detectors, asked about every record beside the rules"
    )
    evaluation_organizations: int = Field(
        default=5,
        ge=2,
        le=100,
        description="organizations that must be behind each category of an evaluation set",
    )
    cases_a_day: int = Field(
        default=40, ge=1, le=500, description="cases that one reviewer takes within 24 hours at most"
    )

    niceness: int = Field(
        default=10,
        ge=0,
        le=19,
        description="how far screening steps back for whoever records on the same processors, as nice(1) counts",
    )

    @model_validator(mode="after")
    def _scorers_are_peers(self) -> "SafetyReviewConfig":
        names = [scorer.name for scorer in self.scorers]
        if len(set(names)) != len(names) or "rules" in names:
            raise ValueError("scorers have different names, and none is called rules")
        if missing := sorted(set(names) - set(self.peers)):
            raise ValueError(f"peers has no address for the scorer {missing[0]}")
        return self
