"""What a record is: log data, and sealed content unless a policy forbids it. Checks of what a gateway sends."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from operator import attrgetter
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
_MICROSECONDS_A_DAY: Final = 86_400_000_000
# What an interaction says of the call, in one go: to ask for one after the other takes half as long again.
_LOG_DATA: Final = attrgetter(
    "application",
    "model",
    "end_user",
    "prompt_tokens",
    "generation_tokens",
    "finish_reason",
    "api_key_kind",
    "api_key_id",
    "country",
)
_API_KEY_KINDS: Final = frozenset(interactions_pb2.ApiKeyKind.values())
API_KEY_ID_FORM: Final = re.compile("apikey_[0-9a-z]{26}")
COUNTRY_FORM: Final = re.compile("[A-Z]{2}")


@dataclass(slots=True)
class Row:
    """A record as it is stored. Nothing but sealing changes one that is made; it is not frozen because that takes three times as long.

    record_id: 16 bytes, UUIDv7. gateway: who recorded it. latency_us: microseconds, None where none was sent. api_key_kind: a value of
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
    latency_us: int | None
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
    shape: int = 0,
    by_application: bool = False,
) -> Row:
    """The row of an interaction, without content."""
    latency = None
    if interaction.HasField("latency"):
        latency = interaction.latency.seconds * 1_000_000 + interaction.latency.nanos // 1000
    application, model, end_user, prompt, generation, finish, kind, api_key_id, country = _LOG_DATA(
        interaction
    )
    return Row(
        interaction.organization_id,
        interaction.record_id,
        received_at,
        gateway,
        application,
        model,
        end_user,
        prompt,
        generation,
        finish,
        latency,
        kind or PRODUCTION,
        None,
        None,
        shape,
        by_application,
        api_key_id,
        country,
    )


def is_plain(row: Row) -> bool:
    """Whether the contract's rules for log data hold at a glance, of a row whose organization is known and whose record id is one. What
    does not pass is asked of the rules themselves (`fault_of`), which takes six times as long."""
    return (
        len(row.application) <= 200
        and row.application.isprintable()
        and len(row.model) <= 200
        and row.model.isprintable()
        and len(row.end_user) <= 128
        and row.end_user.isprintable()
        and row.prompt_tokens >= 0
        and row.generation_tokens >= 0
        and len(row.finish_reason) <= 64
        and row.finish_reason.isprintable()
        and (row.latency_us is None or 0 <= row.latency_us < _MICROSECONDS_A_DAY)
        and row.api_key_kind in _API_KEY_KINDS
        and (not row.api_key_id or API_KEY_ID_FORM.fullmatch(row.api_key_id) is not None)
        and (not row.country or COUNTRY_FORM.fullmatch(row.country) is not None)
    )


def fault_of(interaction: interactions_pb2.Interaction) -> "reasons_pb2.Reason.ValueType | None":
    """Why this interaction, whose record id is one and whose content was taken out, cannot be recorded whatever the policy:
    INVALID_ARGUMENT, or None.

    Says no field by name: a receipt has no place for it, and values are the customer's.
    """
    return (
        Reason.REASON_INVALID_ARGUMENT
        if protovalidate.collect_violations(interaction, fail_fast=True)
        else None
    )


def fault_of_attributes(attributes: Mapping[str, str]) -> "reasons_pb2.Reason.ValueType | None":
    """Why a record with these attributes cannot be stored: INVALID_ARGUMENT for what their contract forbids, TOO_LARGE for more than
    16 KiB, or None. The contract's rules stand here once more, for what goes by the contract takes six times as long over them."""
    if len(attributes) > MAX_ATTRIBUTES:
        return Reason.REASON_INVALID_ARGUMENT
    size = 0
    for name in attributes:  # the pairs of a map field come out of a generator of Python's, which takes longer than to look each up
        value = attributes[name]
        name_bytes, value_bytes = byte_length(name), byte_length(value)
        if not 1 <= name_bytes <= MAX_NAME_BYTES or value_bytes > MAX_VALUE_BYTES:
            return Reason.REASON_INVALID_ARGUMENT
        size += name_bytes + value_bytes
    return Reason.REASON_TOO_LARGE if size > MAX_ATTRIBUTES_BYTES else None


def byte_length(text: str) -> int:
    """How many bytes a text has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
