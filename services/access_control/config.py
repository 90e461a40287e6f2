"""What access control alone can be told."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from shared.config import ServiceConfig


class AccessControlConfig(ServiceConfig):
    """Settings of access control."""

    key_store: Path = Field(
        description="directory of the key store; never in a backup that outlives what it should forget"
    )
    survivors_must_be_on: Literal["nowhere", "standby"] = Field(
        default="nowhere", description="where a new root's commit must be before the old root is destroyed"
    )
    support_contact: str = Field(
        default="support", max_length=200, description="named to members of an organization that has no admin"
    )
