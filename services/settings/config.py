"""What settings alone can be told."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.settings.mail import EVENTS
from shared.config import ServiceConfig
from shared.webhooks import Endpoint, require_usable

_SUPPORT_LOCALLY = "support@kept.local"
# What OWASP's password storage guidance calls the least that is safe with argon2id; the defaults below are RFC 9106's.
_LEAST_MEMORY_KIB = 19 * 1024
_LEAST_PASSES = 2


class PasswordHashing(BaseModel):
    """The cost of one password hash (argon2id). The default is the second recommended option of RFC 9106 §4."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passes: int = Field(default=3, ge=1, le=100, description="passes over the memory")
    memory_kib: int = Field(
        default=64 * 1024, ge=8, le=4 * 1024 * 1024, description="memory of one hash, in KiB"
    )
    lanes: int = Field(default=4, ge=1, le=64, description="lanes, each a thread")

    @model_validator(mode="after")
    def _enough_memory(self) -> "PasswordHashing":
        if self.memory_kib < 8 * self.lanes:
            raise ValueError("argon2 needs at least 8 KiB of memory a lane")
        return self


class SettingsConfig(ServiceConfig):
    """The settings service."""

    account_deletion_grace_days: int = Field(
        default=14, ge=0, le=365, description="days in which a confirmed account deletion can be taken back"
    )
    support_contact: str = Field(
        default=_SUPPORT_LOCALLY,
        pattern=r"^[^\x00-\x1f\x7f]{1,200}$",
        description="whom customers without an admin are sent to",
    )
    password_hashing: PasswordHashing = Field(default_factory=PasswordHashing)
    token_key_files: tuple[Path, ...] = Field(
        default=(),
        max_length=3,
        description="files with a key each, 32 random bytes or more in base64: the first signs invitations and password resets, all verify",
    )
    mail: Endpoint | None = Field(
        default=None, description="who sends customers' people e-mail for us; docs/members.md"
    )
    sign_in_days: int = Field(
        default=30, ge=1, le=365, description="days after which sign-ins, which are log data, are removed"
    )

    @model_validator(mode="after")
    def _fit_for_customers(self) -> "SettingsConfig":
        if self.mail is not None:
            require_usable((self.mail,), self.environment, EVENTS)
            if self.mail.events:
                raise ValueError("mail: events has to be left out: whoever sends e-mail sends all of it")
        if self.environment == "local":
            return self
        if self.support_contact == _SUPPORT_LOCALLY:
            raise ValueError("support_contact has to be set outside the local stack: customers are told it")
        if not self.token_key_files:
            raise ValueError("token_key_files have to be set outside the local stack: they sign invitations")
        if self.mail is None:
            raise ValueError("mail has to be set outside the local stack: forgotten passwords go by it")
        hashing = self.password_hashing
        if hashing.memory_kib < _LEAST_MEMORY_KIB or hashing.passes < _LEAST_PASSES:
            raise ValueError(
                "password_hashing is weaker than 19 MiB and 2 passes, which only the local stack may be"
            )
        return self
