"""What a record is: log data, and sealed content unless a policy forbids it. Checks of what a gateway sends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

import protovalidate

from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import interactions_pb2
from shared.errors import Reason
from shared.ids import record_day

RECORD_ID_BYTES: Final = 16
# Of a record's attributes, as the contract has it: how many, a name's bytes, a value's, and those of all together.
MAX_ATTRIBUTES: Final = 64
MAX_NAME_BYTES: Final = 200
MAX_VALUE_BYTES: Final = 4096
MAX_ATTRIBUTES_BYTES: Final = 16 * 1024
# What is not said to be anything else is an organization's own key.
PRODUCTION: Final[int] = interactions_pb2.API_KEY_KIND_PRODUCTION
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(slots=True)
class Row:
    """A record as it is stored. Nothing changes one that is made; it is not frozen because that takes three times as long.

    record_id: 16 bytes, UUIDv7. gateway: who recorded it. latency: None where none was sent. api_key_kind: a value of
    kept.logging.v1.ApiKeyKind, never 0. data_key_id: 16 bytes, and content: nonce and ciphertext; both None where nothing is sealed.
    api_key_id, country: which key, and from where (ISO 3166-1 alpha-2); empty where the gateway did not say. shape: of the
    content, for usage (usage/features.py); it is not stored. by_application: whether it is of its application's own lot (shared.terms).
    """

    organization_id: str
    record_id: bytes
    received_at: datetime
    gateway: str
    application: str
    model: str
    end_user: str
    prompt_tokens: int
    generation_tokens: int
    finish_reason: str
    latency: timedelta | None
    api_key_kind: int = PRODUCTION
    data_key_id: bytes | None = None
    content: bytes | None = field(default=None, repr=False)
    shape: int = 0
    by_application: bool = False
    api_key_id: str = ""
    country: str = ""

    @property
    def lot(self) -> str:
        """The application whose own lot it is of; "" for none."""
        return self.application if self.by_application else ""

    @property
    def key(self) -> tuple[str, bytes]:
        """What makes a record the same one."""
        return self.organization_id, self.record_id

    @property
    def day(self) -> date:
        """The UTC day of its creation."""
        return record_day(self.record_id)


@dataclass(slots=True)
class StoredRow(Row):
    """A record as it was found. content: None until it is loaded. content_size: bytes of the sealed content, 0 where there is none.
    sealed_data_key: the data key that its key derives from, as stored; None where it is gone. is_held: a hold keeps it past its term."""

    content_size: int = 0
    is_held: bool = False
    sealed_data_key: bytes | None = field(default=None, repr=False)

    @property
    def has_content(self) -> bool:
        """Whether content is stored with it."""
        return self.data_key_id is not None


def row_of(
    interaction: interactions_pb2.Interaction,
    *,
    received_at: datetime,
    gateway: str,
    data_key_id: bytes | None = None,
    content: bytes | None = None,
    shape: int = 0,
    by_application: bool = False,
) -> Row:
    """The row of a valid interaction."""
    latency = None
    if interaction.HasField("latency"):
        latency = (
            timedelta(seconds=interaction.latency.seconds) + interaction.latency.nanos // 1000 * _MICROSECOND
        )
    return Row(
        organization_id=interaction.organization_id,
        record_id=interaction.record_id,
        received_at=received_at,
        gateway=gateway,
        application=interaction.application,
        model=interaction.model,
        end_user=interaction.end_user,
        prompt_tokens=interaction.prompt_tokens,
        generation_tokens=interaction.generation_tokens,
        finish_reason=interaction.finish_reason,
        latency=latency,
        api_key_kind=interaction.api_key_kind or PRODUCTION,
        data_key_id=data_key_id,
        content=content,
        shape=shape,
        by_application=by_application,
        api_key_id=interaction.api_key_id,
        country=interaction.country,
    )


def fault_of(interaction: interactions_pb2.Interaction) -> "reasons_pb2.Reason.ValueType | None":
    """Why this interaction, whose record id is one and whose content was taken out, cannot be recorded whatever the policy:
    INVALID_ARGUMENT, or None.

    Says no field by name: a receipt has no place for it, and values are the customer's.
    """
    return Reason.REASON_INVALID_ARGUMENT if protovalidate.collect_violations(interaction) else None


def fault_of_attributes(attributes: Mapping[str, str]) -> "reasons_pb2.Reason.ValueType | None":
    """Why a record with these attributes cannot be stored: INVALID_ARGUMENT for what their contract forbids, TOO_LARGE for more than
    16 KiB, or None. The contract's rules stand here once more, for what goes by the contract takes six times as long over them."""
    if len(attributes) > MAX_ATTRIBUTES:
        return Reason.REASON_INVALID_ARGUMENT
    size = 0
    for name, value in attributes.items():
        name_bytes, value_bytes = byte_length(name), byte_length(value)
        if not 1 <= name_bytes <= MAX_NAME_BYTES or value_bytes > MAX_VALUE_BYTES:
            return Reason.REASON_INVALID_ARGUMENT
        size += name_bytes + value_bytes
    return Reason.REASON_TOO_LARGE if size > MAX_ATTRIBUTES_BYTES else None


def byte_length(text: str) -> int:
    """How many bytes a text has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
