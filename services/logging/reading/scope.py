"""Which records a read may look at: what was asked for, as far as the grant covers it; and which of these it wants."""

from dataclasses import dataclass
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import read_pb2
from shared.errors import KeptError, Reason, invalid

_LOWEST: Final = bytes(16)
_HIGHEST: Final = b"\xff" * 16
_LATEST_MS: Final = 2**48 - 1


@dataclass(frozen=True)
class Extent:
    """Ids of [low, high), 16 bytes each. record_ids: only these; None: all. outside: ids that were asked for and that the grant does not
    cover."""

    low: bytes
    high: bytes
    record_ids: frozenset[bytes] | None
    outside: frozenset[bytes]


@dataclass(frozen=True)
class Selection:
    """What must be true of a record's log data for it to be wanted. Texts: equal to these, where not empty. Tokens: at least and at most so
    many; None: any number. flagged: held by safety review."""

    application: str = ""
    model: str = ""
    end_user: str = ""
    finish_reason: str = ""
    api_key_id: str = ""
    country: str = ""
    prompt_tokens: tuple[int | None, int | None] = (None, None)
    generation_tokens: tuple[int | None, int | None] = (None, None)
    flagged: bool = False

    @property
    def is_everything(self) -> bool:
        """Whether it leaves nothing out."""
        return self == EVERYTHING


EVERYTHING: Final = Selection()


def outside_scope() -> KeptError:
    """The one answer for a record that is not covered, gone, due, or never was."""
    return KeptError(
        Reason.REASON_OUTSIDE_SCOPE, "The grant does not cover all of these records, or they do not exist."
    )


def extent_of(asked: read_pb2.RecordFilter, scope: grants_pb2.DataScope) -> Extent:
    """The part of the question that the grant covers."""
    first, last = _bound(scope, "from"), _bound(scope, "until", _HIGHEST)
    low, high = max(_bound(asked, "from"), first), min(_bound(asked, "until", _HIGHEST), last)
    # A grant for a case covers the case's records: none, where it has none.
    covered = frozenset(scope.record_ids) if scope.record_ids or scope.case_id else None
    if not asked.record_ids:
        return Extent(low, high, covered, frozenset())
    wanted = frozenset(asked.record_ids)
    inside = frozenset(one for one in wanted if first <= one < last and (covered is None or one in covered))
    return Extent(low, high, frozenset(one for one in inside if low <= one < high), wanted - inside)


def selection_of(asked: read_pb2.RecordFilter) -> Selection:
    """What the question asks of records. Raises INVALID_ARGUMENT for a range of tokens that ends before it begins."""
    return Selection(
        application=asked.application,
        model=asked.model,
        end_user=asked.end_user,
        finish_reason=asked.finish_reason,
        api_key_id=asked.api_key_id,
        country=asked.country,
        prompt_tokens=_range(asked.min_prompt_tokens, asked.max_prompt_tokens, "prompt_tokens"),
        generation_tokens=_range(
            asked.min_generation_tokens, asked.max_generation_tokens, "generation_tokens"
        ),
        flagged=asked.flagged,
    )


def _range(least: int, most: int, name: str) -> tuple[int | None, int | None]:
    if most and most < least:
        raise invalid(f"filter.max_{name}", f"must not be less than min_{name}")
    return least or None, most or None


def _bound(
    span: read_pb2.RecordFilter | grants_pb2.DataScope, name: str, otherwise: bytes = _LOWEST
) -> bytes:
    """The lowest id of any record created at or after the instant. Ids know milliseconds: an instant between two counts as the later, so
    that "from" leaves out and "until" takes in what was created before it."""
    if not span.HasField(name):  # type: ignore[arg-type]
        return otherwise
    stamp: Timestamp = getattr(span, name)
    milliseconds = stamp.seconds * 1000 + -(-stamp.nanos // 1_000_000)
    return (max(0, min(milliseconds, _LATEST_MS)) << 80).to_bytes(16)
