"""How much there was of each organization in a time: log data, added up where they lie. Content has no part in it but for whether there is
any.

The key leads there: organization and record id, which begins with the time of creation. Nothing is written for it when records are.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, LiteralString, NamedTuple

from sqlalchemy import Connection

from kept.safety_review.v1 import log_rules_pb2
from services.logging.records import PRODUCTION
from shared.driver import Uuid, listed, rows

# The records that an answer names of each; a reviewer looks at some.
SHOWN: Final = 100

_MEMBERS: Final[dict[int, LiteralString]] = {
    log_rules_pb2.LOG_GROUP_ORGANIZATION: "''::text",
    log_rules_pb2.LOG_GROUP_END_USER: "end_user",
    log_rules_pb2.LOG_GROUP_APPLICATION: "application",
    log_rules_pb2.LOG_GROUP_GATEWAY: "gateway",
    log_rules_pb2.LOG_GROUP_API_KEY: "api_key_id",
    log_rules_pb2.LOG_GROUP_COUNTRY: "country",
}
_SUMS: Final[dict[int, LiteralString]] = {
    log_rules_pb2.LOG_MEASURE_RECORDS: "count(*)",
    log_rules_pb2.LOG_MEASURE_PROMPT_TOKENS: "sum(prompt_tokens)::bigint",
    log_rules_pb2.LOG_MEASURE_GENERATION_TOKENS: "sum(generation_tokens)::bigint",
    log_rules_pb2.LOG_MEASURE_END_USERS: "count(DISTINCT nullif(end_user, ''))",
    log_rules_pb2.LOG_MEASURE_API_KEYS: "count(DISTINCT api_key_id)",
    log_rules_pb2.LOG_MEASURE_COUNTRIES: "count(DISTINCT country)",
}
# Records that name no member of a group do not count in it. Of these groups alone: every record has an application and a gateway.
_NAMED: Final[dict[int, LiteralString]] = {
    log_rules_pb2.LOG_GROUP_END_USER: "end_user <> ''",
    log_rules_pb2.LOG_GROUP_API_KEY: "api_key_id IS NOT NULL",
    log_rules_pb2.LOG_GROUP_COUNTRY: "country IS NOT NULL",
}
_ORGANIZATIONS: Final[LiteralString] = (
    "SELECT DISTINCT organization_id FROM stored_counts WHERE day = ANY(%t::date[]) ORDER BY 1"
)
_OF_KIND: Final[LiteralString] = "coalesce(api_key_kind, %(production)b) = %(kind)b"
_FROM_COUNTRY: Final[LiteralString] = "country = ANY(%(countries)b::text[])"
# Of a call with several choices the reasons are joined by commas (docs/otlp.md); a client's own reason may have a comma in it.
_OF_REASON: Final[LiteralString] = (
    "(finish_reason = ANY(%(reasons)b::text[]) OR string_to_array(finish_reason, ',') && %(reasons)b::text[])"
)


class Reached(NamedTuple):
    """Who reached the threshold. member: of the group; empty for the organization as a whole."""

    organization_id: str
    member: str
    counted: int


@dataclass(frozen=True)
class Wanted:
    """What is counted: records with ids of [low, high), 16 bytes each. measure, group: numbers of kept.safety_review.v1. reasons: finish
    reasons, key_kind: of kept.logging.v1.ApiKeyKind, countries: two letters each; empty and 0 for all."""

    low: bytes
    high: bytes
    measure: int
    group: int
    threshold: int
    reasons: Sequence[str] = ()
    key_kind: int = 0
    countries: Sequence[str] = ()

    @property
    def is_answerable(self) -> bool:
        """Whether this version knows how to count it."""
        known = self.measure in _SUMS or (
            self.measure == log_rules_pb2.LOG_MEASURE_IN_A_ROW and bool(self.reasons)
        )
        return known and self.group in _MEMBERS


def organizations(tx: Connection, days: Collection[date]) -> list[str]:
    """Those that have records of these days."""
    return [one for (one,) in rows(tx, _ORGANIZATIONS, (listed(sorted(days)),))]


def first(tx: Connection, organization_ids: Sequence[str], wanted: Wanted) -> bytes | None:
    """The first record of these organizations that counts; None where there is none."""
    statement: LiteralString = (
        "SELECT uuid_send(record_id) FROM interactions WHERE organization_id = ANY(%(organizations)t::text[]) AND "  # noqa: S608
        + _window(wanted, with_reasons=True)
        + " ORDER BY record_id LIMIT 1"
    )
    given = _given(wanted) | {"organizations": listed(organization_ids)}
    return next((bytes(record_id) for (record_id,) in rows(tx, statement, given)), None)


def reached(
    tx: Connection,
    organization_ids: Sequence[str],
    wanted: Wanted,
    after: tuple[str, str] | None,
    limit: int,
) -> list[Reached]:
    """Who reached the threshold, by organization and member, after a place in that order."""
    in_a_row = wanted.measure == log_rules_pb2.LOG_MEASURE_IN_A_ROW
    statement = _runs(wanted) if in_a_row else _sums(wanted)
    given = _given(wanted) | {
        "organizations": listed(organization_ids),
        "threshold": wanted.threshold,
        "after_organization": after[0] if after else "",
        "after_member": after[1] if after else "",
        "limit": limit,
    }
    page: LiteralString = (
        "SELECT organization_id, member, counted FROM ("  # noqa: S608 - constants
        + statement
        + ") AS counts WHERE counted >= %(threshold)b "
    )
    if after is not None:
        page += "AND (organization_id, member) > (%(after_organization)b::text, %(after_member)b::text) "
    return [
        Reached(*row) for row in rows(tx, page + "ORDER BY organization_id, member LIMIT %(limit)b", given)
    ]


def counted(tx: Connection, who: Reached, wanted: Wanted) -> list[tuple[bytes, bool]]:
    """The first records that were counted for somebody, and whether they have content."""
    statement: LiteralString = (
        "SELECT uuid_send(record_id), content IS NOT NULL FROM interactions WHERE organization_id = %(organization)b AND "  # noqa: S608
        + _window(wanted, with_reasons=True)
        + " AND "
        + _MEMBERS[wanted.group]
        + " = %(member)b::text ORDER BY record_id LIMIT %(limit)b"
    )
    given = _given(wanted) | {
        "organization": who.organization_id,
        "member": who.member,
        "limit": SHOWN,
    }
    return [(bytes(record_id), has_content) for record_id, has_content in rows(tx, statement, given)]


def _sums(wanted: Wanted) -> LiteralString:
    return (
        "SELECT organization_id, "  # noqa: S608
        + _MEMBERS[wanted.group]
        + " AS member, "
        + _SUMS[wanted.measure]
        + " AS counted FROM interactions WHERE organization_id = ANY(%(organizations)t::text[]) AND "
        + _window(wanted, with_reasons=True)
        + " GROUP BY 1, 2"
    )


def _runs(wanted: Wanted) -> LiteralString:
    """Records in a row that all have one of the reasons have one difference between their place among all and their place among such."""
    return (
        "SELECT organization_id, member, max(length) AS counted FROM ("  # noqa: S608
        "SELECT organization_id, member, count(*) AS length FROM ("
        "SELECT organization_id, member, fits, row_number() OVER (PARTITION BY organization_id, member ORDER BY record_id) "
        "- row_number() OVER (PARTITION BY organization_id, member, fits ORDER BY record_id) AS run FROM ("
        "SELECT organization_id, record_id, "
        + _MEMBERS[wanted.group]
        + " AS member, "
        + _OF_REASON
        + " AS fits FROM interactions WHERE organization_id = ANY(%(organizations)t::text[]) AND "
        + _window(wanted, with_reasons=False)
        + ") AS marked) AS numbered WHERE fits GROUP BY organization_id, member, run) AS runs GROUP BY 1, 2"
    )


def _window(wanted: Wanted, *, with_reasons: bool) -> LiteralString:
    window: LiteralString = "record_id >= %(low)b AND record_id < %(high)b"
    if wanted.group in _NAMED:
        window += " AND " + _NAMED[wanted.group]
    if wanted.countries:
        window += " AND " + _FROM_COUNTRY
    if wanted.key_kind:
        window += " AND " + _OF_KIND
    if with_reasons and wanted.reasons:
        window += " AND " + _OF_REASON
    return window


def _given(wanted: Wanted) -> dict[str, Any]:
    return {
        "low": Uuid(wanted.low),
        "high": Uuid(wanted.high),
        "reasons": list(wanted.reasons),
        "countries": list(wanted.countries),
        "kind": wanted.key_kind,
        "production": PRODUCTION,
    }
