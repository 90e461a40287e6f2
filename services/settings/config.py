"""What settings alone can be told."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.settings.telling import notices, notifications
from services.settings.telling.mail import EVENTS as MAIL_EVENTS
from shared.config import ServiceConfig
from shared.webhooks import Endpoint, require_usable

_SUPPORT_LOCALLY = "support@kept.local"
_PRIVACY_LOCALLY = "privacy@kept.local"
_LOCAL_LINKS = "https://kept.local/"
_LINK = r"^https://[!-~]{1,500}$"
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


class LegalDocument(BaseModel):
    """A document of the vendor's that applies to customers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    link: str = Field(pattern=_LINK, description="where it can be read")
    version: str = Field(pattern=r"^[0-9A-Za-z_. -]{1,64}$", description="as the document calls it")


class LegalDocuments(BaseModel):
    """What customers are referred to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    terms_of_use: LegalDocument = LegalDocument(link=_LOCAL_LINKS + "terms-of-use", version="local")
    privacy_policy: LegalDocument = LegalDocument(link=_LOCAL_LINKS + "privacy", version="local")
    usage_policy: LegalDocument = LegalDocument(link=_LOCAL_LINKS + "usage-policy", version="local")
    enterprise_commitments: str = Field(
        default=_LOCAL_LINKS + "commitments", pattern=_LINK, description="the published commitments"
    )
    trust_center: str = Field(
        default=_LOCAL_LINKS + "trust", pattern=_LINK, description="the page for documents and sub-processors"
    )

    @property
    def is_local(self) -> bool:
        """Whether any of it is a default, which nobody can open."""
        return _LOCAL_LINKS in self.model_dump_json()


class PublicRequests(BaseModel):
    """What people who need not sign in may write."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by_source: int = Field(default=20, ge=1, le=100_000, description="in an hour, from one network")
    by_address: int = Field(default=5, ge=1, le=100_000, description="in an hour, for one e-mail address")
    altogether: int = Field(default=1_000, ge=1, le=1_000_000, description="in an hour, over all")
    kept_days: int = Field(
        default=180,
        ge=1,
        le=3650,
        description="requests for documents are forgotten after this, and who asked for an addendum",
    )


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
    privacy_contact: str = Field(
        default=_PRIVACY_LOCALLY,
        pattern=r"^[^\x00-\x1f\x7f]{1,200}$",
        description="whom customers, prospects and their end users ask on privacy",
    )
    legal: LegalDocuments = Field(default_factory=LegalDocuments)
    public_requests: PublicRequests = Field(default_factory=PublicRequests)
    hidden_sources: bool = Field(
        default=False,
        description="whether calls of people come through a proxy, which hides their networks: nothing is counted by network then",
    )
    notifications: tuple[Endpoint, ...] = Field(
        default=(),
        description="endpoints that are told whom to write to about what; docs/settings-notifications.md, docs/trust.md",
    )
    api_key_answer_seconds: int = Field(
        default=60, ge=1, le=3600, description="how long gateways may keep what they were told of an API key"
    )
    password_hashing: PasswordHashing = Field(default_factory=PasswordHashing)
    zero_data_retention_notice_days: int = Field(
        default=30,
        ge=0,
        le=365,
        description="days before the vendor's end of zero data retention in which the customer knows of it",
    )
    subject_request_days: int | None = Field(
        default=None,
        ge=1,
        le=28,
        description="days in which a data subject's request has to be answered; a calendar month (GDPR Art. 12(3)) without it",
    )
    subject_request_reminder_days: tuple[int, ...] = Field(
        default=(14, 3),
        max_length=10,
        description="how many days before that deadline somebody is reminded; at the deadline always",
    )

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
    def _has_sensible_reminders(self) -> "SettingsConfig":
        if any(not 1 <= days <= 90 for days in self.subject_request_reminder_days):
            raise ValueError("subject_request_reminder_days are 1 to 90 each")
        return self

    @model_validator(mode="after")
    def _fit_for_customers(self) -> "SettingsConfig":
        require_usable(self.notifications, self.environment, {**notices.EVENTS, **notifications.EVENTS})
        if self.mail is not None:
            require_usable((self.mail,), self.environment, MAIL_EVENTS)
            if self.mail.events:
                raise ValueError("mail: events has to be left out: whoever sends e-mail sends all of it")
            if self.mail.name in [endpoint.name for endpoint in self.notifications]:
                raise ValueError(
                    "mail: name is one of notifications' too: what waits for it would go to both"
                )
        if self.environment == "local":
            return self
        if self.support_contact == _SUPPORT_LOCALLY:
            raise ValueError("support_contact has to be set outside the local stack: customers are told it")
        hashing = self.password_hashing
        if hashing.memory_kib < _LEAST_MEMORY_KIB or hashing.passes < _LEAST_PASSES:
            raise ValueError(
                "password_hashing is weaker than 19 MiB and 2 passes, which only the local stack may be"
            )
        if self.privacy_contact == _PRIVACY_LOCALLY or self.legal.is_local:
            raise ValueError(
                "privacy_contact and every link of legal have to be set outside the local stack: customers are told them"
            )
        if not self.token_key_files:
            raise ValueError("token_key_files have to be set outside the local stack: they sign invitations")
        if self.mail is None:
            raise ValueError("mail has to be set outside the local stack: forgotten passwords go by it")
        return self
